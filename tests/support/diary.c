/* See diary.h. */
#include "tests/support/diary.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/verbs.h"

struct entry {
    char id[ID_TEXT];
    int at; /* as it came, from 0 */
};

struct diary {
    pthread_mutex_t lock;
    struct entry *entries;
    int n, cap;
};

struct diary *diary_new(void)
{
    struct diary *diary = calloc(1, sizeof(*diary));

    assert(diary);
    pthread_mutex_init(&diary->lock, NULL);
    return diary;
}

struct diary *diary_free(struct diary *diary)
{
    if (!diary)
        return NULL;
    pthread_mutex_destroy(&diary->lock);
    free(diary->entries);
    free(diary);
    return NULL;
}

void diary_add(struct diary *diary, const char *id)
{
    pthread_mutex_lock(&diary->lock);
    if (diary->n == diary->cap) {
        diary->cap = diary->cap ? diary->cap * 2 : 256;
        diary->entries = realloc(diary->entries, (size_t)diary->cap * sizeof(*diary->entries));
        assert(diary->entries);
    }
    struct entry *entry = &diary->entries[diary->n];
    entry->at = diary->n++;
    snprintf(entry->id, sizeof(entry->id), "%s", id);
    pthread_mutex_unlock(&diary->lock);
}

int diary_count(struct diary *diary)
{
    pthread_mutex_lock(&diary->lock);
    int n = diary->n;
    pthread_mutex_unlock(&diary->lock);
    return n;
}

bool diary_reaches(struct diary *diary, int n, int64_t within_ms)
{
    int64_t until = shop_now_ms() + within_ms;

    while (diary_count(diary) < n)
        if (shop_now_ms() > until)
            return false;
        else
            shop_nap();
    return true;
}

/* ---- against the log ---- */

static int by_id(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = strcmp(x->id, y->id);

    return order ? order : (x->at > y->at) - (x->at < y->at);
}

/* When it came first; -1: never. The entries are sorted. */
static int first_came(const struct diary *diary, const char *id)
{
    int low = 0, high = diary->n;

    while (low < high) {
        int middle = (low + high) / 2;

        if (strcmp(diary->entries[middle].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < diary->n && strcmp(diary->entries[low].id, id) == 0 ? diary->entries[low].at : -1;
}

/* rows: "id key" lines, ordered by topic, key, seq. */
static int compare(const struct diary *diary, char *rows)
{
    char *line, before[200] = "";
    int missed = 0, last = -1;

    while ((line = strsep(&rows, "\n")) && *line) {
        char *key = strchr(line, ' ');
        *key++ = 0;
        int at = first_came(diary, line);
        if (strcmp(before, key) != 0)
            last = -1;
        snprintf(before, sizeof(before), "%s", key);
        if ((at < 0 || at < last) && missed++ < 3)
            fprintf(stderr, "event %s of %s %s\n", line, key, at < 0 ? "never came" : "came too late");
        last = at;
    }
    return missed;
}

int diary_missed(struct diary *diary, struct shop *shop, const char *where)
{
    char *rows = shop_sql_text(shop,
                               "SELECT string_agg(id || ' ' || topic || '/' || partitionkey, E'\\n'"
                               " ORDER BY topic, partitionkey, seq) FROM event_log WHERE %s",
                               where);

    pthread_mutex_lock(&diary->lock);
    qsort(diary->entries, (size_t)diary->n, sizeof(*diary->entries), by_id);
    int missed = compare(diary, rows);
    pthread_mutex_unlock(&diary->lock);
    free(rows);
    return missed;
}
