/*
 * See rate.h. GCRA keeps one number per subject: the time at which it will have its whole allowance back. A
 * request moves it by one interval; it may not move further ahead than the period.
 */
#include "api/rate.h"

#include <stdlib.h>

#include "api/admit.h"
#include "api/idmap.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"

/* What a policy allows in a period. */
static const struct {
    const char *name;
    bool by_address; /* always */
    int64_t limit, anonymous, period_ms;
} policies[RATE_POLICIES] = {
    [RATE_GENERAL] = {"general", false, 1000, 100, 60000},
    [RATE_AUTH] = {"auth", true, 5, 5, 60000},
    [RATE_POLL] = {"poll", false, 600, 600, 60000},
    [RATE_ADMIN] = {"admin", false, 500, 500, 3600000},
};

enum { LEASE = 10, LEASE_MS = 5000 };

/* KEYS the subject. ARGV interval and period in microseconds, permits wanted. Returns permits granted, and ms
 * until there is one. */
static struct redis_script gcra = {
    .source =
        "local t = redis.call('TIME')\n"
        "local now = t[1] * 1000000 + t[2]\n"
        "local interval, period = tonumber(ARGV[1]), tonumber(ARGV[2])\n"
        "local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)\n"
        "local n = math.min(tonumber(ARGV[3]), math.floor((period - (full - now)) / interval))\n"
        "if n < 1 then return {0, math.ceil((full + interval - period - now) / 1000)} end\n"
        "full = full + n * interval\n"
        "redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))\n"
        "return {n, 0}\n",
};

struct subject {
    struct idmap_node node; /* id: a digest of policy and name */
    int64_t permits;        /* leased and not spent */
    int64_t until_ms;       /* when the lease ends */
    int64_t full_us;        /* the number of GCRA while Redis is away */
};

struct rates {
    struct door *door;
    struct idmap subjects;
};

static void drop_subject(struct idmap_node *node)
{
    free(node);
}

struct rates *rates_new(struct door *door)
{
    struct rates *rates = calloc(1, sizeof(*rates));
    if (!rates)
        abort();
    rates->door = door;
    idmap_init(&rates->subjects, RATE_SUBJECTS, drop_subject);
    return rates;
}

struct rates *rates_free(struct rates *rates)
{
    if (!rates)
        return NULL;
    idmap_deinit(&rates->subjects);
    free(rates);
    return NULL;
}

/* ---- whom it counts for ---- */

struct check {
    struct request *req;
    route_fn *pass;
    enum rate_policy policy;
    struct uuid id;
    struct str key;
    int64_t interval_us, period_us, wanted;
};

static struct uuid digest_of(struct str text)
{
    uint8_t digest[32];
    struct uuid id;
    hmac256(STR("rate"), text, digest);
    memcpy(id.b, digest, sizeof(id.b));
    return id;
}

static struct subject *subject_of(struct rates *rates, struct uuid id)
{
    struct subject *s = idmap_use(&rates->subjects, id);
    if (s)
        return s;
    s = calloc(1, sizeof(*s));
    if (!s)
        abort();
    s->node.id = id;
    idmap_put(&rates->subjects, &s->node);
    return s;
}

static struct check *check_new(struct request *req, bool exact, route_fn *pass)
{
    struct check *check = arena_new_of(req->arena, struct check);
    const struct who *who = who_of(req);
    enum rate_policy policy = RATE_OF(req->route->flags);
    bool by_person = who->known && !policies[policy].by_address;
    int64_t limit = by_person ? policies[policy].limit : policies[policy].anonymous;
    struct str name = by_person ? uuid_str(who->user, req->arena) : req->peer;
    *check = (struct check){.req = req,
                            .pass = pass,
                            .policy = policy,
                            .interval_us = policies[policy].period_ms * 1000 / limit,
                            .period_us = policies[policy].period_ms * 1000,
                            .wanted = exact || policy == RATE_AUTH ? 1 : LEASE};
    check->key = arena_printf(req->arena, "rate:{%s:%.*s}", policies[policy].name, STR_ARG(name));
    check->id = digest_of(check->key);
    return check;
}

/* ---- counting ---- */

static void refuse(struct check *check, int64_t wait_ms)
{
    int64_t seconds = (wait_ms + 999) / 1000;
    respond_problem(check->req, &(struct problem){.code = ERR_THROTTLED,
                                                  .retry_after_s = (int)(seconds > 0 ? seconds : 1)});
}

/* The same rule as the script's, for one permit, by this loop's clock. */
static void count_here(struct check *check)
{
    struct subject *s = subject_of(door_of(check->req)->rates, check->id);
    int64_t now_us = clock_mono_ns() / 1000, full = s->full_us > now_us ? s->full_us : now_us;
    int64_t room = check->period_us - (full - now_us);
    if (room < check->interval_us) {
        refuse(check, (check->interval_us - room) / 1000);
        return;
    }
    s->full_us = full + check->interval_us;
    check->pass(check->req);
}

static void on_granted(void *data, const struct redis_reply *reply)
{
    struct check *check = data;
    if (!reply || reply->kind != REDIS_ARRAY || reply->n != 2) {
        count_here(check);
        return;
    }
    int64_t granted = redis_integer(&reply->items[0], 0);
    if (granted < 1) {
        refuse(check, redis_integer(&reply->items[1], 1000));
        return;
    }
    struct subject *s = subject_of(door_of(check->req)->rates, check->id);
    if (granted > 1) {
        s->permits += granted - 1;
        s->until_ms = clock_mono_ms() + LEASE_MS;
    }
    check->pass(check->req);
}

static void ask(struct check *check, struct redis *redis)
{
    struct arena *arena = check->req->arena;
    struct str words[] = {STR("1"), check->key, arena_printf(arena, "%lld", (long long)check->interval_us),
                          arena_printf(arena, "%lld", (long long)check->period_us),
                          arena_printf(arena, "%lld", (long long)check->wanted)};
    redis_script_send(redis, &gcra, on_granted, check, 5, words);
}

static bool spend(struct subject *s)
{
    if (s->permits > 0 && clock_mono_ms() > s->until_ms)
        s->permits = 0;
    if (s->permits == 0)
        return false;
    s->permits--;
    return true;
}

void rate_check(struct request *req, bool exact, route_fn *pass)
{
    if (!conf_on(SET_RATE_LIMIT)) {
        pass(req);
        return;
    }
    struct check *check = check_new(req, exact, pass);
    struct door *door = door_of(req);
    struct redis *redis = redis_poll_up(door->redis);
    if (check->wanted > 1 && spend(subject_of(door->rates, check->id)))
        pass(req);
    else if (redis)
        ask(check, redis);
    else
        count_here(check);
}
