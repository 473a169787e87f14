/* UUIDs: making version 7 ids, and their text. */
#include "bus/base/uuid.h"

struct uuid uuid_v7(int64_t ms)
{
    struct uuid id;
    uint64_t time = (uint64_t)ms;

    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(time >> (40 - 8 * i));
    random_bytes(id.b + 6, 10);
    id.b[6] = (uint8_t)(0x70 | (id.b[6] & 0x0f)); /* version */
    id.b[8] = (uint8_t)(0x80 | (id.b[8] & 0x3f)); /* variant */
    return id;
}

int64_t uuid_ms(struct uuid id)
{
    uint64_t ms = 0;

    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.b[i];
    return (int64_t)ms;
}

/* Value of a hex digit plus one; 0 for every other byte. */
static const uint8_t hex_values[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* Where the two digits of each byte stand in the text; the dashes are at 8, 13, 18 and 23. */
static const uint8_t places[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};

err uuid_parse(struct str text, struct uuid *ret)
{
    if (text.n != UUID_TEXT || text.p[8] != '-' || text.p[13] != '-' || text.p[18] != '-' ||
        text.p[23] != '-')
        return FAIL(INVALID, "not a UUID");
    for (int i = 0; i < 16; i++) {
        unsigned high = hex_values[(unsigned char)text.p[places[i]]];
        unsigned low = hex_values[(unsigned char)text.p[places[i] + 1]];

        if (!high || !low)
            return FAIL(INVALID, "not a UUID");
        ret->b[i] = (uint8_t)((high - 1) << 4 | (low - 1));
    }
    return OK;
}

void uuid_print(struct uuid id, char ret[static UUID_TEXT + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        ret[places[i]] = digits[id.b[i] >> 4];
        ret[places[i] + 1] = digits[id.b[i] & 15];
    }
    ret[8] = ret[13] = ret[18] = ret[23] = '-';
    ret[UUID_TEXT] = '\0';
}

struct str uuid_str(struct uuid id, struct arena *arena)
{
    char *text = arena_grow(arena, NULL, 0, UUID_TEXT + 1);

    uuid_print(id, text);
    return (struct str){text, UUID_TEXT};
}
