/*
 * Migrations: files NNNN_what.up.sql / .down.sql of one folder, applied in the order of their numbers, each
 * in one transaction together with its row in schema_migration (version, name, SHA-256 of the up file). A
 * file that changed after it was applied is refused. One advisory lock per database, so any number of
 * programs may migrate at once.
 */
#pragma once

#include "bus/pg/pg.h"

enum migration_state {
    MIGRATION_PENDING, /* a file, not applied */
    MIGRATION_APPLIED,
    MIGRATION_CHANGED, /* applied, and the file is another one now */
    MIGRATION_NO_FILE, /* applied by a newer version of the programs */
};

struct migration {
    int version;
    struct str name; /* "0001_bus" */
    char sha[65];    /* of the file; of the row when there is no file */
    enum migration_state state;
    int64_t applied_ms; /* 0 while pending */
};

/* Told about each migration that was applied or undone. */
typedef void migrate_fn(void *data, const struct migration *migration);

/* Files and rows side by side, by version. CONFIG when the folder cannot be read or holds two files of one
 * number. */
err migrate_list(struct pg *pg, const char *folder, struct arena *arena, struct migration **ret,
                 size_t *ret_n) _must_use_;
/* Applies what is pending; fixes the partition count (1 to 126) when none is fixed yet. CONFIG: a changed
 * file, or a pending one below an applied one. SQL: a migration failed; it left nothing, those before it
 * stay. */
err migrate_up(struct pg *pg, const char *folder, int64_t partitions, migrate_fn *told,
               void *data) _must_use_;
/* Undoes, newest first, everything above that version. CONFIG when a down file is missing. */
err migrate_down(struct pg *pg, const char *folder, int version, migrate_fn *told, void *data) _must_use_;
