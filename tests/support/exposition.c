/* Reads a page line by line; families that were seen stay in a list, so that none comes back. */
#include "tests/support/exposition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAMILIES_MAX = 400, LINES_MAX = 20000, NAME_MAX_LENGTH = 120 };

static char fault[400];

struct reading {
    char families[FAMILIES_MAX][NAME_MAX_LENGTH];
    size_t n;
    char type[16]; /* of the last family; "": only its HELP was seen */
    bool values;   /* of the last family were seen */
    const char *lines[LINES_MAX];
    size_t lines_n;
    double bucket;   /* the last one's count */
    double infinite; /* the count of +Inf */
};

static bool complain(const char *what, const char *line)
{
    if (!fault[0])
        snprintf(fault, sizeof(fault), "%s: %.*s", what, (int)strcspn(line, "\n"), line);
    return false;
}

static size_t name_length(const char *p)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:";
    static const char all[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789";
    return strspn(p, first) ? strspn(p, all) : 0;
}

static bool take_help(struct reading *r, const char *line)
{
    size_t n = name_length(line + 7);
    if (!n || n >= NAME_MAX_LENGTH || line[7 + n] != ' ' || line[8 + n] == '\n')
        return complain("HELP without a text", line);
    for (size_t i = 0; i < r->n; i++)
        if (strlen(r->families[i]) == n && memcmp(r->families[i], line + 7, n) == 0)
            return complain("a family in two pieces", line);
    if (r->n == FAMILIES_MAX)
        return complain("too many families", line);
    memcpy(r->families[r->n], line + 7, n);
    r->families[r->n++][n] = 0;
    r->type[0] = 0;
    r->values = false;
    return true;
}

static bool take_type(struct reading *r, const char *line)
{
    const char *family = r->n ? r->families[r->n - 1] : "";
    size_t n = strlen(family);
    if (!n || strncmp(line + 7, family, n) != 0 || line[7 + n] != ' ' || r->type[0] || r->values)
        return complain("TYPE does not follow its HELP", line);
    snprintf(r->type, sizeof(r->type), "%.*s", (int)strcspn(line + 8 + n, "\n"), line + 8 + n);
    bool total = n > 6 && strcmp(family + n - 6, "_total") == 0;
    if (strcmp(r->type, "counter") != 0 && strcmp(r->type, "gauge") != 0 && strcmp(r->type, "histogram") != 0)
        return complain("an unknown type", line);
    return total == (strcmp(r->type, "counter") == 0) ||
           complain("counters, and they alone, end in _total", line);
}

/* Over "{a="b",c="d"}"; NULL when it is not so. */
static const char *skip_labels(const char *p)
{
    if (*p != '{')
        return p;
    for (p++; *p != '}'; p += *p == ',') {
        size_t n = name_length(p);
        if (!n || memchr(p, ':', n) || p[n] != '=' || p[n + 1] != '"')
            return NULL;
        for (p += n + 2; *p != '"'; p++) {
            if (*p == '\\')
                p++;
            if (*p == '\n' || !*p)
                return NULL;
        }
        p++;
        if (*p != ',' && *p != '}')
            return NULL;
    }
    return p + 1;
}

static bool repeats(struct reading *r, const char *line, size_t n)
{
    for (size_t i = 0; i < r->lines_n; i++)
        if (strncmp(r->lines[i], line, n) == 0 && r->lines[i][n] == ' ')
            return true;
    if (r->lines_n < LINES_MAX)
        r->lines[r->lines_n++] = line;
    return false;
}

/* What follows the family's name in the name of a histogram's value. */
static bool take_part(struct reading *r, const char *part, const char *line, double value)
{
    if (strncmp(part, "_bucket{", 8) == 0) {
        bool last = strstr(part, "le=\"+Inf\"") && strstr(part, "le=\"+Inf\"") < part + strcspn(part, "\n");
        if (value < r->bucket)
            return complain("buckets fall", line);
        r->bucket = last ? 0 : value;
        r->infinite = last ? value : -1;
        return true;
    }
    if (strncmp(part, "_sum", 4) == 0)
        return r->infinite >= 0 || complain("no +Inf", line);
    return (strncmp(part, "_count", 6) == 0 && value == r->infinite) || complain("count is not +Inf", line);
}

static bool take_value(struct reading *r, const char *line)
{
    const char *family = r->n ? r->families[r->n - 1] : "?";
    size_t n = name_length(line), f = strlen(family);
    const char *end = n ? skip_labels(line + n) : NULL;
    char *after;
    if (!end || *end != ' ')
        return complain("not a value", line);
    double value = strtod(end + 1, &after);
    if (after == end + 1 || *after != '\n')
        return complain("not a number", line);
    if (!r->type[0] || strncmp(line, family, f) != 0)
        return complain("a value outside its family", line);
    if (repeats(r, line, (size_t)(end - line)))
        return complain("a value twice", line);
    r->values = true;
    if (strcmp(r->type, "histogram") == 0)
        return take_part(r, line + f, line, value);
    return (n == f && (value >= 0 || strcmp(r->type, "gauge") == 0)) ||
           complain("a value of another family", line);
}

const char *exposition_fault(const char *page)
{
    struct reading *r = calloc(1, sizeof(*r));
    bool good = true;
    fault[0] = 0;
    for (const char *line = page; good && *line; line += strcspn(line, "\n") + 1) {
        if (!strchr(line, '\n'))
            good = complain("the last line does not end", line);
        else if (strncmp(line, "# HELP ", 7) == 0)
            good = take_help(r, line);
        else if (strncmp(line, "# TYPE ", 7) == 0)
            good = take_type(r, line);
        else
            good = take_value(r, line);
    }
    free(r);
    return fault[0] ? fault : NULL;
}

size_t exposition_values(const char *page)
{
    size_t n = 0;
    for (const char *line = page; *line; line += strcspn(line, "\n") + 1) {
        n += *line != '#';
        if (!strchr(line, '\n'))
            break;
    }
    return n;
}

double exposition_value(const char *page, const char *beginning)
{
    for (const char *at = page; (at = strstr(at, beginning)); at++) {
        if (at != page && at[-1] != '\n')
            continue;
        const char *end = skip_labels(at + name_length(at));
        return end ? strtod(end, NULL) : -1;
    }
    return -1;
}
