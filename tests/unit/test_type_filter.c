/* Patterns of subscribers against the types of the shop. */
#include <criterion/criterion.h>

#include "bus/type_filter.h"

static struct type_filter parsed(const char *text)
{
    struct type_filter filter;
    cr_assert_not(failed(type_filter_parse(str_of(text), &filter)), "%s: %s", text, err_text(OK));
    return filter;
}

Test(type_filter, a_family_and_a_single_type)
{
    struct type_filter filter = parsed("order.*, cart.item-added");

    cr_assert(type_filter_wants(&filter, STR("order.placed.v1")));
    cr_assert(type_filter_wants(&filter, STR("cart.item-added.v1")));
    cr_assert_not(type_filter_wants(&filter, STR("cart.item-removed.v1")));
    cr_assert_not(type_filter_wants(&filter, STR("order.never-heard-of.v1")));
    cr_assert(filter.topics[TOPIC_ORDERS] && filter.topics[TOPIC_CARTS]);
    cr_assert_not(filter.topics[TOPIC_USERS]);
}

Test(type_filter, the_version_may_be_said)
{
    struct type_filter filter = parsed("order.placed.v1");

    cr_assert(type_filter_wants(&filter, STR("order.placed.v1")));
    cr_assert_not(type_filter_wants(&filter, STR("order.confirmed.v1")));
}

Test(type_filter, nothing_said_is_everything_but_commands)
{
    struct type_filter all = parsed("*"), nothing;

    cr_assert_not(failed(type_filter_parse(STR_NONE, &nothing)));
    cr_assert_eq(memcmp(&all, &nothing, sizeof(all)), 0);
    cr_assert(type_filter_wants(&all, STR("user.registered.v1")));
    cr_assert_not(type_filter_wants(&all, STR("order.place.v1")));
}

Test(type_filter, what_matches_no_event_is_refused)
{
    static const char *const wrong[] = {"orders.*",        "order.place", "order",           "order.placed.v",
                                        "order.placed.v9", "order.*,",    "order.*,,cart.*", ".*",
                                        "order.placed.",   "*.placed"};
    struct type_filter filter;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        cr_assert_eq(type_filter_parse(str_of(wrong[i]), &filter).code, ERR_INVALID, "%s", wrong[i]);
}

Test(type_filter, patterns_are_counted)
{
    char text[16 * (TYPE_FILTER_MAX + 1)] = "order.*";
    struct type_filter filter;

    for (int i = 1; i < TYPE_FILTER_MAX; i++)
        strcat(text, ",order.*");
    cr_assert_not(failed(type_filter_parse(str_of(text), &filter)));
    strcat(text, ",order.*");
    cr_assert_eq(type_filter_parse(str_of(text), &filter).code, ERR_INVALID);
}

Test(type_filter, words_alone_decide_about_what_nobody_here_knows)
{
    static const struct {
        const char *list, *type;
        bool wanted;
    } rows[] = {{"", "a.b.v1", true},         {"*", "a.b.v1", true},      {"a.*", "a.b.v1", true},
                {"x, a.b", "a.b.v12", true},  {"a.b.v1", "a.b.v1", true}, {"a.b.v1", "a.b.v2", false},
                {"b.*,c.*", "a.b.v1", false}, {"a.b", "a.bc.v1", false},  {"a.b", "a.b-c.v1", false},
                {"a", "a.b.v1", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        cr_expect_eq(type_list_wants(str_of(rows[i].list), str_of(rows[i].type)), rows[i].wanted, "%s of %s",
                     rows[i].type, rows[i].list);
}
