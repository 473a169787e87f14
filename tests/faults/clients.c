/*
 * The clients: each does operations in the name of its own two users, by chance but from a seed, and writes
 * down what it sends and sees. What is keyed it repeats until it is answered; what is not, it never repeats.
 * Half of the commands are waited for, the others are polled at the end.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/faults/faults.h"

enum { PENDING_MAX = 4000, RECENT_MAX = 16, USERS_EACH = HOT_USERS / CLIENTS, WAIT_S = 10, ASK_MS = 15000 };

enum who { THE_USER, THE_ADMIN, NOBODY };

struct client {
    struct crowd *crowd;
    int number;
    uint64_t random;
    struct ledger *ledger;
    struct browser *browser;
    struct reply reply;
    int op;
    size_t user; /* of the scene, for this operation */
    struct {
        char command[40];
        size_t user;
        enum who who;
        int op;
    } pending[PENDING_MAX];
    int n_pending;
    char orders[RECENT_MAX][40];
    size_t order_users[RECENT_MAX];
    int n_orders;
    int64_t deadline_ms;
};

/* splitmix64: one line, good enough, the same everywhere. */
static uint64_t draw(struct client *c)
{
    uint64_t z = (c->random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int below(struct client *c, int n)
{
    return (int)(draw(c) % (uint64_t)n);
}

static bool percent(struct client *c, int chance)
{
    return below(c, 100) < chance;
}

/* Four of five times one of the few that everybody wants. */
static const char *some_product(struct client *c)
{
    return c->crowd->scene->products[percent(c, 80) ? below(c, HOT_PRODUCTS)
                                                    : HOT_PRODUCTS + below(c, PRODUCTS - HOT_PRODUCTS)];
}

/* ---- one command ---- */

struct wish {
    const char *kind, *method, *path, *product;
    json_t *body;
    int quantity;
    enum who who;
    bool must_key;
};

static const char *token_of(const struct client *c, size_t user, enum who who)
{
    return who == THE_ADMIN  ? c->crowd->scene->admin_token
           : who == THE_USER ? c->crowd->scene->users[user].token
                             : NULL;
}

static bool unclear(int status)
{
    return status == 0 || status == 429 || status >= 500;
}

static void note(struct client *c, const struct wish *wish, const char *what, const char *key)
{
    bool accepted = strcmp(what, "ack") == 0;

    ledger_note(c->ledger,
                &(struct note){.op = c->op,
                               .what = what,
                               .kind = wish->kind,
                               .user = wish->who == THE_USER ? c->crowd->scene->users[c->user].id : NULL,
                               .key = key,
                               .product = wish->product,
                               .quantity = wish->quantity,
                               .command = accepted ? reply_str(&c->reply, "command_id") : NULL,
                               .http = c->reply.status});
}

static void remember_pending(struct client *c, const struct wish *wish)
{
    int i = c->n_pending++;

    assert(i < PENDING_MAX);
    snprintf(c->pending[i].command, sizeof(c->pending[i].command), "%s", reply_str(&c->reply, "command_id"));
    c->pending[i].user = c->user;
    c->pending[i].who = wish->who;
    c->pending[i].op = c->op;
}

static bool send_once(struct client *c, const struct wish *wish, const char *key, bool wait)
{
    reply_clear(&c->reply);
    return browser_ask(c->browser,
                       &(struct ask){.method = wish->method,
                                     .path = wish->path,
                                     .body = json_incref(wish->body),
                                     .token = token_of(c, c->user, wish->who),
                                     .key = key,
                                     .wait_s = wait ? WAIT_S : -1,
                                     .timeout_ms = ASK_MS},
                       &c->reply);
}

/* Sends until there is an answer; the last one is in c->reply. False: it was never clear. */
static bool send_command(struct client *c, const struct wish *wish)
{
    bool keyed = wish->must_key || percent(c, 85), wait = percent(c, 50), clear;
    char key[60];

    snprintf(key, sizeof(key), "s%u-c%d-o%d", c->crowd->seed, c->number, c->op);
    c->reply.status = 0;
    note(c, wish, "send", keyed ? key : NULL);
    for (;;) {
        send_once(c, wish, keyed ? key : NULL, wait);
        clear = !unclear(c->reply.status);
        if (clear || !keyed || shop_now_ms() > c->deadline_ms)
            break;
        shop_nap();
    }
    note(c, wish, !clear ? "maybe" : c->reply.status == 202 ? "ack" : "answer", keyed ? key : NULL);
    if (!clear && keyed)
        atomic_fetch_add(&c->crowd->unanswered, 1);
    if (c->reply.status == 202)
        remember_pending(c, wish);
    json_decref(wish->body);
    return clear;
}

/* ---- the kinds of commands ---- */

static void add(struct client *c)
{
    const char *product = some_product(c);
    int quantity = 1 + below(c, 3);

    send_command(c, &(struct wish){.kind = "add",
                                   .method = "POST",
                                   .path = "/api/v1/cart/items",
                                   .product = product,
                                   .quantity = quantity,
                                   .body = json_pack("{sssi}", "product_id", product, "quantity", quantity)});
}

static void clear_cart(struct client *c)
{
    send_command(c, &(struct wish){.kind = "clear", .method = "DELETE", .path = "/api/v1/cart"});
}

static const char *some_payment(struct client *c)
{
    static const struct {
        const char *token;
        int percent;
    } tokens[] = {
        {"tok_ok", 84}, {"tok_declined", 7}, {"tok_capture_refused", 4}, {"tok_slow", 3}, {"tok_timeout", 2}};
    int luck = below(c, 100);
    size_t i = 0;

    while (luck >= tokens[i].percent)
        luck -= tokens[i++].percent;
    return tokens[i].token;
}

static json_t *order_of(struct client *c, int lines)
{
    json_t *items = json_array(),
           *body = json_pack("{s{ssssss}ssss}", "shipping_address", "street", "Alameda 1", "city", "Santiago",
                             "country", "CL", "payment_method", "test", "payment_token", some_payment(c));

    for (int i = 0; i < lines; i++)
        json_array_append_new(
            items, json_pack("{sssi}", "product_id", some_product(c), "quantity", 1 + below(c, 2)));
    if (lines)
        json_object_set(body, "items", items);
    json_decref(items);
    return body;
}

/* An order's id is its command's. */
static void remember_order(struct client *c)
{
    const char *id = c->reply.status == 202 ? reply_str(&c->reply, "command_id") : reply_str(&c->reply, "id");
    int i = c->n_orders++ % RECENT_MAX;

    snprintf(c->orders[i], sizeof(c->orders[i]), "%s", id);
    c->order_users[i] = c->user;
}

static void order(struct client *c)
{
    struct wish wish = {
        .kind = "order", .method = "POST", .path = "/api/v1/orders", .body = order_of(c, 1 + below(c, 3))};

    if (send_command(c, &wish) && c->reply.status < 300)
        remember_order(c);
}

static void check_out(struct client *c)
{
    struct wish wish = {
        .kind = "check-out", .method = "POST", .path = "/api/v1/orders", .body = order_of(c, 0)};

    if (c->user == VICTIM && c->crowd->poisoned)
        add(c);
    else if (send_command(c, &wish) && c->reply.status < 300)
        remember_order(c);
}

static void cancel(struct client *c)
{
    char path[100];
    int i = below(c, RECENT_MAX);

    if (!c->orders[i][0]) {
        order(c);
        return;
    }
    c->user = c->order_users[i];
    snprintf(path, sizeof(path), "/api/v1/orders/%s/cancel", c->orders[i]);
    send_command(c, &(struct wish){.kind = "cancel", .method = "POST", .path = path});
}

static void adjust(struct client *c)
{
    const char *product = some_product(c);
    int quantity = percent(c, 70) ? 1 + below(c, 20) : -1 - below(c, 3);

    send_command(c, &(struct wish){.kind = "adjust",
                                   .method = "POST",
                                   .path = "/api/v1/inventory/movements",
                                   .product = product,
                                   .quantity = quantity,
                                   .who = THE_ADMIN,
                                   .body = json_pack("{sssssi}", "product_id", product, "movement_type",
                                                     "ADJUSTMENT", "quantity", quantity)});
}

static void rename_product(struct client *c)
{
    const char *product = some_product(c);
    char path[100], name[60];

    snprintf(path, sizeof(path), "/api/v1/products/%s", product);
    snprintf(name, sizeof(name), "Cosa de %d-%d", c->number, c->op);
    send_command(c, &(struct wish){.kind = "rename",
                                   .method = "PUT",
                                   .path = path,
                                   .product = product,
                                   .who = THE_ADMIN,
                                   .body = json_pack("{ss}", "name", name)});
}

/* A product that is wanted before its birth is heard of everywhere: its id is the command's. */
static void create(struct client *c)
{
    char sku[60], id[40];

    snprintf(sku, sizeof(sku), "N-%u-%d-%d", c->crowd->seed, c->number, c->op);
    if (!send_command(c, &(struct wish){.kind = "create",
                                        .method = "POST",
                                        .path = "/api/v1/products",
                                        .who = THE_ADMIN,
                                        .must_key = true,
                                        .body = json_pack("{sssssisi}", "name", "Novedad", "sku", sku,
                                                          "price", 990, "stock", 5)}) ||
        c->reply.status >= 300)
        return;
    snprintf(id, sizeof(id), "%s", reply_str(&c->reply, c->reply.status == 202 ? "command_id" : "id"));
    c->op = atomic_fetch_add(&c->crowd->next, 1);
    send_command(c, &(struct wish){.kind = "add",
                                   .method = "POST",
                                   .path = "/api/v1/cart/items",
                                   .product = id,
                                   .quantity = 1,
                                   .body = json_pack("{sssi}", "product_id", id, "quantity", 1)});
}

static void enrol(struct client *c)
{
    char email[80];

    snprintf(email, sizeof(email), "nuevo-%u-%d-%d@ejemplo.cl", c->crowd->seed, c->number, c->op);
    send_command(c, &(struct wish){.kind = "register",
                                   .method = "POST",
                                   .path = "/api/v1/auth/register",
                                   .who = NOBODY,
                                   .must_key = true,
                                   .body = json_pack("{ssssss}", "email", email, "password",
                                                     "Una-clave-larga-7", "name", "Nueva Persona")});
}

static void act(struct client *c)
{
    static const struct {
        void (*act)(struct client *c);
        int permille;
    } acts[] = {{add, 450},       {order, 170},         {check_out, 110}, {cancel, 80}, {adjust, 120},
                {clear_cart, 20}, {rename_product, 25}, {create, 20},     {enrol, 5}};
    int luck = below(c, 1000);
    size_t i = 0;

    while (luck >= acts[i].permille)
        luck -= acts[i++].permille;
    c->user = (size_t)(c->number * USERS_EACH + below(c, USERS_EACH));
    acts[i].act(c);
}

/* ---- the end: what became of everything that was accepted ---- */

static bool may_stay_parked(const struct client *c, int i)
{
    return c->crowd->poisoned && c->pending[i].who == THE_USER && c->pending[i].user == VICTIM;
}

static void poll_result(struct client *c, int i)
{
    char path[120];
    bool parked = false;

    snprintf(path, sizeof(path), "/api/v1/commands/%s", c->pending[i].command);
    do {
        reply_clear(&c->reply);
        browser_ask(c->browser,
                    &(struct ask){.method = "GET",
                                  .path = path,
                                  .wait_s = may_stay_parked(c, i) ? 0 : WAIT_S,
                                  .token = token_of(c, c->pending[i].user, c->pending[i].who),
                                  .timeout_ms = ASK_MS},
                    &c->reply);
        parked = may_stay_parked(c, i) && strcmp(reply_str(&c->reply, "status"), "parked") == 0;
        if (c->reply.status != 200 && !parked)
            shop_nap();
    } while (c->reply.status != 200 && !parked && shop_now_ms() < c->deadline_ms);
    if (c->reply.status != 200 && !parked)
        atomic_fetch_add(&c->crowd->unanswered, 1);
    ledger_note(c->ledger, &(struct note){.op = c->pending[i].op,
                                          .what = c->reply.status == 200 ? "result" : "open",
                                          .command = c->pending[i].command,
                                          .status = reply_str(&c->reply, "status"),
                                          .http = (int)reply_num(&c->reply, "http_status")});
}

static void *work(void *data)
{
    struct client *c = data;

    while ((c->op = atomic_fetch_add(&c->crowd->next, 1)) < c->crowd->ops || atomic_load(&c->crowd->busy)) {
        c->deadline_ms = shop_now_ms() + c->crowd->patience_ms;
        act(c);
    }
    c->deadline_ms = shop_now_ms() + c->crowd->patience_ms;
    for (int i = 0; i < c->n_pending; i++)
        poll_result(c, i);
    reply_clear(&c->reply);
    ledger_close(c->ledger);
    browser_free(c->browser);
    free(c);
    return NULL;
}

void crowd_start(struct crowd *crowd)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = calloc(1, sizeof(*c));

        assert(c);
        c->crowd = crowd;
        c->number = i;
        c->random = crowd->seed * 1000003u + (unsigned)i;
        c->ledger = ledger_open(crowd->folder, i);
        c->browser = browser_new(shop_port(crowd->shop, i % shop_doors(crowd->shop)));
        if (pthread_create(&crowd->threads[i], NULL, work, c) != 0)
            abort();
    }
}

void crowd_wait(struct crowd *crowd)
{
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(crowd->threads[i], NULL);
}
