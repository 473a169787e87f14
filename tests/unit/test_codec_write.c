/*
 * The way to the bus: what is sealed, what is left out, and that every message of the shop is read back as it
 * was written.
 */
#include <criterion/criterion.h>

#include "bus/base/conf.h"
#include "bus/base/json.h"
#include "messages.h"
#include "tests/support/thing.h"

#define ID "018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6"

static struct arena *arena;

static void open_arena(void)
{
    arena = arena_new(1 << 24);
    conf_set(SET_DEFAULT_CURRENCY, "CLP");
}

static void close_arena(void)
{
    arena = arena_free(arena);
}

TestSuite(codec_write, .init = open_arena, .fini = close_arena);

static void read_thing(enum codec_mode mode, struct str text, struct thing *ret)
{
    struct codec_param id = {STR("id"), STR(ID)};
    struct field_errors errors;
    err e = codec_decode(&thing_shape, mode, text, &id, mode == CODEC_DOOR, arena, ret, &errors);
    cr_assert(!failed(e), "%s", err_text(e));
}
Test(codec_write, the_bus_form_is_sealed_in_schema_order_and_without_secrets)
{
    struct seal_key key = seal_key_random();
    struct uuid person;
    struct thing t;
    struct str opened;
    cr_assert(!failed(uuid_parse(STR(ID), &person)));
    read_thing(CODEC_DOOR,
               STR("{\"tags\":[\"a\\n\"],\"password\":\"correct horse\",\"price\":1.5,\"currency\":\"USD\","
                   "\"count\":1,\"name\":\"ball\",\"extra\":{\"k\" : 1},\"phone\":\"+56 9 1234\"}"),
               &t);
    codec_seal(&thing_shape, &t, &key, person, arena);
    struct str sealed = t.phone;
    codec_seal(&thing_shape, &t, &key, person, arena);
    cr_expect_eq(sealed.p, t.phone.p, "sealed once");
    struct str bus = codec_encode(&thing_shape, &t, arena);
    struct str expected =
        arena_printf(arena,
                     "{\"id\":\"" ID "\",\"name\":\"ball\",\"count\":1,\"price\":150,"
                     "\"currency\":\"USD\",\"tags\":[\"a\\n\"],\"extra\":{\"k\":1},\"phone\":\"%.*s\"}",
                     STR_ARG(sealed));
    cr_expect(str_eq(bus, expected), "%.*s\n%.*s", STR_ARG(bus), STR_ARG(expected));

    read_thing(CODEC_BUS, bus, &t);
    cr_expect(!failed(seal_open(&key, t.phone, arena, &opened)) && str_is(opened, "\"+56 9 1234\""));
    cr_expect(str_eq(codec_encode(&thing_shape, &t, arena), bus), "what was read is written the same");
}

Test(codec_write, a_sealed_object_opens_into_its_own_struct)
{
    struct thing_owner owner;
    err e = codec_decode(&owner_shape, CODEC_BUS, STR("{\"street\":\"Av. Alemania 1\"}"), NULL, 0, arena,
                         &owner, NULL);
    cr_expect(!failed(e) && str_is(owner.street, "Av. Alemania 1") && !owner.city.p);
}

Test(codec_write, a_clear_value_that_only_looks_sealed_is_sealed_all_the_same)
{
    struct seal_key key = seal_key_random();
    struct thing t;
    struct str opened;
    read_thing(CODEC_DOOR, STR("{\"name\":\"ball\",\"count\":1,\"phone\":\"sealed:1:x\"}"), &t);
    codec_seal(&thing_shape, &t, &key, uuid_v7(1), arena);
    cr_assert(seal_is(t.phone) && !failed(seal_open(&key, t.phone, arena, &opened)));
    cr_expect(str_is(opened, "\"sealed:1:x\""));
}

Test(codec_write, only_json_strings_are_clear_strings)
{
    cr_expect(!codec_clear_string(STR_NONE, arena).p);
    cr_expect(!codec_clear_string(STR("{\"a\":1}"), arena).p);
    cr_expect(!codec_clear_string(STR("sealed:1:x"), arena).p);
    cr_expect(!codec_clear_string(STR("\"a\" x"), arena).p);
    cr_expect(str_is(codec_clear_string(STR("\"\""), arena), ""));
}

/* ---- every message of the shop, with values made up from its own table ---- */

static struct str filler(const struct field *f, int round)
{
    static const char *const of_format[] = {
        [FORMAT_EMAIL] = "ana@correo.example",
        [FORMAT_DATE] = "2026-11-22",
        [FORMAT_DATE_TIME] = "2026-11-22T20:30:00Z",
        [FORMAT_SLUG] = "mesa-2",
        [FORMAT_CURRENCY] = "USD",
        [FORMAT_URI] = "https://a.example/",
    };
    if (f->values)
        return str_of(f->values[0]);
    if (f->format != FORMAT_NONE)
        return str_of(of_format[f->format]);
    size_t n = (size_t)(round == 0 || f->min > 40 ? f->min : f->max < 40 ? f->max : 40);
    char *text = arena_alloc(arena, 2 * n + 1);
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, "\xc3\xb1", 2);
    return (struct str){text, 2 * n};
}

static void fill(const struct shape *shape, char *into, int round);

static void fill_value(const struct field *f, char *at, int round)
{
    switch (f->kind) {
    case FIELD_STRING:
        *(struct str *)(void *)at = filler(f, round);
        break;
    case FIELD_RAW:
        *(struct str *)(void *)at = STR("{\"a\":[1]}");
        break;
    case FIELD_INT:
    case FIELD_MONEY:
        *(int64_t *)(void *)at = round == 0 ? f->min : f->max;
        break;
    case FIELD_BOOL:
        *(bool *)at = round == 1;
        break;
    case FIELD_UUID:
        random_bytes(at, 16);
        break;
    case FIELD_OBJECT:
        fill(f->shape, at, round);
        break;
    case FIELD_LIST:
        break;
    }
}

static void fill_list(const struct field *f, char *into, int round)
{
    size_t n = (size_t)(round == 0 ? f->min : f->max < 5 ? f->max : 5), size = codec_item_size(f->item);
    char *items = arena_alloc(arena, n * size + 1);
    for (size_t i = 0; i < n; i++)
        fill_value(f->item, items + i * size, round);
    memcpy(into + f->offset, &items, sizeof(items));
    *(size_t *)(void *)(into + f->has_offset) = n;
}

/* Round 0: only what is required, everything at its least. Round 1: all there is, at its most. */
static void fill(const struct shape *shape, char *into, int round)
{
    for (const struct field *f = shape->fields; f < shape->fields + shape->n; f++) {
        if (round == 0 && !(f->flags & FIELD_REQUIRED))
            continue;
        if (f->flags & FIELD_PERSONAL)
            *(struct str *)(void *)(into + f->offset) = STR("\"Ana\"");
        else if (f->kind == FIELD_LIST)
            fill_list(f, into, round);
        else
            fill_value(f, into + f->offset, round);
        if (round == 1 && f->has_offset != SIZE_MAX && f->kind != FIELD_LIST)
            *(bool *)(into + f->has_offset) = true;
    }
}

Test(codec_write, every_message_is_read_back_as_it_was_written)
{
    struct seal_key key = seal_key_random();
    for (int round = 0; round < 2; round++)
        for (int m = 1; m < MESSAGE_COUNT; m++) {
            const struct shape *shape = message_types[m].shape;
            char *message = arena_alloc(arena, shape->size), *again = arena_alloc(arena, shape->size);
            fill(shape, message, round);
            codec_seal(shape, message, &key, uuid_v7(m), arena);
            struct str bus = codec_encode(shape, message, arena);
            err e = codec_decode(shape, CODEC_BUS, bus, NULL, 0, arena, again, NULL);
            cr_assert(!failed(e), "%s: %s\n%.*s", message_types[m].name, err_text(e), STR_ARG(bus));
            cr_assert(str_eq(codec_encode(shape, again, arena), bus), "%s", message_types[m].name);
        }
}

Test(codec_write, messages_are_found_by_their_names)
{
    for (int m = 1; m < MESSAGE_COUNT; m++)
        cr_expect_eq(message_find(str_of(message_types[m].name)), (enum message)m);
    cr_expect_eq(message_find(STR("order.place.v9")), MESSAGE_NONE);
    cr_expect_eq(message_find(STR("")), MESSAGE_NONE);
    cr_expect_eq(message_find(STR("zzz")), MESSAGE_NONE);
}

static int loaded, handled;

static void load_placed(struct batch *batch, const struct order_placed_v2 *e)
{
    (void)batch;
    loaded += e->lines_n == 3;
}

static enum answer handle_placed(struct batch *batch, const struct order_placed_v2 *e)
{
    (void)batch;
    handled += e->lines_n == 3;
    return ANSWER_REJECTED;
}

static enum answer handle_cancel(struct batch *batch, const struct order_cancel *e)
{
    (void)batch, (void)e;
    return ANSWER_RUNNING;
}

Test(codec_write, slots_are_called_by_message)
{
    const struct handlers handlers = {
        .order_placed_v2 = {load_placed, handle_placed},
        .order_cancel.handle = handle_cancel,
    };
    struct order_placed_v2 placed = {.lines_n = 3};
    struct order_cancel cancel = {.reason = STR("late")};
    cr_expect(handlers_has(&handlers, ORDER_PLACED) && handlers_has(&handlers, ORDER_CANCEL));
    cr_expect(!handlers_has(&handlers, ORDER_CANCELLED) && !handlers_has(&handlers, MESSAGE_NONE));
    handlers_load(&handlers, ORDER_PLACED_V2, NULL, &placed);
    handlers_load(&handlers, ORDER_CANCEL, NULL, &cancel);
    cr_expect_eq(handlers_handle(&handlers, ORDER_PLACED_V2, NULL, &placed), ANSWER_REJECTED);
    cr_expect_eq(handlers_handle(&handlers, ORDER_CANCEL, NULL, &cancel), ANSWER_RUNNING);
    cr_expect(loaded == 1 && handled == 1);
}
