/* All groups of the shop. A new group is one file and one line here; each runs in a thread of its own. */
#include "consumers/group.h"

extern const struct group identity_group, catalog_group, inventory_group, cart_group, orders_group,
    payments_group;

const struct group *const groups[] = {
    &identity_group, &catalog_group, &inventory_group, &cart_group, &orders_group, &payments_group, NULL,
};
