/*
 * One turn: claim what is due for as many requests as may begin, let libcurl work, record what ended, wait
 * for sockets or the next time. Nothing blocks but PostgreSQL, and what an endpoint does to its own requests
 * delays no other. What cannot be recorded is left to the lease: the delivery is sent again, under the same
 * id.
 */
#include "producers/webhook_sender.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"
#include "bus/base/metrics.h"
#include "bus/event_form.h"
#include "bus/webhook.h"
#include "producers/webhook_fanout.h"

enum { POLL_MS = 100, KEEP_MS = 1000, SCRATCH = 32 << 20, POST_SCRATCH = 2 << 20 };

struct sender *sender_new(const struct seal_key *master, struct bell *told)
{
    struct sender *sender = calloc(1, sizeof(*sender));
    if (!sender)
        abort();
    sender->master = *master;
    sender->told = told;
    sender->multi = curl_multi_init();
    sender->link.loop = "webhooks";
    sender->arena = arena_new(SCRATCH);
    sender->n = (int)conf_int(SET_WEBHOOK_CONNECTIONS);
    sender->posts = calloc((size_t)sender->n, sizeof(*sender->posts));
    sender->ends = calloc((size_t)sender->n, sizeof(*sender->ends));
    sender->ended = calloc((size_t)sender->n, sizeof(*sender->ended));
    if (!sender->multi || !sender->posts || !sender->ends || !sender->ended)
        abort();
    curl_multi_setopt(sender->multi, CURLMOPT_MAXCONNECTS, (long)sender->n);
    snprintf(sender->owner, sizeof(sender->owner), "producers-%d", (int)getpid());
    return sender;
}

void sender_wake(struct sender *sender)
{
    curl_multi_wakeup(sender->multi);
}

struct sender *sender_free(struct sender *sender)
{
    for (int i = 0; i < sender->n; i++) {
        webhook_request_deinit(&sender->posts[i].request);
        arena_free(sender->posts[i].arena);
    }
    curl_multi_cleanup(sender->multi);
    link_close(&sender->link);
    arena_free(sender->arena);
    free(sender->posts);
    free(sender->ends);
    free(sender->ended);
    free(sender->states);
    free(sender);
    return NULL;
}

/* ---- what is known of endpoints ---- */

static struct endpoint_state *state_of(struct sender *sender, struct uuid webhook)
{
    for (size_t i = 0; i < sender->states_n; i++)
        if (uuid_eq(sender->states[i].webhook, webhook))
            return &sender->states[i];
    if (sender->states_n == sender->states_cap) {
        sender->states_cap = sender->states_cap ? sender->states_cap * 2 : 64;
        sender->states = realloc(sender->states, sender->states_cap * sizeof(*sender->states));
        if (!sender->states)
            abort();
    }
    struct endpoint_state *state = &sender->states[sender->states_n++];
    *state = (struct endpoint_state){.webhook = webhook};
    return state;
}

/* Forgets those there is nothing to say about, and says what the others may have. */
static size_t rooms_now(struct sender *sender, struct endpoint_room **ret)
{
    int64_t now = clock_mono_ms();
    int most = (int)conf_int(SET_WEBHOOK_PER_ENDPOINT);
    struct endpoint_room *rooms = arena_array(sender->arena, struct endpoint_room, sender->states_n + 1);
    size_t n = 0;
    for (size_t i = 0; i < sender->states_n;) {
        struct endpoint_state *state = &sender->states[i];
        if (endpoint_is_idle(state, now)) {
            *state = sender->states[--sender->states_n];
            continue;
        }
        rooms[n].webhook = state->webhook;
        rooms[n].room = endpoint_room(state, most, now, &rooms[n].probe);
        n++;
        i++;
    }
    *ret = rooms;
    return n;
}

/* ---- ending ---- */

static void note_end(struct sender *sender, struct post *post, const struct delivery_end *end)
{
    sender->ended[sender->ends_n] = post;
    sender->ends[sender->ends_n] = *end;
    sender->ends[sender->ends_n++].row = &post->row;
}

static void free_post(struct sender *sender, struct post *post)
{
    arena_reset(post->arena);
    post->used = false;
    sender->running--;
}

/* Given up, or tried again at the later of the schedule's time and what the endpoint asked for. */
static void plan_again(const struct post *post, const struct webhook_answer *answer, struct delivery_end *end)
{
    int64_t now = clock_ms(), wait = webhook_retry_ms(post->row.attempt);
    if (answer->retry_after_ms > wait)
        wait = answer->retry_after_ms;
    bool over = now - post->row.since_ms >= conf_int(SET_WEBHOOK_GIVE_UP_S) * INT64_C(1000);
    end->fate = over ? DELIVERY_FAILED : DELIVERY_AGAIN;
    end->due_ms = now + wait;
}

static const enum counter fate_counters[] = {[DELIVERY_DONE] = COUNTER_WEBHOOK_DELIVERED,
                                             [DELIVERY_AGAIN] = COUNTER_WEBHOOK_RETRIED,
                                             [DELIVERY_FAILED] = COUNTER_WEBHOOK_FAILED};

static void answered(struct sender *sender, struct post *post, CURLcode code)
{
    struct webhook_answer answer = webhook_request_end(&post->request, code);
    struct webhook_verdict verdict = webhook_judge(answer.status);
    struct delivery_end end = {.fate = DELIVERY_DONE,
                               .status = answer.status,
                               .error = answer.error,
                               .latency_ms = answer.latency_ms,
                               .due_ms = clock_ms()};
    if (verdict.gone)
        end.fate = DELIVERY_FAILED;
    else if (!verdict.delivered)
        plan_again(post, &answer, &end);
    counter_add(fate_counters[end.fate], 1);
    histogram_observe(HISTOGRAM_WEBHOOK_SECONDS, answer.latency_ms * 1000000);
    struct endpoint_state *state = state_of(sender, post->row.webhook);
    endpoint_ended(state, verdict, answer.retry_after_ms, clock_mono_ms());
    note_end(sender, post, &end);
}

static void collect(struct sender *sender)
{
    CURLMsg *message;
    for (int left; (message = curl_multi_info_read(sender->multi, &left));) {
        struct post *post;
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &post);
        curl_multi_remove_handle(sender->multi, easy);
        answered(sender, post, code);
    }
}

/* An endpoint that said it is gone, or has taken nothing for days. */
static err switch_off(struct sender *sender, const struct delivery_end *end)
{
    bool gone = webhook_judge(end->status).gone;
    int64_t failing_ms = end->failing_since_ms ? clock_ms() - end->failing_since_ms : 0;
    if (!gone && failing_ms < conf_int(SET_WEBHOOK_DISABLE_S) * INT64_C(1000))
        return OK;
    log_warn("a webhook is switched off", kv("webhook", end->row->webhook),
             kv("reason", gone ? "gone" : "failing"));
    TRY(delivery_disable(sender->link.pg, end->row->webhook, gone ? "gone" : "failing", sender->arena));
    bell_ring(sender->told);
    return OK;
}

static err hurry_those_back(struct sender *sender)
{
    for (size_t i = 0; i < sender->states_n; i++)
        if (sender->states[i].hurry) {
            TRY(delivery_hurry(sender->link.pg, sender->states[i].webhook));
            sender->states[i].hurry = false;
            sender->claim_ms = 0;
        }
    return OK;
}

static err record_ends(struct sender *sender)
{
    size_t n = sender->ends_n;
    err e = n ? delivery_finish(sender->link.pg, sender->ends, n, sender->arena) : OK;
    for (size_t i = 0; i < n && !failed(e); i++)
        e = switch_off(sender, &sender->ends[i]);
    for (size_t i = 0; i < n; i++)
        free_post(sender, sender->ended[i]);
    sender->ends_n = 0;
    if (n)
        sender->claim_ms = 0; /* what was held behind them may go */
    return e;
}

/* ---- beginning ---- */

static struct post *free_slot(struct sender *sender)
{
    int i = 0;
    while (sender->posts[i].used)
        i++;
    assert(i < sender->n); /* no more are claimed than there are */
    struct post *post = &sender->posts[i];
    if (!post->arena)
        post->arena = arena_new(POST_SCRATCH);
    post->used = true;
    sender->running++;
    return post;
}

/* The event as a signed request on its way. */
static err send_post(struct sender *sender, struct post *post, struct event event)
{
    int64_t timestamp = clock_ms() / 1000;
    const struct delivery_row *row = &post->row;
    if (!event.seq)
        TRY(delivery_event(sender->link.pg, row, post->arena, &event));
    if (!webhook_may_hear(row->rights, row->webhook, &event.envelope, post->arena))
        return FAIL(FORBIDDEN, "who changed the endpoint last may not see that event");
    struct str body = event_json(&event.envelope, false, post->arena);
    struct str signatures = webhook_signatures(&sender->master, row->webhook, row->generation, row->previous,
                                               event.envelope.id, timestamp, body, post->arena);
    post->request.allow_private = conf_on(SET_WEBHOOK_ALLOW_PRIVATE);
    webhook_request_begin(&post->request, row->url.p, event.envelope.id, timestamp, signatures, body, post);
    CURLMcode added = curl_multi_add_handle(sender->multi, post->request.easy);
    assert(added == CURLM_OK);
    return OK;
}

/* What the log cannot give can never be sent, what the endpoint may not hear any more must not be. Anything
 * else is our own trouble, a file of the archive that is away or PostgreSQL's, which passes; it is not tried
 * at once again. */
static void not_begun(struct sender *sender, struct post *post, err e)
{
    struct delivery_end end = {.fate = DELIVERY_UNTRIED, .due_ms = clock_ms()};
    log_warn("a webhook could not be made", kv("delivery", post->row.id), kv("why", err_text(e)));
    if (e.code == ERR_NOT_FOUND || e.code == ERR_FORBIDDEN) {
        end.fate = DELIVERY_VOID;
        end.error = e.code == ERR_FORBIDDEN ? "no-right" : "no-event";
    } else {
        end.error = e.code == ERR_UNAVAILABLE ? "archive" : NULL;
        end.due_ms += webhook_retry_ms(post->row.attempt);
    }
    state_of(sender, post->row.webhook)->running--;
    note_end(sender, post, &end);
}

static void begin(struct sender *sender, const struct delivery_row *row, struct event event)
{
    struct post *post = free_slot(sender);
    post->row = *row;
    post->row.url = arena_str(post->arena, row->url);
    state_of(sender, row->webhook)->running++;
    err e = send_post(sender, post, event);
    if (failed(e))
        not_begun(sender, post, e);
}

static err claim_due(struct sender *sender)
{
    struct endpoint_room *rooms;
    int free_posts = sender->n - sender->running, n = 0;
    if (free_posts == 0 || clock_mono_ms() < sender->claim_ms)
        return OK;
    struct delivery_row *rows = arena_array(sender->arena, struct delivery_row, free_posts);
    size_t n_rooms = rooms_now(sender, &rooms);
    TRY(delivery_claim(sender->link.pg, str_of(sender->owner), rooms, n_rooms,
                       (int)conf_int(SET_WEBHOOK_PER_ENDPOINT), free_posts, sender->arena, rows, &n));
    sender->claim_ms = clock_mono_ms() + POLL_MS;
    struct event *events = arena_array(sender->arena, struct event, n + 1);
    err e = n ? delivery_events(sender->link.pg, rows, (size_t)n, sender->arena, events) : OK;
    for (int i = 0; i < n; i++)
        begin(sender, &rows[i], failed(e) ? (struct event){.seq = 0} : events[i]);
    return OK;
}

/* ---- the loop ---- */

static err keep(struct sender *sender)
{
    const struct delivery_row **rows = arena_array(sender->arena, const struct delivery_row *, sender->n);
    size_t n = 0;
    if (clock_mono_ms() < sender->keep_ms)
        return OK;
    sender->keep_ms = clock_mono_ms() + KEEP_MS;
    for (int i = 0; i < sender->n; i++)
        if (sender->posts[i].used)
            rows[n++] = &sender->posts[i].row;
    if (n)
        TRY(delivery_renew(sender->link.pg, rows, n, sender->arena));
    counter_set(COUNTER_WEBHOOK_OPEN, (int64_t)n);
    return delivery_recover(sender->link.pg);
}

static err turn(struct sender *sender)
{
    int running;
    TRY(keep(sender));
    TRY(claim_due(sender));
    curl_multi_perform(sender->multi, &running);
    collect(sender);
    TRY(record_ends(sender));
    return hurry_those_back(sender);
}

/* Ends that could not be recorded are dropped: their leases end, and somebody sends them again. */
static void drop_ends(struct sender *sender)
{
    for (size_t i = 0; i < sender->ends_n; i++)
        free_post(sender, sender->ended[i]);
    sender->ends_n = 0;
}

/* Whoever takes over need not wait for the leases. */
static void give_back(struct sender *sender)
{
    for (int i = 0; i < sender->n; i++) {
        struct post *post = &sender->posts[i];
        if (!post->used)
            continue;
        curl_multi_remove_handle(sender->multi, post->request.easy);
        note_end(sender, post, &(struct delivery_end){.fate = DELIVERY_UNTRIED, .due_ms = clock_ms()});
    }
    if (sender->ends_n && sender->link.pg && pg_is_up(sender->link.pg)) {
        err e = delivery_finish(sender->link.pg, sender->ends, sender->ends_n, sender->arena);
        if (failed(e))
            log_warn("webhooks under way could not be given back; their leases will end",
                     kv("why", err_text(e)));
    }
    drop_ends(sender);
}

void sender_run(struct sender *sender)
{
    struct bell rest;
    bell_init(&rest);
    while (!atomic_load(&sender->stop)) {
        err e = link_up(&sender->link) ? turn(sender) : FAIL(PG_DOWN, "no connection");
        drop_ends(sender);
        link_rest(&sender->link, e, &rest, 0);
        arena_reset(sender->arena);
        int64_t wait = sender->claim_ms - clock_mono_ms();
        if (wait > 0)
            curl_multi_poll(sender->multi, NULL, 0, (int)wait, NULL);
    }
    give_back(sender);
    bell_deinit(&rest);
}
