/* Borrowed strings: comparing, trimming, numbers, hashing for tables in memory. Nothing here allocates or
 * blocks. */
#include <stdatomic.h>

#include "bus/base/str.h"
#include "bus/base/uuid.h"

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;

    return order ? order : (a.n > b.n) - (a.n < b.n);
}

size_t str_find(struct str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

    return at ? (size_t)(at - s.p) : s.n;
}

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

bool str_ieq(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    size_t from = 0, to = s.n;

    while (from < to && is_space(s.p[from]))
        from++;
    while (to > from && is_space(s.p[to - 1]))
        to--;
    return str_slice(s, from, to);
}

err str_int64(struct str s, int64_t *ret)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    size_t at = negative;
    int64_t v = 0;

    if (at == s.n || (s.p[at] == '0' && s.n > 1))
        return FAIL(INVALID, "not a whole number");
    for (; at < s.n; at++) {
        int digit = s.p[at] - '0';

        if (digit < 0 || digit > 9)
            return FAIL(INVALID, "not a whole number");
        /* Counted downwards, since INT64_MIN has no positive twin. */
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, digit, &v))
            return FAIL(INVALID, "the number is too large");
    }
    if (!negative && v == INT64_MIN)
        return FAIL(INVALID, "the number is too large");
    *ret = negative ? v : -v;
    return OK;
}

/* A random seed keeps clients from choosing keys that all fall into one bucket. */
static uint64_t hash_seed(void)
{
    static _Atomic uint64_t seed;
    uint64_t now = atomic_load_explicit(&seed, memory_order_relaxed);

    if (now == 0) {
        uint64_t mine = random_u64() | 1;

        if (atomic_compare_exchange_strong(&seed, &now, mine))
            return mine;
    }
    return now;
}

/* The two halves of the product folded together: every input bit reaches the whole word. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t str_hash(struct str s)
{
    const uint64_t prime = 0x9e3779b97f4a7c15; /* 2^64 / golden ratio, odd */
    uint64_t h = hash_seed() ^ mix(s.n + 1, prime);
    uint64_t word;
    size_t at = 0;

    for (; s.n - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, s.p + at, sizeof(word));
        h = mix(h ^ word, prime);
    }
    word = 0;
    if (at < s.n)
        memcpy(&word, s.p + at, s.n - at);
    return mix(mix(h ^ word, prime), h | 1);
}
