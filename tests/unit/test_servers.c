/* The private servers of the tests themselves: they answer, survive kill -9 and a pause, and leave nothing
 * behind. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/servers.h"

static void redis_does(const struct servers *s, const char *command, const char *answer)
{
    redisContext *c = redisConnectUnix(servers_redis_url(s) + strlen("unix://"));
    redisReply *r = redisCommand(c, command);

    cr_assert_not_null(r, "%s: %s", command, c->errstr);
    cr_assert_str_eq(r->str, answer);
    freeReplyObject(r);
    redisFree(c);
}

static void sql_says(const struct servers *s, const char *sql, const char *answer)
{
    PGconn *c = PQconnectdb(servers_database_url(s));
    PGresult *r = PQexec(c, sql);

    cr_assert(PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK, "%s",
              PQerrorMessage(c));
    if (answer)
        cr_assert_str_eq(PQgetvalue(r, 0, 0), answer);
    PQclear(r);
    PQfinish(c);
}

Test(servers, both_answer_and_keep_what_was_written_through_kill_9)
{
    struct servers *s = servers_start(&(struct servers_options){.pg_fsync = true});

    redis_does(s, "SET cup full", "OK");
    sql_says(s, "CREATE TABLE cup AS SELECT 'full' AS state", NULL);
    servers_kill(s, SERVER_REDIS);
    servers_kill(s, SERVER_POSTGRES);
    cr_assert_eq(servers_pid(s, SERVER_POSTGRES), 0);
    servers_restart(s, SERVER_REDIS);
    servers_restart(s, SERVER_POSTGRES);
    redis_does(s, "GET cup", "full");
    sql_says(s, "SELECT state FROM cup", "full");
    servers_stop(s);
}

Test(servers, a_clean_end_and_a_restart)
{
    struct servers *s = servers_start(NULL);

    sql_says(s, "CREATE TABLE cup AS SELECT 'full' AS state", NULL);
    servers_end(s, SERVER_POSTGRES);
    servers_end(s, SERVER_REDIS);
    servers_restart(s, SERVER_POSTGRES);
    sql_says(s, "SELECT state FROM cup", "full");
    servers_stop(s);
}

Test(servers, a_paused_redis_is_silent_until_resumed)
{
    struct servers *s = servers_start(&(struct servers_options){.no_postgres = true, .appendfsync = "no"});
    struct timeval patience = {.tv_usec = 100000};
    redisContext *c = redisConnectUnix(servers_redis_url(s) + strlen("unix://"));

    servers_pause(s, SERVER_REDIS);
    redisSetTimeout(c, patience);
    cr_assert_null(redisCommand(c, "PING"));
    redisFree(c);
    servers_resume(s, SERVER_REDIS);
    redis_does(s, "PING", "PONG");
    servers_stop(s);
}

Test(servers, a_test_that_is_killed_leaves_nothing, .timeout = 30)
{
    char dir[100] = "";
    int pipes[2];
    struct stat st;

    cr_assert_eq(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct servers *s = servers_start(NULL);

        servers_pause(s, SERVER_POSTGRES);
        if (write(pipes[1], servers_dir(s), strlen(servers_dir(s)) + 1) > 0)
            raise(SIGKILL);
    }
    cr_assert_gt(read(pipes[0], dir, sizeof(dir)), 0);
    waitpid(pid, NULL, 0);
    cr_assert_neq(dir[0], 0);
    while (stat(dir, &st) == 0)
        poll(NULL, 0, 5);
    cr_assert_eq(errno, ENOENT);
}
