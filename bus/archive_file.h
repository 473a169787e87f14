/*
 * One file of the archive: written once, read by blocks. Private to the archive; the format is in
 * docs/archive.md.
 */
#pragma once

#include "bus/archive.h"

/* Events per block: what one event costs to read. With data of 64 KB each a block is 8 MB, typically 80 KB.
 */
enum { ARCHIVE_BLOCK = 128 };

struct archive_writer;

/* A new file at its place's temporary name; the folder is made. file: topic, part, first_seq, last_seq are
 * given, the rest is set by archive_writer_end. */
err archive_writer_new(struct archive_file *file, struct arena *arena,
                       struct archive_writer **ret) _must_use_;
/* Events in order, without gaps. */
err archive_writer_add(struct archive_writer *writer, const struct event *events, size_t n) _must_use_;
/* Ends the file, syncs it, gives it its name, syncs the folder. */
err archive_writer_end(struct archive_writer *writer) _must_use_;
/* Takes NULL; what was not ended is removed. */
struct archive_writer *archive_writer_free(struct archive_writer *writer);
void archive_writer_freep(struct archive_writer **writer);

/* A file that is open for reading; what the arena gives lasts as long as the reader. */
struct archive_reader;
err archive_reader_open(const struct archive_file *file, struct arena *arena,
                        struct archive_reader **ret) _must_use_;
struct archive_reader *archive_reader_free(struct archive_reader *reader);
void archive_reader_freep(struct archive_reader **reader);
/* The events of block i, counted from 0, into the arena. */
err archive_reader_block(struct archive_reader *reader, size_t i, struct arena *arena, struct event **ret,
                         size_t *ret_n) _must_use_;
