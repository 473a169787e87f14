/*
 * See revoked.h. Two tables, by session and by person; the oldest entries are dropped when they have no token
 * left to act on.
 */
#include "api/revoked.h"

#include <stdlib.h>

#include "api/door.h"
#include "api/idmap.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/message.h"

struct session {
    struct idmap_node node;
    int64_t noted_s;
};

struct person {
    struct idmap_node node;
    int64_t noted_s;
    enum role role;
    bool active;
    int64_t changed_ms;   /* of what is known here */
    int64_t void_until_s; /* tokens issued until then are void, also when the person is switched on again */
};

struct revoked {
    struct door *door;
    struct arena *scratch;
    struct idmap sessions, people;
    int64_t keep_s; /* how long an entry matters */
    void (*done)(void *data, err e);
    void *data;
};

static void drop_node(struct idmap_node *node)
{
    free(node);
}

struct revoked *revoked_new(struct door *door)
{
    struct revoked *revoked = calloc(1, sizeof(*revoked));
    if (!revoked)
        abort();
    revoked->door = door;
    revoked->scratch = arena_new(256 << 10);
    revoked->keep_s = JWT_LIFETIME_S + 2 * conf_int(SET_JWT_LEEWAY_S) + 60;
    idmap_init(&revoked->sessions, 0, drop_node);
    idmap_init(&revoked->people, 0, drop_node);
    return revoked;
}

struct revoked *revoked_free(struct revoked *revoked)
{
    if (!revoked)
        return NULL;
    idmap_deinit(&revoked->sessions);
    idmap_deinit(&revoked->people);
    arena_free(revoked->scratch);
    free(revoked);
    return NULL;
}

static int64_t now_s(void)
{
    return clock_ms() / 1000;
}

static void note_session(struct revoked *revoked, struct uuid id)
{
    struct session *s = idmap_use(&revoked->sessions, id);
    if (!s) {
        s = calloc(1, sizeof(*s));
        if (!s)
            abort();
        s->node.id = id;
        idmap_put(&revoked->sessions, &s->node);
    }
    s->noted_s = now_s();
    struct session *oldest;
    while ((oldest = (struct session *)revoked->sessions.oldest)->noted_s + revoked->keep_s < now_s())
        idmap_remove(&revoked->sessions, oldest->node.id);
}

static struct person *note_person(struct revoked *revoked, struct uuid id)
{
    struct person *p = idmap_use(&revoked->people, id);
    if (!p) {
        p = calloc(1, sizeof(*p));
        if (!p)
            abort();
        p->node.id = id;
        p->active = true;
        idmap_put(&revoked->people, &p->node);
    }
    p->noted_s = now_s();
    struct person *oldest;
    while ((oldest = (struct person *)revoked->people.oldest)->noted_s + revoked->keep_s < now_s())
        idmap_remove(&revoked->people, oldest->node.id);
    return p;
}

static void set_active(struct person *p, bool active, int64_t ms)
{
    p->active = active;
    p->changed_ms = ms;
    if (!active && ms / 1000 > p->void_until_s)
        p->void_until_s = ms / 1000;
}

/* ---- events ---- */

static void on_session_revoked(struct revoked *revoked, const void *data, int64_t ms)
{
    (void)ms;
    note_session(revoked, ((const struct user_session_revoked *)data)->session_id);
}

static void on_deactivated(struct revoked *revoked, const void *data, int64_t ms)
{
    set_active(note_person(revoked, ((const struct user_deactivated *)data)->user_id), false, ms);
}

static void on_updated(struct revoked *revoked, const void *data, int64_t ms)
{
    const struct user_updated *e = data;
    struct person *p = note_person(revoked, e->user_id);
    p->role = role_of(e->role);
    set_active(p, e->is_active, ms);
}

static const struct {
    enum message type;
    void (*apply)(struct revoked *revoked, const void *data, int64_t ms);
} handlers[] = {
    {USER_SESSION_REVOKED, on_session_revoked},
    {USER_DEACTIVATED, on_deactivated},
    {USER_UPDATED, on_updated},
};

void revoked_event(struct revoked *revoked, enum message type, struct str data, int64_t ms)
{
    for (size_t i = 0; i < sizeof(handlers) / sizeof(*handlers); i++) {
        const void *message;
        if (handlers[i].type != message_types[type].newest)
            continue;
        if (!failed(message_decode(type, data, revoked->scratch, &type, &message)))
            handlers[i].apply(revoked, message, ms);
        arena_reset(revoked->scratch);
    }
}

/* ---- from PostgreSQL ---- */

/* session; person, role, active, changed */
static const struct pg_stmt select_sessions = {
    "door_select_revoked_sessions",
    "SELECT id FROM door_session WHERE is_revoked AND updated_ms > $1::bigint"};
static const struct pg_stmt select_people = {
    "door_select_changed_people",
    "SELECT id, role, is_active, updated_ms FROM door_user WHERE updated_ms > $1::bigint"};

static void on_people(void *data, err e, struct pg_result *rows)
{
    struct revoked *revoked = data;
    for (int i = 0; !failed(e) && i < pg_rows(rows); i++) {
        struct person *p = note_person(revoked, pg_get_uuid(rows, i, 0));
        if (pg_get_int(rows, i, 3) < p->changed_ms)
            continue; /* an event told something newer */
        p->role = role_of(pg_get_str(rows, i, 1));
        set_active(p, pg_get_bool(rows, i, 2), pg_get_int(rows, i, 3));
    }
    revoked->done(revoked->data, e);
}

static void query(struct revoked *revoked, const struct pg_stmt *stmt, pg_fn *fn)
{
    struct pg_param since = pg_int(clock_ms() - revoked->keep_s * 1000);
    err e = pg_poll_query(revoked->door->pg, stmt, 1, &since, fn, revoked);
    if (failed(e))
        revoked->done(revoked->data, e);
}

static void on_sessions(void *data, err e, struct pg_result *rows)
{
    struct revoked *revoked = data;
    for (int i = 0; !failed(e) && i < pg_rows(rows); i++)
        note_session(revoked, pg_get_uuid(rows, i, 0));
    if (failed(e))
        revoked->done(revoked->data, e);
    else
        query(revoked, &select_people, on_people);
}

void revoked_load(struct revoked *revoked, void (*done)(void *data, err e), void *data)
{
    revoked->done = done;
    revoked->data = data;
    query(revoked, &select_sessions, on_sessions);
}

/* ---- checking ---- */

err revoked_check(const struct revoked *revoked, const struct claims *claims, enum role *ret_role)
{
    const struct person *p = idmap_peek(&revoked->people, claims->user);
    *ret_role = p && p->role != ROLE_NONE ? p->role : claims->role;
    if (idmap_peek(&revoked->sessions, claims->session))
        return FAIL(UNAUTHENTICATED, "The session has ended.");
    if (p && (!p->active || claims->issued <= p->void_until_s))
        return FAIL(UNAUTHENTICATED, "The account is switched off.");
    return OK;
}
