/* The table of groups, from groups.def; each runs in a thread of its own. */
#include "consumers/group.h"

#define GROUP(name) extern const struct group name##_group;
#include "consumers/groups.def"
#undef GROUP

const struct group *const groups[] = {
#define GROUP(name) &name##_group,
#include "consumers/groups.def"
#undef GROUP
    NULL,
};
