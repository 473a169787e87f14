/* What the codec costs: a typical POST /orders body from text to the bus form, beside merely checking the
 * JSON. */
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/base/json.h"
#include "messages.h"

enum { ROUNDS = 100000, REPEATS = 7 };

static const char body[] =
    "{\"items\":[{\"product_id\":\"018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6\",\"quantity\":2,\"price\":12990},"
    "{\"product_id\":\"018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f7\",\"quantity\":1},"
    "{\"product_id\":\"018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f8\",\"quantity\":4}],"
    "\"shipping_address\":{\"street\":\"Avenida Alemania 0671, depto. "
    "42\",\"city\":\"Temuco\",\"postal_code\":"
    "\"4780000\",\"country\":\"Chile\"},\"payment_method\":\"card\",\"payment_token\":\"tok_visa_4242\"}";

static const struct str text = {body, sizeof(body) - 1};
static struct arena *arena;
static struct order_place order;

static void check_json(void)
{
    if (failed(json_check(text, arena)))
        abort();
}

static void decode(void)
{
    struct field_errors errors;
    if (failed(codec_decode(&shape_order_place, CODEC_DOOR, text, NULL, 0, arena, &order, &errors)))
        abort();
}

static void decode_seal_encode(void)
{
    static const struct seal_key key = {{1}};
    decode();
    codec_seal(&shape_order_place, &order, &key, (struct uuid){{7}}, arena);
    codec_encode(&shape_order_place, &order, arena);
}

/* Nanoseconds per round, the best of some. */
static double measure(void (*work)(void))
{
    double best = 0;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        int64_t start = clock_mono_ns();
        for (int i = 0; i < ROUNDS; i++) {
            work();
            arena_reset(arena);
        }
        double each = (double)(clock_mono_ns() - start) / ROUNDS;
        if (repeat == 0 || each < best)
            best = each;
    }
    return best;
}

int main(void)
{
    static const struct {
        const char *name;
        void (*work)(void);
    } rows[] = {
        {"json_check (floor)", check_json}, {"decode", decode}, {"decode, seal, encode", decode_seal_encode}};
    arena = arena_new(1 << 20);
    printf("order.place, %zu bytes\n", sizeof(body) - 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        printf("%-24s %8.0f ns\n", rows[i].name, measure(rows[i].work));
    arena_free(arena);
    return 0;
}
