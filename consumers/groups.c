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

const struct group *group_find(const char *name)
{
    for (size_t i = 0; groups[i]; i++)
        if (strcmp(groups[i]->name, name) == 0)
            return groups[i];
    return NULL;
}

bool group_handles_commands(const struct group *group)
{
    for (int m = MESSAGE_NONE + 1; m < MESSAGE_COUNT; m++)
        if (message_types[m].command && handlers_has(&group->on, (enum message)m))
            return true;
    return false;
}
