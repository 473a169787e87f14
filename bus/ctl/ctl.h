/*
 * daydreamctl, the operators' program: a table of verbs (main.c), one file per family of verbs. A verb is a
 * function of its parsed words; it prints its result to standard output (lines, or JSON with --json), what
 * went wrong to standard error, and returns what the program exits with. Long work shows its progress on a
 * terminal only.
 */
#pragma once

#include <stdio.h>

#include "bus/base/json.h"
#include "bus/pg/pg.h"
#include "bus/redis/redis.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_FINDINGS = 1,       /* it worked and found something, or it was refused */
    CTL_USAGE = 2,          /* the words make no sense */
    CTL_INFRASTRUCTURE = 3, /* a server does not answer, or a signal came before the end */
};

struct ctl_option {
    const char *name;     /* "currency": --currency CUR or --currency=CUR */
    const char *value;    /* what --help calls its value; NULL: a switch */
    const char *sentence; /* for --help */
};

struct ctl;

struct verb {
    const char *name; /* "bus lag" */
    const char *args; /* what --help shows behind it: "FILE" */
    int n_args;       /* how many words it takes; none will do, too, where args begins with '[' */
    const char *sentence;
    const struct ctl_option *options; /* ends with a NULL name; NULL: none */
    enum ctl_exit (*run)(struct ctl *ctl);
};
extern const struct verb verbs[]; /* ends with a NULL name */

enum { CTL_OPTIONS = 16 };

/* One call of the program. Connections are NULL until ctl_connect. */
struct ctl {
    const struct verb *verb;
    char **args; /* verb->n_args of them, or none where they are optional */
    int n_args;
    struct {
        const char *name, *value; /* value "" for a switch */
    } given[CTL_OPTIONS];
    int n_given;
    bool json;
    struct arena *arena; /* as long as the program; loops use their own */
    struct pg *pg;
    struct redis *redis;
};

/* The value of an option ("" for a switch), NULL when it was not given. */
const char *ctl_option(const struct ctl *ctl, const char *name);
/* The same as a number in that range; fallback when not given. INVALID otherwise. */
err ctl_option_int(const struct ctl *ctl, const char *name, int64_t min, int64_t max, int64_t fallback,
                   int64_t *ret) _must_use_;

/* Prints the failure's text; returns the exit of its class. */
enum ctl_exit ctl_fail(err e);
/* Prints a usage error with the verb's line of help. */
enum ctl_exit ctl_usage(const struct ctl *ctl, const char *format, ...) _printf_(2, 3);

enum ctl_need {
    CTL_PG,  /* the database alone, migrated or not */
    CTL_BUS, /* both, migrated and of one format */
};
/* Opens the connections; they are closed at the end of the program. Each may take PG_PATIENT_MS and
 * REDIS_PATIENT_MS: an operator who looks at a busy server wants in. Before ctl_catch_signals, so that Ctrl-C
 * ends the wait. */
err ctl_connect(struct ctl *ctl, enum ctl_need need) _must_use_;

/* Progress on standard error, in one line that is overwritten; nothing unless it is a terminal. done == total
 * ends it. */
void ctl_progress(const char *what, int64_t done, int64_t total);
/* Prints a JSON text and a line end. */
void ctl_print_json(const struct buf *b);
/* Becomes true at SIGINT or SIGTERM once ctl_catch_signals was called. */
extern volatile bool ctl_stop;
void ctl_catch_signals(void);

enum ctl_exit run_migrate_up(struct ctl *ctl);
enum ctl_exit run_migrate_down(struct ctl *ctl);
enum ctl_exit run_migrate_status(struct ctl *ctl);
enum ctl_exit run_superuser(struct ctl *ctl);
enum ctl_exit run_seed(struct ctl *ctl);
enum ctl_exit run_import(struct ctl *ctl);
enum ctl_exit run_bus_top(struct ctl *ctl);
enum ctl_exit run_bus_lag(struct ctl *ctl);
enum ctl_exit run_bus_owners(struct ctl *ctl);
enum ctl_exit run_bus_tail(struct ctl *ctl);
enum ctl_exit run_bus_grep(struct ctl *ctl);
enum ctl_exit run_bus_show(struct ctl *ctl);
enum ctl_exit run_bus_fsck(struct ctl *ctl);
enum ctl_exit run_schedule_ls(struct ctl *ctl);
enum ctl_exit run_schedule_set(struct ctl *ctl);
enum ctl_exit run_schedule_rm(struct ctl *ctl);
enum ctl_exit run_schedule_pause(struct ctl *ctl);
enum ctl_exit run_schedule_resume(struct ctl *ctl);
enum ctl_exit run_bus_decode(struct ctl *ctl);
enum ctl_exit run_schemas_check(struct ctl *ctl);
enum ctl_exit run_schemas_release(struct ctl *ctl);
enum ctl_exit run_bus_archive(struct ctl *ctl);
enum ctl_exit run_bus_archive_ls(struct ctl *ctl);
enum ctl_exit run_bus_archive_verify(struct ctl *ctl);
enum ctl_exit run_bus_detach(struct ctl *ctl);
enum ctl_exit run_bus_attach(struct ctl *ctl);
enum ctl_exit run_dlq_ls(struct ctl *ctl);
enum ctl_exit run_dlq_show(struct ctl *ctl);
enum ctl_exit run_dlq_retry(struct ctl *ctl);
enum ctl_exit run_dlq_discard(struct ctl *ctl);
enum ctl_exit run_dlq_edit(struct ctl *ctl);
enum ctl_exit run_bus_replay(struct ctl *ctl);
enum ctl_exit run_bus_rebuild(struct ctl *ctl);
enum ctl_exit run_events_subscribe(struct ctl *ctl);
enum ctl_exit run_events_grant(struct ctl *ctl);
enum ctl_exit run_subscribers_ls(struct ctl *ctl);
enum ctl_exit run_subscribers_forget(struct ctl *ctl);
enum ctl_exit run_config(struct ctl *ctl);
enum ctl_exit run_faults(struct ctl *ctl);
