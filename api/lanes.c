/*
 * See lanes.h.
 */
#include "api/lanes.h"

#include <stdlib.h>

#include "api/door.h"
#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/cmdid.h"
#include "bus/lane.h"

struct lane {
    struct lanes *lanes;
    int64_t length, ms;
    bool used, asked; /* published to since the last sample; a sample is under way */
};

struct lanes {
    struct door *door;
    uv_timer_t timer;
    int64_t newest_ms[TOPIC_COUNT];
    struct lane lane[TOPIC_COUNT][PARTITIONS_MAX];
};

static void on_length(void *data, const struct redis_reply *reply)
{
    struct lane *lane = data;
    lane->asked = false;
    if (reply && reply->kind == REDIS_INTEGER)
        lane->length = reply->integer;
}

static void sample(struct redis *redis, enum topic topic, int part, struct lane *lane)
{
    char name[STREAM_NAME];
    if (lane->asked || (!lane->used && !lane->length))
        return;
    lane->used = false;
    lane->asked = true;
    lane_name(topic, part, name);
    redis_sendf(redis, on_length, lane, "XLEN %s", name);
}

static void on_sample(uv_timer_t *timer)
{
    struct lanes *lanes = timer->data;
    struct redis *redis = redis_poll_up(lanes->door->redis);
    for (int topic = 1; redis && topic < TOPIC_COUNT; topic++)
        for (int part = 0; part < partitions(); part++)
            if (topic_is(topic))
                sample(redis, (enum topic)topic, part, &lanes->lane[topic][part]);
}

struct lanes *lanes_new(struct door *door)
{
    struct lanes *lanes = calloc(1, sizeof(*lanes));
    if (!lanes)
        abort();
    lanes->door = door;
    uv_timer_init(loop_uv(door->loop), &lanes->timer);
    lanes->timer.data = lanes;
    uv_timer_start(&lanes->timer, on_sample, LANES_SAMPLE_MS, LANES_SAMPLE_MS);
    return lanes;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

struct lanes *lanes_free(struct lanes *lanes)
{
    if (lanes)
        uv_close((uv_handle_t *)&lanes->timer, on_closed);
    return NULL;
}

bool lanes_full(struct lanes *lanes, enum topic topic, int part)
{
    struct lane *lane = &lanes->lane[topic][part];
    lane->used = true;
    return lane->length >= conf_int(SET_LANE_CAP);
}

int64_t lanes_now(const struct lanes *lanes, enum topic topic, int part)
{
    int64_t now = clock_ms(),
            lane = part == CMDID_SELF ? lanes->newest_ms[topic] : lanes->lane[topic][part].ms;
    return now > lane ? now : lane;
}

void lanes_note(struct lanes *lanes, enum topic topic, int part, struct str entry)
{
    int64_t ms, seq;
    if (failed(entry_id_parse(entry, &ms, &seq)))
        return;
    if (ms > lanes->lane[topic][part].ms)
        lanes->lane[topic][part].ms = ms;
    if (ms > lanes->newest_ms[topic])
        lanes->newest_ms[topic] = ms;
}
