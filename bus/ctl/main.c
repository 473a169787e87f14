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
    {"types", "PATTERNS", "only types like these: order.*,cart.item-added"},
    {"key", "KEY", "only that aggregate"},
    {"from", "TIME", "begin there: RFC 3339, or that long ago (90s 15m 2h 3d)"},
    {"all", NULL, "begin with what the streams still hold (a lost one: the log), not with what comes"},
    {"max", "N", "end after N events"},
    {0}};
static const struct ctl_option dlq_ls_options[] = {
    {"group", "GROUP", "only that group"},
    {"topic", "TOPIC", "only that topic"},
    {"key", "KEY", "only that key"},
    {"reason", "WORD", "only keys whose first message waits for that reason: poison, crash, sql …"},
    {"limit", "N", "at most N keys (default 100)"},
    {0}};
static const struct ctl_option dlq_show_options[] = {{"all", NULL, "what was handled or discarded too"},
                                                     {"limit", "N", "at most N messages (default 100)"},
                                                     {0}};
static const struct ctl_option dlq_retry_options[] = {
    {"all", NULL, "every parked key"},
    {"group", "GROUP", "every key of that group"},
    {"topic", "TOPIC", "every key of that topic"},
    {"reason", "WORD", "every key whose first message waits for that reason"},
    {"why", "TEXT", "a note for the record"},
    {"actor", "NAME", "who says so (default: user@host)"},
    {"wait", "S", "how long to wait for the outcome (default 60)"},
    {0}};
static const struct ctl_option dlq_discard_options[] = {
    {"reason", "TEXT", "why (required)"},
    {"n", "N", "that message (default: the first that waits)"},
    {"whole", NULL, "all that wait"},
    {"end-command", NULL, "an event: end the command it belongs to, too, when that is still running"},
    {"actor", "NAME", "who says so (default: user@host)"},
    {0}};
static const struct ctl_option dlq_edit_options[] = {
    {"set", "data=JSON|@FILE", "what to handle in the place of the message's data (required)"},
    {"reason", "TEXT", "why (required)"},
    {"n", "N", "that message (default: the first that waits)"},
    {"actor", "NAME", "who says so (default: user@host)"},
    {0}};

static const struct ctl_option schedule_options[] = {
    {"zone", "ZONE", "time zone of the fields (default: America/Santiago)"},
    {"catch-up", "HOW", "what was missed: last (default: the last slot alone), each, none"},
    {0}};
static const struct ctl_option schema_options[] = {
    {"schemas", "DIR", "the folder of schemas (default: that of the tree this was built from)"}, {0}};
static const struct ctl_option check_options[] = {
    {"schemas", "DIR", "the folder of schemas (default: that of the tree this was built from)"},
    {"against", "DIR|REV", "compare also with another folder of schemas, or with a git revision"},
    {0}};
static const struct ctl_option archive_options[] = {
    {"before", "TIME", "partitions that end before TIME (RFC 3339; default: ARCHIVE_AFTER_DAYS ago)"},
    {"cut", NULL, "end the partition that is written to now, and archive up to it"},
    {"dry-run", NULL, "only show what would be archived"},
    {0}};

static const struct ctl_option grep_options[] = {
    {"id", "ID", "the event of that id"},
    {"key", "KEY", "events of that aggregate"},
    {"correlation", "ID", "events of that command and all that followed from it"},
    {"types", "PATTERNS", "order.*,cart.item-added"},
    {"actor", "ACTOR", "user:ID"},
    {"from", "TIME", "not before: RFC 3339, or that long ago (90s 15m 2h 3d)"},
    {"to", "TIME", "not after"},
    {"text", "TEXT", "data that contains it; personal fields are sealed and cannot match"},
    {"oldest", NULL, "the oldest first, not the newest"},
    {"limit", "N", "at most N events (default 20)"},
    {"after", "PLACE", "go on where the last answer ended"},
    {"scan", "N", "look at N events at most where no index helps (default 50000)"},
    {0}};
static const struct ctl_option top_options[] = {{"once", NULL, "one look at everything, also on a terminal"},
                                                {0}};
static const struct ctl_option fsck_options[] = {
    {"full", NULL,
     "the whole log and all of the streams, not only what came since the last run without findings"},
    {0}};
static const struct ctl_option show_options[] = {{"limit", "N", "at most N events (1 to 5000, default 1000)"},
                                                 {0}};

static const struct ctl_option replay_options[] = {
    {"from", "POINT", "a time (2026-11-24, RFC 3339), a sequence number, or TOPIC.PP:N (required)"},
    {"to", "POINT", "up to there: before that time, or including that number (default: where the group is)"},
    {"types", "PATTERNS", "only these events: order.*,cart.item-added"},
    {"rate", "N", "at most N events per second"},
    {"allow-effects", NULL, "also a group with effects beyond its tables; the effects are not repeated"},
    {"dry-run", NULL, "only say how many events of which types that would be"},
    {0}};
static const struct ctl_option rebuild_options[] = {
    {"verify", NULL, "compare with the live tables by hashes instead of swapping; exit 1 when they differ"},
    {"force", NULL, "also a group with effects beyond its tables; the effects are not repeated"},
    {"rate", "N", "at most N events per second (default: as fast as it goes)"},
    {"status", NULL, "show how far the rebuild of that group is, or how the last one ended"},
    {"abandon", NULL, "give up the rebuild in hand and drop what it has built"},
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
    {"bus top", "", 0, "what the bus does now, every second: rates, lag, owners, parked keys (q ends)",
     top_options, run_bus_top},
    {"bus lag", "", 0, "per partition and group: head, offset, lag in events and time, waiting commands",
     NULL, run_bus_lag},
    {"bus owners", "", 0, "who owns which partitions, who is alive, what would move", NULL, run_bus_owners},
    {"bus tail", "", 0, "print events as they come", tail_options, run_bus_tail},
    {"bus grep", "", 0, "find events by id, key, correlation, type, actor, time or text in their data",
     grep_options, run_bus_grep},
    {"bus show", "ID", 1,
     "the story of an event, command, key or correlation: what caused what, when, and who has seen it",
     show_options, run_bus_show},
    {"bus fsck", "", 0, "check the invariants of log, streams, stock and money; exit 1 when one is hurt",
     fsck_options, run_bus_fsck},
    {"bus replay", "GROUP", 1, "let a group handle a range of its events again", replay_options,
     run_bus_replay},
    {"bus rebuild", "GROUP", 1, "build a read model anew from the log beside the live one, and swap",
     rebuild_options, run_bus_rebuild},
    {"bus decode", "", 0, "read the whole event log with this build; exit 1 when it cannot read an event",
     NULL, run_bus_decode},
    {"schemas check", "", 0, "compare the schemas with everything released; exit 1 when one is incompatible",
     check_options, run_schemas_check},
    {"schemas release", "", 0, "write new versions into lock.json and make their samples", schema_options,
     run_schemas_release},
    {"schedule ls", "", 0, "show schedules: when each fires next, when it last did, why it stands still",
     NULL, run_schedule_ls},
    {"schedule set", "NAME CRON", 2,
     "make or change a schedule: 'minute hour day month weekday', or @daily and the like", schedule_options,
     run_schedule_set},
    {"schedule pause", "NAME", 1, "stop a schedule", NULL, run_schedule_pause},
    {"schedule resume", "NAME", 1, "go on with the next slot from now", NULL, run_schedule_resume},
    {"schedule rm", "NAME", 1, "remove a schedule", NULL, run_schedule_rm},
    {"bus archive", "", 0, "move old partitions of the event log to compressed files", archive_options,
     run_bus_archive},
    {"bus archive ls", "", 0, "list the archive's files", NULL, run_bus_archive_ls},
    {"bus archive verify", "", 0, "read all files: hashes, checksums, order; exit 1 when one is damaged",
     NULL, run_bus_archive_verify},
    {"bus detach", "GROUP", 1, "let the streams be trimmed without waiting for that group; it reads the log",
     NULL, run_bus_detach},
    {"bus attach", "GROUP", 1, "let trimming wait for that group again", NULL, run_bus_attach},
    {"bus dlq ls", "", 0, "keys that are parked: how many messages wait, since when, why", dlq_ls_options,
     run_dlq_ls},
    {"bus dlq show", "GROUP TOPIC KEY", 3, "every message of a parked key, and what operators did with it",
     dlq_show_options, run_dlq_show},
    {"bus dlq retry", "[GROUP TOPIC KEY]", 3,
     "run a parked key's messages through their handler, in order; exit 1 when some stay", dlq_retry_options,
     run_dlq_retry},
    {"bus dlq discard", "GROUP TOPIC KEY", 3, "give a message up; a command is answered as discarded",
     dlq_discard_options, run_dlq_discard},
    {"bus dlq edit", "GROUP TOPIC KEY", 3, "correct the data of a message; the original stays on record",
     dlq_edit_options, run_dlq_edit},
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
                "Exit: 0 well, 1 findings or refusals, 2 usage, 3 a server does not answer, or stopped "
                "before the end\n");
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
    ctl->n_args = n_args;
    if (n_args != ctl->verb->n_args && !(ctl->verb->args[0] == '[' && n_args == 0))
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
