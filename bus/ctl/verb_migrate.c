/*
 * migrate up | down | status.
 */
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/ctl/ctl.h"
#include "bus/migrate.h"

/* MIGRATIONS_DIR where the tree is installed elsewhere than where it was built. */
static const char *folder(void)
{
    struct str set = conf_str(SET_MIGRATIONS_DIR);
    return set.n ? set.p : DAYDREAM_SOURCE_DIR "/migrations";
}

static void told(void *word, const struct migration *migration)
{
    printf("%s %.*s\n", (const char *)word, STR_ARG(migration->name));
    fflush(stdout);
}

enum ctl_exit run_migrate_up(struct ctl *ctl)
{
    static char word[] = "applied";
    err e = ctl_connect(ctl, CTL_PG);
    if (!failed(e))
        e = migrate_up(ctl->pg, folder(), conf_int(SET_PARTITIONS), told, word);
    return failed(e) ? ctl_fail(e) : CTL_OK;
}

enum ctl_exit run_migrate_down(struct ctl *ctl)
{
    static char word[] = "undid";
    int64_t version;
    err e = ctl_option_int(ctl, "version", 0, 9999, -1, &version);
    if (failed(e) || version < 0)
        return ctl_usage(ctl, "%s", failed(e) ? err_text(e) : "--version N is needed");
    e = ctl_connect(ctl, CTL_PG);
    if (!failed(e))
        e = migrate_down(ctl->pg, folder(), (int)version, told, word);
    return failed(e) ? ctl_fail(e) : CTL_OK;
}

static const char *const state_words[] = {
    [MIGRATION_PENDING] = "pending",
    [MIGRATION_APPLIED] = "applied",
    [MIGRATION_CHANGED] = "changed",
    [MIGRATION_NO_FILE] = "no file",
};

static void print_status(const struct ctl *ctl, const struct migration *list, size_t n)
{
    struct buf b = buf_new(ctl->arena, 1024);
    struct json j = json_on(&b);
    json_open(&j, '[');
    for (size_t i = 0; i < n; i++) {
        struct str at = list[i].applied_ms ? clock_text(list[i].applied_ms, ctl->arena) : STR("-");
        if (!ctl->json)
            printf("%-32.*s %-8s %.*s\n", STR_ARG(list[i].name), state_words[list[i].state], STR_ARG(at));
        json_open(&j, '{');
        json_kstr(&j, "name", list[i].name);
        json_kint(&j, "version", list[i].version);
        json_kstr(&j, "state", str_of(state_words[list[i].state]));
        json_kstr(&j, "sha256", str_of(list[i].sha));
        json_kstr(&j, "applied", list[i].applied_ms ? at : STR_NONE);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    if (ctl->json)
        ctl_print_json(&b);
}

enum ctl_exit run_migrate_status(struct ctl *ctl)
{
    struct migration *list;
    size_t n;
    bool level = true;
    err e = ctl_connect(ctl, CTL_PG);
    if (!failed(e))
        e = migrate_list(ctl->pg, folder(), ctl->arena, &list, &n);
    if (failed(e))
        return ctl_fail(e);
    print_status(ctl, list, n);
    for (size_t i = 0; i < n; i++)
        level &= list[i].state == MIGRATION_APPLIED || list[i].state == MIGRATION_NO_FILE;
    return level ? CTL_OK : CTL_FINDINGS;
}
