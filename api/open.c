/*
 * Opening sealed strings inside JSON that is about to be sent: one pass finds the persons, their keys are
 * looked up together, a second pass puts what each string holds in its place. A sealed string holds no
 * character that JSON escapes, so the text can be searched as it is. What cannot be opened (a destroyed key),
 * or is not for this reader, becomes null.
 */
#include "api/door.h"
#include "api/persons.h"
#include "bus/base/json.h"

enum { OPEN_PERSONS_MAX = 512 };

static const char mark[] = "\"sealed:1:";

struct opening {
    struct door *door; /* NULL: nothing is to be opened */
    struct str json;
    struct arena *arena;
    opened_fn *fn;
    void *data;
};

/* The next sealed string at or after *at, without quotes; *at is moved behind it. */
static bool next_sealed(struct str json, size_t *at, struct str *ret)
{
    const char *start = memmem(json.p + *at, json.n - *at, mark, sizeof(mark) - 1);
    if (!start)
        return false;
    const char *end = memchr(start + 1, '"', (size_t)(json.p + json.n - start) - 1);
    if (!end)
        return false;
    *ret = (struct str){start + 1, (size_t)(end - start) - 1};
    *at = (size_t)(end + 1 - json.p);
    return true;
}

static size_t find_persons(struct str json, struct uuid *ret)
{
    size_t at = 0, n = 0;
    struct str sealed;
    while (n < OPEN_PERSONS_MAX && next_sealed(json, &at, &sealed)) {
        struct uuid person;
        if (failed(seal_person(sealed, &person)))
            continue;
        size_t i = n;
        while (i > 0 && !uuid_eq(ret[i - 1], person))
            i--;
        if (i == 0)
            ret[n++] = person;
    }
    return n;
}

static struct str value_of(struct opening *o, struct str sealed)
{
    struct uuid person;
    struct str json;
    bool may = o->door && !failed(seal_person(sealed, &person));
    const struct seal_key *key = may ? person_key(o->door->persons, person) : NULL;
    if (!key || failed(seal_open(key, sealed, o->arena, &json)))
        return STR("null");
    return json;
}

static struct str with_values(struct opening *o)
{
    struct buf b = buf_new(o->arena, o->json.n);
    size_t from = 0, at = 0;
    struct str sealed;
    while (next_sealed(o->json, &at, &sealed)) {
        size_t quote = (size_t)(sealed.p - o->json.p) - 1;
        buf_str(&b, str_slice(o->json, from, quote));
        buf_str(&b, value_of(o, sealed));
        from = at;
    }
    buf_str(&b, str_slice(o->json, from, o->json.n));
    return buf_view(&b);
}

static void on_keys(void *data, err e)
{
    struct opening *o = data;
    o->fn(o->data, e, failed(e) ? STR_NONE : with_values(o));
}

void open_sealed(struct door *door, struct str json, struct arena *arena, opened_fn *fn, void *data)
{
    struct uuid persons[OPEN_PERSONS_MAX];
    size_t n = json.p ? find_persons(json, persons) : 0;
    if (!n) {
        fn(data, OK, json);
        return;
    }
    struct opening *o = arena_new_of(arena, struct opening);
    *o = (struct opening){.door = door, .json = json, .arena = arena, .fn = fn, .data = data};
    struct uuid *ids = arena_array(arena, struct uuid, n);
    memcpy(ids, persons, n * sizeof(*ids));
    persons_load(door->persons, ids, n, arena, on_keys, o);
}

struct str without_sealed(struct str json, struct arena *arena)
{
    struct opening o = {.json = json, .arena = arena};
    return with_values(&o);
}

struct answer_opened {
    struct request *req;
    int status;
};

static void on_opened(void *data, err e, struct str json)
{
    struct answer_opened *a = data;
    if (failed(e))
        respond_error(a->req, e);
    else
        respond(a->req, a->status, json);
}

void respond_opened(struct request *req, int status, struct str json)
{
    struct answer_opened *a = arena_new_of(req->arena, struct answer_opened);
    *a = (struct answer_opened){req, status};
    open_sealed(door_of(req), json, req->arena, on_opened, a);
}
