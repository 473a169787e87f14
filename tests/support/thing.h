/*
 * A message with every kind of field, for tests of the codec: made by hand, so that it stays put while the
 * schemas of the shop grow.
 */
#pragma once

#include "bus/base/money.h"
#include "bus/codec.h"

struct thing_lines {
    struct uuid product;
    int64_t quantity;
    bool has_price;
    int64_t price;
};

struct thing_owner {
    struct str street;
    struct str city;
};

struct thing_box {
    int64_t height;
    bool has_width;
    int64_t width;
};

struct thing {
    struct uuid id;
    struct str name;
    struct str kind;
    int64_t count;
    bool has_active;
    bool active;
    bool has_price;
    int64_t price;
    struct str currency;
    struct str email;
    struct str day;
    struct str moment;
    struct str slug;
    struct str link;
    const struct thing_lines *lines;
    size_t lines_n;
    const struct str *tags;
    size_t tags_n;
    struct str owner;
    bool has_box;
    struct thing_box box;
    struct str extra;
    struct str password;
    bool has_boss;
    struct uuid boss;
    struct str phone;
};

#define AT(type, member) .offset = offsetof(struct type, member), .has_offset = SIZE_MAX
#define MAYBE(type, member)                                                                                  \
    .offset = offsetof(struct type, member), .has_offset = offsetof(struct type, has_##member)
#define MANY(type, member)                                                                                   \
    .offset = offsetof(struct type, member), .has_offset = offsetof(struct type, member##_n)

static const struct field lines_fields[] = {
    {.name = "product", .kind = FIELD_UUID, .flags = FIELD_REQUIRED, AT(thing_lines, product)},
    {.name = "quantity",
     .kind = FIELD_INT,
     .flags = FIELD_REQUIRED,
     AT(thing_lines, quantity),
     .min = 1,
     .max = 10},
    {.name = "price", .kind = FIELD_MONEY, MAYBE(thing_lines, price), .min = 0, .max = MONEY_MAX},
};
static const struct shape lines_shape = {"thing_lines", sizeof(struct thing_lines), lines_fields, 3};

static const struct field owner_fields[] = {
    {.name = "street",
     .kind = FIELD_STRING,
     .flags = FIELD_REQUIRED,
     AT(thing_owner, street),
     .min = 1,
     .max = 20},
    {.name = "city", .kind = FIELD_STRING, AT(thing_owner, city), .max = 20},
};
static const struct shape owner_shape = {"thing_owner", sizeof(struct thing_owner), owner_fields, 2};

static const struct field box_fields[] = {
    {.name = "height", .kind = FIELD_INT, .flags = FIELD_REQUIRED, AT(thing_box, height), .min = 0, .max = 9},
    {.name = "width", .kind = FIELD_INT, MAYBE(thing_box, width), .min = 0, .max = 9},
};
static const struct shape box_shape = {"thing_box", sizeof(struct thing_box), box_fields, 2};

static const char *const kinds[] = {"book", "toy", NULL};
static const struct field lines_item = {.name = "", .kind = FIELD_OBJECT, .shape = &lines_shape};
static const struct field tags_item = {.name = "", .kind = FIELD_STRING, .min = 1, .max = 5};

static const struct field thing_fields[] = {
    {.name = "id", .kind = FIELD_UUID, .flags = FIELD_REQUIRED | FIELD_INTERNAL, AT(thing, id)},
    {.name = "name", .kind = FIELD_STRING, .flags = FIELD_REQUIRED, AT(thing, name), .min = 2, .max = 8},
    {.name = "kind", .kind = FIELD_STRING, AT(thing, kind), .max = 100, .values = kinds},
    {.name = "count",
     .kind = FIELD_INT,
     .flags = FIELD_REQUIRED,
     AT(thing, count),
     .min = -5,
     .max = INT64_MAX},
    {.name = "active", .kind = FIELD_BOOL, MAYBE(thing, active)},
    {.name = "price",
     .kind = FIELD_MONEY,
     MAYBE(thing, price),
     .max = MONEY_MAX,
     .currency = &thing_fields[6]},
    {.name = "currency", .kind = FIELD_STRING, .format = FORMAT_CURRENCY, AT(thing, currency), .max = 3},
    {.name = "email", .kind = FIELD_STRING, .format = FORMAT_EMAIL, AT(thing, email), .max = 254},
    {.name = "day", .kind = FIELD_STRING, .format = FORMAT_DATE, AT(thing, day), .max = 100},
    {.name = "moment", .kind = FIELD_STRING, .format = FORMAT_DATE_TIME, AT(thing, moment), .max = 100},
    {.name = "slug", .kind = FIELD_STRING, .format = FORMAT_SLUG, AT(thing, slug), .max = 20},
    {.name = "link", .kind = FIELD_STRING, .format = FORMAT_URI, AT(thing, link), .max = 3000},
    {.name = "lines", .kind = FIELD_LIST, MANY(thing, lines), .min = 1, .max = 6, .item = &lines_item},
    {.name = "tags", .kind = FIELD_LIST, MANY(thing, tags), .max = 9, .item = &tags_item},
    {.name = "owner", .kind = FIELD_OBJECT, .flags = FIELD_PERSONAL, AT(thing, owner), .shape = &owner_shape},
    {.name = "box", .kind = FIELD_OBJECT, MAYBE(thing, box), .shape = &box_shape},
    {.name = "extra", .kind = FIELD_RAW, AT(thing, extra), .max = 60},
    {.name = "password",
     .kind = FIELD_STRING,
     .flags = FIELD_SECRET,
     AT(thing, password),
     .min = 8,
     .max = 20},
    {.name = "boss", .kind = FIELD_UUID, MAYBE(thing, boss)},
    {.name = "phone", .kind = FIELD_STRING, .flags = FIELD_PERSONAL, AT(thing, phone), .min = 5, .max = 20},
};
static const struct shape thing_shape = {"thing", sizeof(struct thing), thing_fields,
                                         sizeof(thing_fields) / sizeof(*thing_fields)};
