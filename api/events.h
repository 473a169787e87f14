/*
 * GET /events: events as they are committed, by Server-Sent Events. All streams of a loop hang on its tail,
 * which reads each event once; a stream that is behind reads the log in pieces of its own until it meets the
 * tail. docs/events.md tells it to its users.
 */
#pragma once

#include "api/http.h"
#include "bus/codec.h"
#include "bus/event_rights.h"
#include "bus/eventlog.h"
#include "bus/position.h"

enum {
    STREAM_RETRY_MS = 1000,      /* what a client is told to wait before it connects again */
    STREAM_HEARTBEAT_MS = 15000, /* a comment, when nothing else was written */
    STREAM_TURN_MS = 50,         /* how often streams are looked at beside what the tail tells */
    STREAM_ADMIT_MS = 1000,      /* how often it is asked whether the token still holds */
    STREAM_READ = 100,           /* events of one read of the log */
};

struct door;
struct streams;

struct streams *streams_new(struct door *door);
/* When no connection is left; what still reads is told before the loop ends. NULL is fine. Returns NULL. */
struct streams *streams_free(struct streams *streams);
/* Ends all of them at the end of an event; none begins any more. */
void streams_drain(struct streams *streams);
/* An event that the tail has brought. */
void streams_tell(struct streams *streams, const struct event *event);

extern const struct shape event_params;
void get_events(struct request *req);

/* ---- between events.c (who subscribes to what, from where) and event_stream.c (what is written) ---- */
/* What is asked for; strings and arrays live in the request's arena. */
struct subscription {
    struct request *req;
    struct type_filter filter; /* narrowed to what may be seen */
    struct event_reader reader;
    struct position from; /* every partition of the filter's topics */
    bool named;           /* from was given, not "now" */
};
/* Room for one more stream of that person? THROTTLED, OVERLOADED. */
err streams_room(const struct streams *streams, struct uuid user) _must_use_;
/* The heads are known: begins to write. */
void stream_open(struct streams *streams, const struct subscription *subscription);
