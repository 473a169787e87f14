/*
 * The table of verbs, and how words on the command line become a call of one of them.
 */
#include <errno.h>
#include <stdlib.h>

#include "bus/base/conf.h"
#include "bus/base/fault.h"
#include "bus/ctl/ctl.h"

static const struct ctl_option down_options[] = {
    {"version", "N", "undo everything above migration N (required; 0 undoes all and loses all data)"}, {0}};
static const struct ctl_option superuser_options[] = {
    {"wait", NULL, "wait until the command has its result (needs running consumers)"}, {0}};
static const struct ctl_option import_options[] = {
    {"currency", "CUR", "currency of the prices in the file (default: DEFAULT_CURRENCY)"}, {0}};
static const struct ctl_option tail_options[] = {
    {"topic", "TOPIC", "only that topic"},
    {"type", "TYPE", "only types that begin so: order. or order.placed.v1"},
    {"all", NULL, "begin with what the streams still hold, not with what comes"},
    {"max", "N", "end after N events"},
    {0}};
static const struct ctl_option subscribe_options[] = {
    {"name", "N", "under which the position is kept; instances of one name share the partitions (required)"},
    {"types", "LIST", "patterns: order.*,cart.item-added (default: all)"},
    {"from", "WHERE", "a new name begins at earliest (default), now, or a time: 2026-11-22T20:30:00Z"},
    {"exec", "CMD", "run CMD for each batch, events as JSON lines on its input; exit 0 moves the position"},
    {"pipe", "CMD", "run CMD once; it answers each line with a line, ok moves the position"},
    {"batch", "N", "at most N events at a time (default 1)"},
    {"format", "HOW", "json, or env: attributes as EVENT_TYPE …, the data alone on the input of --exec"},
    {"max", "N", "end after N events"},
    {0}};
static const struct ctl_option grant_options[] = {
    {"types", "LIST", "patterns; access is to the topics these live in (default: all)"},
    {"from", "WHERE", "where its groups begin: now (default) or earliest, as far back as Redis holds"},
    {"owner", "TEXT", "whom operators ask about it"},
    {"keep-days", "N", "days of silence after which it holds nothing in Redis any more (default 7)"},
    {0}};

/* name, words behind it, their number, sentence, options, function */
const struct verb verbs[] = {
    {"migrate up", "", 0, "apply the migrations that are pending", NULL, run_migrate_up},
    {"migrate down", "", 0, "undo migrations, newest first", down_options, run_migrate_down},
    {"migrate status", "", 0, "show migrations; exit 1 when one is pending or was changed", NULL,
     run_migrate_status},
    {"superuser", "", 0, "make the first super_admin from SUPERUSER_EMAIL and SUPERUSER_PASSWORD, once",
     superuser_options, run_superuser},
    {"seed", "", 0, "publish the demo catalogue, once", NULL, run_seed},
    {"import", "FILE", 1, "bring a product list (JSON) into the catalogue, updating products of the same sku",
     import_options, run_import},
    {"bus lag", "", 0, "per partition and group: head, offset, lag, backlog of commands", NULL, run_bus_lag},
    {"bus tail", "", 0, "print events as they come", tail_options, run_bus_tail},
    {"bus fsck", "", 0, "check the invariants of log, streams, stock and money; exit 1 when one is hurt",
     NULL, run_bus_fsck},
    {"events subscribe", "", 0, "give events to a command, or print them, from a position that is kept",
     subscribe_options, run_events_subscribe},
    {"events grant", "NAME", 1,
     "let a program read event streams of Redis as group NAME: user, password, groups", grant_options,
     run_events_grant},
    {"bus subscribers ls", "", 0, "subscribers from outside: kind, lag, last seen, whom to ask", NULL,
     run_subscribers_ls},
    {"bus subscribers forget", "NAME", 1, "end a subscriber: its position, its groups, its access to Redis",
     NULL, run_subscribers_forget},
    {"config", "", 0, "show all settings, secrets masked", NULL, run_config},
    {"faults", "", 0, "list the crash points of test builds", NULL, run_faults},
    {0},
};

enum ctl_exit run_config(struct ctl *ctl)
{
    conf_print(stdout, true, ctl->json);
    return CTL_OK;
}

enum ctl_exit run_faults(struct ctl *ctl)
{
    (void)ctl;
    fault_print(stdout);
    return CTL_OK;
}

/* ---- help ---- */

static void print_verb(FILE *to, const struct verb *verb)
{
    fprintf(to, "  %s%s%s\n      %s\n", verb->name, *verb->args ? " " : "", verb->args, verb->sentence);
    for (const struct ctl_option *o = verb->options; o && o->name; o++)
        fprintf(to, "      --%s%s%s  %s\n", o->name, o->value ? " " : "", o->value ? o->value : "",
                o->sentence);
}

static void print_help(FILE *to, bool settings)
{
    fprintf(to, "daydreamctl VERB [options]: operate a DaydreamShop\n\n");
    for (const struct verb *verb = verbs; verb->name; verb++)
        print_verb(to, verb);
    fprintf(to, "\nEverywhere: --json (machine-readable output where there is any), --help\n"
                "Exit: 0 well, 1 findings or refusals, 2 usage, 3 a server does not answer\n");
    if (settings) {
        fprintf(to, "\nSettings, from the environment or DAYDREAM_HOME/env:\n");
        conf_print(to, false, false);
    }
}

enum ctl_exit ctl_usage(const struct ctl *ctl, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("daydreamctl: ", stderr);
    vfprintf(stderr, format, list);
    fputs("\n\n", stderr);
    va_end(list);
    if (ctl->verb)
        print_verb(stderr, ctl->verb);
    else
        print_help(stderr, false);
    return CTL_USAGE;
}

/* ---- words ---- */

/* How many of the words are the verb's name, all of it; 0: they are not. */
static int verb_words(const char *name, int n, char **words)
{
    int used = 0;
    for (struct str left = str_of(name); left.n; used++) {
        size_t end = str_find(left, ' ');
        if (used == n || !str_is(str_slice(left, 0, end), words[used]))
            return 0;
        left = str_slice(left, end < left.n ? end + 1 : end, left.n);
    }
    return used;
}

/* The verb with the longest name that the command line begins with; ret: how many words that are. */
static const struct verb *verb_find(int n, char **words, int *ret)
{
    const struct verb *found = NULL;
    *ret = 0;
    for (const struct verb *verb = verbs; verb->name; verb++) {
        int used = verb_words(verb->name, n, words);
        if (used > *ret) {
            found = verb;
            *ret = used;
        }
    }
    return found;
}

static const struct ctl_option *option_find(const struct verb *verb, struct str name)
{
    for (const struct ctl_option *o = verb->options; o && o->name; o++)
        if (str_is(name, o->name))
            return o;
    return NULL;
}

/* One "--name", "--name value" or "--name=value"; *at is the word, moved on when the value is the next one.
 */
static enum ctl_exit take_option(struct ctl *ctl, int n, char **words, int *at)
{
    struct str word = str_of(words[*at] + 2);
    size_t equals = str_find(word, '=');
    struct str name = str_slice(word, 0, equals);
    if (str_is(word, "json")) {
        ctl->json = true;
        return CTL_OK;
    }
    const struct ctl_option *option = option_find(ctl->verb, name);
    if (!option)
        return ctl_usage(ctl, "unknown option --%.*s", STR_ARG(name));
    const char *value = equals < word.n ? word.p + equals + 1 : NULL;
    if (!option->value && value)
        return ctl_usage(ctl, "--%s takes no value", option->name);
    if (option->value && !value)
        value = *at + 1 < n ? words[++*at] : NULL;
    if ((option->value && !value) || ctl_option(ctl, option->name) || ctl->n_given == CTL_OPTIONS)
        return ctl_usage(ctl, "--%s needs one value, once", option->name);
    ctl->given[ctl->n_given].name = option->name;
    ctl->given[ctl->n_given++].value = value ? value : "";
    return CTL_OK;
}

static enum ctl_exit take_words(struct ctl *ctl, int n, char **words)
{
    int n_args = 0;
    ctl->args = words; /* arguments are moved to the front */
    for (int i = 0; i < n; i++) {
        if (strncmp(words[i], "--", 2) != 0) {
            words[n_args++] = words[i];
            continue;
        }
        enum ctl_exit wrong = take_option(ctl, n, words, &i);
        if (wrong)
            return wrong;
    }
    if (n_args != ctl->verb->n_args)
        return ctl_usage(ctl, "%s takes %d words, not %d", ctl->verb->name, ctl->verb->n_args, n_args);
    return CTL_OK;
}

const char *ctl_option(const struct ctl *ctl, const char *name)
{
    for (int i = 0; i < ctl->n_given; i++)
        if (strcmp(ctl->given[i].name, name) == 0)
            return ctl->given[i].value;
    return NULL;
}

err ctl_option_int(const struct ctl *ctl, const char *name, int64_t min, int64_t max, int64_t fallback,
                   int64_t *ret)
{
    const char *value = ctl_option(ctl, name);
    *ret = fallback;
    if (value && (failed(str_int64(str_of(value), ret)) || *ret < min || *ret > max))
        return FAIL(INVALID, "--%s must be a number from %lld to %lld", name, (long long)min, (long long)max);
    return OK;
}

static bool wants_help(int n, char **words)
{
    for (int i = 0; i < n; i++)
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0)
            return true;
    return n == 1 && strcmp(words[0], "help") == 0;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.arena = NULL};
    int used = 0;
    ctl.verb = verb_find(argc - 1, argv + 1, &used);
    if (wants_help(argc - 1, argv + 1)) {
        if (ctl.verb)
            print_verb(stdout, ctl.verb);
        else
            print_help(stdout, true);
        return CTL_OK;
    }
    if (!ctl.verb)
        return (int)ctl_usage(&ctl, argc > 1 ? "unknown verb %s" : "a verb is needed%s",
                              argc > 1 ? argv[1] : "");
    enum ctl_exit status = take_words(&ctl, argc - 1 - used, argv + 1 + used);
    if (status)
        return (int)status;
    err e = conf_load("daydreamctl");
    if (failed(e))
        return (int)ctl_fail(e);
    ctl.arena = arena_new(SIZE_MAX);
    status = ctl.verb->run(&ctl);
    pg_close(ctl.pg);
    redis_close(ctl.redis);
    arena_free(ctl.arena);
    return fflush(stdout) == 0 ? (int)status : (int)CTL_FINDINGS;
}
