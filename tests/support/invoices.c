/* See invoices.h. */
#include "tests/support/invoices.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void invoices_table(struct shop *shop)
{
    shop_sql(shop,
             "CREATE TABLE seen_order (topic text, part int, seq bigint, key text, type text, n bigserial,"
             " PRIMARY KEY (topic, part, seq))");
}

pid_t invoices_launch(struct shop *shop)
{
    const char *program = getenv("SUBSCRIBER");
    pid_t pid = fork();
    assert(pid >= 0);
    if (pid == 0) {
        setenv("DATABASE_URL", servers_database_url(shop_servers(shop)), 1);
        setenv("REDIS_URL", servers_redis_url(shop_servers(shop)), 1);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
            execl(program ? program : DAYDREAM_BIN_DIR "/example_subscriber", "subscriber", "invoices", NULL);
        _exit(127);
    }
    return pid;
}

int invoices_end(pid_t pid, int signal_number)
{
    int status, failed_to = kill(pid, signal_number);
    assert(!failed_to);
    pid_t ended = waitpid(pid, &status, 0);
    assert(ended == pid);
    return status;
}

int64_t invoices_wrong(struct shop *shop, int64_t since_ms)
{
    int64_t differ =
        shop_sql(shop,
                 "SELECT count(*) FROM (SELECT * FROM event_log WHERE type LIKE 'order.%%' AND ms > %lld) l"
                 " FULL JOIN seen_order s USING (topic, part, seq)"
                 " WHERE (l.type, l.partitionkey) IS DISTINCT FROM (s.type, s.key)",
                 (long long)since_ms);
    return differ + shop_sql(shop, "SELECT count(*) FROM (SELECT seq - lag(seq) OVER (PARTITION BY part, key"
                                   " ORDER BY n) AS step FROM seen_order) steps WHERE step <= 0");
}
