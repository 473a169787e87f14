/*
 * The verbs of the shop, for stories: people who register, fill carts, order and look, over HTTP alone. A
 * verb returns the status of the answer and leaves the answer with the person; verbs that set a scene
 * (register, log in, create a product) end the test when they are refused. Commands are sent with Prefer:
 * wait=20, hence their answer is their result. A person is used by one thread at a time.
 */
#pragma once

#include "tests/support/browser.h"
#include "tests/support/shop.h"

enum { ID_TEXT = 37, WAIT_S = 20 };

struct person {
    struct shop *shop;
    struct browser *browser;
    char id[ID_TEXT], email[80], password[40];
    char access[2048], refresh[2048]; /* tokens; access "": anonymous */
    const char *key;                  /* Idempotency-Key of the next command only, or NULL */
    const char *if_match;             /* of the next command only, or NULL */
    struct reply reply;               /* the last answer */
};

struct line {
    const char *product; /* id */
    int quantity;
    double price; /* as a client may send it; 0: none is sent */
};

struct goods {
    const char *name, *sku; /* sku NULL: made up */
    double price;
    int stock;
    const char *currency; /* NULL: the shop's own */
};

/* ---- people ---- */
/* Somebody without a name at that door. */
struct person *visitor(struct shop *shop, int door);
/* A new customer, registered and logged in at door 0. */
struct person *customer(struct shop *shop);
/* The superuser, logged in at door 0. */
struct person *admin(struct shop *shop);
/* The same person with the same tokens, at that door. */
struct person *at_door(const struct person *person, int door);
struct person *leave(struct person *person); /* takes NULL, returns NULL */
void leavep(struct person **person);         /* for _cleanup_ */
/* Logs in anew; returns the status, tokens are taken over when it is 200. */
int log_in(struct person *person);

/* ---- asking ---- */
/* Any request, with the person's token. Ends the test when no answer comes; try_to returns 0 then. */
int ask(struct person *person, const struct ask *ask);
int try_to(struct person *person, const struct ask *ask);
int get(struct person *person, const char *format, ...) __attribute__((format(printf, 2, 3)));
int post(struct person *person, const char *path, json_t *body);
/* Members of the last answer, see browser.h. */
const char *said(const struct person *person, const char *path);
double said_number(const struct person *person, const char *path);

/* ---- the catalogue and the stock; by somebody who may ---- */
void create_product(struct person *person, const struct goods *goods, char ret_id[static ID_TEXT]);
int adjust_stock(struct person *person, const char *product, const char *movement_type, int quantity);
/* What the default warehouse has. */
void look_at_stock(struct person *person, const char *product, int *ret_quantity, int *ret_reserved);

/* ---- carts and orders ---- */
int add_to_cart(struct person *person, const char *product, int quantity);
/* Quantity of a product in the cart, 0 when it is not there. */
int in_cart(struct person *person, const char *product);
int cart_lines(struct person *person);
/* n lines; 0: the cart. payment: a token of the payment method `test`. */
json_t *order_body(const char *payment, const struct line *lines, size_t n);
int place_order(struct person *person, const char *payment, const struct line *lines, size_t n);
int check_out(struct person *person, const char *payment);
/* Places it and ends the test unless it is 201. */
void place(struct person *person, const char *payment, const struct line *lines, size_t n,
           char ret_order[static ID_TEXT]);
int cancel_order(struct person *person, const char *order);
/* Looks until the order is final or the shop has had plenty of time, then its status; "" when it cannot be
 * seen. The order is the last answer. */
const char *how_it_ends(struct person *person, const char *order);

/* ---- many at once ---- */
/* Calls act(i, data) for i from 0 to n - 1, each in a thread of its own, and waits for all. They begin
 * together. */
void all_at_once(int n, void (*act)(int i, void *data), void *data);

void freep(char **text); /* for _cleanup_ */
