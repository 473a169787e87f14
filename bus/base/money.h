/* Money is integer minor units beside an ISO 4217 currency; never a float. */
#pragma once

#include "bus/base/str.h"

enum { MONEY_MAX_DECIMALS = 4 };
/* The largest amount of minor units taken from outside: 10^15. */
#define MONEY_MAX INT64_C(1000000000000000)

/* Decimals of a currency we know (CLP 0, USD 2, EUR 2, …); -1 when unknown. */
int money_decimals(struct str currency);
/* Exact: "599.99" with 2 decimals is 59999; "1.5" with 0 decimals, exponents, signs and overflow are INVALID.
 * Trailing zeros beyond the decimals are fine ("12990.00" CLP). */
err money_parse(struct str number, int decimals, int64_t *ret) _must_use_;
/* The part of a gross amount that is tax, rate in basis points (1900 = 19 %; 0 to 10^6), rounded half up; a
 * negative amount (a refund) gives exactly the negative tax. */
int64_t money_included_tax(int64_t gross, int64_t basis_points);
