/* Money: exact reading, decimals of currencies, the included tax. */
#include <criterion/criterion.h>

#include "bus/base/json.h"
#include "bus/base/money.h"
#include "bus/base/uuid.h"

Test(money, reads_amounts_exactly)
{
    static const struct {
        const char *text;
        int decimals;
        int64_t minor;
    } rows[] = {{"599.99", 2, 59999},
                {"599.9", 2, 59990},
                {"600", 2, 60000},
                {"0", 0, 0},
                {"0.00", 2, 0},
                {"0.01", 2, 1},
                {"12990", 0, 12990},
                {"12990.00", 0, 12990},
                {"1.5000", 2, 150},
                {"0.1", 4, 1000},
                {"1000000000000000", 0, MONEY_MAX},
                {"10000000000000.00", 2, MONEY_MAX}};
    int64_t minor;

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        cr_assert_not(failed(money_parse(str_of(rows[i].text), rows[i].decimals, &minor)), "%s",
                      rows[i].text);
        cr_assert_eq(minor, rows[i].minor, "%s", rows[i].text);
    }
}

Test(money, refuses_everything_else)
{
    static const struct {
        const char *text;
        int decimals;
    } rows[] = {{"1.5", 0},
                {"0.001", 2},
                {"-1", 2},
                {"+1", 2},
                {"1e3", 2},
                {"", 2},
                {".5", 2},
                {"5.", 2},
                {"1.2.3", 2},
                {"01", 0},
                {"00", 0},
                {"1,5", 2},
                {" 1", 0},
                {"1 ", 0},
                {"NaN", 2},
                {"0x10", 0},
                {"1.0a", 0},
                {"1000000000000001", 0},
                {"10000000000000.01", 2},
                {"99999999999999999999999999", 0},
                {"1000000000000000", 2}};
    int64_t minor = 7;

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        cr_assert_eq(money_parse(str_of(rows[i].text), rows[i].decimals, &minor).code, ERR_INVALID, "%s",
                     rows[i].text);
    cr_assert(failed(money_parse(STR_NONE, 2, &minor)));
    cr_assert_eq(minor, 7);
}

Test(money, what_is_printed_is_read_back)
{
    _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 24);

    for (int i = 0; i < 10000; i++) {
        int64_t minor = (int64_t)(random_u64() % (uint64_t)(MONEY_MAX + 1)) >> random_u64() % 50, back;
        int decimals = (int)(random_u64() % (MONEY_MAX_DECIMALS + 1));
        struct buf b = buf_new(arena, 0);
        struct json j = json_on(&b);

        json_decimal(&j, minor, decimals);
        cr_assert_not(failed(money_parse(buf_view(&b), decimals, &back)), "%s", b.p);
        cr_assert_eq(back, minor);
    }
}

Test(money, knows_currencies)
{
    cr_assert_eq(money_decimals(STR("CLP")), 0);
    cr_assert_eq(money_decimals(STR("USD")), 2);
    cr_assert_eq(money_decimals(STR("ZMW")), 2);
    cr_assert_eq(money_decimals(STR("KWD")), 3);
    cr_assert_eq(money_decimals(STR("CLF")), 4);
    cr_assert_eq(money_decimals(STR("clp")), -1);
    cr_assert_eq(money_decimals(STR("XXX")), -1);
    cr_assert_eq(money_decimals(STR("LP ")), -1);
    cr_assert_eq(money_decimals(STR("")), -1);
    cr_assert_eq(money_decimals(STR_NONE), -1);
}

Test(money, tax_is_the_included_part_rounded_half_up)
{
    cr_assert_eq(money_included_tax(11900, 1900), 1900);
    cr_assert_eq(money_included_tax(12990, 1900), 2074); /* 2074.03 */
    cr_assert_eq(money_included_tax(100, 1900), 16);     /* 15.97 */
    cr_assert_eq(money_included_tax(3, 10000), 2);       /* 1.5 */
    cr_assert_eq(money_included_tax(1, 10000), 1);       /* 0.5 */
    cr_assert_eq(money_included_tax(0, 1900), 0);
    cr_assert_eq(money_included_tax(5000, 0), 0);
    cr_assert_eq(money_included_tax(-12990, 1900), -2074);
    cr_assert_eq(money_included_tax(MONEY_MAX, 1900), 159663865546218); /* …218.49 */
    cr_assert_eq(money_included_tax(INT64_MIN, 10000), INT64_MIN / 2);
}
