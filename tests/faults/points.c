/* Where each crash point is passed, how often at least in a case, and what it takes to come by at all. */
#include "tests/faults/faults.h"

const char *const point_names[FAULT_COUNT] = {
#define POINT(id, name, text) [FAULT_##id] = name,
#include "bus/base/faults.def"
#undef POINT
};

/* clang-format off */
const struct point points[FAULT_COUNT] = {
    /*                              program            at most  disaster       short  alone  elsewhere */
    [FAULT_DOOR_AFTER_PARSE]     = {PROGRAM_API,       200,     NULL,          false, false, NULL},
    [FAULT_DOOR_AFTER_SEND]      = {PROGRAM_API,       200,     NULL,          false, false, NULL},
    [FAULT_DOOR_AFTER_REPLY]     = {PROGRAM_API,       200,     NULL,          true,  false, NULL},
    [FAULT_DOOR_WAITING]         = {PROGRAM_API,       100,     NULL,          false, false, NULL},
    [FAULT_RUNNER_AFTER_CLAIM]   = {PROGRAM_CONSUMERS, 6,       NULL,          false, false, NULL},
    [FAULT_RUNNER_AFTER_READ]    = {PROGRAM_CONSUMERS, 100,     NULL,          false, false, NULL},
    [FAULT_RUNNER_AFTER_LOAD]    = {PROGRAM_CONSUMERS, 100,     NULL,          false, false, NULL},
    [FAULT_RUNNER_AFTER_DECIDE]  = {PROGRAM_CONSUMERS, 100,     NULL,          false, false, NULL},
    [FAULT_RUNNER_MID_FLUSH]     = {PROGRAM_CONSUMERS, 100,     NULL,          false, false, NULL},
    [FAULT_RUNNER_FLUSH_SENT]    = {PROGRAM_CONSUMERS, 100,     NULL,          true,  false, NULL},
    [FAULT_RUNNER_AFTER_COMMIT]  = {PROGRAM_CONSUMERS, 100,     NULL,          true,  false, NULL},
    [FAULT_RUNNER_AFTER_RELAY]   = {PROGRAM_CONSUMERS, 100,     NULL,          false, false, NULL},
    [FAULT_RUNNER_AFTER_ACK]     = {PROGRAM_CONSUMERS, 100,     NULL,          false, false, NULL},
    [FAULT_RUNNER_BEFORE_PARK]   = {PROGRAM_CONSUMERS, 1,       "poison",      false, true, NULL},
    [FAULT_RUNNER_AFTER_PARK]    = {PROGRAM_CONSUMERS, 1,       "poison",      false, true, NULL},
    [FAULT_RUNNER_NOT_YET]       = {PROGRAM_CONSUMERS, 1,       NULL,          false, true, NULL},
    [FAULT_RUNNER_SUSPECT]       = {PROGRAM_CONSUMERS, 1,       "suspect",     false, false, NULL},
    [FAULT_RETRY_NOTED]          = {PROGRAM_CONSUMERS, 1,       "retry",       false, true, NULL},
    [FAULT_RETRY_HANDLED]        = {PROGRAM_CONSUMERS, 1,       "retry",       true,  true, NULL},
    [FAULT_RETRY_EMPTY]          = {PROGRAM_CONSUMERS, 1,       "retry",       false, true, NULL},
    [FAULT_RUNNER_DRAIN]         = {PROGRAM_CONSUMERS, 3,       "drain",       false, true, NULL},
    [FAULT_REBUILD_FILLED]       = {PROGRAMS,          1,       "rebuild",     false, false, NULL},
    [FAULT_REBUILD_FENCED]       = {PROGRAMS,          1,       "rebuild",     false, false, NULL},
    [FAULT_REBUILD_SWAPPED]      = {PROGRAMS,          1,       "rebuild",     false, false, NULL},
    [FAULT_RELAY_AFTER_SELECT]   = {PROGRAM_PRODUCERS, 10,      NULL,          false, false, NULL},
    [FAULT_RELAY_MID_APPEND]     = {PROGRAM_PRODUCERS, 10,      NULL,          true,  false, NULL},
    [FAULT_RELAY_AFTER_APPEND]   = {PROGRAM_PRODUCERS, 10,      NULL,          false, false, NULL},
    [FAULT_RELAY_REBUILD]        = {PROGRAM_PRODUCERS, 1,       "del-streams", false, false, NULL},
    [FAULT_TIMER_AFTER_SELECT]   = {PROGRAM_PRODUCERS, 1,       NULL,          false, false, NULL},
    [FAULT_TIMER_AFTER_COMMIT]   = {PROGRAM_PRODUCERS, 1,       NULL,          false, false, NULL},
    [FAULT_SCHEDULE_AFTER_SELECT] = {PROGRAM_PRODUCERS, 1,      NULL,          false, false, NULL},
    [FAULT_SCHEDULE_AFTER_COMMIT] = {PROGRAM_PRODUCERS, 1,      NULL,          false, false, NULL},
    [FAULT_JOB_AFTER_CLAIM]      = {PROGRAM_PRODUCERS, 20,      NULL,          false, false, NULL},
    [FAULT_JOB_AFTER_CALL]       = {PROGRAM_PRODUCERS, 20,      NULL,          true,  false, NULL},
    [FAULT_JOB_AFTER_COMMIT]     = {PROGRAM_PRODUCERS, 20,      NULL,          false, false, NULL},
    [FAULT_PROVIDER_MID_CHARGE]  = {PROGRAM_PRODUCERS, 20,      NULL,          false, false, NULL},
    [FAULT_TRIM_AFTER_FLOOR]     = {PROGRAM_PRODUCERS, 1,       NULL,          false, false, NULL},
    [FAULT_ARCHIVE_MID_WRITE]    = {.elsewhere = "tests/unit/test_archive.c"},
    [FAULT_ARCHIVE_WRITTEN]      = {.elsewhere = "tests/unit/test_archive.c"},
    [FAULT_ARCHIVE_VERIFIED]     = {.elsewhere = "tests/unit/test_archive.c"},
    [FAULT_ARCHIVE_DROPPED]      = {.elsewhere = "tests/unit/test_archive.c"},
};
/* clang-format on */
