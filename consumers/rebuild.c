/*
 * The course of a rebuild: refuse what makes no sense, begin a generation or go on with one, fill, and then
 * either swap or compare. The live group is not disturbed while the copies are filled. For the swap its
 * offset rows are locked, so it stands still, the last events are filled in, and one transaction exchanges
 * the tables and the positions; a crash before its commit leaves the live model and the copies as they were,
 * a crash after it leaves old tables to be dropped by the next call. To compare, nobody stands still: a
 * snapshot of the live tables is kept open while the copies are brought to exactly its positions.
 */
#include "consumers/rebuild.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/fault.h"
#include "bus/base/json.h"
#include "bus/meta.h"

enum { CATCH_UP_MS = 2000, RETRY_MS = 500, LOCK_MS = 3000 };

/* Readers queue behind a lock that waits: better to let go soon and ask again. */
static const char owner_setup[] = "SET lock_timeout = '300ms'";
static const char snapshot_setup[] = "SET default_transaction_isolation = 'repeatable read'";

struct rebuild {
    const struct rebuild_options *options;
    const struct group *group;
    const atomic_bool *stop;
    struct arena *arena;
    struct pg *lock; /* holds the advisory lock */
    struct pg *pg;   /* what happens once per generation */
    struct filling filling;
    bool differs;
};

/* ---- what is refused ---- */

static err check_group(const struct rebuild *r)
{
    const struct group *group = r->group;
    if (!group)
        return FAIL(INVALID, "there is no group %s", r->options->group);
    if (group_handles_commands(group))
        return FAIL(
            INVALID,
            "%s handles commands: its rows come from them, and the log holds events only; it cannot be"
            " rebuilt",
            group->name);
    if (!group->tables || !group->tables[0])
        return FAIL(INVALID, "%s has no tables to rebuild", group->name);
    if (group->effects != EFFECTS_NONE && !r->options->forced)
        return FAIL(
            INVALID,
            "%s has effects beyond its own tables (%s); --force rebuilds its tables and repeats none of"
            " the effects",
            group->name, group->effects == EFFECTS_EXTERNAL ? "external" : "internal");
    return OK;
}

/* Another program has other handlers: what one began another must not go on with. The crc32c of the
 * executable tells them apart. */
static err build_of_this(struct arena *arena, struct str *ret)
{
    struct stat st;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return FAIL(CONFIG, "/proc/self/exe cannot be read");
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        return FAIL(CONFIG, "/proc/self/exe cannot be read");
    *ret = arena_printf(arena, "%08x", (unsigned)crc32c((struct str){bytes, (size_t)st.st_size}));
    munmap(bytes, (size_t)st.st_size);
    return OK;
}

/* ---- a generation ---- */

static bool goes_on(const struct rebuild_row *row, const struct rebuild *r, struct str build)
{
    return row->filling && row->verify == r->options->verify && str_eq(row->build, build);
}

static err begin_or_go_on(struct rebuild *r, const struct rebuild_row *row)
{
    struct str build;
    TRY(build_of_this(r->arena, &build));
    if (goes_on(row, r, build))
        return OK;
    TRY(store_obstacle(r->pg, r->group, r->arena));
    return store_begin(r->pg, r->group, r->options->verify, build, r->arena);
}

/* Whatever was open on the connections is void, and what the fillers believed with it. */
static err reopen(struct rebuild *r)
{
    r->pg = pg_close(r->pg);
    filling_close(&r->filling);
    TRY(store_open(owner_setup, &r->pg));
    return filling_open(&r->filling, r->group, r->stop);
}

static err fill(struct rebuild *r, const struct positions *limit, int64_t deadline_ms)
{
    r->filling.limit = limit;
    r->filling.deadline_ms = deadline_ms;
    return filling_run(&r->filling);
}

/* ---- swapping ---- */

static err try_swap(struct rebuild *r)
{
    struct positions live;
    TRY(store_live(r->pg, r->group->name, true, &live));
    TRY(fill(r, &live, clock_mono_ms() + CATCH_UP_MS));
    if (FAULT(REBUILD_FENCED))
        return FAIL(PG_DOWN, "fault injected before the swap");
    return store_swap(r->pg, r->group->name);
}

/* What is left after a swap; tables that somebody still looks at are dropped a moment later. */
static err clean_up(struct rebuild *r, struct str result)
{
    err e = store_end(r->pg, r->group->name, "done", result);
    for (int tries = 0; e.code == ERR_PG_RETRY && tries < 8 && !atomic_load(r->stop); tries++) {
        clock_sleep_ms(backoff_ms(tries, 20, RETRY_MS));
        e = store_end(r->pg, r->group->name, "done", result);
    }
    return e;
}

/* A reader with a long transaction, or a live group too fast to be caught up with in time: let go, fill on,
 * and try again. */
static err swap(struct rebuild *r)
{
    TRY(fill(r, NULL, 0));
    TRY(store_analyze(r->pg, r->group, r->arena));
    err e = try_swap(r);
    for (int tries = 0; e.code == ERR_PG_RETRY; tries++) {
        TRY(reopen(r));
        clock_sleep_ms(backoff_ms(tries < 6 ? tries : 6, 20, RETRY_MS));
        TRY(fill(r, NULL, 0));
        e = try_swap(r);
    }
    TRY(e);
    if (FAULT(REBUILD_SWAPPED))
        return FAIL(PG_DOWN, "fault injected after the swap");
    return clean_up(r, STR_NONE);
}

/* ---- comparing ---- */

static err compare_table(struct rebuild *r, struct pg *snapshot, const char *name, struct json *j)
{
    struct table_hash live, rebuilt;
    struct str schema = arena_printf(r->arena, "rebuild_%s", r->group->name);
    TRY(store_hash(snapshot, "public", name, r->arena, &live));
    TRY(store_hash(r->pg, schema.p, name, r->arena, &rebuilt));
    bool same = live.rows == rebuilt.rows && str_eq(live.hash, rebuilt.hash);
    r->differs |= !same;
    json_open(j, '{');
    json_kstr(j, "table", str_of(name));
    json_kbool(j, "same", same);
    json_kint(j, "rows", live.rows);
    json_kstr(j, "hash", live.hash);
    json_kint(j, "rebuilt_rows", rebuilt.rows);
    json_kstr(j, "rebuilt_hash", rebuilt.hash);
    json_close(j, '}');
    return OK;
}

static err compare(struct rebuild *r, struct pg *snapshot)
{
    struct positions live;
    struct buf result = buf_new(r->arena, 1024);
    struct json j = json_on(&result);
    TRY(store_live(snapshot, r->group->name, false, &live));
    TRY(fill(r, &live, 0));
    json_open(&j, '[');
    for (const struct table *const *t = r->group->tables; *t; t++)
        TRY(compare_table(r, snapshot, (*t)->name, &j));
    json_close(&j, ']');
    TRY(store_release(r->pg));
    TRY(store_release(snapshot));
    return clean_up(r, buf_view(&result));
}

/* The copies may never be ahead of the snapshot, so most of the log is filled up to where the live group is
 * now, before the snapshot is opened. */
static err verify(struct rebuild *r)
{
    struct positions live;
    struct pg *snapshot = NULL;
    TRY(store_live(r->pg, r->group->name, false, &live));
    TRY(store_release(r->pg));
    TRY(fill(r, &live, 0));
    TRY(store_open(snapshot_setup, &snapshot));
    err e = compare(r, snapshot);
    pg_close(snapshot);
    return e;
}

/* ---- the whole ---- */

/* Somebody who has just been killed holds the lock until PostgreSQL notices. */
static err be_alone(struct rebuild *r)
{
    bool alone;
    int64_t until = clock_mono_ms() + LOCK_MS;
    TRY(store_lock(r->lock, r->group->name, &alone));
    while (!alone && clock_mono_ms() < until && !atomic_load(r->stop)) {
        clock_sleep_ms(backoff_ms(3, 10, RETRY_MS));
        TRY(store_lock(r->lock, r->group->name, &alone));
    }
    return alone ? OK : FAIL(CONFLICT, "%s is being rebuilt by somebody else", r->group->name);
}

static err rebuild_locked(struct rebuild *r)
{
    struct rebuild_row row;
    TRY(be_alone(r));
    TRY(store_read(r->pg, r->group->name, r->arena, &row));
    if (row.swapped) /* killed between its swap and its end: all but the old tables is done */
        return clean_up(r, STR_NONE);
    TRY(begin_or_go_on(r, &row));
    TRY(filling_open(&r->filling, r->group, r->stop));
    return r->options->verify ? verify(r) : swap(r);
}

static err rebuild(struct rebuild *r)
{
    TRY(check_group(r));
    TRY(store_open(NULL, &r->lock));
    TRY(store_open(owner_setup, &r->pg));
    TRY(meta_check_pg(r->pg));
    return rebuild_locked(r);
}

int rebuild_run(const struct rebuild_options *options, const atomic_bool *stop)
{
    struct rebuild r = {.options = options,
                        .group = group_find(options->group),
                        .stop = stop,
                        .arena = arena_new((size_t)64 << 20),
                        .filling = {.rate = options->rate}};
    err e = rebuild(&r);
    if (failed(e))
        fprintf(stderr, "daydream-consumers: %s\n", err_text(e));
    filling_close(&r.filling);
    pg_close(r.pg);
    pg_close(r.lock);
    arena_free(r.arena);
    if (!failed(e))
        return r.differs ? REBUILD_DIFFERS : REBUILD_OK;
    return err_class_of(e.code) == ERR_CLASS_RETRY ? REBUILD_SERVERS : REBUILD_REFUSED;
}
