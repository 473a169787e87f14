/* Bytes as text: base64url (RFC 4648 §5) and hex. */
#include <openssl/crypto.h>

#include "bus/base/seal.h"

bool bytes_eq(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct str base64url(struct str bytes, struct arena *arena)
{
    struct buf b = buf_new(arena, bytes.n * 4 / 3 + 4);
    uint32_t held = 0;
    int bits = 0;

    for (size_t i = 0; i < bytes.n; i++) {
        held = held << 8 | (unsigned char)bytes.p[i];
        for (bits += 8; bits >= 6; bits -= 6)
            b.p[b.n++] = letters[held >> (bits - 6) & 63];
    }
    if (bits > 0)
        b.p[b.n++] = letters[held << (6 - bits) & 63];
    buf_took(&b, 0);
    return buf_view(&b);
}

/* 0..63, or -1. Both alphabets. */
static int letter_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-' || c == '+')
        return 62;
    return c == '_' || c == '/' ? 63 : -1;
}

/* The text without its padding, which must fill up to a multiple of four when there is any. */
static bool strip_padding(struct str *text)
{
    size_t n = text->n;

    while (n > 0 && text->n - n < 2 && text->p[n - 1] == '=')
        n--;
    if (n < text->n && text->n % 4 != 0)
        return false;
    text->n = n;
    return n % 4 != 1;
}

err base64url_decode(struct str text, struct arena *arena, struct str *ret)
{
    struct buf b = buf_new(arena, text.n);
    uint32_t held = 0;
    int bits = 0;

    if (!strip_padding(&text))
        return FAIL(INVALID, "not base64");
    for (size_t i = 0; i < text.n; i++) {
        int value = letter_value(text.p[i]);

        if (value < 0)
            return FAIL(INVALID, "not base64");
        held = held << 6 | (uint32_t)value;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            b.p[b.n++] = (char)(held >> bits & 255);
        }
    }
    if (held & ((UINT32_C(1) << bits) - 1))
        return FAIL(INVALID, "not base64");
    buf_took(&b, 0);
    *ret = buf_view(&b);
    return OK;
}

struct str hex(struct str bytes, struct arena *arena)
{
    static const char digits[] = "0123456789abcdef";
    struct buf b = buf_new(arena, 2 * bytes.n);

    for (size_t i = 0; i < bytes.n; i++) {
        b.p[b.n++] = digits[(unsigned char)bytes.p[i] >> 4];
        b.p[b.n++] = digits[(unsigned char)bytes.p[i] & 15];
    }
    buf_took(&b, 0);
    return buf_view(&b);
}
