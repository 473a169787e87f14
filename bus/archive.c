/*
 * Reading the archive: the catalogue says which file, the file which block. Nothing is kept between calls: a
 * read of 256 events costs one question to PostgreSQL and two or three blocks, which the kernel has in memory
 * when they are read in a row.
 */
#include "bus/archive.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "bus/archive_file.h"
#include "bus/base/conf.h"
#include "bus/base/seal.h"

#define COLUMNS "topic, part, first_seq, last_seq, first_ms, last_ms, bytes, raw_bytes, file, sha256"

static const struct pg_stmt find_file = {
    "archive_find", "SELECT " COLUMNS " FROM event_archive WHERE topic = $1::text AND part = $2::bigint::int"
                    " AND last_seq > $3::bigint ORDER BY last_seq LIMIT 1"};
static const struct pg_stmt list_files = {
    "archive_list", "SELECT " COLUMNS " FROM event_archive ORDER BY topic, part, last_seq"};

static struct archive_file file_of_row(const struct pg_result *r, int row, struct arena *arena)
{
    return (struct archive_file){.topic = topic_find(pg_get_str(r, row, 0)),
                                 .topic_text = arena_str(arena, pg_get_str(r, row, 0)),
                                 .part = (int)pg_get_int(r, row, 1),
                                 .first_seq = pg_get_int(r, row, 2),
                                 .last_seq = pg_get_int(r, row, 3),
                                 .first_ms = pg_get_int(r, row, 4),
                                 .last_ms = pg_get_int(r, row, 5),
                                 .bytes = pg_get_int(r, row, 6),
                                 .raw_bytes = pg_get_int(r, row, 7),
                                 .name = arena_str(arena, pg_get_str(r, row, 8)),
                                 .sha256 = arena_str(arena, pg_get_str(r, row, 9))};
}

void archive_queue_find(struct pg *pg, enum topic topic, int part, int64_t after, pg_fn *fn, void *data)
{
    const struct pg_param params[] = {pg_text(str_of(topic_name(topic))), pg_int(part), pg_int(after)};
    pg_queue(pg, &find_file, 3, params, fn, data);
}

bool archive_found(const struct pg_result *result, struct arena *arena, struct archive_file *ret)
{
    if (pg_rows(result) == 0)
        return false;
    *ret = file_of_row(result, 0, arena);
    return true;
}

err archive_list(struct pg *pg, struct arena *arena, struct archive_file **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    TRY(pg_call(pg, &list_files, 0, NULL, &result));
    *ret_n = (size_t)pg_rows(result);
    *ret = arena_array(arena, struct archive_file, *ret_n + 1);
    for (size_t i = 0; i < *ret_n; i++)
        (*ret)[i] = file_of_row(result, (int)i, arena);
    return OK;
}

err archive_file_read(const struct archive_file *file, int64_t after, int limit, struct arena *arena,
                      struct event **ret, size_t *ret_n)
{
    _cleanup_(archive_reader_freep) struct archive_reader *reader = NULL;
    int64_t at = (after < file->first_seq - 1 ? file->first_seq - 1 : after) + 1;
    size_t max = (size_t)(limit < ARCHIVE_READ_MAX ? limit : ARCHIVE_READ_MAX), bytes = 0;
    *ret = arena_array(arena, struct event, max + 1);
    *ret_n = 0;
    TRY(archive_reader_open(file, arena, &reader));
    while (at <= file->last_seq && *ret_n < max) {
        struct event *events;
        size_t n, from = (size_t)(at - file->first_seq) % ARCHIVE_BLOCK;
        TRY(archive_reader_block(reader, (size_t)(at - file->first_seq) / ARCHIVE_BLOCK, arena, &events, &n));
        for (size_t i = from; i < n && *ret_n < max; i++, at++) {
            if (bytes >= EVENTLOG_READ_BYTES)
                return OK;
            bytes += events[i].envelope.data.n;
            (*ret)[(*ret_n)++] = events[i];
        }
    }
    return OK;
}

err archive_read(struct pg *pg, enum topic topic, int part, int64_t after, int limit, struct arena *arena,
                 struct event **ret, size_t *ret_n)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct archive_file file;
    *ret_n = 0;
    archive_queue_find(pg, topic, part, after, pg_keep, &result);
    pg_sync(pg, NULL, NULL);
    TRY(pg_wait(pg, 30000));
    if (!archive_found(result, arena, &file) || file.first_seq > after + 1)
        return OK;
    return archive_file_read(&file, after, limit, arena, ret, ret_n);
}

/* ---- verifying ---- */

static err check_hash(const struct archive_file *file, struct arena *arena)
{
    unsigned char digest[32];
    struct str path = archive_path(file->name, arena);
    char *part = arena_alloc(arena, 1 << 16);
    FILE *from = fopen(path.p, "re");
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    bool done = from && sha && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1;
    for (size_t n; done && (n = fread(part, 1, 1 << 16, from)) > 0;)
        done = EVP_DigestUpdate(sha, part, n) == 1;
    done = done && !ferror(from) && EVP_DigestFinal_ex(sha, digest, NULL) == 1;
    EVP_MD_CTX_free(sha);
    if (from)
        fclose(from);
    if (!done)
        return FAIL(UNAVAILABLE, "the archive's file %s cannot be read", path.p);
    if (!str_eq(hex((struct str){(const char *)digest, sizeof(digest)}, arena), file->sha256))
        return FAIL(UNAVAILABLE, "the archive's file %s has not the hash of the catalogue", path.p);
    return OK;
}

err archive_file_verify(const struct archive_file *file, struct arena *page)
{
    _cleanup_(arena_freep) struct arena *own = arena_new(1 << 16);
    _cleanup_(archive_reader_freep) struct archive_reader *reader = NULL;
    int64_t ms = file->first_ms, events = file->last_seq - file->first_seq + 1;
    TRY(archive_reader_open(file, own, &reader));
    TRY(check_hash(file, page));
    for (size_t block = 0; (int64_t)block * ARCHIVE_BLOCK < events; block++) {
        struct event *list;
        size_t n;
        arena_reset(page);
        TRY(archive_reader_block(reader, block, page, &list, &n));
        bool rises = block > 0 || list[0].ms == ms;
        for (size_t i = 0; i < n; i++) {
            rises &= list[i].ms >= ms;
            ms = list[i].ms;
        }
        if (!rises)
            return FAIL(UNAVAILABLE, "times in the archive's file %.*s are not in order",
                        STR_ARG(file->name));
    }
    if (ms != file->last_ms)
        return FAIL(UNAVAILABLE, "the archive's file %.*s does not end at its time", STR_ARG(file->name));
    return OK;
}
