/*
 * The archive: events that have left the log, in files below DAYDREAM_HOME/archive (or ARCHIVE_DIR). When a
 * partition of event_log by time is older than ARCHIVE_AFTER_DAYS, its events are written to files, one for
 * each partition of the bus; these are read back and compared with the rows, entered into the catalogue
 * (event_archive) and only then, in the same transaction, the rows go. A crash at any step leaves the rows or
 * the whole verified archive. Nothing ever deletes a file. The format is described in docs/archive.md.
 *
 * Sequential readers need nothing of this: eventlog_read() asks here by itself. Asynchronous ones, which find
 * that the next event is not in the log, queue archive_queue_find() and then read the file.
 */
#pragma once

#include "bus/eventlog.h"

/* A file as the catalogue has it: seqs first to last without gaps. */
struct archive_file {
    enum topic topic;      /* TOPIC_NONE: one of another version */
    struct str topic_text; /* its name as the catalogue has it */
    int part;
    int64_t first_seq, last_seq, first_ms, last_ms;
    int64_t bytes, raw_bytes; /* of the file; of its events decompressed */
    struct str name;          /* below the folder: "carts.03/000000000001-000000000512.jsonl.zst" */
    struct str sha256;        /* of the file, hex */
};

/* ---- reading ---- */

/* Events behind `after` from the archive, as eventlog_read; *ret_n == 0 when the next one is not archived.
 * Sequential. UNAVAILABLE: its file cannot be read, or is damaged. */
err archive_read(struct pg *pg, enum topic topic, int part, int64_t after, int limit, struct arena *arena,
                 struct event **ret, size_t *ret_n) _must_use_;

/* Queues the question which file holds the event behind `after`; fn's result goes to archive_found(), which
 * is false when none does: then `after` is not before the log's floor. The caller ends it by pg_sync. */
void archive_queue_find(struct pg *pg, enum topic topic, int part, int64_t after, pg_fn *fn, void *data);
bool archive_found(const struct pg_result *result, struct arena *arena, struct archive_file *ret);

enum { ARCHIVE_READ_MAX = 256 };
/* Events of that file behind `after`, at most limit (and never more than ARCHIVE_READ_MAX), at most 1 MB of
 * data. Reads the disk and waits for nothing else: some milliseconds. Into the arena. UNAVAILABLE as above.
 */
err archive_file_read(const struct archive_file *file, int64_t after, int limit, struct arena *arena,
                      struct event **ret, size_t *ret_n) _must_use_;
/* Reads the whole file: is it the one of the catalogue, and are all its events there in order? arena is
 * reset. */
err archive_file_verify(const struct archive_file *file, struct arena *page) _must_use_;
/* All files, ordered by topic, partition, seq. */
err archive_list(struct pg *pg, struct arena *arena, struct archive_file **ret, size_t *ret_n) _must_use_;
/* The path of a file of that name. */
struct str archive_path(struct str name, struct arena *arena);

/* ---- archiving ---- */

/* A partition of event_log by time, [lo_ms, hi_ms). */
struct log_period {
    struct str name;
    int64_t lo_ms, hi_ms;
    int64_t events, bytes, files; /* set by archive_period */
};

/* Partitions of the log for now and the next two periods of LOG_PARTITION, and for what event_log_rest
 * caught. */
err archive_make_ahead(struct pg *pg) _must_use_;
/* Those that end at or before that time, oldest first. */
err archive_closed(struct pg *pg, int64_t before_ms, struct arena *arena, struct log_period **ret,
                   size_t *ret_n) _must_use_;
/* The time before which the setting wants periods archived; 0: never. */
int64_t archive_before_ms(void);

/* Ends the period that is written to now, so that it can be archived; ret: when. PG_RETRY: the log is in use.
 */
err archive_cut(struct pg *pg, int64_t *ret_ms) _must_use_;
/* Sets period->events without doing anything; fails as archive_period would. */
err archive_measure(struct pg *pg, struct log_period *period, struct arena *arena) _must_use_;

typedef void archive_progress_fn(void *data, const struct log_period *period, int64_t done, int64_t total);
/* Archives one period: writes, verifies, enters, drops. CONFLICT: somebody else archives and is not done
 * within three seconds, or an older period stands before it; UNAVAILABLE: the folder cannot be written, or
 * *stop became true. */
err archive_period(struct pg *pg, struct log_period *period, const volatile bool *stop,
                   archive_progress_fn *progress, void *data, struct arena *arena) _must_use_;
