/* See pairs.h. Every kind is a function that writes, then reads with the position and compares. */
#include "tests/support/pairs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/base/clock.h"
#include "tests/support/verbs.h"

enum { PRODUCTS = 12, STOCK = 100000, PRICE = 1990, UNITS_SHOWN = 100 };

struct product {
    char id[ID_TEXT];
    int stock, carted, sold;
};

struct pairs {
    struct shop *shop;
    uint64_t seed;
    struct person *boss, *ana, *boss_there, *ana_there; /* there: at another door, when there is one */
    struct product products[PRODUCTS];
    struct pairs_result *result;
    char position[1024];
};

const char *const pair_names[PAIR_KINDS] = {"product", "stock", "cart", "order", "sales"};

static unsigned draw(struct pairs *p, unsigned below)
{
    p->seed = p->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(p->seed >> 33) % below;
}

/* ---- the two halves ---- */

static void wrote(struct pairs *p, const struct person *person)
{
    if (person->reply.status / 100 != 2 || !*person->reply.position)
        shop_die(p->shop, "a write was answered %d, position \"%s\": %s", person->reply.status,
                 person->reply.position, person->reply.text);
    snprintf(p->position, sizeof(p->position), "%s", person->reply.position);
}

static void read_back(struct pairs *p, enum pair_kind kind, struct person *person, const char *path)
{
    char header[1100];
    int64_t start = clock_mono_ns();

    snprintf(header, sizeof(header), "X-Event-Position: %s\r\n", p->position);
    ask(person, &(struct ask){.method = "GET", .path = path, .token = person->access, .more = header});
    latency_add(&p->result->reads[kind], clock_mono_ns() - start);
    if (person->reply.status != 200 && person->reply.status != 404)
        shop_die(p->shop, "%s was answered %d: %s", path, person->reply.status, person->reply.text);
}

static void judge(struct pairs *p, enum pair_kind kind, const struct person *person, bool seen)
{
    bool behind = strcmp(person->reply.position, "behind") == 0;

    p->result->behind[kind] += behind;
    p->result->past[kind] += !seen && !behind;
    p->result->past_told += !seen && behind;
    if (!seen && !behind)
        fprintf(stderr, "%s: a read of the past: %s\n", pair_names[kind], person->reply.text);
}

/* ---- kinds ---- */

static void rename_product(struct pairs *p, struct product *product)
{
    char path[100], name[40];

    snprintf(path, sizeof(path), "/api/v1/products/%s", product->id);
    snprintf(name, sizeof(name), "Taza %u", draw(p, 1000000000));
    ask(p->boss,
        &(struct ask){
            .method = "PUT", .path = path, .body = json_pack("{ss}", "name", name), .wait_s = WAIT_S});
    wrote(p, p->boss);
    read_back(p, PAIR_PRODUCT, p->ana_there, path);
    judge(p, PAIR_PRODUCT, p->ana_there, strcmp(said(p->ana_there, "name"), name) == 0);
}

static void restock(struct pairs *p, struct product *product)
{
    char path[100];

    adjust_stock(p->boss, product->id, "ENTRY", 1);
    wrote(p, p->boss);
    product->stock++;
    if (draw(p, 2)) {
        snprintf(path, sizeof(path), "/api/v1/inventory/stock?product_id=%s", product->id);
        read_back(p, PAIR_STOCK, p->ana_there, path);
        judge(p, PAIR_STOCK, p->ana_there,
              (int)said_number(p->ana_there, "data.0.quantity") >= product->stock);
    } else {
        snprintf(path, sizeof(path), "/api/v1/products/%s", product->id);
        read_back(p, PAIR_STOCK, p->ana_there, path);
        judge(p, PAIR_STOCK, p->ana_there, (int)said_number(p->ana_there, "stock") >= product->stock);
    }
}

static int carted(struct person *person, const char *product)
{
    json_t *line;
    size_t i;

    json_array_foreach(reply_at(&person->reply, "items"), i, line)
    {
        if (strcmp(json_string_value(json_object_get(line, "product_id")), product) == 0)
            return (int)json_integer_value(json_object_get(line, "quantity"));
    }
    return 0;
}

static void fill_cart(struct pairs *p, struct product *product)
{
    add_to_cart(p->ana, product->id, 1);
    wrote(p, p->ana);
    product->carted++;
    read_back(p, PAIR_CART, p->ana_there, "/api/v1/cart");
    judge(p, PAIR_CART, p->ana_there, carted(p->ana_there, product->id) == product->carted);
}

static void order(struct pairs *p, struct product *product, char ret_order[static ID_TEXT])
{
    char path[100];

    place(p->ana, "tok_ok", &(struct line){product->id, 1, 0}, 1, ret_order);
    wrote(p, p->ana);
    product->stock--;
    snprintf(path, sizeof(path), "/api/v1/orders/%s", ret_order);
    read_back(p, PAIR_ORDER, p->ana_there, path);
    judge(p, PAIR_ORDER, p->ana_there, strcmp(said(p->ana_there, "id"), ret_order) == 0);
}

static int units_sold(const struct person *person, const char *product)
{
    json_t *row;
    size_t i;

    json_array_foreach(reply_at(&person->reply, "data"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "product_id")), product) == 0)
            return (int)json_integer_value(json_object_get(row, "units"));
    }
    return 0;
}

/* The command's own address brings the position of all that has followed from it. */
static void count_sale(struct pairs *p, struct product *product)
{
    char id[ID_TEXT];

    order(p, product, id);
    if (strcmp(how_it_ends(p->ana, id), "confirmed") != 0)
        shop_die(p->shop, "an order was not confirmed: %s", p->ana->reply.text);
    get(p->ana, "/api/v1/commands/%s", id);
    wrote(p, p->ana);
    product->sold++;
    read_back(p, PAIR_SALES, p->boss_there, "/api/v1/sales/stats?limit=100");
    judge(p, PAIR_SALES, p->boss_there, units_sold(p->boss_there, product->id) == product->sold);
}

/* ---- all ---- */

static void open_pairs(struct pairs *p)
{
    p->boss = admin(p->shop);
    p->ana = customer(p->shop);
    p->boss_there = at_door(p->boss, shop_doors(p->shop) - 1);
    p->ana_there = at_door(p->ana, shop_doors(p->shop) - 1);
    for (int i = 0; i < PRODUCTS; i++) {
        create_product(p->boss, &(struct goods){.name = "Taza", .price = PRICE, .stock = STOCK},
                       p->products[i].id);
        p->products[i].stock = STOCK;
    }
}

void pairs_run(struct shop *shop, int n, uint64_t seed, struct pairs_result *ret)
{
    struct pairs p = {.shop = shop, .seed = seed, .result = ret};
    char id[ID_TEXT];

    open_pairs(&p);
    for (int i = 0; i < n; i++) {
        unsigned dice = draw(&p, 100);
        enum pair_kind kind = dice < 27   ? PAIR_PRODUCT
                              : dice < 54 ? PAIR_STOCK
                              : dice < 81 ? PAIR_CART
                              : dice < 91 ? PAIR_ORDER
                                          : PAIR_SALES;
        /* Sales have products of their own, so that their figures are known. */
        struct product *product =
            &p.products[draw(&p, PRODUCTS / 2) + (kind == PAIR_SALES ? PRODUCTS / 2 : 0)];
        ret->made[kind]++;
        if (kind == PAIR_PRODUCT)
            rename_product(&p, product);
        else if (kind == PAIR_STOCK)
            restock(&p, product);
        else if (kind == PAIR_CART)
            fill_cart(&p, product);
        else if (kind == PAIR_ORDER)
            order(&p, product, id);
        else
            count_sale(&p, product);
    }
    leave(p.boss_there);
    leave(p.ana_there);
    leave(p.boss);
    leave(p.ana);
}
