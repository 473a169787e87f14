/*
 * bus fsck: runs all checks, prints one line (or one JSON object) per finding.
 */
#include <inttypes.h>

#include "bus/ctl/fsck.h"

void fsck_found(struct fsck *fsck, const char *check, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    fsck->findings++;
    if (!fsck->ctl->json) {
        printf("%s: %s\n", check, text);
        return;
    }
    json_open(&fsck->json, '{');
    json_kstr(&fsck->json, "check", str_of(check));
    json_kstr(&fsck->json, "finding", str_of(text));
    json_close(&fsck->json, '}');
}

static void fsck_summary(struct fsck *fsck)
{
    if (!fsck->ctl->json) {
        printf("%" PRId64 " findings in %" PRId64 " checks\n", fsck->findings, fsck->checked);
        return;
    }
    json_close(&fsck->json, ']');
    json_kint(&fsck->json, "checks", fsck->checked);
    json_close(&fsck->json, '}');
    ctl_print_json(&fsck->report);
}

enum ctl_exit run_bus_fsck(struct ctl *ctl)
{
    struct fsck fsck = {.ctl = ctl, .full = ctl_option(ctl, "full"), .report = buf_new(ctl->arena, 4096)};
    fsck.json = json_on(&fsck.report);
    json_open(&fsck.json, '{');
    json_key(&fsck.json, "findings");
    json_open(&fsck.json, '[');
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = fsck_marks_load(&fsck);
    if (!failed(e))
        e = fsck_sql(&fsck);
    if (!failed(e))
        e = fsck_streams(&fsck);
    if (!failed(e) && fsck.findings == 0)
        e = fsck_marks_save(&fsck);
    if (failed(e))
        return ctl_fail(e);
    fsck_summary(&fsck);
    return fsck.findings ? CTL_FINDINGS : CTL_OK;
}
