/*
 * The permission table.
 */
#include "api/roles.h"

#include "bus/event_rights.h"

#define BIT(permission) (1U << (permission))
#define CUSTOMER (BIT(PUBLIC) | BIT(SIGNED_IN) | BIT(BUY))
#define EMPLOYEE (CUSTOMER | BIT(SEE_ORDERS) | BIT(SEE_INVENTORY))
#define MANAGER (EMPLOYEE | BIT(EDIT_PRODUCTS) | BIT(EDIT_INVENTORY) | BIT(SEE_STORIES) | BIT(RUN_WEBHOOKS))
#define ADMIN (MANAGER | BIT(RUN_ORDERS) | BIT(RUN_USERS))

static const struct {
    const char *name;
    unsigned may;
} roles[ROLE_COUNT] = {
    [ROLE_NONE] = {"", BIT(PUBLIC)},          [ROLE_CUSTOMER] = {"customer", CUSTOMER},
    [ROLE_EMPLOYEE] = {"employee", EMPLOYEE}, [ROLE_MANAGER] = {"manager", MANAGER},
    [ROLE_ADMIN] = {"admin", ADMIN},          [ROLE_SUPER_ADMIN] = {"super_admin", ADMIN},
};

enum role role_of(struct str name)
{
    for (int i = ROLE_CUSTOMER; i < ROLE_COUNT; i++)
        if (str_is(name, roles[i].name))
            return (enum role)i;
    return ROLE_NONE;
}

const char *role_name(enum role role)
{
    return roles[role].name;
}

bool role_may(enum role role, enum permission permission)
{
    return roles[role].may >> permission & 1;
}

bool role_may_manage(enum role by, enum role whom)
{
    return role_may(by, RUN_USERS) && (by == ROLE_SUPER_ADMIN || whom < ROLE_ADMIN);
}

/* Permission of the route table → right of events. */
static const struct {
    enum permission permission;
    unsigned rights;
} event_rights[] = {
    {SIGNED_IN, EVENTS_OWN},         {SEE_ORDERS, EVENTS_SALES}, {SEE_INVENTORY, EVENTS_STOCK},
    {EDIT_PRODUCTS, EVENTS_CATALOG}, {RUN_USERS, EVENTS_PEOPLE}, {RUN_ORDERS, EVENTS_INNER},
};

unsigned role_event_rights(enum role role)
{
    unsigned rights = 0;
    for (size_t i = 0; i < sizeof(event_rights) / sizeof(*event_rights); i++)
        if (role_may(role, event_rights[i].permission))
            rights |= event_rights[i].rights;
    return rights;
}
