/*
 * See verbs.h.
 */
#include "tests/support/verbs.h"

#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FINAL_MS = 60000 };

/* ---- people ---- */

struct person *visitor(struct shop *shop, int door)
{
    struct person *person = calloc(1, sizeof(*person));

    assert(person);
    person->shop = shop;
    person->browser = browser_new(shop_port(shop, door));
    return person;
}

struct person *leave(struct person *person)
{
    if (!person)
        return NULL;
    reply_clear(&person->reply);
    browser_free(person->browser);
    free(person);
    return NULL;
}

void leavep(struct person **person)
{
    *person = leave(*person);
}

struct person *at_door(const struct person *person, int door)
{
    struct person *same = visitor(person->shop, door);
    struct browser *browser = same->browser;

    *same = *person;
    same->browser = browser;
    same->reply = (struct reply){.status = 0};
    same->key = same->if_match = NULL;
    return same;
}

static void must(struct person *person, int wanted, const char *what)
{
    if (person->reply.status != wanted)
        shop_die(person->shop, "%s: %d %s", what, person->reply.status,
                 person->reply.text ? person->reply.text : "(no answer)");
}

static void keep_text(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

int log_in(struct person *person)
{
    person->access[0] = 0;
    post(person, "/api/v1/auth/login",
         json_pack("{ssss}", "email", person->email, "password", person->password));
    if (person->reply.status == 200) {
        keep_text(person->access, sizeof(person->access), said(person, "access_token"));
        keep_text(person->refresh, sizeof(person->refresh), said(person, "refresh_token"));
        keep_text(person->id, sizeof(person->id), said(person, "user.id"));
    }
    return person->reply.status;
}

struct person *customer(struct shop *shop)
{
    static atomic_int count;
    struct person *person = visitor(shop, 0);
    int n = atomic_fetch_add(&count, 1);

    snprintf(person->email, sizeof(person->email), "cliente-%d-%d@ejemplo.cl", (int)getpid(), n);
    keep_text(person->password, sizeof(person->password), "Una-clave-larga-7");
    post(person, "/api/v1/auth/register",
         json_pack("{ssssss}", "email", person->email, "password", person->password, "name", "Ana Muñoz"));
    must(person, 201, "a customer registers");
    log_in(person);
    must(person, 200, "a customer logs in");
    return person;
}

struct person *admin(struct shop *shop)
{
    struct person *person = visitor(shop, 0);

    keep_text(person->email, sizeof(person->email), shop_admin_email);
    keep_text(person->password, sizeof(person->password), shop_admin_password);
    log_in(person);
    must(person, 200, "the superuser logs in");
    return person;
}

/* ---- asking ---- */

int try_to(struct person *person, const struct ask *wanted)
{
    struct ask ask = *wanted;

    reply_clear(&person->reply);
    ask.token = ask.token ? ask.token : person->access[0] ? person->access : NULL;
    ask.key = ask.key ? ask.key : person->key;
    ask.if_match = ask.if_match ? ask.if_match : person->if_match;
    person->key = person->if_match = NULL;
    browser_ask(person->browser, &ask, &person->reply);
    return person->reply.status;
}

int ask(struct person *person, const struct ask *wanted)
{
    if (try_to(person, wanted) == 0)
        shop_die(person->shop, "%s %s was not answered", wanted->method, wanted->path);
    return person->reply.status;
}

int get(struct person *person, const char *format, ...)
{
    char path[600];
    va_list args;

    va_start(args, format);
    vsnprintf(path, sizeof(path), format, args);
    va_end(args);
    return ask(person, &(struct ask){.method = "GET", .path = path});
}

int post(struct person *person, const char *path, json_t *body)
{
    return ask(person, &(struct ask){.method = "POST", .path = path, .body = body, .wait_s = WAIT_S});
}

const char *said(const struct person *person, const char *path)
{
    return reply_str(&person->reply, path);
}

double said_number(const struct person *person, const char *path)
{
    return reply_num(&person->reply, path);
}

/* ---- the catalogue and the stock ---- */

void create_product(struct person *person, const struct goods *goods, char ret_id[static ID_TEXT])
{
    static atomic_int count;
    char sku[60];
    json_t *body;

    snprintf(sku, sizeof(sku), "SKU-%d-%d", (int)getpid(), atomic_fetch_add(&count, 1));
    body = json_pack("{ssssso}", "name", goods->name, "sku", goods->sku ? goods->sku : sku, "price",
                     (double)(long)goods->price == goods->price ? json_integer((long)goods->price)
                                                                : json_real(goods->price));
    json_object_set_new(body, "stock", json_integer(goods->stock));
    if (goods->currency)
        json_object_set_new(body, "currency", json_string(goods->currency));
    post(person, "/api/v1/products", body);
    must(person, 201, "a product is created");
    keep_text(ret_id, ID_TEXT, said(person, "id"));
}

int adjust_stock(struct person *person, const char *product, const char *movement_type, int quantity)
{
    return post(person, "/api/v1/inventory/movements",
                json_pack("{sssssiss}", "product_id", product, "movement_type", movement_type, "quantity",
                          quantity, "reason", "recuento"));
}

void look_at_stock(struct person *person, const char *product, int *ret_quantity, int *ret_reserved)
{
    get(person, "/api/v1/inventory/stock?product_id=%s", product);
    must(person, 200, "the stock is looked at");
    *ret_quantity = (int)said_number(person, "data.0.quantity");
    *ret_reserved = (int)said_number(person, "data.0.reserved_quantity");
}

/* ---- carts and orders ---- */

int add_to_cart(struct person *person, const char *product, int quantity)
{
    return post(person, "/api/v1/cart/items",
                json_pack("{sssi}", "product_id", product, "quantity", quantity));
}

int in_cart(struct person *person, const char *product)
{
    json_t *line;
    size_t i;

    get(person, "/api/v1/cart");
    must(person, 200, "a look into the cart");
    json_array_foreach(reply_at(&person->reply, "items"), i,
                       line) if (strcmp(json_string_value(json_object_get(line, "product_id")), product) ==
                                 0) return (int)json_integer_value(json_object_get(line, "quantity"));
    return 0;
}

int cart_lines(struct person *person)
{
    get(person, "/api/v1/cart");
    must(person, 200, "a look into the cart");
    return (int)json_array_size(reply_at(&person->reply, "items"));
}

json_t *order_body(const char *payment, const struct line *lines, size_t n)
{
    json_t *items = json_array(),
           *body = json_pack("{s{ssssssss}ssss}", "shipping_address", "street", "Alameda 1", "city",
                             "Santiago", "postal_code", "8320000", "country", "CL", "payment_method", "test",
                             "payment_token", payment);

    for (size_t i = 0; i < n; i++) {
        json_t *item = json_pack("{sssi}", "product_id", lines[i].product, "quantity", lines[i].quantity);

        if (lines[i].price > 0)
            json_object_set_new(item, "price", json_real(lines[i].price));
        json_array_append_new(items, item);
    }
    if (n)
        json_object_set(body, "items", items);
    json_decref(items);
    return body;
}

int place_order(struct person *person, const char *payment, const struct line *lines, size_t n)
{
    return post(person, "/api/v1/orders", order_body(payment, lines, n));
}

int check_out(struct person *person, const char *payment)
{
    return place_order(person, payment, NULL, 0);
}

void place(struct person *person, const char *payment, const struct line *lines, size_t n,
           char ret_order[static ID_TEXT])
{
    place_order(person, payment, lines, n);
    must(person, 201, "an order is placed");
    keep_text(ret_order, ID_TEXT, said(person, "id"));
}

int cancel_order(struct person *person, const char *order)
{
    char path[100];

    snprintf(path, sizeof(path), "/api/v1/orders/%s/cancel", order);
    return post(person, path, NULL);
}

const char *how_it_ends(struct person *person, const char *order)
{
    int64_t deadline = shop_now_ms() + FINAL_MS;

    for (;;) {
        int status = get(person, "/api/v1/orders/%s", order);
        const char *state = said(person, "status");

        if (status != 200 && status != 503)
            return "";
        if (status == 200 && strcmp(state, "pending") != 0)
            return state;
        if (shop_now_ms() > deadline)
            shop_die(person->shop, "order %s is still %s", order, state);
        shop_nap();
    }
}

/* ---- many at once ---- */

struct crowd {
    pthread_barrier_t door;
    void (*act)(int i, void *data);
    void *data;
    atomic_int next;
};

static void *take_part(void *data)
{
    struct crowd *crowd = data;
    int i = atomic_fetch_add(&crowd->next, 1);

    pthread_barrier_wait(&crowd->door);
    crowd->act(i, crowd->data);
    return NULL;
}

void all_at_once(int n, void (*act)(int i, void *data), void *data)
{
    struct crowd crowd = {.act = act, .data = data};
    pthread_t *threads = calloc((size_t)n, sizeof(*threads));

    assert(threads && n > 0);
    pthread_barrier_init(&crowd.door, NULL, (unsigned)n);
    for (int i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, take_part, &crowd) != 0)
            abort();
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&crowd.door);
    free(threads);
}

void freep(char **text)
{
    free(*text);
}
