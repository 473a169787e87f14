/*
 * Bad weather for a shop: people shop without a pause, whatever happens, while one thing after another falls
 * over: each program and both servers by kill -9, event lanes by DEL, everything in Redis by FLUSHALL, and
 * whatever else the test brings along.
 */
#pragma once

#include "tests/support/verbs.h"

struct storm {
    struct shop *shop;
    struct person *const *people; /* a customer each */
    int n_people;
    const char *product;            /* what they buy */
    int step_ms;                    /* between two falls */
    void (*fall)(int turn);         /* once per round, or NULL */
    void (*meanwhile)(int left_ms); /* every few milliseconds, or NULL; left: until the next fall */
};

struct storm_result {
    int falls, sent; /* commands answered by 201 */
    bool calm;       /* after each fall the shop was ready again, and in the end quiet */
};

/* Returns when that time has passed, everybody has stopped shopping and the shop is quiet. */
void storm_run(const struct storm *storm, int64_t for_ms, struct storm_result *ret);
