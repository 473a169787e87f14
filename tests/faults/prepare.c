/*
 * The scene of every case: a shop with people and products, made once and copied. Hashing passwords and
 * creating products would otherwise take longer than the cases themselves.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/faults/faults.h"
#include "tests/support/verbs.h"

enum { MAKERS = 8 };

static struct shop *shop;
static struct person *boss[MAKERS], *people[HOT_USERS];
static char products[PRODUCTS][ID_TEXT];

static void arrive(int i, void *data)
{
    (void)data;
    people[i] = customer(shop);
}

static void make_products(int maker, void *data)
{
    char name[40];

    (void)data;
    for (int i = maker; i < PRODUCTS; i += MAKERS) {
        snprintf(name, sizeof(name), "Cosa %d", i);
        create_product(boss[maker], &(struct goods){.name = name, .price = 990 + 10 * i, .stock = 60},
                       products[i]);
    }
}

static void write_scene(const char *folder)
{
    json_t *users = json_array(), *goods = json_array(), *scene;
    char path[400];

    for (int i = 0; i < HOT_USERS; i++)
        json_array_append_new(users, json_pack("{ssss}", "id", people[i]->id, "token", people[i]->access));
    for (int i = 0; i < PRODUCTS; i++)
        json_array_append_new(goods, json_string(products[i]));
    scene = json_pack("{sssoso}", "admin", boss[0]->access, "users", users, "products", goods);
    snprintf(path, sizeof(path), "%s/scene.json", folder);
    if (json_dump_file(scene, path, JSON_INDENT(1)) != 0)
        abort();
    json_decref(scene);
}

void scene_prepare(const char *folder)
{
    shop = shop_start(&(struct shop_options){.partitions = PARTS});
    boss[0] = admin(shop);
    for (int i = 1; i < MAKERS; i++)
        boss[i] = at_door(boss[0], 0);
    all_at_once(HOT_USERS, arrive, NULL);
    all_at_once(MAKERS, make_products, NULL);
    if (!shop_is_quiet(shop, 0))
        shop_die(shop, "the scene does not come to rest");
    shop_keep(shop, folder);
    write_scene(folder);
    for (int i = 0; i < MAKERS; i++)
        leave(boss[i]);
    for (int i = 0; i < HOT_USERS; i++)
        leave(people[i]);
}

static void take(char *to, size_t size, json_t *value)
{
    const char *text = json_string_value(value);

    if (!text || strlen(text) >= size)
        abort();
    strcpy(to, text);
}

void scene_read(const char *folder, struct scene *ret)
{
    char path[400];
    json_t *scene;

    snprintf(path, sizeof(path), "%s/scene.json", folder);
    scene = json_load_file(path, 0, NULL);
    if (!scene) {
        fprintf(stderr, "%s is no prepared shop\n", folder);
        exit(2);
    }
    take(ret->admin_token, sizeof(ret->admin_token), json_object_get(scene, "admin"));
    for (size_t i = 0; i < HOT_USERS; i++) {
        json_t *user = json_array_get(json_object_get(scene, "users"), i);

        take(ret->users[i].id, sizeof(ret->users[i].id), json_object_get(user, "id"));
        take(ret->users[i].token, sizeof(ret->users[i].token), json_object_get(user, "token"));
    }
    for (size_t i = 0; i < PRODUCTS; i++)
        take(ret->products[i], sizeof(ret->products[i]),
             json_array_get(json_object_get(scene, "products"), i));
    json_decref(scene);
}
