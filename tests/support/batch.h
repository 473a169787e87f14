/*
 * Handlers without servers. A memory stands for the tables of one group: each call of handle() is a batch of
 * its own, as strict as the real one: rows come into it only by what the load functions want, what handlers
 * decide is kept only when the message was decided, and two rows with one primary key end the test. What a
 * batch emitted, completed, timed or asked for stays readable in memory->batch until the next call.
 */
#pragma once

#include "consumers/batch.h"

enum { MEMORY_TOGETHER_MAX = 16 };

struct memory {
    struct arena *arena; /* everything lives until the memory goes */
    int64_t now;         /* the wall clock of the next batch, ms; the test may move it */
    struct batch batch;  /* the last one */
    struct kept *kept;   /* the rows */
};

struct memory *memory_new(const struct group *group);
/* Takes NULL. */
void memory_freep(struct memory **memory);

/* A message to be handled. What is left out: a new id, no actor, no If-Match. */
struct given {
    enum message type;
    const void *data; /* the struct of the type; personal members sealed */
    struct uuid id;
    const char *actor;
    int64_t expected_version;
    bool final;
};

struct outcome {
    enum answer answer;
    int http;          /* of a command's result */
    struct str result; /* JSON, or a problem {"error","detail"} */
};

/* handle(memory, USER_LOG_IN, &(struct user_log_in){…}, .actor = "user:…") */
#define handle(memory, message_type, struct_at, ...)                                                         \
    memory_handle((memory), &(struct given){.type = (message_type), .data = (struct_at), ##__VA_ARGS__})
struct outcome memory_handle(struct memory *memory, const struct given *given);
/* n ≤ MEMORY_TOGETHER_MAX messages in one batch; none may answer NOT_YET or POISON. */
void memory_handle_all(struct memory *memory, const struct given *given, size_t n, struct outcome *ret);

/* ---- what is kept after the last batch ---- */
/* The row of that table whose column has the value (uuid and text columns); NULL when there is none. */
const void *kept_row(const struct memory *memory, const char *table, const char *column, struct value value);
size_t kept_count(const struct memory *memory, const char *table);
int64_t row_int(const void *row, const char *column);
bool row_bool(const void *row, const char *column);
struct uuid row_uuid(const void *row, const char *column);
struct str row_text(const void *row, const char *column); /* also bytes */

/* ---- what the last batch emitted ---- */
size_t told_count(const struct memory *memory, enum message type);
/* Data of the n-th event of that type, decoded; must be there. */
const void *told(const struct memory *memory, enum message type, size_t n);
/* Its partition key. */
struct str told_key(const struct memory *memory, enum message type, size_t n);

/* A JSON string sealed under a key nobody has: what handlers see of personal data of that person. */
struct str sealed(struct memory *memory, struct uuid person, const char *text);
