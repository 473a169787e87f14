/*
 * Somebody with a Redis client and nothing of ours: reads one topic's streams through a plain group, as
 * docs/subscribing.md says a program should. He keeps the last number of each stream with his effects (his
 * diary), acknowledges behind it, drops what comes twice, and fills a hole from the log.
 */
#pragma once

#include "tests/support/diary.h"

struct partner;

/* Grants him a user and a group of that name (daydreamctl events grant), then begins to read in a thread.
 * types: all of one topic, "order.*". partitions: of the shop. */
struct partner *partner_start(struct shop *shop, const char *name, const char *types, const char *topic,
                              int partitions);
struct partner *partner_stop(struct partner *partner); /* takes NULL, returns NULL */
/* He dies in the middle of what he does and comes back with his effects alone: what he was given and has not
 * acknowledged is asked for first. */
void partner_falls_over(struct partner *partner);
struct diary *partner_diary(struct partner *partner);
/* How many events came from the log, since the stream did not have them. */
int partner_fetched(const struct partner *partner);
/* "" or the first thing that was not as it must. */
const char *partner_wrong(const struct partner *partner);
