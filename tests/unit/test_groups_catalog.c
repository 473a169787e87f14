/* The catalogue: slugs, products, the labels they name; handlers alone, without servers. */
#include <criterion/criterion.h>

#include "bus/base/json.h"
#include "consumers/catalog/catalog.h"
#include "tests/support/batch.h"

extern const struct group catalog_group;

#define MEMORY _cleanup_(memory_freep) struct memory *memory = memory_new(&catalog_group)
#define JSON(outcome, member) json_member((outcome).result, (member), memory->arena)
#define JSON_STR(outcome, member) json_member_str((outcome).result, (member), memory->arena)

static struct product_create lamp(void)
{
    return (struct product_create){.name = STR("Lámpara de Pie"), .sku = STR("LAMP-1"), .price = 12990};
}

static struct uuid created(struct memory *memory, const struct product_create *c)
{
    struct uuid id = uuid_v7(memory->now);
    cr_assert_eq(handle(memory, PRODUCT_CREATE, c, .id = id).http, 201);
    return id;
}

static const void *product_row(struct memory *memory, struct uuid id)
{
    return kept_row(memory, "product", "id", VALUE_UUID(id));
}

/* Hands what the last batch asked for to the group, as the bus would. */
static void deliver_category(struct memory *memory)
{
    const struct category_ensure_requested *e = told(memory, CATEGORY_ENSURE_REQUESTED, 0);
    handle(memory, CATEGORY_ENSURE_REQUESTED, e);
}

Test(slug, names_become_slugs)
{
    static const struct {
        const char *name, *slug;
    } rows[] = {
        {"Lámpara de Pie", "lampara-de-pie"},
        {"  NIÑO & Niña  (2 años) ", "nino-nina-2-anos"},
        {"Straße Œuvre Æther Ýð", "strasse-uvre-aether-yd"},
        {"Cafe\xcc\x81 con lec\xcc\xa7he", "cafe-con-leche"}, /* combining marks */
        {"3×2 ÷ 1", "3-2-1"},
        {"---a--b---", "a-b"},
        {"電器", ""},
        {"\xff\xfe!", ""},
        {"", ""},
    };
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct str slug = slug_make(str_of(rows[i].name), arena);
        cr_expect(str_is(slug, rows[i].slug), "%s became %.*s", rows[i].name, STR_ARG(slug));
    }
}

Test(slug, a_long_name_makes_a_slug_with_room_for_a_suffix)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20);
    struct buf name = buf_new(arena, 1000);

    for (int i = 0; i < 100; i++)
        buf_lit(&name, "ß ");
    struct str slug = slug_make(buf_view(&name), arena);
    cr_assert_leq(slug.n, (size_t)SLUG_MADE);
    cr_assert_neq(slug.p[slug.n - 1], '-');
    cr_assert_leq(slug_with_suffix(slug, uuid_v7(1), arena).n, (size_t)200);
}

Test(catalog, a_product_needs_a_name_a_sku_and_a_price)
{
    MEMORY;
    struct product_create c = lamp();
    struct uuid id = uuid_v7(1);
    struct outcome done = handle(memory, PRODUCT_CREATE, &c, .id = id);

    cr_assert_eq(done.http, 201);
    cr_assert(str_eq(JSON_STR(done, "id"), uuid_str(id, memory->arena)));
    cr_assert(str_is(JSON_STR(done, "slug"), "lampara-de-pie"));
    cr_assert(str_is(JSON(done, "price"), "12990"));
    cr_assert(str_is(JSON_STR(done, "currency"), "CLP"));
    cr_assert(str_is(JSON(done, "stock"), "0"));
    cr_assert(str_is(JSON(done, "category"), "null"));
    cr_assert(str_is(JSON(done, "images"), "[]"));
    cr_assert(str_is(JSON(done, "is_active"), "true"));
    cr_assert(str_is(JSON(done, "version"), "1"));
    const struct product_created *e = told(memory, PRODUCT_CREATED, 0);
    cr_assert(uuid_eq(e->product_id, id));
    cr_assert_eq(e->price, 12990);
    cr_assert(e->is_active);
    const struct stock_opened *opened = told(memory, STOCK_OPENED, 0);
    cr_assert(uuid_eq(opened->product_id, id));
    cr_assert_eq(opened->quantity, 0, "told also when there is none, so that inventory has a row");
}

Test(catalog, everything_a_product_can_have)
{
    MEMORY;
    struct str images[] = {STR("/a.jpg"), STR("/b \"x\".jpg")};
    struct product_create c = lamp();
    c.price = 59999;
    c.currency = STR("USD");
    c.has_compare_price = true;
    c.compare_price = 70000;
    c.has_stock = true;
    c.stock = 12;
    c.images = images;
    c.images_n = 2;
    c.category = STR("Iluminación");
    c.brand = STR("Lúmen & Co");
    c.dimensions = STR("{\"cm\":[10,20]}");
    c.has_rating_hundredths = true;
    c.rating_hundredths = 456;
    c.has_is_active = true;
    c.has_is_featured = c.is_featured = true;
    struct outcome done = handle(memory, PRODUCT_CREATE, &c);

    cr_assert(!failed(json_check(done.result, memory->arena)));
    cr_assert(str_is(JSON(done, "price"), "599.99"));
    cr_assert(str_is(JSON(done, "compare_price"), "700.00"));
    cr_assert(str_is(JSON(done, "cost_price"), "null"));
    cr_assert(str_is(JSON(done, "stock"), "12"));
    cr_assert(str_is(JSON(done, "rating"), "4.56"));
    cr_assert(str_is(JSON(done, "images"), "[\"/a.jpg\",\"/b \\\"x\\\".jpg\"]"));
    cr_assert(str_is(JSON(done, "dimensions"), "{\"cm\":[10,20]}"));
    cr_assert(str_is(JSON(done, "is_active"), "false"));
    cr_assert(str_is(JSON(done, "category"),
                     "{\"id\":\"iluminacion\",\"name\":\"Iluminación\",\"slug\":\"iluminacion\"}"));
    cr_assert_eq(((const struct stock_opened *)told(memory, STOCK_OPENED, 0))->quantity, 12);
    const struct brand_ensure_requested *brand = told(memory, BRAND_ENSURE_REQUESTED, 0);
    cr_assert(str_is(brand->slug, "lumen-co"));
    cr_assert(str_is(brand->name, "Lúmen & Co"));
    cr_assert(str_is(told_key(memory, BRAND_ENSURE_REQUESTED, 0), "lumen-co"));
    cr_assert(str_is(((const struct product_created *)told(memory, PRODUCT_CREATED, 0))->brand, "lumen-co"));
}

Test(catalog, a_category_is_made_once_and_keeps_its_name)
{
    MEMORY;
    struct product_create a = lamp(), b = lamp();
    struct category_ensure ensure = {.slug = STR("iluminacion"), .name = STR("Otro nombre")};
    a.category = STR("Iluminación");
    b.category = STR("iluminacion"); /* by its slug */
    b.sku = STR("LAMP-2");

    created(memory, &a);
    deliver_category(memory);
    cr_assert_eq(told_count(memory, CATEGORY_CREATED), 1);
    struct outcome done = handle(memory, PRODUCT_CREATE, &b);
    cr_assert(str_is(json_member_str(JSON(done, "category"), "name", memory->arena), "Iluminación"));
    cr_assert_eq(told_count(memory, CATEGORY_ENSURE_REQUESTED), 0, "it is known to stand");
    struct outcome stood = handle(memory, CATEGORY_ENSURE, &ensure);
    cr_assert_eq(stood.http, 200);
    cr_assert(str_is(JSON_STR(stood, "name"), "Iluminación"));
    cr_assert_eq(told_count(memory, CATEGORY_CREATED), 0);
    ensure.slug = STR("sillas");
    ensure.description = STR("Para sentarse");
    struct outcome made = handle(memory, CATEGORY_ENSURE, &ensure);
    cr_assert_eq(made.http, 201);
    cr_assert(str_is(JSON_STR(made, "description"), "Para sentarse"));
    cr_assert_eq(kept_count(memory, "category"), 2);
}

Test(catalog, a_brand_is_made_once)
{
    MEMORY;
    struct brand_ensure c = {.slug = STR("lumen"), .name = STR("Lúmen")};
    struct brand_ensure_requested e = {.slug = STR("lumen"), .name = STR("LUMEN")};

    cr_assert_eq(handle(memory, BRAND_ENSURE, &c).http, 201);
    cr_assert_eq(told_count(memory, BRAND_CREATED), 1);
    cr_assert_eq(handle(memory, BRAND_ENSURE, &c).http, 200);
    cr_assert_eq(handle(memory, BRAND_ENSURE_REQUESTED, &e).answer, ANSWER_DONE);
    cr_assert_eq(memory->batch.events.n, 0);
    cr_assert_eq(kept_count(memory, "brand"), 1);
}

Test(catalog, a_label_without_letters_is_refused)
{
    MEMORY;
    struct product_create c = lamp();
    c.category = STR("¡!");

    struct outcome refused = handle(memory, PRODUCT_CREATE, &c);
    cr_assert_eq(refused.http, 422);
    cr_assert_not_null(strstr(refused.result.p, "\"field\":\"category\""));
    cr_assert_eq(kept_count(memory, "product"), 0);
}

Test(catalog, skus_and_given_slugs_are_unique_and_made_slugs_give_way)
{
    MEMORY;
    struct product_create first = lamp(), c = lamp();
    created(memory, &first);

    struct outcome same_sku = handle(memory, PRODUCT_CREATE, &c);
    cr_assert_eq(same_sku.http, 409);
    cr_assert_not_null(strstr(same_sku.result.p, "sku"));
    c.sku = STR("LAMP-2");
    struct outcome done = handle(memory, PRODUCT_CREATE, &c);
    cr_assert_eq(done.http, 201);
    cr_assert(str_starts(JSON_STR(done, "slug"), STR("lampara-de-pie-")));
    c.sku = STR("LAMP-3");
    c.slug = STR("lampara-de-pie");
    struct outcome same_slug = handle(memory, PRODUCT_CREATE, &c);
    cr_assert_eq(same_slug.http, 409);
    cr_assert_not_null(strstr(same_slug.result.p, "slug"));
    c.slug = STR_NONE;
    c.name = STR("電器");
    cr_assert(str_starts(JSON_STR(handle(memory, PRODUCT_CREATE, &c), "slug"), STR("product-")));
}

Test(catalog, one_batch_sees_its_own_products)
{
    MEMORY;
    struct product_create c = lamp();
    struct given given[] = {{.type = PRODUCT_CREATE, .data = &c}, {.type = PRODUCT_CREATE, .data = &c}};
    struct outcome outcomes[2];

    memory_handle_all(memory, given, 2, outcomes);
    cr_assert_eq(outcomes[0].http, 201);
    cr_assert_eq(outcomes[1].http, 409);
}

Test(catalog, a_change_touches_what_it_names)
{
    MEMORY;
    struct product_create c = lamp();
    c.description = STR("Alta");
    c.category = STR("Iluminación");
    struct uuid id = created(memory, &c);
    deliver_category(memory);
    struct product_update change = {
        .product_id = id, .has_price = true, .price = 9990, .name = STR("Lámpara")};
    struct outcome done = handle(memory, PRODUCT_UPDATE, &change, .expected_version = 1);

    cr_assert_eq(done.http, 200);
    cr_assert(str_is(JSON(done, "price"), "9990"));
    cr_assert(str_is(JSON(done, "version"), "2"));
    cr_assert(str_is(JSON_STR(done, "description"), "Alta"));
    cr_assert(str_is(JSON_STR(done, "slug"), "lampara-de-pie"), "addresses stay");
    cr_assert(str_is(json_member_str(JSON(done, "category"), "name", memory->arena), "Iluminación"));
    const struct product_updated *e = told(memory, PRODUCT_UPDATED, 0);
    cr_assert_eq(e->version, 2);
    cr_assert(str_is(e->sku, "LAMP-1"));
    cr_assert(str_is(e->category, "iluminacion"));
    cr_assert_eq(told_count(memory, STOCK_OPENED), 0);

    cr_assert_eq(handle(memory, PRODUCT_UPDATE, &change, .expected_version = 1).http, 412);
    change.sku = STR("LAMP-1");
    change.slug = STR("lampara-de-pie");
    cr_assert_eq(handle(memory, PRODUCT_UPDATE, &change).http, 200, "its own sku and slug are no clash");
    c.sku = change.sku = STR("LAMP-2");
    created(memory, &c);
    cr_assert_eq(handle(memory, PRODUCT_UPDATE, &change).http, 409);
    change.product_id = uuid_v7(3);
    cr_assert_eq(handle(memory, PRODUCT_UPDATE, &change).http, 404);
}

Test(catalog, no_amount_is_carried_into_another_currency)
{
    MEMORY;
    struct product_create c = lamp();
    c.has_compare_price = true;
    c.compare_price = 15990;
    struct uuid id = created(memory, &c);
    struct product_update change = {.product_id = id, .currency = STR("USD")};

    struct outcome refused = handle(memory, PRODUCT_UPDATE, &change);
    cr_assert_eq(refused.http, 422);
    cr_assert_not_null(strstr(refused.result.p, "\"field\":\"price\""));
    change.has_price = true;
    change.price = 1999;
    refused = handle(memory, PRODUCT_UPDATE, &change);
    cr_assert_not_null(strstr(refused.result.p, "\"field\":\"compare_price\""));
    change.has_compare_price = true;
    change.compare_price = 0;
    struct outcome done = handle(memory, PRODUCT_UPDATE, &change);
    cr_assert(str_is(JSON(done, "price"), "19.99"));
    cr_assert(str_is(JSON(done, "compare_price"), "null"));

    change.currency = STR_NONE; /* read as the shop's own: 1999 pesos, not 19.99 dollars */
    refused = handle(memory, PRODUCT_UPDATE, &change);
    cr_assert_eq(refused.http, 422);
    cr_assert_not_null(strstr(refused.result.p, "\"field\":\"currency\""));
    change.has_price = change.has_compare_price = false;
    change.description = STR("Alta");
    cr_assert_eq(handle(memory, PRODUCT_UPDATE, &change).http, 200);
}

Test(catalog, a_withdrawn_product_is_gone_and_frees_its_sku)
{
    MEMORY;
    struct product_create c = lamp();
    struct uuid id = created(memory, &c);
    struct product_delete gone = {.product_id = id};
    struct product_update change = {.product_id = id, .name = STR("x")};

    cr_assert_eq(handle(memory, PRODUCT_DELETE, &gone, .expected_version = 7).http, 412);
    struct outcome done = handle(memory, PRODUCT_DELETE, &gone);
    cr_assert_eq(done.http, 204);
    cr_assert_eq(done.result.n, 0);
    cr_assert_eq(((const struct product_deleted *)told(memory, PRODUCT_DELETED, 0))->version, 2);
    cr_assert(row_bool(product_row(memory, id), "is_deleted"));
    cr_assert_not(row_bool(product_row(memory, id), "is_active"));
    cr_assert_eq(handle(memory, PRODUCT_DELETE, &gone).http, 404);
    cr_assert_eq(handle(memory, PRODUCT_UPDATE, &change).http, 404);
    struct outcome again = handle(memory, PRODUCT_CREATE, &c);
    cr_assert_eq(again.http, 201);
    cr_assert(str_is(JSON_STR(again, "slug"), "lampara-de-pie"));
}
