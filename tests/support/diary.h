/*
 * What a subscriber was given, in the order it came, to be held against the log: every event at least once,
 * those of one key in the order of the log. Events are known by their ids.
 */
#pragma once

#include "tests/support/shop.h"

struct diary;

struct diary *diary_new(void);
struct diary *diary_free(struct diary *diary); /* takes NULL, returns NULL */
/* An event came; a second time counts for nothing. Any thread. */
void diary_add(struct diary *diary, const char *id);
/* How many came, repetitions included. Any thread. */
int diary_count(struct diary *diary);
/* Until so many came; false when the time has passed. */
bool diary_reaches(struct diary *diary, int n, int64_t within_ms);
/* How many events of the log `where` (SQL over event_log) never came, plus how many came first after a later
 * one of their topic and key; prints the first three. Nobody may write meanwhile. */
int diary_missed(struct diary *diary, struct shop *shop, const char *where);
