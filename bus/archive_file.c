/*
 * The format of the archive's files: one JSON object per event and line, 128 events to a zstd frame of its
 * own, the frames' sizes in a seek table at the end (the zstd seekable format). `zstd -dc` reads it like any
 * other file; a reader that wants seq n reads the table, which tells where the block of n begins, and that
 * block alone. A frame carries the checksum of its content, so what is read is never what was not written.
 */
#include "bus/archive_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/base/json.h"
#include "bus/base/seal.h"

enum {
    LEVEL = 6,
    BLOCK_MAX = 64 << 20, /* decompressed; no block we wrote comes near */
    TABLE_HEAD = 8,
    TABLE_FOOT = 9,
    TABLE_ROW = 8,
};
static const uint32_t skippable_magic = 0x184D2A5E, seekable_magic = 0x8F92EAB1;

static void put_u32(struct buf *b, size_t v)
{
    const uint8_t bytes[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    buf_put(b, bytes, sizeof(bytes));
}

static uint32_t get_u32(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

struct str archive_path(struct str name, struct arena *arena)
{
    struct str own = conf_str(SET_ARCHIVE_DIR);
    if (own.n)
        return arena_printf(arena, "%.*s/%.*s", STR_ARG(own), STR_ARG(name));
    return arena_printf(arena, "%.*s/archive/%.*s", STR_ARG(conf_str(SET_DAYDREAM_HOME)), STR_ARG(name));
}

/* ---- one event as a line ---- */

static void put_event(struct buf *b, const struct event *event)
{
    struct json j = json_on(b);
    json_open(&j, '{');
    json_kstr(&j, "topic", str_of(topic_name(event->topic)));
    json_kint(&j, "part", event->part);
    json_kint(&j, "seq", event->seq);
    json_kint(&j, "ms", event->ms);
#define FIELD(member, name) json_kstr(&j, name, event->envelope.member);
    ENVELOPE_FIELDS(FIELD)
#undef FIELD
    json_close(&j, '}');
    buf_char(b, '\n');
}

/* The place of an envelope's member by its name, NULL for another. */
static struct str *member_of(struct envelope *e, struct str name)
{
#define FIELD(member, text)                                                                                  \
    if (str_is(name, text))                                                                                  \
        return &e->member;
    ENVELOPE_FIELDS(FIELD)
#undef FIELD
    return NULL;
}

static err get_number(struct json_in *in, int64_t *ret)
{
    struct str text;
    TRY(json_read_number(in, &text));
    return str_int64(text, ret);
}

static err get_member(struct json_in *in, struct str name, struct event *event)
{
    struct str *member = member_of(&event->envelope, name);
    if (member)
        return json_read_string(in, member);
    if (str_is(name, "seq"))
        return get_number(in, &event->seq);
    if (str_is(name, "ms"))
        return get_number(in, &event->ms);
    return json_skip(in, NULL); /* topic and part are the file's */
}

static err get_event(struct str line, struct arena *arena, struct event *event)
{
    struct json_in in = json_in(line, arena);
    bool first = true, more;
    struct str name = STR_NONE;
    TRY(json_enter(&in, JSON_OBJECT));
    for (;;) {
        TRY(json_next(&in, &first, &more, &name));
        if (!more)
            return json_end(&in);
        TRY(get_member(&in, name, event));
    }
}

/* ---- writing ---- */

struct archive_writer {
    struct archive_file *file;
    struct arena *arena; /* the caller's, for what the file keeps */
    struct arena *own;   /* the block in hand, and the table */
    struct buf block, table, packed;
    size_t in_block, blocks;
    ZSTD_CCtx *zstd;
    EVP_MD_CTX *sha;
    int fd;
    bool ended;
    const char *root, *folder, *temporary, *path;
};

static err cannot(const char *what, const char *path)
{
    return FAIL(UNAVAILABLE, "%s %s (error %d)", what, path, errno);
}

static err make_folder(const char *path)
{
    return mkdir(path, 0750) == 0 || errno == EEXIST ? OK : cannot("cannot make the folder", path);
}

/* What the name of a file or folder is on the disk only when its folder is synced. */
static err sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return synced ? OK : cannot("cannot sync the folder", path);
}

static err writer_open(struct archive_writer *w)
{
    TRY(make_folder(w->root));
    TRY(make_folder(w->folder));
    w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    return w->fd >= 0 ? OK : cannot("cannot write", w->temporary);
}

err archive_writer_new(struct archive_file *file, struct arena *arena, struct archive_writer **ret)
{
    struct archive_writer *w = calloc(1, sizeof(*w));
    if (!w)
        abort();
    *w = (struct archive_writer){.file = file, .arena = arena, .own = arena_new(SIZE_MAX), .fd = -1};
    w->block = buf_new(w->own, 1 << 17);
    w->table = buf_new(w->own, 4096);
    w->packed = buf_new(w->own, 1 << 15);
    w->zstd = ZSTD_createCCtx();
    w->sha = EVP_MD_CTX_new();
    if (!w->zstd || !w->sha || EVP_DigestInit_ex(w->sha, EVP_sha256(), NULL) != 1)
        abort();
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1);
    file->bytes = file->raw_bytes = 0;
    file->name = arena_printf(arena, "%s.%02d/%012" PRId64 "-%012" PRId64 ".jsonl.zst",
                              topic_name(file->topic), file->part, file->first_seq, file->last_seq);
    w->root = archive_path(STR(""), w->own).p;
    w->folder = archive_path(arena_printf(w->own, "%s.%02d", topic_name(file->topic), file->part), w->own).p;
    w->path = archive_path(file->name, w->own).p;
    w->temporary = arena_printf(w->own, "%s.tmp", w->path).p;
    *ret = w;
    return writer_open(w);
}

static err put_bytes(struct archive_writer *w, const char *p, size_t n)
{
    if (EVP_DigestUpdate(w->sha, p, n) != 1)
        abort();
    w->file->bytes += (int64_t)n;
    while (n) {
        ssize_t written = write(w->fd, p, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return cannot("cannot write", w->temporary);
        p += written;
        n -= (size_t)written;
    }
    return OK;
}

static err put_block(struct archive_writer *w)
{
    if (w->in_block == 0)
        return OK;
    size_t room = ZSTD_compressBound(w->block.n);
    w->packed.n = 0;
    char *to = buf_room(&w->packed, room);
    size_t n = ZSTD_compress2(w->zstd, to, room, w->block.p, w->block.n);
    if (ZSTD_isError(n))
        return FAIL(UNAVAILABLE, "zstd: %s", ZSTD_getErrorName(n));
    put_u32(&w->table, n);
    put_u32(&w->table, w->block.n);
    w->file->raw_bytes += (int64_t)w->block.n;
    w->blocks++;
    w->in_block = w->block.n = 0;
    return put_bytes(w, to, n);
}

err archive_writer_add(struct archive_writer *w, const struct event *events, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_event(&w->block, &events[i]);
        if (++w->in_block == ARCHIVE_BLOCK)
            TRY(put_block(w));
        if (FAULT(ARCHIVE_MID_WRITE))
            return FAIL(UNAVAILABLE, "fault injected in the middle of a file");
    }
    return OK;
}

/* The table is a frame that decompressors skip: magic, size, a row per block, number of rows, descriptor,
 * magic. */
static err put_table(struct archive_writer *w)
{
    struct buf all = buf_new(w->own, w->table.n + TABLE_HEAD + TABLE_FOOT);
    put_u32(&all, skippable_magic);
    put_u32(&all, w->table.n + TABLE_FOOT);
    buf_put(&all, w->table.p, w->table.n);
    put_u32(&all, w->blocks);
    buf_char(&all, 0);
    put_u32(&all, seekable_magic);
    return put_bytes(w, all.p, all.n);
}

err archive_writer_end(struct archive_writer *w)
{
    unsigned char digest[32];
    TRY(put_block(w));
    TRY(put_table(w));
    if (fsync(w->fd) != 0)
        return cannot("cannot sync", w->temporary);
    if (rename(w->temporary, w->path) != 0)
        return cannot("cannot name", w->path);
    w->ended = true;
    TRY(sync_folder(w->folder));
    TRY(sync_folder(w->root));
    if (EVP_DigestFinal_ex(w->sha, digest, NULL) != 1)
        abort();
    w->file->sha256 = hex((struct str){(const char *)digest, sizeof(digest)}, w->arena);
    return OK;
}

struct archive_writer *archive_writer_free(struct archive_writer *w)
{
    if (!w)
        return NULL;
    if (w->fd >= 0)
        close(w->fd);
    if (w->fd >= 0 && !w->ended)
        unlink(w->temporary);
    ZSTD_freeCCtx(w->zstd);
    EVP_MD_CTX_free(w->sha);
    arena_free(w->own);
    free(w);
    return NULL;
}

void archive_writer_freep(struct archive_writer **writer)
{
    *writer = archive_writer_free(*writer);
}

/* ---- reading ---- */

struct archive_reader {
    struct archive_file file;
    int fd;
    size_t blocks;
    char *table;
    const char *path; /* in the arena of whoever opened it */
};

static err damaged(const struct archive_reader *r, const char *what)
{
    return FAIL(UNAVAILABLE, "the archive's file %s %s", r->path, what);
}

static err read_at(const struct archive_reader *r, char *to, size_t n, int64_t at)
{
    while (n) {
        ssize_t got = pread(r->fd, to, n, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return damaged(r, got < 0 ? "cannot be read" : "is cut short");
        to += got;
        n -= (size_t)got;
        at += got;
    }
    return OK;
}

static err read_table(struct archive_reader *r)
{
    char foot[TABLE_FOOT];
    struct stat st;
    int64_t events = r->file.last_seq - r->file.first_seq + 1;
    if (fstat(r->fd, &st) != 0 || st.st_size != r->file.bytes)
        return damaged(r, "has not the size of the catalogue");
    if (st.st_size < TABLE_HEAD + TABLE_FOOT)
        return damaged(r, "is cut short");
    TRY(read_at(r, foot, sizeof(foot), st.st_size - TABLE_FOOT));
    r->blocks = get_u32(foot);
    size_t n = r->blocks * TABLE_ROW;
    if (get_u32(foot + 5) != seekable_magic || foot[4] != 0 ||
        (int64_t)r->blocks != (events + ARCHIVE_BLOCK - 1) / ARCHIVE_BLOCK ||
        st.st_size < (int64_t)(n + TABLE_HEAD + TABLE_FOOT))
        return damaged(r, "has no seek table of ours");
    r->table = malloc(n + 1);
    if (!r->table)
        abort();
    return read_at(r, r->table, n, st.st_size - TABLE_FOOT - (int64_t)n);
}

err archive_reader_open(const struct archive_file *file, struct arena *arena, struct archive_reader **ret)
{
    struct archive_reader *r = calloc(1, sizeof(*r));
    if (!r)
        abort();
    *ret = r;
    r->file = *file;
    r->path = archive_path(file->name, arena).p;
    r->fd = open(r->path, O_RDONLY | O_CLOEXEC);
    return r->fd >= 0 ? read_table(r) : cannot("cannot read the archive's file", r->path);
}

struct archive_reader *archive_reader_free(struct archive_reader *r)
{
    if (r) {
        if (r->fd >= 0)
            close(r->fd);
        free(r->table);
        free(r);
    }
    return NULL;
}

void archive_reader_freep(struct archive_reader **reader)
{
    *reader = archive_reader_free(*reader);
}

/* Block i, decompressed; its checksum is checked on the way. */
static err unpack(struct archive_reader *r, size_t i, struct arena *arena, struct str *ret)
{
    int64_t at = 0;
    for (size_t k = 0; k < i; k++)
        at += get_u32(r->table + k * TABLE_ROW);
    size_t packed = get_u32(r->table + i * TABLE_ROW), raw = get_u32(r->table + i * TABLE_ROW + 4);
    if (raw > BLOCK_MAX || packed > ZSTD_compressBound(BLOCK_MAX))
        return damaged(r, "has a block that is too large");
    char *from = malloc(packed + 1), *to = arena_alloc(arena, raw + 1);
    if (!from)
        abort();
    err e = read_at(r, from, packed, at);
    size_t n = failed(e) ? 0 : ZSTD_decompress(to, raw, from, packed);
    free(from);
    TRY(e);
    if (n != raw)
        return damaged(r, ZSTD_isError(n) ? ZSTD_getErrorName(n) : "has a block of another size");
    *ret = (struct str){to, raw};
    return OK;
}

err archive_reader_block(struct archive_reader *r, size_t i, struct arena *arena, struct event **ret,
                         size_t *ret_n)
{
    int64_t first = r->file.first_seq + (int64_t)(i * ARCHIVE_BLOCK), left = r->file.last_seq - first + 1;
    size_t n = left < ARCHIVE_BLOCK ? (size_t)left : ARCHIVE_BLOCK;
    struct event *events = arena_array(arena, struct event, n);
    struct str text;
    TRY(unpack(r, i, arena, &text));
    for (size_t k = 0; k < n; k++) {
        size_t end = str_find(text, '\n');
        events[k] = (struct event){.topic = r->file.topic, .part = r->file.part};
        err e = get_event(str_slice(text, 0, end), arena, &events[k]);
        if (failed(e) || events[k].seq != first + (int64_t)k)
            return damaged(r, "has a line that is not the event that stands there");
        text = str_slice(text, end < text.n ? end + 1 : end, text.n);
    }
    if (text.n)
        return damaged(r, "has more events than the catalogue says");
    *ret = events;
    *ret_n = n;
    return OK;
}
