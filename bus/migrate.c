/*
 * Applying and undoing migrations. All of it happens under a session's advisory lock; the lock goes with the
 * connection, so a killed migration leaves nothing behind.
 */
#include "bus/migrate.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/base/clock.h"
#include "bus/base/seal.h"
#include "bus/topics.h"

enum { FILE_MAX = 4 << 20, SCRATCH = 64 << 20, MIGRATIONS_MAX = 1000, NAME_BYTES = 128 };

/* ---- files ---- */

static err file_read(const char *folder, struct str name, const char *suffix, struct arena *arena,
                     struct str *ret)
{
    struct str path = arena_printf(arena, "%s/%.*s.%s.sql", folder, STR_ARG(name), suffix);
    FILE *file = fopen(path.p, "re");
    if (!file)
        return FAIL(CONFIG, "cannot read %s", path.p);
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    bool fits = size >= 0 && size <= FILE_MAX && fseek(file, 0, SEEK_SET) == 0;
    char *text = arena_alloc(arena, fits ? (size_t)size + 1 : 1);
    size_t n = fits ? fread(text, 1, (size_t)size, file) : 0;
    fclose(file);
    if (!fits || n != (size_t)size || memchr(text, 0, n))
        return FAIL(CONFIG, "%s is too large or not text", path.p);
    *ret = (struct str){text, n};
    return OK;
}

/* "0007_what.up.sql" → 7; 0 when it is no such name. */
static int file_version(struct str file, struct str *ret_name)
{
    struct str suffix = STR(".up.sql");
    if (file.n < 5 + suffix.n || file.n >= NAME_BYTES || file.p[4] != '_' ||
        !str_eq(str_slice(file, file.n - suffix.n, file.n), suffix))
        return 0;
    *ret_name = str_slice(file, 0, file.n - suffix.n);
    int version = 0;
    for (size_t i = 0; i < ret_name->n; i++) {
        char c = ret_name->p[i];
        if (i < 4 && (c < '0' || c > '9'))
            return 0;
        if (i > 4 && !(c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
            return 0;
        if (i < 4)
            version = version * 10 + (c - '0');
    }
    return version;
}

static void sha256_hex(struct str text, char ret[static 65], struct arena *arena)
{
    unsigned char digest[32];
    int done = EVP_Digest(text.p, text.n, digest, NULL, EVP_sha256(), NULL);
    assert(done == 1);
    memcpy(ret, hex((struct str){(const char *)digest, sizeof(digest)}, arena).p, 65);
}

static int by_version(const void *a, const void *b)
{
    const struct migration *x = a, *y = b;
    return (x->version > y->version) - (x->version < y->version);
}

static err files_list(const char *folder, struct arena *arena, struct migration *list, size_t *ret_n)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return FAIL(CONFIG, "cannot read the folder of migrations, %s", folder);
    size_t n = 0;
    for (struct dirent *entry; n < MIGRATIONS_MAX && (entry = readdir(dir));) {
        struct str name;
        int version = file_version(str_of(entry->d_name), &name);
        if (version > 0)
            list[n++] = (struct migration){.version = version, .name = arena_str(arena, name)};
    }
    closedir(dir);
    qsort(list, n, sizeof(*list), by_version);
    for (size_t i = 0; i < n; i++) {
        struct str text;
        if (i > 0 && list[i].version == list[i - 1].version)
            return FAIL(CONFIG, "two migrations have the number %04d", list[i].version);
        TRY(file_read(folder, list[i].name, "up", arena, &text));
        sha256_hex(text, list[i].sha, arena);
    }
    *ret_n = n;
    return OK;
}

/* ---- rows ---- */

static const struct pg_stmt has_table = {"migrate_has_table",
                                         "SELECT to_regclass('schema_migration') IS NOT NULL"};
static const struct pg_stmt select_rows = {
    "migrate_rows", "SELECT version, name, sha256, applied_ms FROM schema_migration ORDER BY 1"};

static void row_merge(struct migration *list, size_t *n, const struct migration *row)
{
    for (size_t i = 0; i < *n; i++)
        if (list[i].version == row->version) {
            bool same = strcmp(list[i].sha, row->sha) == 0;
            list[i].state = same ? MIGRATION_APPLIED : MIGRATION_CHANGED;
            list[i].applied_ms = row->applied_ms;
            return;
        }
    list[(*n)++] = *row;
}

static err rows_merge(struct pg *pg, struct arena *arena, struct migration *list, size_t *n)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(pg_call(pg, &has_table, 0, NULL, &result));
    bool made = pg_get_bool(result, 0, 0);
    result = pg_result_free(result);
    if (!made)
        return OK;
    TRY(pg_call(pg, &select_rows, 0, NULL, &result));
    for (int i = 0; i < pg_rows(result) && i < MIGRATIONS_MAX; i++) {
        struct migration row = {.version = (int)pg_get_int(result, i, 0),
                                .name = arena_str(arena, pg_get_str(result, i, 1)),
                                .state = MIGRATION_NO_FILE,
                                .applied_ms = pg_get_int(result, i, 3)};
        struct str sha = pg_get_str(result, i, 2);
        memcpy(row.sha, sha.p, sha.n < 64 ? sha.n : 64);
        row_merge(list, n, &row);
    }
    qsort(list, *n, sizeof(*list), by_version);
    return OK;
}

err migrate_list(struct pg *pg, const char *folder, struct arena *arena, struct migration **ret,
                 size_t *ret_n)
{
    *ret = arena_array(arena, struct migration, 2 * MIGRATIONS_MAX);
    *ret_n = 0;
    TRY(files_list(folder, arena, *ret, ret_n));
    return rows_merge(pg, arena, *ret, ret_n);
}

/* ---- under the lock ---- */

static const char lock_sql[] = "SELECT pg_advisory_lock(7310867465134661)";
static const struct pg_stmt unlock = {"migrate_unlock", "SELECT pg_advisory_unlock(7310867465134661)"};
static const char table_sql[] =
    "CREATE TABLE IF NOT EXISTS schema_migration ("
    " version int PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_ms bigint NOT NULL);"
    "GRANT SELECT ON schema_migration TO PUBLIC";
static const struct pg_stmt fix_meta = {
    "migrate_fix_meta", "INSERT INTO bus_meta (name, value) VALUES ('partitions', $1::text), ('format', '1')"
                        " ON CONFLICT (name) DO NOTHING"};

static err check_order(const struct migration *list, size_t n)
{
    const struct migration *pending = NULL;
    for (size_t i = 0; i < n; i++) {
        if (list[i].state == MIGRATION_CHANGED)
            return FAIL(CONFIG, "%.*s was changed after it was applied; write a new migration instead",
                        STR_ARG(list[i].name));
        if (list[i].state == MIGRATION_PENDING && !pending)
            pending = &list[i];
        else if (list[i].state != MIGRATION_PENDING && pending)
            return FAIL(CONFIG, "%.*s is not applied, but %.*s is: give it a higher number",
                        STR_ARG(pending->name), STR_ARG(list[i].name));
    }
    return OK;
}

/* The script and the row are one simple query: one transaction. Name and hash hold no quotes. */
static err apply(struct pg *pg, const char *folder, struct migration *m, struct arena *arena)
{
    struct str text;
    TRY(file_read(folder, m->name, "up", arena, &text));
    m->applied_ms = clock_ms();
    struct str sql =
        arena_printf(arena, "%.*s\n;INSERT INTO schema_migration VALUES (%d, '%.*s', '%s', %" PRId64 ")",
                     STR_ARG(text), m->version, STR_ARG(m->name), m->sha, m->applied_ms);
    TRY(pg_script(pg, sql.p));
    m->state = MIGRATION_APPLIED;
    return OK;
}

static err undo(struct pg *pg, const char *folder, struct migration *m, struct arena *arena)
{
    struct str text;
    TRY(file_read(folder, m->name, "down", arena, &text));
    struct str sql = arena_printf(arena, "%.*s\n;DELETE FROM schema_migration WHERE version = %d",
                                  STR_ARG(text), m->version);
    TRY(pg_script(pg, sql.p));
    m->state = MIGRATION_PENDING;
    return OK;
}

static err up_locked(struct pg *pg, const char *folder, int64_t partitions, migrate_fn *told, void *data,
                     struct arena *arena)
{
    struct migration *list;
    size_t n;
    TRY(pg_script(pg, table_sql));
    TRY(migrate_list(pg, folder, arena, &list, &n));
    TRY(check_order(list, n));
    for (size_t i = 0; i < n; i++) {
        if (list[i].state != MIGRATION_PENDING)
            continue;
        TRY(apply(pg, folder, &list[i], arena));
        if (told)
            told(data, &list[i]);
    }
    const struct pg_param params[] = {pg_text(arena_printf(arena, "%" PRId64, partitions))};
    return pg_call(pg, &fix_meta, 1, params, NULL);
}

static err down_locked(struct pg *pg, const char *folder, int version, migrate_fn *told, void *data,
                       struct arena *arena)
{
    struct migration *list;
    size_t n;
    TRY(migrate_list(pg, folder, arena, &list, &n));
    for (size_t i = n; i-- > 0 && list[i].version > version;) {
        if (list[i].state == MIGRATION_PENDING)
            continue;
        TRY(undo(pg, folder, &list[i], arena));
        if (told)
            told(data, &list[i]);
    }
    return OK;
}

/* ---- public ---- */

err migrate_up(struct pg *pg, const char *folder, int64_t partitions, migrate_fn *told, void *data)
{
    if (partitions < 1 || partitions > PARTITIONS_MAX)
        return FAIL(CONFIG, "PARTITIONS must be 1 to %d", PARTITIONS_MAX);
    _cleanup_(arena_freep) struct arena *arena = arena_new(SCRATCH);
    TRY(pg_script(pg, lock_sql));
    err e = up_locked(pg, folder, partitions, told, data, arena);
    err unlocked = pg_is_up(pg) ? pg_call(pg, &unlock, 0, NULL, NULL) : OK;
    return failed(e) ? e : unlocked;
}

err migrate_down(struct pg *pg, const char *folder, int version, migrate_fn *told, void *data)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(SCRATCH);
    TRY(pg_script(pg, lock_sql));
    err e = down_locked(pg, folder, version, told, data, arena);
    err unlocked = pg_is_up(pg) ? pg_call(pg, &unlock, 0, NULL, NULL) : OK;
    return failed(e) ? e : unlocked;
}
