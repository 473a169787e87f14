/*
 * The fault suite: one program, `faults`, that runs one case. A case is a prepared shop, clients that keep a
 * ledger, one fault in the middle of their work, and a checker that joins the ledger with what the shop has
 * afterwards. Every file of tests/faults is a part of that program; main.c tells a case from its beginning to
 * its end.
 */
#pragma once

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "bus/base/fault.h"
#include "tests/support/browser.h"
#include "tests/support/shop.h"

enum {
    PARTS = 3,
    HOT_USERS = 48,
    HOT_PRODUCTS = 50,
    PRODUCTS = 550,
    CLIENTS = 24,
    PAYMENT_TIMEOUT_MS = 1000
};

/* ---- prepare.c: the data every case starts on ---- */

struct scene {
    char admin_token[2048];
    struct {
        char id[40], token[2048];
    } users[HOT_USERS];
    char products[PRODUCTS][40];
};

/* Makes a shop with people and products and keeps it in a folder that does not exist yet (shop_options.from).
 */
void scene_prepare(const char *folder);
void scene_read(const char *folder, struct scene *ret);

/* ---- ledger.c: what a client saw, on disk before it acts on it ---- */

struct ledger;
struct ledger *ledger_open(const char *folder, int client);
struct ledger *ledger_close(struct ledger *ledger); /* takes NULL, returns NULL */

/* What may be known of an operation; unused members are NULL or 0. */
struct note {
    int op; /* unique over all clients of the case */
    const char
        *what; /* "send", "ack" (202), "result" (final, by polling), "answer" (final, waited for), "maybe" */
    const char *kind; /* "add", "order", … */
    const char *user, *key, *product, *command, *status;
    int quantity, http;
};
/* Returns when the line is on disk. */
void ledger_note(struct ledger *ledger, const struct note *note);
/* Puts all ledgers of the folder into the table `ledger` of the shop's database. */
void ledger_load(struct shop *shop, const char *folder);

/* ---- clients.c: who works ---- */

struct crowd {
    struct shop *shop;
    const struct scene *scene;
    const char *folder; /* for the ledgers */
    unsigned seed;
    int ops;               /* how many operations all of them do */
    int64_t patience_ms;   /* how long a client repeats what was not answered */
    const char *fault;     /* FAULT of what the operator runs; NULL: none */
    atomic_bool busy;      /* operations go on beyond `ops` */
    bool poisoned;         /* commands of one user may end parked: nobody waits for these */
    atomic_int next;       /* operations begun */
    atomic_int unanswered; /* keyed operations that were never answered, acknowledged ones without a result */
    atomic_int late;       /* bounds of time that were not kept */
    pthread_t threads[CLIENTS];
};

/* Starts them; crowd lives until crowd_wait returns. */
void crowd_start(struct crowd *crowd);
void crowd_wait(struct crowd *crowd);
/* The user whose cart command nobody can read, see disasters.c. No client orders from that cart. */
enum { VICTIM = 0 };

/* ---- disasters.c: what happens in the middle ---- */

enum {
    LOSES = 1, /* Redis's own data is destroyed: commands may end `lost` */
    TEARS =
        2, /* event streams are destroyed: who follows them from outside may miss what the log still has */
    POISONS = 4,  /* commands of the victim end parked */
    SHORT = 8,    /* part of the short set */
    CRASHES = 16, /* a handler kills its process: FAULT_POISON is set */
    BUSY = 32,    /* it takes longer than the clients have work: they go on until it is over */
};
struct disaster {
    const char *name, *sentence;
    void (*strike)(struct crowd *crowd);
    unsigned flags;
};
extern const struct disaster disasters[]; /* name NULL ends the list */
const struct disaster *disaster_find(const char *name);
/* A command in the victim's cart lane that cannot be read. Returns how long it took until it was parked, -1
 * when it was not. */
int64_t poison(struct crowd *crowd);
/* Says how long it took, and ends the case when that was too long. */
void within(struct crowd *crowd, const char *what, int64_t took_ms, int64_t bound_ms);
/* How long it takes until a command that is waited for succeeds, in milliseconds. */
int64_t until_it_works(struct crowd *crowd);

/* ---- disasters_redis.c: what happens to Redis's data ---- */

void del_streams(struct crowd *crowd);
void flush_all(struct crowd *crowd);
void flush_scripts(struct crowd *crowd);
void destroy_groups(struct crowd *crowd);
void truncate_aof(struct crowd *crowd);
void forge(struct crowd *crowd);

/* ---- points.c: crash points ---- */

struct point {
    enum program program; /* PROGRAMS: what the operator runs in the disaster */
    int at_most;          /* the nth pass is chosen from 1 to this */
    const char *disaster; /* what makes a case come by here at all, or NULL */
    bool is_short;
    bool alone;            /* with one process of the program, since another may be the one that comes by */
    const char *elsewhere; /* nothing a shop under load comes by: the test that goes there; no case here */
};
extern const struct point points[FAULT_COUNT];
extern const char *const point_names[FAULT_COUNT];

/* ---- check.c, check_redis.c: what must hold when all is quiet ---- */

struct verdict {
    int violations;
    bool may_lose, poisoned, torn, crashes; /* what the case may do */
};
/* Before the clients start: notes every change of an offset row, for I6. */
void check_begin(struct shop *shop);
void check_all(struct shop *shop, struct verdict *verdict);
/* I3, and the part of I13 that is Redis's. */
void check_redis(struct shop *shop, struct verdict *verdict);
void check_failed(struct verdict *verdict, const char *invariant, const char *sentence, const char *detail);

/* ---- follower.c: a subscriber from outside ---- */

struct follower;
/* Before the clients start. */
struct follower *follower_start(struct shop *shop);
void follower_stop(struct follower *follower, struct verdict *verdict);
