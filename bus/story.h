/*
 * The story of one thing: the commands, events, jobs, timers and parked messages that belong together, each
 * under what caused it. One statement brings the rows (one snapshot), story_build() puts the tree together,
 * and story_json() writes it; `daydreamctl bus show` and the front door's `GET /why/{kind}/{id}` share all
 * three, so they cannot tell different stories. The statement reads the views of migration 0011 only, which
 * hold no data of a message: personal fields are not even sealed in here, they are absent.
 *
 * What belongs together is what shares a correlation id, and every command begins one. An aggregate has seen
 * many: of its key the newest STORY_CORRELATIONS are told. A command that was refused and emitted nothing is
 * found by its own id alone. What archived partitions hold is not told.
 */
#pragma once

#include "bus/base/json.h"
#include "bus/pg/pg.h"

enum { STORY_CORRELATIONS = 20, STORY_LIMIT = 1000, STORY_LIMIT_MAX = 5000, STORY_PARAMS = 8 };

/* What an id may be the id of; several at once: whatever it turns out to be. */
enum story_by {
    STORY_BY_EVENT = 1,
    STORY_BY_COMMAND = 2,
    STORY_BY_CORRELATION = 4,
    STORY_BY_KEY = 8,
    STORY_BY_ANY = 15,
};

extern const struct pg_stmt story_select;
/* Its parameters, which borrow id and key_topics. key_topics: in which a key counts, separated by commas;
 * absent: all. limit: events at most. */
void story_params(struct str id, unsigned by, struct str key_topics, int limit,
                  struct pg_param ret[static STORY_PARAMS]);

enum story_what { STORY_EVENT, STORY_COMMAND, STORY_JOB, STORY_TIMER, STORY_PARKED };

struct story_offset {
    struct str grp, topic;
    int part;
    int64_t seq;
};

struct story_node {
    enum story_what what;
    struct str id, cause, correlation, topic, type, key, source, actor;
    struct str status; /* of a command, job; the reason of what is parked */
    struct str detail; /* why a command was refused; the winner it repeats */
    int part;
    int64_t seq;     /* of an event; 0: none */
    int64_t ms;      /* when: committed, accepted, due, parked; 0: not known */
    int64_t done_ms; /* of a command's result; 0: none */
    int64_t number;  /* HTTP status of a command, attempts of a job or a parked message */
    int depth;
    struct story_node *parent, *first, *last, *next;
};

struct story {
    struct str id;
    struct story_node **nodes; /* depth first, causes before effects, siblings in the order of time */
    size_t n;
    struct story_offset *offsets; /* of every group on the lanes that the story touches */
    size_t n_offsets;
    bool truncated; /* there are more events than were asked for */
    int64_t from_ms, to_ms;
};

/* From the rows of story_select, run with that id and limit. Everything is copied into the arena. Nothing
 * found: n == 0. */
struct story story_build(const struct pg_result *rows, struct str id, int limit, struct arena *arena);
/* Has that group passed that event? */
bool story_passed(const struct story_offset *offset, const struct story_node *event);
/* Is the offset one of the event's lane? */
bool story_concerns(const struct story_offset *offset, const struct story_node *event);
const char *story_what_name(enum story_what what); /* "event" */
/* One object: {"id","events","truncated","personal_data","from","to","nodes":[…]}. Nodes are flat, depth
 * first, each with its depth and cause, so that no reader needs to nest as deep as a saga is long. */
void story_json(struct json *j, const struct story *story);
