/* Money: which currency has how many decimals, exact reading, and the included tax. */
#include <assert.h>

#include "bus/base/money.h"

/* ISO 4217 by number of decimals; three letters and a space each, the usual ones first. */
static const char *const by_decimals[MONEY_MAX_DECIMALS + 1] = {
    [0] = "CLP BIF DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF ",
    [2] = "USD EUR AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN "
          "BZD CAD "
          "CDF CHF "
          "CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL "
          "HTG HUF "
          "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU "
          "MUR MVR "
          "MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG "
          "SEK SGD "
          "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH UYU UZS VES WST XCD "
          "YER ZAR "
          "ZMW ",
    [3] = "BHD IQD JOD KWD LYD OMR TND ",
    [4] = "CLF UYW ",
};

int money_decimals(struct str currency)
{
    if (currency.n != 3)
        return -1;
    for (int decimals = 0; decimals <= MONEY_MAX_DECIMALS; decimals++)
        for (const char *code = by_decimals[decimals]; code && *code; code += 4)
            if (memcmp(code, currency.p, 3) == 0)
                return decimals;
    return -1;
}

/* Appends a digit to the amount; false when that is no digit or goes beyond MONEY_MAX. */
static bool append_digit(int64_t *amount, char c)
{
    if (c < '0' || c > '9')
        return false;
    *amount = 10 * *amount + (c - '0');
    return *amount <= MONEY_MAX;
}

err money_parse(struct str number, int decimals, int64_t *ret)
{
    size_t point = str_find(number, '.'), places = number.n - point;
    int64_t amount = 0;

    assert(decimals >= 0 && decimals <= MONEY_MAX_DECIMALS);
    if (point == 0 || places == 1 || (point > 1 && number.p[0] == '0'))
        return FAIL(INVALID, "not an amount");
    for (size_t i = 0; i < point; i++)
        if (!append_digit(&amount, number.p[i]))
            return FAIL(INVALID, "not an amount, or too large");
    for (size_t i = 1; i <= (size_t)decimals; i++)
        if (!append_digit(&amount, i < places ? number.p[point + i] : '0'))
            return FAIL(INVALID, "not an amount, or too large");
    for (size_t i = (size_t)decimals + 1; i < places; i++)
        if (number.p[point + i] != '0')
            return FAIL(INVALID, "not an amount with at most %d decimals", decimals);
    *ret = amount;
    return OK;
}

int64_t money_included_tax(int64_t gross, int64_t basis_points)
{
    __int128 amount = gross < 0 ? -(__int128)gross : gross;
    __int128 whole = 10000 + basis_points, tax;

    assert(basis_points >= 0 && basis_points <= 1000000);
    tax = (2 * amount * basis_points + whole) / (2 * whole);
    return (int64_t)(gross < 0 ? -tax : tax);
}
