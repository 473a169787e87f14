/*
 * Somebody who follows GET /events in a thread of his own: connects, reads, and when the stream ends or
 * breaks connects again with the id of the last event he has, as browsers do. He remembers all he heard and
 * notes what a stream must never do: a chunk that does not hold whole blocks, an event twice on one
 * connection, a block that cannot be read.
 */
#pragma once

#include "tests/support/verbs.h"

struct heard {
    char id[ID_TEXT], type[64], key[ID_TEXT];
    int connection; /* from 1 */
    char *data;     /* the CloudEvent */
};

struct listener;

struct listener_options {
    int door;
    const char *query;   /* "?types=order.*" or "" */
    const char *last_id; /* to begin with, or NULL */
    int receive_buffer;  /* bytes, SO_RCVBUF; 0: the system's */
    bool paused;         /* takes the first block, then nothing; comes again with the system's buffer */
};

/* With the person's token of now. Returns when the first stream is open, or was refused. */
struct listener *listener_start(const struct person *person, const struct listener_options *options);
struct listener *
listener_stop(struct listener *listener); /* takes NULL, returns NULL; frees what was heard */

/* From now on he takes nothing from his socket until it is false again. */
void listener_pause(struct listener *listener, bool pause);
/* Until n events were heard; false when the time has passed. */
bool listener_hears(struct listener *listener, int n, int64_t within_ms);
/* Ends the thread; afterwards what was heard can be looked at. */
void listener_end(struct listener *listener);

int listener_status(const struct listener *listener); /* of the last answer; 0: none */
int listener_heard(const struct listener *listener);
const struct heard *listener_event(const struct listener *listener, int i);
int listener_connections(struct listener *listener); /* that were opened */
const char *listener_last_id(const struct listener *listener);
const char *
listener_wrong(const struct listener *listener); /* "" or the first thing that was not as it must */

/* How many events of the log `where` (SQL over event_log) he did not hear, plus how many came before an
 * earlier one of their topic and key; prints the first of them. */
int listener_missed(struct listener *listener, struct shop *shop, const char *where);
