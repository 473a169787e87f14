/* Unfolds the rows of hostile.def. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/hostile.h"

/* Marks are bytes that occur in no row: BEGIN what MIDDLE number END; BODY before what Content-Length counts.
 */
enum { BEGIN = 0xf8, MIDDLE = 0xf9, END = 0xfa, BODY = 0xfb };
#define TIMES(what, n) "\xf8" what "\xf9" #n "\xfa"
#define GET_OK "GET /ok HTTP/1.1\r\nHost: localhost\r\n"
#define POST_ECHO "POST /echo HTTP/1.1\r\nHost: localhost\r\n"
#define POST_TE POST_ECHO "Transfer-Encoding: chunked\r\n\r\n"
#define JSON(body)                                                                                           \
    "POST /cart/items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\xfb" body
#define PRODUCT "018f3c2a-7b1e-7c3d-8e4f-a1b2c3d4e5f6"

const struct hostile hostile_table[] = {
#define HOSTILE(name, status, bytes) {#name, status, bytes, sizeof(bytes) - 1},
#include "tests/support/hostile.def"
#undef HOSTILE
};
const size_t hostile_count = sizeof(hostile_table) / sizeof(*hostile_table);

struct out {
    char *p;
    size_t n, cap;
};

static void put(struct out *out, const char *p, size_t n)
{
    if (out->n + n > out->cap) {
        out->cap = 2 * (out->n + n);
        out->p = realloc(out->p, out->cap);
        assert(out->p);
    }
    if (n > 0)
        memcpy(out->p + out->n, p, n);
    out->n += n;
}

/* The MIDDLE that belongs to the BEGIN before p. */
static const char *middle(const char *p)
{
    for (int depth = 0;; p++) {
        if ((unsigned char)*p == MIDDLE && depth-- == 0)
            return p;
        depth += (unsigned char)*p == BEGIN;
    }
}

static void unfold(struct out *out, const char *p, const char *end)
{
    while (p < end) {
        if ((unsigned char)*p != BEGIN) {
            put(out, p++, 1);
            continue;
        }
        const char *what_end = middle(p + 1);
        long times = strtol(what_end + 1, NULL, 10);

        for (long i = 0; i < times; i++)
            unfold(out, p + 1, what_end);
        p = (const char *)memchr(what_end, END, (size_t)(end - what_end)) + 1;
    }
}

char *hostile_bytes(const struct hostile *row, size_t *ret_n)
{
    const char *end = row->bytes + row->n, *body = memchr(row->bytes, BODY, row->n);
    struct out head = {0}, tail = {0};

    unfold(&head, row->bytes, body ? body : end);
    if (body) {
        char length[40];

        unfold(&tail, body + 1, end);
        put(&head, length, (size_t)sprintf(length, "Content-Length: %zu\r\n\r\n", tail.n));
        put(&head, tail.p, tail.n);
        free(tail.p);
    }
    *ret_n = head.n;
    return head.p;
}
