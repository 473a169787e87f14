/*
 * Who may do what: five roles and one table of permissions. Deny by default: a route names the permission it
 * needs, and a role has what its row of roles.c says and nothing else.
 */
#pragma once

#include "bus/base/str.h"

enum role { ROLE_NONE, ROLE_CUSTOMER, ROLE_EMPLOYEE, ROLE_MANAGER, ROLE_ADMIN, ROLE_SUPER_ADMIN, ROLE_COUNT };

enum permission {
    MAY_NOTHING,    /* nobody: what a route without a decision would get */
    PUBLIC,         /* everybody, also without a token */
    SIGNED_IN,      /* any person with a valid token; the route itself looks at whose things they are */
    BUY,            /* own cart, own orders */
    SEE_ORDERS,     /* everybody's orders */
    RUN_ORDERS,     /* move orders along, cancel for others */
    EDIT_PRODUCTS,  /* products, categories, brands; sees what is not listed */
    SEE_INVENTORY,  /* movements, warehouses, low stock */
    EDIT_INVENTORY, /* book movements */
    RUN_USERS,      /* see and change people */
    SEE_STORIES,    /* what happened and why: everybody's commands and events, without their data */
    RUN_WEBHOOKS,   /* subscribe endpoints to everybody's events, without what is personal in them */
};

/* ROLE_NONE when unknown. */
enum role role_of(struct str name);
const char *role_name(enum role role);
bool role_may(enum role role, enum permission permission);
/* The rights (enum event_right of bus/event_rights.h) with which events are shown to a person of that role.
 */
unsigned role_event_rights(enum role role);
/* May a person of role `by` change somebody of role `whom`, or give that role? Nobody touches his betters;
 * only a super_admin touches admins. */
bool role_may_manage(enum role by, enum role whom);
