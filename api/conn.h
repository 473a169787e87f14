/*
 * One client connection as a state machine without I/O: bytes in (conn_feed), events to handlers, bytes out
 * (conn_output, conn_wrote), time by conn_deadline. The owner (loop.c; in tests and fuzzing, anybody) moves
 * the bytes. Requests stand in a queue in their order; an answer given out of turn waits there. Nothing here
 * is shared between threads.
 */
#pragma once

#include <llhttp.h>
#include <sys/uio.h>

#include "api/guard.h"
#include "api/http.h"
#include "api/route.h"
#include "api/route_metrics.h"
#include "bus/trace.h"

enum {
    CONN_OUTSTANDING = 64,       /* requests in the queue; then reading stops */
    CONN_UNWRITTEN = 256 << 10,  /* bytes answered and not written; then reading stops */
    CONN_HEAD_MS = 10000,        /* for the whole head of a request, and for the first byte of a connection */
    CONN_BODY_MS = 20000,        /* for the whole body */
    CONN_BODY_STEP_MS = 5000,    /* in each of which … */
    CONN_BODY_STEP_BYTES = 1280, /* … so much of the body must come */
    CONN_IDLE_MS = 60000,        /* between requests */
    CONN_WRITE_MS = 10000,       /* in which a reader must take … */
    CONN_WRITE_STEP_BYTES = 4096, /* … so much, or all there is */
    CONN_LINGER_MS = 2000,        /* after the last answer, for the client to close */
    CONN_LINGER_BYTES = 1 << 20,  /* read and dropped meanwhile */
    HOST_SPARE = 64,              /* exchanges kept for reuse */
    REQUEST_ARENA = 4 << 20,      /* ceiling of a request's arena */
};

struct conn;

/* What connections of one loop share. The owner fills the first part. */
struct conn_host {
    const struct router *router;
    struct route_metrics *metrics;        /* NULL: requests are not counted by route */
    route_fn *command, *query;            /* the upper layer's */
    struct loop *loop;                    /* for req->loop */
    const struct str *names;              /* ALLOWED_HOSTS, lower case, ended by STR_NONE */
    const struct str *origins;            /* CORS_ALLOWED_ORIGINS, ended by STR_NONE */
    size_t body_limit;                    /* bytes of one body */
    size_t held_limit;                    /* bytes of all bodies and unfinished heads; then 503 */
    size_t kept_limit;                    /* bytes of all answers not yet read, see conn_crowded */
    void (*on_output)(struct conn *conn); /* something to write, or to close, came up outside conn_feed */
    bool draining;                        /* answers say Connection: close */
    int64_t now_ms, wall_ms;              /* monotonic and UTC, see host_tick */
    char date[40];                        /* "Date: …\r\n" of date_s */
    int64_t date_s;
    /* its own */
    size_t held, kept;
    int64_t logged_s; /* the second of the last failure logged */
    int logged;       /* failures in it */
    size_t orphans;   /* unanswered requests whose connection is gone */
    struct exchange *spare;
    unsigned spares;
};

enum exchange_state {
    EXCHANGE_RECEIVING, /* the body is not complete; no handler knows of it */
    EXCHANGE_ASKED,     /* a handler owes the answer */
    EXCHANGE_STREAMING, /* a handler owes stream_end */
    EXCHANGE_ANSWERED,
};

/* Bytes of a stream that wait; two, so that what is being written never moves. */
struct stream_bytes {
    char *p;
    size_t n, cap;
};

/* A request with its answer, in the queue of its connection. */
struct exchange {
    struct request req; /* first: handlers have a pointer to it */
    struct conn_host *host;
    struct conn *conn; /* NULL: gone */
    struct exchange *next;
    enum exchange_state state;
    char *head;           /* raw, in the arena; names are lowered in place */
    struct param *fields; /* req.headers while they are read */
    char *body;           /* malloc'ed */
    size_t body_n, body_cap;
    uint32_t raw_n;  /* bytes of a chunked body with its framing */
    bool keep_alive; /* the client lets the connection stand */
    bool http10;
    bool chunked;
    bool expects;      /* 100 Continue is to be sent when its turn comes */
    bool refused;      /* never reached a handler */
    struct str trace;  /* the traceparent: the client's, or the one that names span */
    struct trace span; /* of this request, when traces are on */
    int64_t began_ns;  /* of span, since 1970; 0: there is none */
    /* the answer */
    int status;
    struct buf extra;    /* header lines of respond_header */
    struct str parts[2]; /* head and body, what is left of them */
    struct blob *blob;   /* owner of parts[1] */
    size_t kept;         /* memory that it holds from its answer to its end, counted in the host */
    struct stream_bytes sending, filling;
    bool full; /* stream_write said false; on_drain is owed */
};

enum conn_phase {
    CONN_HEAD, /* between requests, or inside a head */
    CONN_BODY, /* conn->last is RECEIVING */
    CONN_DONE, /* takes no more requests; bytes are dropped */
};

struct conn {
    struct conn_host *host;
    struct exchange *first, *last;
    unsigned outstanding;
    enum conn_phase phase;
    struct guard guard;
    char *partial; /* a head that did not come in one piece, malloc'ed */
    size_t partial_n, partial_cap;
    llhttp_t parser;
    const char *refusal; /* why the parser's callbacks stopped; names the detail */
    enum err_code refusal_code;
    size_t unwritten; /* bytes of answers in the queue */
    bool feeding;     /* inside conn_feed: the owner looks at the output itself */
    bool broken;      /* to be cut off at once */
    bool complete;    /* the parser saw the end of the message */
    bool used;        /* at least one request came */
    bool lingering;
    int64_t since_ms; /* when the present head, body, or idleness began */
    int64_t step_ms;  /* end of the present step of a body */
    size_t step_n;    /* bytes in it */
    int64_t write_ms; /* deadline of the writer; 0: nothing waits */
    size_t write_n;   /* bytes taken since it was set */
    size_t dropped;   /* bytes read after the end */
    char peer[46];
};

void conn_init(struct conn *conn, struct conn_host *host, const char *peer);
/* The transport is gone, or is to go: frees what is the connection's and tells handlers (on_gone). */
void conn_deinit(struct conn *conn);

/* Takes bytes; returns how many. Fewer than n: the queue is full; try again when conn_reads says so. */
size_t conn_feed(struct conn *conn, const char *p, size_t n);
/* Will conn_feed take bytes? */
bool conn_reads(const struct conn *conn);
/* The client will send no more. What it asked is still answered. */
void conn_eof(struct conn *conn);
/* What can be written now, in order; at most max pieces; valid until the next conn_wrote. Returns their
 * number. */
int conn_output(struct conn *conn, struct iovec *ret, int max);
/* n bytes of the output are written. */
void conn_wrote(struct conn *conn, size_t n);
/* Everything is answered and written and nothing more will come: shut down and linger. */
bool conn_finished(const struct conn *conn);
/* From now on CONN_LINGER_MS, CONN_LINGER_BYTES. */
void conn_linger(struct conn *conn);
/* To be cut off at once? (a stream nobody reads, too many bytes after the end) */
bool conn_broken(const struct conn *conn);
/* Nothing is asked, half asked, or unwritten. */
bool conn_idle(const struct conn *conn);
/* When conn_expire is to be called; INT64_MAX: never. */
int64_t conn_deadline(const struct conn *conn);
/* The deadline is there. True: cut it off; false: there is a new deadline. */
bool conn_expire(struct conn *conn);

/* Renews the times and, once a second, the date. */
void host_tick(struct conn_host *host, int64_t mono_ms, int64_t wall_ms);
/* Frees the spare exchanges. */
void host_deinit(struct conn_host *host);

/* ---- between the parts of the core ---- */
/* Answers that nobody has read take more than kept_limit. Until they do not: who has not read what he was
 * answered is not read from; he has CONN_WRITE_MS to take all of it, not a step; and whose answers are more
 * than CONN_UNWRITTEN is cut off. Who reads notices nothing. */
static inline bool conn_crowded(const struct conn_host *host)
{
    return host->kept > host->kept_limit;
}
static inline struct exchange *exchange_of(struct request *req)
{
    return (struct exchange *)req;
}
/* A new exchange at the end of the connection's queue. */
struct exchange *exchange_new(struct conn *conn);
void exchange_free(struct exchange *x);
/* head.c: reads a complete head into x->req, sets up the parser for the body. conn->complete: there is none.
 * A code: refuse with that and conn->refusal. */
enum err_code head_read(struct conn *conn, struct exchange *x, const char *p, size_t n);
/* head.c: feeds the body to the parser; conn->complete at its end. */
enum err_code body_read(struct conn *conn, struct exchange *x, const char *p, size_t n, size_t *ret_used);
/* spans.c: the request reaches its handler: begins its span, when traces are on. */
void span_of_request(struct exchange *x);
/* spans.c: it is over. */
void span_of_answer(const struct exchange *x);
/* dispatch.c: the request is complete: finds its route and calls it. */
void dispatch(struct exchange *x);
/* conn.c: no more requests are taken; the queue is still answered. */
void conn_end_input(struct conn *conn);
/* conn.c: x is about to be answered: is it the last answer of its connection? Then no more requests are
 * taken. */
bool conn_ends_with(struct exchange *x);
/* conn.c: x has its whole answer (state, parts) or more of it. */
void conn_answered(struct exchange *x, size_t added);
/* respond.c: answers with a refusal of the core and lets the connection end. */
void respond_refusal(struct exchange *x, enum err_code code, const char *detail);
/* respond.c: gives the request an id if it has none, the headers that CORS asks for. */
void respond_prepare(struct exchange *x);
/* stream.c */
void stream_free(struct exchange *x);
/* respond.c: puts together the head; content_length < 0: chunked, or until close. */
struct str respond_head(struct exchange *x, int status, const char *content_type, int64_t content_length);
