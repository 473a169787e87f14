/*
 * Commands as RESP2 bytes: "*<words>\r\n" and per word "$<bytes>\r\n<the bytes>\r\n", straight into the
 * output buffer.
 */
#include <stdio.h>

#include "bus/redis/internal.h"

enum { HEADER = 24, PIECES = 8, FIFO_KEEP = 1 << 20 };

char *fifo_reserve(struct fifo *f, size_t n)
{
    if (f->start == f->end)
        f->start = f->end = 0;
    if (f->cap - f->end >= n)
        return f->p + f->end;
    if (f->start >= f->cap / 2 && f->cap - fifo_n(f) >= n) {
        memmove(f->p, f->p + f->start, fifo_n(f));
        f->end -= f->start;
        f->start = 0;
        return f->p + f->end;
    }
    size_t cap = f->cap ? f->cap : 4096;
    while (cap - f->end < n)
        cap *= 2;
    f->p = realloc(f->p, cap);
    if (!f->p)
        abort();
    f->cap = cap;
    return f->p + f->end;
}

void fifo_put(struct fifo *f, const void *p, size_t n)
{
    char *to = fifo_reserve(f, n);
    if (n)
        memcpy(to, p, n);
    f->end += n;
}

void fifo_take(struct fifo *f, size_t n)
{
    assert(n <= fifo_n(f));
    f->start += n;
    if (f->start == f->end)
        fifo_clear(f);
}

void fifo_clear(struct fifo *f)
{
    f->start = f->end = 0;
    if (f->cap > FIFO_KEEP) { /* one great burst does not cost memory for ever */
        free(f->p);
        *f = (struct fifo){0};
    }
}

/* Writes mark, decimal n, CR LF; returns the end. to has room for HEADER bytes. */
static char *put_count(char *to, char mark, size_t n)
{
    char digits[20];
    size_t i = sizeof(digits);
    do
        digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    *to++ = mark;
    memcpy(to, digits + i, sizeof(digits) - i);
    to += sizeof(digits) - i;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

void encode_count(struct fifo *out, char mark, size_t n)
{
    char *to = fifo_reserve(out, HEADER);
    out->end += (size_t)(put_count(to, mark, n) - to);
}

void encode_words(struct fifo *out, size_t n, const struct str *words)
{
    size_t room = 0;
    for (size_t i = 0; i < n; i++)
        room += words[i].n + HEADER + 2;
    char *from = fifo_reserve(out, room), *to = from;
    for (size_t i = 0; i < n; i++) {
        to = put_count(to, '$', words[i].n);
        if (words[i].n)
            memcpy(to, words[i].p, words[i].n);
        to += words[i].n;
        *to++ = '\r';
        *to++ = '\n';
    }
    out->end += (size_t)(to - from);
}

/* A word of a template: literal text and conversions, in order. */
struct word {
    struct str piece[PIECES];
    char digits[PIECES][24];
    size_t pieces, n;
};

static void word_add(struct word *w, struct str s)
{
    assert(w->pieces < PIECES);
    w->piece[w->pieces++] = s;
    w->n += s.n;
}

static void word_convert(struct word *w, char conversion, va_list *args)
{
    if (conversion == 's') {
        word_add(w, str_of(va_arg(*args, const char *)));
    } else if (conversion == 'b') {
        word_add(w, va_arg(*args, struct str));
    } else {
        assert(conversion == 'd');
        assert(w->pieces < PIECES);
        char *digits = w->digits[w->pieces];
        int n = snprintf(digits, sizeof(w->digits[0]), "%lld", (long long)va_arg(*args, int64_t));
        word_add(w, (struct str){digits, (size_t)n});
    }
}

/* Reads the word at p; returns where it ends: at a space or the NUL. */
static const char *word_read(struct word *w, const char *p, va_list *args)
{
    w->pieces = w->n = 0;
    while (*p && *p != ' ') {
        if (*p == '%') {
            word_convert(w, p[1], args);
            p += 2;
        } else {
            size_t n = strcspn(p, " %");
            word_add(w, (struct str){p, n});
            p += n;
        }
    }
    return p;
}

static void word_write(struct fifo *out, const struct word *w)
{
    char *from = fifo_reserve(out, w->n + HEADER + 2), *to = put_count(from, '$', w->n);
    for (size_t i = 0; i < w->pieces; i++) {
        if (w->piece[i].n)
            memcpy(to, w->piece[i].p, w->piece[i].n);
        to += w->piece[i].n;
    }
    *to++ = '\r';
    *to++ = '\n';
    out->end += (size_t)(to - from);
}

void encode_format(struct fifo *out, const char *format, va_list *args)
{
    size_t words = 1;
    for (const char *p = format; *p; p++)
        words += *p == ' ';
    encode_count(out, '*', words);
    struct word w;
    for (const char *p = format; *p;) {
        p = word_read(&w, p, args);
        assert(w.pieces > 0); /* two spaces in a row, or one at the end */
        word_write(out, &w);
        p += *p == ' ';
    }
}
