/*
 * The shop side of the front door: what one process shares (struct shop) and what each loop owns (struct
 * door): its connections, caches and waiters. Loops share nothing that changes but the counters. Everything
 * here runs on the loop's thread.
 */
#pragma once

#include <stdatomic.h>

#include "api/glance.h"
#include "api/http.h"
#include "api/pg_poll.h"
#include "api/redis_poll.h"
#include "api/roles.h"
#include "api/secrets.h"
#include "api/server.h"

/* One per process, made by main. */
struct shop {
    struct secrets secrets;
    const char *redis_url, *database_url;
    atomic_bool ready;      /* partitions() is known and the servers were found fit; set once */
    volatile bool stop;     /* for whoever waits for that */
    atomic_int streams;     /* event streams, of all loops */
    atomic_int doors, open; /* loops; those that have served or can serve everything since their start */
};

/* One per loop, made in the server's init hook. */
struct door {
    struct shop *shop;
    struct loop *loop;
    struct redis_poll *redis;        /* commands */
    struct pg_poll *pg;              /* what is short */
    struct pg_poll *counting;        /* what looks at much */
    char channel[4 + UUID_TEXT + 1]; /* of this loop's hints: "res:<uuid>" */
    bool ready;                      /* shop->ready was seen here and everything below has begun */
    struct persons *persons;
    struct passwords *passwords;
    struct lanes *lanes;
    struct waiters *waiters;
    struct revoked *revoked;
    struct tail *tail;
    struct tokens *tokens;
    struct products *products;
    struct reads *reads;
    struct streams *streams;
    struct rates *rates;
    struct glance health, scrape;
    uv_timer_t start; /* until the door is open */
};

struct door *door_of(const struct request *req);
/* The hooks that main gives to the server, with data = struct shop. */
struct server_hooks door_hooks(void);
/* All routes of the shop, a NULL-terminated list of tables. */
extern const struct route *const shop_routes[];

/* ---- who asks ---- */
struct who {
    bool known; /* a valid token was sent */
    struct uuid user, session;
    enum role role;
};
/* Who sent the request, as the permission of its route demands: false when it was answered (401, 403, 503).
 * Kept in memory of the request; who_of() reads it in handlers. */
bool door_admit(struct request *req);
const struct who *who_of(const struct request *req);

/* "user:<uuid>", as commands and actors name a person. */
struct str client_of(struct uuid user, struct arena *arena);

/* ---- reading PostgreSQL for a request ---- */
typedef void rows_fn(struct request *req, const struct pg_result *rows, void *data);
/* Runs one statement; fn gets its rows and answers. A failure is answered by 503 instead. */
void door_select(struct request *req, const struct pg_stmt *stmt, int n, const struct pg_param *params,
                 rows_fn *fn, void *data);
/* The same for what looks at many rows. */
void door_select_slowly(struct request *req, const struct pg_stmt *stmt, int n, const struct pg_param *params,
                        rows_fn *fn, void *data);
/* Answers with JSON in which sealed strings are opened first: the keys of the persons are looked up, what
 * cannot be opened any more becomes null. For readers who may see it. */
void respond_opened(struct request *req, int status, struct str json);
/* The same without answering; fn may be called before this returns. json absent: a failure e. */
typedef void opened_fn(void *data, err e, struct str json);
void open_sealed(struct door *door, struct str json, struct arena *arena, opened_fn *fn, void *data);
/* JSON for readers who may not see it: sealed strings become null. */
struct str without_sealed(struct str json, struct arena *arena);
