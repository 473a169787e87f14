/*
 * bus archive, ls, verify: old partitions of the log move to files, oldest first; what the catalogue says;
 * whether the files are what it says. The work itself is bus/archive_close.c, the same that
 * daydream-producers does.
 */
#include <inttypes.h>
#include <unistd.h>

#include "bus/archive.h"
#include "bus/base/clock.h"
#include "bus/ctl/ctl.h"

static double megabytes(int64_t bytes)
{
    return (double)bytes / 1e6;
}

/* ---- archive ---- */

static void print_period(const struct ctl *ctl, struct json *j, const struct log_period *p)
{
    if (!ctl->json) {
        char lo[25], hi[25];
        clock_print(p->lo_ms, lo);
        clock_print(p->hi_ms, hi);
        printf("%-26.*s %s to %s %12" PRId64 " events %6" PRId64 " files %10.1f MB\n", STR_ARG(p->name), lo,
               hi, p->events, p->files, megabytes(p->bytes));
        fflush(stdout);
        return;
    }
    json_open(j, '{');
    json_kstr(j, "partition", p->name);
    json_ktime(j, "from", p->lo_ms);
    json_ktime(j, "to", p->hi_ms);
    json_kint(j, "events", p->events);
    json_kint(j, "files", p->files);
    json_kint(j, "bytes", p->bytes);
    json_close(j, '}');
}

static void show_progress(void *data, const struct log_period *period, int64_t done, int64_t total)
{
    (void)data;
    ctl_progress(period->name.p, done, total);
}

/* Up to when: --before, --cut, or the setting. */
static err before_of(struct ctl *ctl, int64_t *ret)
{
    const char *before = ctl_option(ctl, "before");
    *ret = archive_before_ms();
    if (before)
        return clock_parse(str_of(before), ret);
    if (ctl_option(ctl, "cut") && !ctl_option(ctl, "dry-run"))
        return archive_cut(ctl->pg, ret);
    return ctl_option(ctl, "cut") ? FAIL(INVALID, "--cut changes the log: not with --dry-run") : OK;
}

static err archive(struct ctl *ctl, struct json *j, int64_t before)
{
    struct log_period *list;
    size_t n;
    TRY(archive_closed(ctl->pg, before, ctl->arena, &list, &n));
    for (size_t i = 0; i < n; i++) {
        if (ctl_stop)
            return FAIL(UNAVAILABLE, "stopped before %.*s; the same command goes on there",
                        STR_ARG(list[i].name));
        if (ctl_option(ctl, "dry-run"))
            TRY(archive_measure(ctl->pg, &list[i], ctl->arena));
        else
            TRY(archive_period(ctl->pg, &list[i], &ctl_stop, show_progress, NULL, ctl->arena));
        print_period(ctl, j, &list[i]);
    }
    if (n == 0 && !ctl->json)
        printf("nothing is old enough\n");
    return OK;
}

enum ctl_exit run_bus_archive(struct ctl *ctl)
{
    struct buf b = buf_new(ctl->arena, 4096);
    struct json j = json_on(&b);
    int64_t before;
    err e = ctl_connect(ctl, CTL_BUS);
    ctl_catch_signals();
    if (!failed(e))
        e = before_of(ctl, &before);
    json_open(&j, '[');
    if (!failed(e))
        e = archive(ctl, &j, before);
    json_close(&j, ']');
    if (ctl->json)
        ctl_print_json(&b);
    return failed(e) ? ctl_fail(e) : CTL_OK;
}

/* ---- ls ---- */

static void put_file(struct json *j, const struct archive_file *f)
{
    json_kstr(j, "topic", f->topic_text);
    json_kint(j, "part", f->part);
    json_kint(j, "first_seq", f->first_seq);
    json_kint(j, "last_seq", f->last_seq);
    json_ktime(j, "from", f->first_ms);
    json_ktime(j, "to", f->last_ms);
    json_kint(j, "bytes", f->bytes);
    json_kint(j, "raw_bytes", f->raw_bytes);
    json_kstr(j, "file", f->name);
    json_kstr(j, "sha256", f->sha256);
}

static void print_file(const struct archive_file *f, struct arena *arena)
{
    char from[25], to[25];
    struct str partition = arena_printf(arena, "%.*s.%02d", STR_ARG(f->topic_text), f->part);
    clock_print(f->first_ms, from);
    clock_print(f->last_ms, to);
    printf("%-15s %10" PRId64 " %10" PRId64 "  %s  %s %9.1f MB %5.1fx  %.*s\n", partition.p, f->first_seq,
           f->last_seq, from, to, megabytes(f->bytes), (double)f->raw_bytes / (double)f->bytes,
           STR_ARG(f->name));
}

enum ctl_exit run_bus_archive_ls(struct ctl *ctl)
{
    struct archive_file *files = NULL;
    size_t n = 0;
    struct buf b = buf_new(ctl->arena, 4096);
    struct json j = json_on(&b);
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = archive_list(ctl->pg, ctl->arena, &files, &n);
    if (failed(e))
        return ctl_fail(e);
    if (!ctl->json)
        printf("%-15s %10s %10s  %-24s  %-24s %12s %6s  file\n", "partition", "first", "last", "from", "to",
               "size", "packed");
    json_open(&j, '[');
    for (size_t i = 0; i < n; i++) {
        if (!ctl->json) {
            print_file(&files[i], ctl->arena);
            continue;
        }
        json_open(&j, '{');
        put_file(&j, &files[i]);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    if (ctl->json)
        ctl_print_json(&b);
    return CTL_OK;
}

/* ---- verify ---- */

/* Prints what is wrong with a file, if anything; false then. */
static bool verify_file(struct ctl *ctl, struct json *j, const struct archive_file *file,
                        const struct archive_file *before, struct arena *page)
{
    bool follows = before && str_eq(before->topic_text, file->topic_text) && before->part == file->part;
    int64_t expected = follows ? before->last_seq + 1 : 1;
    err e = archive_file_verify(file, page);
    if (!failed(e) && file->first_seq != expected)
        e = FAIL(CONFLICT, "begins at %" PRId64 ", but %" PRId64 " is next", file->first_seq, expected);
    if (!failed(e))
        return true;
    if (!ctl->json)
        printf("%.*s: %s\n", STR_ARG(file->name), err_text(e));
    json_open(j, '{');
    json_kstr(j, "file", file->name);
    json_kstr(j, "finding", str_of(err_text(e)));
    json_close(j, '}');
    return false;
}

static err verify(struct ctl *ctl, struct json *j, int64_t *ret_bad)
{
    _cleanup_(arena_freep) struct arena *page = arena_new(SIZE_MAX);
    struct archive_file *files;
    size_t n;
    int64_t events = 0;
    *ret_bad = 0;
    TRY(archive_list(ctl->pg, ctl->arena, &files, &n));
    json_key(j, "findings");
    json_open(j, '[');
    for (size_t i = 0; i < n; i++) {
        if (ctl_stop)
            return FAIL(UNAVAILABLE, "stopped when %zu of %zu files were read", i, n);
        *ret_bad += !verify_file(ctl, j, &files[i], i ? &files[i - 1] : NULL, page);
        events += files[i].last_seq - files[i].first_seq + 1;
        ctl_progress("files", (int64_t)i + 1, (int64_t)n);
    }
    json_close(j, ']');
    json_kint(j, "files", (int64_t)n);
    json_kint(j, "events", events);
    if (!ctl->json)
        printf("%" PRId64 " findings in %zu files with %" PRId64 " events\n", *ret_bad, n, events);
    return OK;
}

enum ctl_exit run_bus_archive_verify(struct ctl *ctl)
{
    struct buf b = buf_new(ctl->arena, 4096);
    struct json j = json_on(&b);
    int64_t bad = 0;
    json_open(&j, '{');
    err e = ctl_connect(ctl, CTL_BUS);
    ctl_catch_signals();
    if (!failed(e))
        e = verify(ctl, &j, &bad);
    if (failed(e))
        return ctl_fail(e);
    json_close(&j, '}');
    if (ctl->json)
        ctl_print_json(&b);
    return bad ? CTL_FINDINGS : CTL_OK;
}
