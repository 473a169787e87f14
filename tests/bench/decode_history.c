/*
 * A long history of mixed versions, read by the build of today: order.placed in v1 and v2 in turn, 1 to 5
 * lines, every value another, written by the codec one after the other as the log holds them, then decoded
 * and lifted as the consumers do. What comes out must be what went in: amounts are summed on both sides.
 * decode_history [EVENTS], a million by default; status 1 when a sum is wrong.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bus/base/clock.h"
#include "bus/message.h"

enum { LINES_MAX = 5 };

struct sums {
    int64_t total, tax, line_tax, quantity, lines;
};

/* The texts one behind the other, and where each ends. */
struct history {
    char *p;
    size_t n, room;
    size_t *ends;
    enum message *types;
    size_t events;
};

static uint64_t state = 88172645463325252u; /* xorshift: the same history on every run */

static int64_t below(int64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (int64_t)(state % (uint64_t)n);
}

static struct order_placed make(struct arena *arena)
{
    size_t n = 1 + (size_t)below(LINES_MAX);
    struct order_placed_lines *lines = arena_array(arena, struct order_placed_lines, n);
    struct order_placed e = {.order_id = uuid_v7(1764000000000 + below(1000000)),
                             .user_id = uuid_v7(1764000000000 + below(1000000)),
                             .order_number = arena_printf(arena, "O-%d", (int)below(100000000)),
                             .lines = lines,
                             .lines_n = n,
                             .currency = STR("CLP"),
                             .payment_method = STR("test"),
                             .from_cart = below(2)};
    for (size_t i = 0; i < n; i++) {
        lines[i] = (struct order_placed_lines){.product_id = uuid_v7(1764000000000 + below(1000)),
                                               .sku = arena_printf(arena, "SKU-%d", (int)below(10000)),
                                               .name = STR("A chair of oak, oiled"),
                                               .unit_price = 100 + below(1000000),
                                               .quantity = 1 + below(9),
                                               .product_version = 1 + below(50)};
        lines[i].line_total = lines[i].unit_price * lines[i].quantity;
        e.subtotal += lines[i].line_total;
    }
    e.tax_amount = e.subtotal * 19 / 119;
    e.total_amount = e.subtotal;
    return e;
}

static void add(struct sums *sums, const struct order_placed_v2 *e)
{
    sums->total += e->totals.total_amount;
    sums->tax += e->totals.tax_amount;
    for (size_t i = 0; i < e->lines_n; i++) {
        sums->line_tax += e->lines[i].tax_amount;
        sums->quantity += e->lines[i].quantity;
    }
    sums->lines += (int64_t)e->lines_n;
}

/* Every other event in the old major. */
static void write_one(struct history *h, size_t i, struct arena *arena, struct sums *sums)
{
    struct order_placed old = make(arena);
    struct order_placed_v2 e;
    lift_order_placed_v2(&old, &e, arena);
    add(sums, &e);
    h->types[i] = i % 2 ? ORDER_PLACED_V2 : ORDER_PLACED;
    struct str text = i % 2 ? codec_encode(&shape_order_placed_v2, &e, arena)
                            : codec_encode(&shape_order_placed, &old, arena);
    if (h->n + text.n > h->room)
        abort();
    memcpy(h->p + h->n, text.p, text.n);
    h->n += text.n;
    h->ends[i] = h->n;
}

static struct history history(size_t events, struct arena *arena, struct sums *sums)
{
    struct history h = {.room = events * 2048, .events = events};
    h.p = mmap(NULL, h.room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    h.ends = calloc(events, sizeof(*h.ends));
    h.types = calloc(events, sizeof(*h.types));
    if (h.p == MAP_FAILED || !h.ends || !h.types)
        abort();
    for (size_t i = 0; i < events; i++) {
        write_one(&h, i, arena, sums);
        arena_reset(arena);
    }
    return h;
}

/* All events of a type, or all when MESSAGE_NONE; returns how many, and the time in *ret_ns. */
static size_t read_all(const struct history *h, enum message only, bool lift, struct arena *arena,
                       struct sums *sums, int64_t *ret_ns)
{
    size_t n = 0, from = 0;
    int64_t start = clock_mono_ns();
    for (size_t i = 0; i < h->events; from = h->ends[i++]) {
        struct str text = {h->p + from, h->ends[i] - from};
        enum message type = h->types[i];
        const void *e;
        if (only && type != only)
            continue;
        void *plain = lift ? NULL : arena_alloc(arena, message_types[type].shape->size);
        err wrong =
            lift ? message_decode(type, text, arena, &type, &e)
                 : codec_decode(message_types[type].shape, CODEC_BUS, text, NULL, 0, arena, plain, NULL);
        if (failed(wrong)) {
            fprintf(stderr, "event %zu: %s\n", i, err_text(wrong));
            exit(1);
        }
        if (lift)
            add(sums, e);
        arena_reset(arena);
        n++;
    }
    *ret_ns = clock_mono_ns() - start;
    return n;
}

static void show(const char *what, size_t n, int64_t ns)
{
    printf("%-36s %9zu events %9.0f/s %7.0f ns each\n", what, n, (double)n * 1e9 / (double)ns,
           (double)ns / (double)n);
}

int main(int argc, char **argv)
{
    int64_t events = 1000000, ns;
    if (argc > 1 && (failed(str_int64(str_of(argv[1]), &events)) || events < 2))
        return 2;
    struct arena *arena = arena_new(1 << 20);
    struct sums in = {0}, out = {0}, one = {0};
    struct history h = history((size_t)events, arena, &in);
    printf("%zu MB of data, v1 and v2 in turn\n", h.n >> 20);
    size_t n = read_all(&h, ORDER_PLACED, false, arena, &one, &ns);
    show("v1 decoded, not lifted (floor)", n, ns);
    n = read_all(&h, ORDER_PLACED, true, arena, &one, &ns);
    show("v1 decoded and lifted", n, ns);
    n = read_all(&h, ORDER_PLACED_V2, true, arena, &one, &ns);
    show("v2 decoded", n, ns);
    n = read_all(&h, MESSAGE_NONE, true, arena, &out, &ns);
    show("both, in the order of the log", n, ns);
    bool same =
        memcmp(&in, &out, sizeof(in)) == 0 && memcmp(&in, &one, sizeof(in)) == 0 && out.tax == out.line_tax;
    printf("sums %s: %" PRId64 " lines, total %" PRId64 ", tax %" PRId64 "\n", same ? "agree" : "DIFFER",
           out.lines, out.total, out.tax);
    arena_free(arena);
    munmap(h.p, h.room);
    free(h.ends);
    free(h.types);
    return same && n == (size_t)events ? 0 : 1;
}
