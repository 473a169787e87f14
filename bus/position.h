/*
 * A position in the log: a sequence number per (topic, partition), as one opaque text. It is the
 * `X-Event-Position` of results and queries and the `id` of events on a stream: whoever holds one has seen,
 * or wants what he reads to have seen, every event up to these numbers in these partitions. Partitions that
 * are not named are not spoken of.
 *
 * The text is base64url of: version 1 ‖ per partition, ascending, varint of the distance to the one before
 * (topic number ‖ 7 bits of partition) and varint of seq ‖ CRC-32C of all that, 4 bytes, little endian. The
 * checksum finds texts that were cut or mixed up on their way; it is no proof of origin, and none is needed:
 * a position gives no rights.
 */
#pragma once

#include "bus/topics.h"

enum {
    POSITION_PLACES = TOPIC_COUNT * PARTITIONS_MAX, /* more there cannot be */
    POSITION_TEXT_MAX = 8192,                       /* characters that are read */
};

struct position_place {
    enum topic topic;
    int part;
    int64_t seq; /* ≥ 0; 0: before the first event */
};

/* Sorted by topic and partition, each once; lives in the arena it was made in. All zero is not one. */
struct position {
    struct arena *arena;
    struct position_place *places;
    size_t n, cap;
};

struct position position_new(struct arena *arena);
/* -1: it does not speak of that partition. */
int64_t position_seq(const struct position *position, enum topic topic, int part);
/* At least seq in that partition. */
void position_raise(struct position *position, enum topic topic, int part, int64_t seq);
/* Afterwards `into` covers both. */
void position_merge(struct position *into, const struct position *from);
/* Has whoever is at a seen all that b speaks of? */
bool position_covers(const struct position *a, const struct position *b);

struct str position_text(const struct position *position, struct arena *arena);
/* MALFORMED: no such text, too long, cut, of another version, or of a topic or partition that cannot be. ret
 * is set in both cases (to what speaks of nothing). */
err position_parse(struct str text, struct arena *arena, struct position *ret) _must_use_;
