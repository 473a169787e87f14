/* Signatures, targets, retries, breakers, bodies: what webhooks are made of, without servers. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>

#include "bus/base/clock.h"
#include "bus/event_form.h"
#include "bus/target.h"
#include "bus/webhook.h"
#include "producers/webhook_plan.h"

#define ARENA _cleanup_(arena_freep) struct arena *arena = arena_new(1 << 20)

/* ---- signatures ---- */

/* The vector of the reference implementations of Standard Webhooks (libraries/go/webhook_test.go,
 * TestWebhookSign). */
Test(webhook, signs_as_the_standard_says)
{
    ARENA;
    struct str key, signature;
    cr_assert_not(failed(base64url_decode(STR("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), arena, &key)));
    signature = webhook_sign(key, STR("msg_p5jXN8AQM9LWM0D4loKWxJek"), 1614265330,
                             STR("{\"test\": 2432232314}"), arena);
    cr_assert_str_eq(signature.p, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

Test(webhook, secrets_differ_by_endpoint_and_generation_and_are_derived)
{
    ARENA;
    struct seal_key master = {{1}}, other = {{2}};
    struct uuid a = uuid_v7(1), b = uuid_v7(1);
    struct webhook_secret first = webhook_secret_of(&master, a, 1), again = webhook_secret_of(&master, a, 1),
                          next = webhook_secret_of(&master, a, 2), others = webhook_secret_of(&master, b, 1),
                          foreign = webhook_secret_of(&other, a, 1);
    cr_assert(bytes_eq(first.b, again.b, WEBHOOK_SECRET));
    cr_assert_not(bytes_eq(first.b, next.b, WEBHOOK_SECRET));
    cr_assert_not(bytes_eq(first.b, others.b, WEBHOOK_SECRET));
    cr_assert_not(bytes_eq(first.b, foreign.b, WEBHOOK_SECRET));
    struct str text = webhook_secret_text(&first, arena);
    cr_assert_eq(text.n, 6 + 44);
    cr_assert(str_starts(text, STR("whsec_")));
}

Test(webhook, two_signatures_while_a_secret_is_replaced)
{
    ARENA;
    struct seal_key master = {{7}};
    struct uuid id = uuid_v7(1);
    struct str old = webhook_signatures(&master, id, 1, true, STR("e"), 5, STR("{}"), arena),
               both = webhook_signatures(&master, id, 2, true, STR("e"), 5, STR("{}"), arena),
               now = webhook_signatures(&master, id, 2, false, STR("e"), 5, STR("{}"), arena);
    cr_assert_eq(str_find(old, ' '), old.n, "nothing stood before the first");
    cr_assert(str_eq(both, arena_printf(arena, "%s %s", now.p, old.p)), "the present one first");
}

/* ---- addresses ---- */

static bool is_public(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return address_is_public((struct sockaddr *)(void *)&in);
    cr_assert_eq(inet_pton(AF_INET6, text, &in6.sin6_addr), 1, "%s", text);
    return address_is_public((struct sockaddr *)(void *)&in6);
}

Test(target, only_public_addresses_are_public)
{
    static const char *const open[] = {"1.1.1.1",      "8.8.8.8",         "100.63.255.255", "100.128.0.0",
                                       "172.15.0.1",   "172.32.0.1",      "169.253.1.1",    "192.167.1.1",
                                       "198.17.0.1",   "223.255.255.255", "2606:4700::1",   "2a00:1450::1",
                                       "2001:4860::1", "3fff:1000::1"};
    static const char *const closed[] = {"0.0.0.0",
                                         "0.1.2.3",
                                         "10.0.0.1",
                                         "10.255.255.255",
                                         "100.64.0.1",
                                         "100.127.255.255",
                                         "127.0.0.1",
                                         "127.255.0.1",
                                         "169.254.169.254",
                                         "172.16.0.1",
                                         "172.31.255.255",
                                         "192.0.0.1",
                                         "192.0.2.1",
                                         "192.168.0.1",
                                         "198.18.0.1",
                                         "198.19.255.255",
                                         "198.51.100.1",
                                         "203.0.113.1",
                                         "224.0.0.1",
                                         "239.1.1.1",
                                         "240.0.0.1",
                                         "255.255.255.255",
                                         "168.63.129.16",
                                         "::",
                                         "::1",
                                         "::ffff:127.0.0.1",
                                         "::ffff:8.8.8.8",
                                         "::10.0.0.1",
                                         "64:ff9b::a00:1",
                                         "64:ff9b:1::1",
                                         "100::1",
                                         "2001::1",
                                         "2001:db8::1",
                                         "2002:a00:1::1",
                                         "fc00::1",
                                         "fd12:3456::1",
                                         "fe80::1",
                                         "fec0::1",
                                         "ff02::1",
                                         "5f00::1",
                                         "3fff:fff::1",
                                         "fd00:ec2::254"};
    for (size_t i = 0; i < sizeof(open) / sizeof(*open); i++)
        cr_expect(is_public(open[i]), "%s", open[i]);
    for (size_t i = 0; i < sizeof(closed) / sizeof(*closed); i++)
        cr_expect_not(is_public(closed[i]), "%s", closed[i]);
    struct sockaddr unix_socket = {.sa_family = AF_UNIX};
    cr_expect_not(address_is_public(&unix_socket));
}

static const struct {
    const char *url;
    bool open, when_private; /* taken, and taken when private targets are allowed */
} urls[] = {
    {"https://example.com", true, true},
    {"https://example.com/", true, true},
    {"https://example.com/a/b?c=d", true, true},
    {"https://example.com?c=d", true, true},
    {"https://a-b.example.com:8443/x", true, true},
    {"https://example.com:443/x", true, true},
    {"https://example.com./x", true, true},
    {"https://8.8.8.8/x", true, true},
    {"https://[2606:4700::1]:8443/x", true, true},
    {"http://example.com/", false, true},
    {"http://127.0.0.1:8080/", false, true},
    {"https://127.0.0.1/", false, true},
    {"https://localhost/", false, true},
    {"https://LocalHost./", false, true},
    {"https://a.localhost/", false, true},
    {"https://printer.local/", false, true},
    {"https://metadata.google.internal/", false, true},
    {"https://router.home.arpa/", false, true},
    {"https://redis/", false, true},
    {"https://2130706433/", false, true},
    {"https://0x7f000001/", false, true},
    {"https://0x7f.1/", false, true},
    {"https://017700000001/", false, true},
    {"https://127.1/", false, true},
    {"https://[::1]/", false, true},
    {"https://[::ffff:10.0.0.1]/", false, true},
    {"https://169.254.169.254/latest/meta-data", false, true},
    {"https://example.com:22/", false, true},
    {"https://example.com:80/", false, true},
    {"https://example.com:6379/", false, true},
    {"https://example.com:5432/", false, true},
    {"", false, false},
    {"example.com", false, false},
    {"ftp://example.com/", false, false},
    {"gopher://example.com/", false, false},
    {"HTTPS://example.com/", false, false},
    {"https://", false, false},
    {"https:///path", false, false},
    {"https://:443/", false, false},
    {"https://user@example.com/", false, false},
    {"https://user:pw@example.com/", false, false},
    {"https://example.com@127.0.0.1/", false, false},
    {"https://example.com/#fragment", false, false},
    {"https://example.com/a b", false, false},
    {"https://example.com\\@127.0.0.1/", false, false},
    {"https://example.com/\r\nX: y", false, false},
    {"https://example..com/", false, false},
    {"https://-example.com/", false, false},
    {"https://exa%6dple.com/", false, false},
    {"https://example.com:0/", false, false},
    {"https://example.com:65536/", false, false},
    {"https://example.com:8o/", false, false},
    {"https://[::1/", false, false},
    {"https://[::1]x/", false, false},
    {"https://[fe80::1%25eth0]/", false, false},
    {"https://[example.com]/", false, false},
    {"https://[1.2.3.4]/", false, false},
};

Test(target, urls_are_taken_by_their_form)
{
    for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
        struct target target;
        cr_expect_eq(!failed(target_read(str_of(urls[i].url), false, &target)), urls[i].open, "%s",
                     urls[i].url);
        cr_expect_eq(!failed(target_read(str_of(urls[i].url), true, &target)), urls[i].when_private,
                     "private %s", urls[i].url);
    }
}

Test(target, urls_have_an_end)
{
    ARENA;
    struct target target;
    struct buf b = buf_new(arena, TARGET_URL_MAX + 1);
    buf_lit(&b, "https://example.com/");
    while (b.n < TARGET_URL_MAX)
        buf_char(&b, 'a');
    cr_assert_not(failed(target_read(buf_view(&b), false, &target)));
    buf_char(&b, 'a');
    cr_assert_eq(target_read(buf_view(&b), false, &target).code, ERR_INVALID);
}

/* ---- names, by a resolver of the test's own ---- */

static int resolve_zone(const char *host, struct sockaddr_storage *ret, int n)
{
    static const struct {
        const char *host, *address;
    } zone[] = {{"good.example.com", "93.184.216.34"},
                {"bad.example.com", "10.0.0.7"},
                {"mixed.example.com", "93.184.216.34"},
                {"mixed.example.com", "127.0.0.1"}};
    int found = 0;
    for (size_t i = 0; i < sizeof(zone) / sizeof(*zone) && found < n; i++) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)&ret[found];
        if (strcmp(zone[i].host, host) != 0)
            continue;
        *in = (struct sockaddr_in){.sin_family = AF_INET};
        found += inet_pton(AF_INET, zone[i].address, &in->sin_addr) == 1;
    }
    return found;
}

Test(target, a_name_is_as_private_as_its_worst_address)
{
    target_resolve = resolve_zone;
    cr_expect_not(failed(target_check(STR("good.example.com"))));
    cr_expect_not(failed(target_check(STR("unknown.example.com"))), "it may come to be known");
    cr_expect_eq(target_check(STR("bad.example.com")).code, ERR_INVALID);
    cr_expect_eq(target_check(STR("mixed.example.com")).code, ERR_INVALID);
}

/* ---- retries ---- */

Test(plan, retries_follow_the_schedule_and_grow)
{
    static const int64_t seconds[] = {1, 2, 4, 8, 15, 30};
    int64_t day = 0, attempts = 0;
    for (int64_t i = 0; i < 6; i++)
        for (int k = 0; k < 100; k++) {
            int64_t ms = webhook_retry_ms(i + 1);
            cr_expect_geq(ms, seconds[i] * 1000);
            cr_expect_leq(ms, seconds[i] * 1100);
        }
    for (; day < 24 * 3600 * 1000; attempts++)
        day += webhook_retry_ms(attempts + 1);
    cr_expect_geq(attempts, 15);
    cr_expect_leq(attempts, 30);
    cr_expect_leq(webhook_retry_ms(1000000), 3 * 3600 * 1100);
}

Test(plan, statuses_are_judged)
{
    cr_expect(webhook_judge(200).delivered && webhook_judge(204).delivered && webhook_judge(299).delivered);
    cr_expect_not(webhook_judge(301).delivered || webhook_judge(404).delivered || webhook_judge(0).delivered);
    cr_expect(webhook_judge(410).gone);
    cr_expect(webhook_judge(404).alive && webhook_judge(302).alive);
    cr_expect_not(webhook_judge(0).alive || webhook_judge(429).alive || webhook_judge(500).alive ||
                  webhook_judge(503).alive);
}

Test(plan, retry_after_is_seconds_or_a_date_and_bounded)
{
    int64_t now = INT64_C(1445412480000); /* Wed, 21 Oct 2015 07:28:00 GMT */
    cr_expect_eq(webhook_retry_after_ms("7", now), 7000);
    cr_expect_eq(webhook_retry_after_ms("Wed, 21 Oct 2015 07:28:30 GMT", now), 30000);
    cr_expect_eq(webhook_retry_after_ms("Wed, 21 Oct 2015 07:27:30 GMT", now), 0);
    cr_expect_eq(webhook_retry_after_ms("999999999999", now), RETRY_AFTER_MAX_S * INT64_C(1000));
    cr_expect_eq(webhook_retry_after_ms("soon", now), 0);
    cr_expect_eq(webhook_retry_after_ms("-1", now), 0);
}

Test(plan, an_endpoint_that_is_away_is_probed_at_least_every_ten_seconds)
{
    struct webhook_verdict down = webhook_judge(0), up = webhook_judge(200);
    struct endpoint_state state = {.running = 0};
    int64_t now = 1000;
    bool probe;
    for (int i = 0; i < ENDPOINT_FAILURES; i++) {
        cr_assert_eq(endpoint_room(&state, 4, now, &probe), 4);
        cr_assert_not(probe);
        state.running++;
        endpoint_ended(&state, down, 0, now);
    }
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(endpoint_room(&state, 4, now, &probe), 0, "closed after probe %d", i);
        cr_assert_leq(state.until_ms - now, PROBE_MAX_MS);
        now = state.until_ms;
        cr_assert_eq(endpoint_room(&state, 4, now, &probe), 1);
        cr_assert(probe);
        state.running++;
        cr_assert_eq(endpoint_room(&state, 4, now, &probe), 0, "one probe at a time");
        endpoint_ended(&state, down, 0, now);
    }
    state.running++;
    endpoint_ended(&state, up, 0, now);
    cr_assert(state.hurry, "what waits shall go");
    state.hurry = false;
    cr_assert_eq(endpoint_room(&state, 4, now, &probe), 4);
    cr_assert(endpoint_is_idle(&state, now));
}

Test(plan, an_endpoint_that_asks_for_time_gets_it)
{
    struct endpoint_state state = {.running = 1};
    bool probe;
    endpoint_ended(&state, webhook_judge(503), 60000, 0);
    cr_expect_eq(endpoint_room(&state, 4, 59999, &probe), 0);
    cr_expect_eq(endpoint_room(&state, 4, 60000, &probe), 4);
}

/* ---- bodies ---- */

Test(body, leaves_out_what_tells_who_somebody_is)
{
    ARENA;
    struct seal_key key = {{3}};
    const char *sealed = seal_value(&key, uuid_v7(1), STR("\"Ana\""), arena).p;
    struct envelope event = {
        .specversion = STR("1.0"),
        .id = STR("i"),
        .source = STR("s"),
        .type = STR("t.v1"),
        .actor = STR("user:x"),
        .data = arena_printf(arena, "{\"name\":\"%s\",\"n\":1,\"email_index\":\"abc\"}", sealed)};
    cr_expect_str_eq(event_json(&event, false, arena).p,
                     "{\"specversion\":\"1.0\",\"id\":\"i\",\"source\":\"s\",\"type\":\"t.v1\",\"withheld\":"
                     "\"name email_index\",\"datacontenttype\":\"application/json\",\"data\":{\"n\":1}}");
}
