/*
 * What a consumer group is, and what its handlers may do. A group is a table: a name, typed handler slots,
 * the tables it owns, what its effects reach, where it starts. Handlers are pure functions of (rows,
 * message): they change rows of the batch, emit events, set results. They never acknowledge, retry, wait,
 * lock, log or see a callback: the runner does, once, for all groups. A handler refuses, or says that it
 * cannot, before it changes anything.
 */
#pragma once

#include "bus/answer.h"
#include "consumers/rows.h"
#include "messages.h"

enum effects { EFFECTS_NONE, EFFECTS_INTERNAL, EFFECTS_EXTERNAL }; /* none: a read model */
enum start { START_EARLIEST, START_NOW };

struct group {
    const char *name;
    enum effects effects;
    enum start start;
    bool idempotent; /* an event handled twice leaves the rows as they were: a range may be replayed on top */
    const struct table *const *tables; /* owned, NULL-terminated; written in this order */
    struct handlers on;
};

/* All groups of the shop, in an explicit list (consumers/groups.c), NULL-terminated. */
extern const struct group *const groups[];

/* NULL when there is none of that name. */
const struct group *group_find(const char *name);
/* Its rows come from commands too, so the log alone does not tell them. */
bool group_handles_commands(const struct group *group);

/* The message in hand. Everything is borrowed from the batch. */
struct delivery {
    enum message type;
    bool command;
    bool replay;    /* handled before: rows change, but what the handler emits or asks for is dropped */
    bool final;     /* NOT_YET was answered once and the fact is still missing: decide */
    struct uuid id; /* of the command or event */
    struct str key; /* partition key: the aggregate's id as text */
    struct str correlation, actor, client, traceparent;
    int64_t expected_version; /* If-Match; 0 when none was sent */
    const void *data;         /* the decoded struct */
};
const struct delivery *batch_message(const struct batch *b);
/* Wall clock of the batch, ms; the same for all its messages. */
int64_t batch_now(const struct batch *b);
/* When the message in hand was written, ms: of an event the time in the log, which is the same whenever it is
 * handled. A read model that keeps times keeps these, or it could not be compared with its rebuild. */
int64_t batch_time(const struct batch *b);
struct arena *batch_arena(struct batch *b);
/* A new id for something made by the message in hand. */
struct uuid batch_uuid(struct batch *b);

/* ---- answers of command handlers; each returns the answer to return ---- */
/* result: one JSON value; personal members sealed. http: 200, 201, 204 … */
enum answer succeed(struct batch *b, int http, struct str result);
/* A problem with that code; detail is a sentence without personal data. */
enum answer reject(struct batch *b, enum err_code code, const char *detail, ...) _printf_(3, 4);
/* 422 that names one field. */
enum answer reject_field(struct batch *b, const char *field, const char *sentence);
/* A problem with further members: json is the inside of an object, e.g. "\"differences\":[…]". */
enum answer reject_with(struct batch *b, enum err_code code, struct str members, const char *detail, ...)
    _printf_(4, 5);
/* The command's row says `running` until complete() is called for its id, by whichever group. */
enum answer run_on(struct batch *b);
/* Missing a fact of (topic, key): asked again when this group has passed that partition's present head. Must
 * not be called when message->final. */
enum answer not_yet(struct batch *b, enum topic topic, struct str key);

/* Ends a command that is `running`. ok: result with http; else code and detail as in reject(). No effect when
 * the row is not running any more. */
void complete(struct batch *b, struct uuid command, int http, struct str result);
void complete_rejected(struct batch *b, struct uuid command, enum err_code code, const char *detail, ...)
    _printf_(4, 5);

/* ---- effects: committed with the batch or not at all ---- */
/* Generated emit_*() call this; key's partition of the type's topic. */
void batch_emit(struct batch *b, enum message type, struct str key, const void *data);
/* A timer of this group: at due_ms the event is emitted into its topic under key. (name, key) is unique:
 * setting again moves it. */
void timer_set(struct batch *b, const char *name, struct str key, int64_t due_ms, enum message type,
               const void *data);
void timer_cancel(struct batch *b, const char *name, struct str key);
/* Outside work for the job runner (producers/): kind names the worker, payload is its JSON; jobs of one key
 * run one at a time in the order of their insertion. */
void job_add(struct batch *b, const char *kind, struct str key, struct str payload);
