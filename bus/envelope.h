/*
 * The envelope: CloudEvents 1.0 attributes as fields of a stream entry, in one constant set and order, empty
 * when absent (a constant layout lets Redis share it between entries). Commands carry five more. Every
 * message is self-describing for redis-cli: XRANGE reads like a sentence.
 */
#pragma once

#include "bus/base/arena.h"
#include "bus/redis/redis.h"

/* Rows in the order in which they stand in the stream: FIELD(member, name). */
#define ENVELOPE_FIELDS(FIELD)                                                                               \
    FIELD(specversion, "specversion")                                                                        \
    FIELD(id, "id")                                                                                          \
    FIELD(source, "source")                                                                                  \
    FIELD(type, "type")                                                                                      \
    FIELD(subject, "subject")                                                                                \
    FIELD(time, "time")                                                                                      \
    FIELD(dataschema, "dataschema")                                                                          \
    FIELD(partitionkey, "partitionkey")                                                                      \
    FIELD(correlationid, "correlationid")                                                                    \
    FIELD(causationid, "causationid")                                                                        \
    FIELD(actor, "actor")                                                                                    \
    FIELD(traceparent, "traceparent")                                                                        \
    FIELD(datacontenttype, "datacontenttype")                                                                \
    FIELD(data, "data")
#define ENVELOPE_COMMAND_FIELDS(FIELD)                                                                       \
    FIELD(client, "client")                                                                                  \
    FIELD(idempotencykey, "idempotencykey")                                                                  \
    FIELD(fingerprint, "fingerprint")                                                                        \
    FIELD(expectedversion, "expectedversion")                                                                \
    FIELD(replyto, "replyto")

struct envelope {
#define FIELD(member, name) struct str member;
    ENVELOPE_FIELDS(FIELD)
    ENVELOPE_COMMAND_FIELDS(FIELD)
#undef FIELD
};

enum { ENVELOPE_EVENT = 14, ENVELOPE_COMMAND = 19 };

/* Words for XADD: name, value, name, value … into ret (2 * ENVELOPE_COMMAND); returns their number. */
size_t envelope_words(const struct envelope *e, bool command, struct str *ret);
/* From the fields of a stream entry (flat array of names and values). Unknown names are ignored, missing ones
 * absent. POISON when the item is not a flat array of pairs (a nil or malformed entry). Values borrow from
 * the reply. */
err envelope_read(const struct redis_reply *fields, struct envelope *ret) _must_use_;
/* Copies all values into the arena. */
struct envelope envelope_copy(const struct envelope *e, struct arena *arena);
