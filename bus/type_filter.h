/*
 * Which events a subscriber wants: a list of patterns over types, as people write it everywhere the shop lets
 * them subscribe (`GET /events?types=`, webhooks, `daydreamctl`, the C library). A pattern is a whole type
 * with or without its major version ("cart.item-added", "order.placed.v1"), the types of one aggregate
 * ("order.*") or everything ("*"). Patterns that match no event of today are refused: a typing error must not
 * look like silence.
 */
#pragma once

#include "bus/topics.h"

enum { TYPE_FILTER_MAX = 32 };

struct type_filter {
    bool wants[MESSAGE_COUNT]; /* by enum message; events only */
    bool topics[TOPIC_COUNT];  /* the topics those live in */
};

/* text: patterns separated by commas, blanks around them allowed; absent or empty counts as "*". INVALID:
 * more than TYPE_FILTER_MAX patterns, or one that matches no event; err_text names it (at most 64 bytes of
 * it). */
err type_filter_parse(struct str text, struct type_filter *ret) _must_use_;
/* Does it want an event of that type? False for types this build does not know. */
bool type_filter_wants(const struct type_filter *filter, struct str type);
/* The same by the words alone, for types that only another version of the shop knows. text: as in
 * type_filter_parse. */
bool type_list_wants(struct str text, struct str type);
