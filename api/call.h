/*
 * A command on its way from a request to its lane: decoded, authorised, prepared, sealed, published, perhaps
 * waited for. One struct call per request, in the request's arena. publish.c drives it; routes shape it by a
 * command_spec.
 */
#pragma once

#include "api/door.h"
#include "api/wait.h"
#include "bus/cmdid.h"
#include "bus/envelope.h"

struct call;

/* How a command is made from a request; route->more of a .command row. Everything may be left out. */
struct command_spec {
    const struct shape *body; /* what the body looks like when that is not the message itself */
    bool own;                 /* the field user_id is the asker */
    const char *location;     /* of what a 201 made: this path and the id in the result */
    enum message (*choose)(const struct request *req); /* the route's message, or `otherwise`, by the body */
    enum message otherwise;
    void (*before)(
        struct call *call); /* before the body is read: ends in call_read or a refusal, perhaps later */
    void (*prepare)(
        struct call *call); /* when body and message are decoded: ends in call_publish or a refusal */
    /* What is answered for a result (the row's JSON, opened): absent: the result as it is. */
    struct str (*finish)(struct call *call, struct str result);
    bool needs_result; /* without one in time the answer is 503, not 202: only the result can be used */
};

enum { ROUTE_WAITS = 1 }; /* flags of a route: the result is waited for unless the client says otherwise */
enum { CALL_WAIT_S = 10, CALL_PARAMS = REQUEST_PARAMS + 2, CALL_KEY_MAX = 255 };

struct call {
    struct request *req;
    struct door *door;
    const struct command_spec *spec;
    const struct message_type *type;
    struct codec_param params[CALL_PARAMS]; /* merged into the body */
    size_t params_n;
    void *body;                 /* decoded, of spec->body; else the same as message */
    void *message;              /* of type->shape; personal fields in clear until the last moment */
    struct uuid person;         /* whose personal fields these are; nil: the asker's */
    struct seal_key person_key; /* theirs; looked up, or made by `prepare` when person_is_self */
    bool person_is_self; /* the person is the aggregate that the command makes: its id is the command's */
    /* Called when the id is known, before sealing, for fields that depend on it. May be called twice. */
    void (*on_id)(struct call *call);
    struct str client, actor;
    struct str key, fingerprint; /* Idempotency-Key; absent: none */
    int64_t expected_version;    /* If-Match; 0: none */
    int wait_s;                  /* how long to wait for the result; 0: not at all */
    bool asked_wait;             /* by Prefer */
    struct uuid id;
    struct str id_text;
    enum topic topic;
    int part;
    void *sealed; /* a copy of message */
    struct wait wait;
    bool repeat;       /* the key was known: the same id is published again */
    struct uuid known; /* the id that the key mapped to */
    struct str
        instead; /* the key was known, its command ended without a chance: that id, which ours replaces */
    int64_t begun_ms;
    void *own; /* the spec's */
};

/* From `before`: reads the body and goes on. */
void call_read(struct call *call);
/* From `prepare`: publishes. */
void call_publish(struct call *call);
/* The command is now that person's: client and actor (a login before there is a token). */
void call_act_as(struct call *call, struct uuid user);
/* A parameter to be merged; value STR_NONE is skipped. */
void call_param(struct call *call, const char *name, struct str value);
/* Ends the call by a failure: answers, and waits no more. */
void call_refuse(struct call *call, err e);
/* The same by a 422 that names one field. */
void call_refuse_field(struct call *call, const char *field, const char *sentence);
/* Like door_select, for a call: fn goes on with it. */
typedef void call_rows_fn(struct call *call, const struct pg_result *rows);
void call_select(struct call *call, const struct pg_stmt *stmt, int n, const struct pg_param *params,
                 call_rows_fn *fn);

/* ---- results ---- */
/* Answers a request by a final outcome: status and body at top level. call may be NULL (no finish, no
 * Location). */
void respond_outcome(struct request *req, struct call *call, const struct outcome *o);
/* An admitted request of a .command row. */
void run_command(struct request *req);
