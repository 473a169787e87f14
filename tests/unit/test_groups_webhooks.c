/* The group webhooks, without servers: what switches an endpoint off, and what comes too late for that. */
#include <criterion/criterion.h>

#include "bus/topics.h"
#include "tests/support/batch.h"

extern const struct group webhooks_group;

#define MEMORY _cleanup_(memory_freep) struct memory *memory = memory_new(&webhooks_group)

static const struct uuid hook = {{0x01, 0xa4, 1}};

static void create(struct memory *memory, int64_t now)
{
    const struct str types[] = {STR("order.*")};
    struct webhook_create c = {.url = STR("https://a.example"), .types = types, .types_n = 1, .rights = 1};
    partitions_set(1);
    memory->now = now;
    cr_assert_eq(handle(memory, WEBHOOK_CREATE, &c, .id = hook).http, 201);
}

static bool is_active(struct memory *memory)
{
    return row_bool(kept_row(memory, "webhook", "id", VALUE_UUID(hook)), "is_active");
}

/* written: when its delivery asked for it. */
static void asked_to_disable(struct memory *memory, int64_t written)
{
    struct webhook_disable_requested e = {.webhook_id = hook, .reason = STR("gone")};
    memory->now = written;
    handle(memory, WEBHOOK_DISABLE_REQUESTED, &e);
}

Test(groups_webhooks, an_endpoint_that_is_gone_is_switched_off_once)
{
    MEMORY;
    create(memory, 1000);
    asked_to_disable(memory, 1500);
    cr_assert(!is_active(memory));
    cr_assert_eq(told_count(memory, WEBHOOK_DISABLED), 1);
    asked_to_disable(memory, 1501);
    cr_assert_eq(told_count(memory, WEBHOOK_DISABLED), 0);
}

/* Several deliveries meet a 410; a person mends the endpoint and switches it on before the last of them is
 * read. */
Test(groups_webhooks, what_was_said_before_a_person_changed_the_endpoint_does_not_count)
{
    MEMORY;
    struct webhook_update back = {.webhook_id = hook, .has_is_active = true, .is_active = true, .rights = 1};
    create(memory, 1000);
    asked_to_disable(memory, 1500);
    memory->now = 2000;
    handle(memory, WEBHOOK_UPDATE, &back);
    cr_assert(is_active(memory));
    asked_to_disable(memory, 1501);
    cr_assert(is_active(memory));
    asked_to_disable(memory, 2500);
    cr_assert(!is_active(memory));
}
