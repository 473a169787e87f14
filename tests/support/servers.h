/*
 * A private Redis and a private PostgreSQL for one test: in a folder of their own (below TMPDIR or in
 * memory), on unix sockets only, so that tests never meet each other or the machine's own servers. Start
 * takes about 0.15 s, hence each test process starts its own (in the test, or in .init of its suite, which
 * Criterion runs in each test's process); any number may run at once. Before anybody gets an address, the pid
 * that answers on it is compared with the pid that was started. The servers die and the folder goes when
 * servers_stop is called, and also when the test crashes or is killed: a watcher process sees to it. Nothing
 * here returns an error: what fails is printed and ends the test.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

enum servers_which { SERVER_REDIS, SERVER_POSTGRES, SERVERS };

struct servers_options {
    bool no_redis;           /* start PostgreSQL alone */
    bool no_postgres;        /* start Redis alone */
    const char *appendfsync; /* Redis: "always" (NULL), "everysec" or "no" */
    int wal_segment_mb; /* PostgreSQL: 0: 1, which is quick to copy and slow to write; compose/up has 16 */
    bool pg_fsync; /* PostgreSQL waits for the disk; only needed where durability itself is the question */
    const char *redis_extra; /* lines added to redis.conf, NULL for none */
    const char *pg_extra;    /* lines added to postgresql.conf, NULL for none */
    const char *from;        /* data to start on instead of none, made by servers_keep() */
};

/* What compose/up writes beside the above, for measuring: servers as users have them. */
extern const char servers_compose_redis[], servers_compose_pg[];

struct servers;

/* Starts what the options ask for (NULL: both, with their defaults) and waits until they answer. The database
 * is empty; its one role is a superuser. Call from a thread that lives as long as the servers. */
struct servers *servers_start(const struct servers_options *options);
/* Ends the servers, removes the folder. Takes NULL, returns NULL. */
struct servers *servers_stop(struct servers *servers);
void servers_stopp(struct servers **servers); /* for _cleanup_ */
/* Ends both servers cleanly and copies their data into a folder that exists. */
void servers_keep(struct servers *servers, const char *folder);

/* Addresses, valid until servers_stop: unix:///…/redis.sock, postgresql:///daydream?host=…&user=daydream. */
const char *servers_redis_url(const struct servers *servers);
const char *servers_database_url(const struct servers *servers);
/* The private folder, without a slash at the end; the test may keep files in it. */
const char *servers_dir(const struct servers *servers);
/* The pid of redis-server or of the postmaster, 0 while it is down. */
pid_t servers_pid(const struct servers *servers, enum servers_which which);

/* kill -9; returns when the process, and the backends of PostgreSQL, are gone. Down already: nothing. */
void servers_kill(struct servers *servers, enum servers_which which);
/* A clean end (SIGTERM, PostgreSQL: fast shutdown); returns when it is gone. */
void servers_end(struct servers *servers, enum servers_which which);
/* Starts a server that is down on its data and the same address; returns when it answers. From the same kind
 * of thread as servers_start: a server dies with the thread that started it. */
void servers_restart(struct servers *servers, enum servers_which which);
/* SIGSTOP and SIGCONT, for PostgreSQL with all its backends: connections stay open, nobody answers. */
void servers_pause(struct servers *servers, enum servers_which which);
void servers_resume(struct servers *servers, enum servers_which which);
