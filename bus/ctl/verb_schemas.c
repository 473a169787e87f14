/*
 * schemas check | release: may the schemas of this tree go out? No server is needed.
 */
#include "bus/ctl/ctl.h"
#include "bus/ctl/ctl_schemas.h"

static const char *folder(const struct ctl *ctl)
{
    const char *given = ctl_option(ctl, "schemas");
    return given ? given : DAYDREAM_SOURCE_DIR "/schemas";
}

enum ctl_exit run_schemas_check(struct ctl *ctl)
{
    bool clean;
    err e = schemas_check(folder(ctl), ctl_option(ctl, "against"), ctl->json, ctl->arena, &clean);
    if (failed(e))
        return ctl_fail(e);
    return clean ? CTL_OK : CTL_FINDINGS;
}

enum ctl_exit run_schemas_release(struct ctl *ctl)
{
    bool clean;
    err e = schemas_release(folder(ctl), ctl->arena, &clean);
    if (failed(e))
        return ctl_fail(e);
    return clean ? CTL_OK : CTL_FINDINGS;
}
