/* Well-formed UTF-8 (RFC 3629): what JSON texts and database texts consist of. */
#include "bus/base/str.h"

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The second byte decides about overlong forms, surrogates and the end of Unicode. */
static bool second_fits(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xe0:
        return second >= 0xa0;
    case 0xed:
        return second <= 0x9f;
    case 0xf0:
        return second >= 0x90;
    case 0xf4:
        return second <= 0x8f;
    default:
        return true;
    }
}

size_t utf8_sequence(struct str s)
{
    unsigned char first;
    size_t n;

    if (s.n == 0)
        return 0;
    first = (unsigned char)s.p[0];
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    n = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (s.n < n || !second_fits(first, (unsigned char)s.p[1]))
        return 0;
    for (size_t i = 1; i < n; i++)
        if (!continues(s.p[i]))
            return 0;
    return n;
}

size_t utf8_length(struct str s)
{
    size_t points = 0;

    for (size_t at = 0, n; at < s.n; at += n, points++) {
        n = utf8_sequence(str_slice(s, at, s.n));
        if (n == 0)
            return SIZE_MAX;
    }
    return points;
}
