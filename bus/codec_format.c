/*
 * The formats a string may have. Pragmatic rather than complete: what passes is safe to store, to compare and
 * to hand to the outside; every check is linear in a text whose length is already bounded.
 */
#include "bus/base/clock.h"
#include "bus/base/money.h"
#include "bus/codec_read.h"

enum { EMAIL_MAX = 254, EMAIL_LOCAL_MAX = 64, LABEL_MAX = 63, URI_MAX = 2048 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_alnum(char c)
{
    return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z');
}

/* The atoms of RFC 5321 and dots; dots neither first, last nor doubled. No quoted forms. */
static bool is_email_local(struct str s)
{
    if (s.n == 0 || s.n > EMAIL_LOCAL_MAX || s.p[0] == '.' || s.p[s.n - 1] == '.')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && !memchr("!#$%&'*+-/=?^_`{|}~.", s.p[i], 20))
            return false;
        if (s.p[i] == '.' && s.p[i - 1] == '.')
            return false;
    }
    return true;
}

/* Letters, digits and inner hyphens. */
static bool is_label(struct str s)
{
    if (s.n == 0 || s.n > LABEL_MAX || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    return true;
}

/* At least two labels; the last one is not all digits. */
static bool is_domain(struct str s)
{
    size_t labels = 0;
    for (;;) {
        size_t dot = str_find(s, '.');
        if (!is_label(str_slice(s, 0, dot)))
            return false;
        labels++;
        if (dot == s.n)
            return labels > 1 && !is_digit(s.p[s.n - 1]);
        s = str_slice(s, dot + 1, s.n);
    }
}

static bool is_email(struct str s)
{
    size_t at = str_find(s, '@');
    return s.n <= EMAIL_MAX && at < s.n && is_email_local(str_slice(s, 0, at)) &&
           is_domain(str_slice(s, at + 1, s.n));
}

static bool is_date_time(struct str s)
{
    int64_t ms;
    return !failed(clock_parse(s, &ms));
}

/* A day of the calendar: exactly what may stand before a time. */
static bool is_date(struct str s)
{
    char text[] = "YYYY-MM-DDT00:00:00Z";
    if (s.n != 10)
        return false;
    memcpy(text, s.p, s.n);
    return is_date_time(str_of(text));
}

static bool is_slug(struct str s)
{
    if (s.n == 0 || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_lower(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '-')
            return false;
        if (s.p[i] == '-' && s.p[i - 1] == '-')
            return false;
    }
    return true;
}

static bool is_currency(struct str s)
{
    return money_decimals(s) >= 0;
}

/* An http or https address with a host; printable ASCII, the rest must be percent-encoded already. */
static bool is_uri(struct str s)
{
    size_t start = str_starts(s, STR("https://")) ? 8 : str_starts(s, STR("http://")) ? 7 : 0;
    if (start == 0 || s.n <= start || s.n > URI_MAX || memchr("/?#:@", s.p[start], 5))
        return false;
    for (size_t i = start; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || memchr("\"<>\\^`{|}", s.p[i], 9))
            return false;
    return true;
}

const char *codec_format_fault(enum field_format format, struct str text)
{
    static const struct {
        bool (*is)(struct str text);
        const char *sentence;
    } formats[] = {
        [FORMAT_EMAIL] = {is_email, "must be an e-mail address"},
        [FORMAT_DATE] = {is_date, "must be a date like 2026-11-22"},
        [FORMAT_DATE_TIME] = {is_date_time, "must be a time like 2026-11-22T20:30:00Z"},
        [FORMAT_SLUG] = {is_slug, "must be lower case letters and digits, joined by single hyphens"},
        [FORMAT_CURRENCY] = {is_currency, "must be a currency code like CLP"},
        [FORMAT_URI] = {is_uri, "must be an http or https address"},
    };
    if (format == FORMAT_NONE || formats[format].is(text))
        return NULL;
    return formats[format].sentence;
}
