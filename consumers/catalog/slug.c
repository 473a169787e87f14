/*
 * Slugs: names as they may stand in an address. Letters of Spanish and its neighbours lose their accents,
 * whether these are part of the letter (Latin-1) or stand behind it (combining marks); everything else
 * separates words.
 */
#include "consumers/catalog/catalog.h"

enum { LATIN_FIRST = 0xc0, LATIN_LAST = 0xff, MARK_FIRST = 0x300, MARK_LAST = 0x36f };

/* U+00C0 to U+00FF; empty: separates. */
static const char folded[LATIN_LAST - LATIN_FIRST + 1][3] = {
    "a", "a", "a", "a", "a", "a", "ae", "c", "e", "e", "e", "e", "i", "i", "i",  "i",  /* À to Ï */
    "d", "n", "o", "o", "o", "o", "o",  "",  "o", "u", "u", "u", "u", "y", "th", "ss", /* Ð to ß */
    "a", "a", "a", "a", "a", "a", "ae", "c", "e", "e", "e", "e", "i", "i", "i",  "i",  /* à to ï */
    "d", "n", "o", "o", "o", "o", "o",  "",  "o", "u", "u", "u", "u", "y", "th", "y",  /* ð to ÿ */
};

/* What one character contributes: letters and digits; "" for a separator; absent for a mark, which counts as
 * nothing. */
static struct str fold(struct str character)
{
    static const char lower[] = "abcdefghijklmnopqrstuvwxyz", digits[] = "0123456789";
    char c = character.p[0];
    if (character.n == 1 && c >= '0' && c <= '9')
        return (struct str){&digits[c - '0'], 1};
    if (character.n == 1 && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
        return (struct str){&lower[(c | 0x20) - 'a'], 1};
    if (character.n != 2)
        return STR("");
    unsigned point = ((unsigned)c & 0x1f) << 6 | ((unsigned)character.p[1] & 0x3f);
    if (point >= MARK_FIRST && point <= MARK_LAST)
        return STR_NONE;
    return point >= LATIN_FIRST && point <= LATIN_LAST ? str_of(folded[point - LATIN_FIRST]) : STR("");
}

struct str slug_make(struct str name, struct arena *arena)
{
    struct buf slug = buf_new(arena, SLUG_MADE);
    bool gap = false;
    for (size_t at = 0, n; at < name.n; at += n) {
        n = utf8_sequence(str_slice(name, at, name.n));
        n = n ? n : 1; /* not UTF-8: separates */
        struct str letters = fold(str_slice(name, at, at + n));
        if (letters.p && letters.n == 0)
            gap = true;
        if (letters.n == 0)
            continue;
        if (slug.n + gap + letters.n > SLUG_MADE)
            break;
        if (gap && slug.n)
            buf_char(&slug, '-');
        buf_str(&slug, letters);
        gap = false;
    }
    return buf_view(&slug);
}

/* The end of an id is the part that is different in every one. */
struct str slug_with_suffix(struct str slug, struct uuid id, struct arena *arena)
{
    enum { SUFFIX = 8 };
    char text[UUID_TEXT + 1];
    uuid_print(id, text);
    return arena_printf(arena, "%.*s-%s", STR_ARG(slug.n ? slug : STR("product")), text + UUID_TEXT - SUFFIX);
}
