#include "consumers/errand.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "bus/base/conf.h"
#include "consumers/rebuild.h"
#include "consumers/replay.h"

enum { USAGE = 2 };

/* The word behind --name, "" for a flag that is there, NULL. */
static const char *word(int argc, char **argv, const char *name, bool flag)
{
    for (int i = 3; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return flag ? "" : i + 1 < argc ? argv[i + 1] : NULL;
    return NULL;
}

static bool number(int argc, char **argv, const char *name, int64_t *ret)
{
    const char *text = word(argc, argv, name, false);
    *ret = 0;
    return !text || (!failed(str_int64(str_of(text), ret)) && *ret >= 0);
}

bool errand_named(int argc, char **argv)
{
    return argc >= 3 && (strcmp(argv[1], "--rebuild") == 0 || strcmp(argv[1], "--replay") == 0);
}

static int rebuild(int argc, char **argv, const atomic_bool *stop)
{
    struct rebuild_options options = {.group = argv[2],
                                      .verify = word(argc, argv, "--verify", true),
                                      .forced = word(argc, argv, "--force", true)};
    return number(argc, argv, "--rate", &options.rate) ? rebuild_run(&options, stop) : USAGE;
}

static int replay(int argc, char **argv)
{
    struct replay_options options = {.group = argv[2],
                                     .from = word(argc, argv, "--from", false),
                                     .to = word(argc, argv, "--to", false),
                                     .types = word(argc, argv, "--types", false),
                                     .dry = word(argc, argv, "--dry-run", true),
                                     .forced = word(argc, argv, "--force", true),
                                     .json = word(argc, argv, "--json", true)};
    return options.from && number(argc, argv, "--rate", &options.rate) ? replay_ask(&options) : USAGE;
}

int errand_run(int argc, char **argv, const atomic_bool *stop)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* nobody would see how it gets on */
    err e = conf_load("daydream-consumers");
    if (failed(e)) {
        fprintf(stderr, "daydream-consumers: %s\n", err_text(e));
        return USAGE;
    }
    return strcmp(argv[1], "--rebuild") == 0 ? rebuild(argc, argv, stop) : replay(argc, argv);
}
