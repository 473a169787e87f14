/*
 * Every way to subscribe at once, for minutes, against a shop under load in which one thing after another is
 * killed, and the subscribers too: SSE (an employee at two doors, one who reads slowly, a customer his own),
 * a webhook, the C library (two instances, into PostgreSQL), a plain Redis group, `events subscribe --exec`.
 * Ends with 1 unless each was given every event of its types at least once, those of a key in their order,
 * and the C library's effects are the log, each once.
 *
 * subscribers [--minutes N]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/invoices.h"
#include "tests/support/listener.h"
#include "tests/support/partner.h"
#include "tests/support/receiver.h"
#include "tests/support/storm.h"

enum { MINUTES = 10, PEOPLE = 4, PARTITIONS = 3, STEP_MS = 4000, SLOW_MS = 1500, CATCH_UP_MS = 300000 };

static struct shop *shop;
static struct person *boss, *people[PEOPLE];
static char cup[ID_TEXT], scratch[40] = "/tmp/subscribers-XXXXXX";
static int64_t since; /* ms of the log when all had subscribed */
static int bad;

/* One line of the table; wrong: "" or what was not as it must. */
static void report(const char *way, int wanted, int given, int missed, const char *wrong, const char *more)
{
    printf("%-28s events %7d, given %7d, missed or out of order %d%s; wrong: %s\n", way, wanted, given,
           missed, more, *wrong ? wrong : "nothing");
    bad += missed || *wrong || given < wanted;
}

static int wanted(const char *where)
{
    return (int)shop_sql(shop, "SELECT count(*) FROM event_log WHERE ms > %lld AND (%s)", (long long)since,
                         where);
}

static const char *whole(const char *where)
{
    static char text[400];
    snprintf(text, sizeof(text), "ms > %lld AND (%s)", (long long)since, where);
    return text;
}

/* ---- SSE ---- */

static char own[300]; /* events a customer may see */
static struct follower {
    const char *name, *query, *where;
    int door;
    bool slow, customer;
    struct listener *listener;
} followers[] = {
    {"SSE: orders, item-added", "?types=order.*,cart.item-added",
     "topic = 'orders' OR type = 'cart.item-added.v1'", 0, false, false, NULL},
    {"SSE: all", "", "true", 1, false, false, NULL},
    {"SSE: all, slowly", "", "true", 0, true, false, NULL},
    {"SSE: a customer's own", "", own, 1, false, true, NULL},
};
enum { FOLLOWERS = sizeof(followers) / sizeof(*followers), SLOW = 2 };

static void follow(void)
{
    snprintf(own, sizeof(own),
             "data LIKE '%%\"user_id\":\"%s\"%%' AND (topic = 'carts' OR type IN"
             " ('order.placed.v2', 'order.confirmed.v1', 'order.cancelled.v1'))",
             people[0]->id);
    for (int i = 0; i < FOLLOWERS; i++)
        followers[i].listener =
            listener_start(followers[i].customer ? people[0] : boss,
                           &(struct listener_options){.door = followers[i].door,
                                                      .query = followers[i].query,
                                                      .receive_buffer = followers[i].slow ? 8192 : 0});
}

static void judge_followers(void)
{
    for (struct follower *f = followers; f < followers + FOLLOWERS; f++) {
        char more[60];
        int n = wanted(f->where);
        listener_hears(f->listener, n, CATCH_UP_MS);
        int missed = listener_missed(f->listener, shop, whole(f->where));
        snprintf(more, sizeof(more), ", connections %d", listener_connections(f->listener));
        report(f->name, n, listener_heard(f->listener), missed, listener_wrong(f->listener), more);
        listener_stop(f->listener);
    }
}

/* ---- a webhook ---- */

static struct receiver *receiver;

static void open_webhook(void)
{
    receiver = receiver_start();
    if (post(boss, "/api/v1/webhooks",
             json_pack("{s:s, s:[s]}", "url", receiver_url(receiver), "types", "order.*")) != 201)
        shop_die(shop, "POST /webhooks: %s", boss->reply.text);
    receiver_secret(receiver, said(boss, "secret"), true);
}

static void judge_webhook(void)
{
    int n = wanted("type LIKE 'order.%'");
    struct diary *diary = diary_new();
    char more[60];
    if (!shop_sql_becomes(shop, n, CATCH_UP_MS,
                          "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered'"))
        fprintf(stderr, "webhooks are not level\n");
    for (size_t i = 0; i < receiver_count(receiver); i++) {
        struct received r = receiver_at(receiver, i);
        if (r.status == 200)
            diary_add(diary, r.id);
    }
    snprintf(more, sizeof(more), ", forged %zu", receiver_forged(receiver));
    report("webhook: order.*", n, diary_count(diary), diary_missed(diary, shop, whole("type LIKE 'order.%'")),
           receiver_forged(receiver) ? "a bad signature" : "", more);
    diary_free(diary);
    receiver_stop(receiver);
}

/* ---- the C library ---- */

static pid_t instances[2];

static void judge_invoices(void)
{
    int n = wanted("type LIKE 'order.%'");
    if (!shop_sql_becomes(shop, n, CATCH_UP_MS, "SELECT count(*) FROM seen_order"))
        fprintf(stderr, "the C library is not level\n");
    report("C library: order.*", n, (int)shop_sql(shop, "SELECT count(*) FROM seen_order"),
           (int)invoices_wrong(shop, since), "", ", exactly once");
    for (int i = 0; i < 2; i++)
        invoices_end(instances[i], SIGTERM);
}

/* ---- a plain group ---- */

static struct partner *partner;

static void judge_partner(void)
{
    char more[60];
    int n = wanted("topic = 'orders'");
    diary_reaches(partner_diary(partner), n, CATCH_UP_MS);
    snprintf(more, sizeof(more), ", %d from the log", partner_fetched(partner));
    report("plain Redis group: order.*", n, diary_count(partner_diary(partner)),
           diary_missed(partner_diary(partner), shop, whole("topic = 'orders'")), partner_wrong(partner),
           more);
    partner_stop(partner);
}

/* ---- events subscribe ---- */

static pid_t mailer;

/* In a process group of its own, so that its commands die with it. */
static void launch_mailer(void)
{
    char file[80];
    snprintf(file, sizeof(file), "cat >>%s/taken", scratch);
    mailer = fork();
    if (mailer != 0)
        return;
    setpgid(0, 0);
    setenv("DATABASE_URL", servers_database_url(shop_servers(shop)), 1);
    setenv("REDIS_URL", servers_redis_url(shop_servers(shop)), 1);
    setenv("DAYDREAM_HOME", scratch, 1);
    setenv("LEASE_MS", "1000", 1);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
        execl(DAYDREAM_BIN_DIR "/daydreamctl", "daydreamctl", "events", "subscribe", "--name", "mailer",
              "--types", "order.*", "--batch", "200", "--exec", file, (char *)NULL);
    _exit(127);
}

static void kill_mailer(void)
{
    kill(-mailer, SIGKILL);
    waitpid(mailer, NULL, 0);
}

/* A line that was being written when all was killed is no JSON, or has the next one's beginning in it. */
static int read_taken(struct diary *diary)
{
    char path[80], *line = NULL;
    size_t size = 0;
    snprintf(path, sizeof(path), "%s/taken", scratch);
    FILE *file = fopen(path, "re");
    while (file && getline(&line, &size, file) > 0) {
        char *begin = line;
        for (char *at = line; (at = strstr(at, "{\"specversion\"")); at++)
            begin = at;
        json_t *event = json_loads(begin, 0, NULL);
        if (event)
            diary_add(diary, json_string_value(json_object_get(event, "id")));
        json_decref(event);
    }
    free(line);
    if (file)
        fclose(file);
    return diary_count(diary);
}

static void judge_mailer(void)
{
    int n = wanted("type LIKE 'order.%'");
    struct diary *diary = diary_new();
    if (!shop_sql_becomes(shop, 0, CATCH_UP_MS,
                          "SELECT count(*) FROM consumer_offset o JOIN stream_head h USING (topic, part)"
                          " WHERE grp = 'ext:mailer' AND topic = 'orders' AND o.seq < h.seq"))
        fprintf(stderr, "events subscribe is not level\n");
    int given = read_taken(diary);
    report("events subscribe: order.*", n, given, diary_missed(diary, shop, whole("type LIKE 'order.%'")), "",
           "");
    diary_free(diary);
    kill_mailer();
}

/* ---- all of them ---- */

static void fall(int turn)
{
    invoices_end(instances[turn % 2], SIGKILL);
    instances[turn % 2] = invoices_launch(shop);
    kill_mailer();
    launch_mailer();
    partner_falls_over(partner);
}

/* The slow one reads for a moment behind each fall. */
static void meanwhile(int left_ms)
{
    listener_pause(followers[SLOW].listener, left_ms > SLOW_MS);
}

static void open_shop(void)
{
    static char extra[80];
    static const char *const settings[] = {"RATE_LIMIT=off", "JWT_LEEWAY_S=3600", "WEBHOOK_ALLOW_PRIVATE=on",
                                           NULL};
    if (!mkdtemp(scratch))
        abort();
    snprintf(extra, sizeof(extra), "aclfile %s/users.acl", scratch);
    fclose(fopen(extra + strlen("aclfile "), "we"));
    shop = shop_start(&(struct shop_options){
        .doors = 2, .partitions = PARTITIONS, .settings = settings, .servers = {.redis_extra = extra}});
    boss = admin(shop);
    for (int i = 0; i < PEOPLE; i++)
        people[i] = customer(shop);
    create_product(boss, &(struct goods){.name = "Taza", .price = 4990, .stock = 10000000}, cup);
    shop_is_quiet(shop, 0);
}

/* When all have a position the log has not moved, so they begin at one place. */
static void subscribe(void)
{
    open_webhook();
    invoices_table(shop);
    for (int i = 0; i < 2; i++)
        instances[i] = invoices_launch(shop);
    partner = partner_start(shop, "partner", "order.*", "orders", PARTITIONS);
    launch_mailer();
    shop_sql_becomes(
        shop, 2, 0,
        "SELECT count(DISTINCT grp) FROM consumer_offset WHERE grp IN ('ext:invoices', 'ext:mailer')");
    shop_is_quiet(shop, 0);
    since = shop_sql(shop, "SELECT max(ms) FROM stream_head");
    follow();
}

int main(int argc, char **argv)
{
    int minutes = argc == 3 && strcmp(argv[1], "--minutes") == 0 ? atoi(argv[2]) : MINUTES;
    struct storm_result result;
    char command[80];

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN); /* hiredis writes to servers that are gone */
    open_shop();
    subscribe();
    storm_run(&(struct storm){.shop = shop,
                              .people = people,
                              .n_people = PEOPLE,
                              .product = cup,
                              .step_ms = STEP_MS,
                              .fall = fall,
                              .meanwhile = meanwhile},
              minutes * INT64_C(60000), &result);
    listener_pause(followers[SLOW].listener, false);
    printf("%d minutes, %d falls, %d commands answered 201; %s\n", minutes, result.falls, result.sent,
           result.calm ? "each time ready again, in the end quiet" : "NOT READY OR NOT QUIET");
    bad += !result.calm;
    judge_followers();
    judge_webhook();
    judge_invoices();
    judge_partner();
    judge_mailer();
    shop_stop(shop);
    snprintf(command, sizeof(command), "rm -rf %s", scratch);
    return system(command) || bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
