/*
 * The rows of design.md §6, each a function that measures once and adds to the table. They share one shop:
 * private servers with durability on and three programs, 64 registered users, a catalogue.
 */
#pragma once

#include "api/jwt.h"
#include "bus/pg/pg.h"
#include "bus/redis/redis.h"
#include "tests/bench/support/floors.h"
#include "tests/bench/support/load.h"
#include "tests/bench/support/table.h"
#include "tests/support/verbs.h"

enum { BENCH_USERS = 64, BENCH_PARTITIONS = 8 };

struct bench {
    struct shop *shop;
    struct secrets secrets;
    struct person *admin;
    struct pg *pg;
    struct redis *redis;
    struct arena *arena; /* as long as the run */
    char redis_socket[200];
    struct str tokens[BENCH_USERS];
    char product[ID_TEXT]; /* with more stock than anybody can want */
    int commands;          /* in a run of accepted and processed */
};

/* Starts the shop and connects to it. commands: in a run of accepted and processed. */
struct bench *bench_start(int commands);
/* Registers the users and fills the catalogue. */
void bench_scene(struct bench *b);
void bench_stop(struct bench *b);
/* Ends the program with the error's text. */
void bench_must(err e);
/* A token of a customer, signed with the shop's own key. */
struct str bench_token(struct bench *b, struct uuid user, struct arena *arena);
/* A whole request; body "": none. */
struct str bench_request(struct arena *arena, const char *method, const char *path, struct str token,
                         const char *more, struct str body);
/* The n-th add-to-cart request; wait_s < 0: no Prefer. */
struct str bench_add_to_cart(struct bench *b, int n, int wait_s, struct arena *arena);
/* Commands that stand in the lanes of a topic. */
int64_t bench_backlog(struct bench *b, const char *topic);

/* CPU time of all that takes part, so that a row can say where it went. */
struct spent {
    int64_t door, consumers, producers, redis, postgres, load;
};
struct spent spent_now(const struct bench *b);
/* "CPU us each: door 21, consumers 9, …" since then, per piece of work. */
struct str spent_text(const struct bench *b, struct spent since, double pieces, struct arena *arena);

void row_commands(struct bench *b); /* accepted, processed */
void row_wait(struct bench *b);
void row_product(struct bench *b);
void row_page(struct bench *b);
void row_relay(struct bench *b);
void row_sale(struct bench *b);
void row_memory(struct bench *b, enum row row);
void row_start(struct bench *b);
