/*
 * What the relay asks of the log beside its events: when one was. A stream is a part of the log when the
 * milliseconds of its last id are those that the log has.
 */
#include "bus/relay_internal.h"

#include "bus/archive.h"
#include "bus/base/log.h"

static const struct pg_stmt select_log_ms = {
    "relay_log_ms",
    "SELECT coalesce(l.ms, -1) FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY"
    " x(topic, part, seq, n)"
    " LEFT JOIN event_log l ON l.topic = x.topic AND l.part = x.part::int AND l.seq = x.seq ORDER BY x.n"};

void relay_unread(const struct stream *stream, int64_t seq, err e)
{
    log_warn("an archived event cannot be read; its stream waits", kv("stream", stream->name), kv("seq", seq),
             kv("why", err_text(e)));
}

/* A partition that was quiet for as long as the log is kept has its last events in the archive. Of the last
 * one of a file the catalogue knows it. */
static err archived_ms(struct relay *relay, const struct stream *stream, int64_t seq, int64_t *ret)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct archive_file file;
    struct event *events;
    size_t n = 0;
    *ret = -1;
    archive_queue_find(relay->pg, stream->topic, stream->part, seq - 1, pg_keep, &result);
    pg_sync(relay->pg, NULL, NULL);
    TRY(pg_wait(relay->pg, RELAY_TIMEOUT_MS));
    if (!archive_found(result, relay->arena, &file) || file.first_seq > seq)
        return OK;
    *ret = file.last_ms;
    if (file.last_seq == seq)
        return OK;
    err e = archive_file_read(&file, seq - 1, 1, relay->arena, &events, &n);
    if (e.code == ERR_UNAVAILABLE)
        relay_unread(stream, seq, e);
    else
        TRY(e);
    *ret = n ? events[0].ms : RELAY_MS_UNREAD;
    return OK;
}

err relay_log_ms(struct relay *relay, struct stream *const *streams, const int64_t *seqs, size_t n,
                 int64_t *ret_ms)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    struct pg_array topic = pg_array(relay->arena, PG_TEXT, (int)n),
                    part = pg_array(relay->arena, PG_INT8, (int)n),
                    seq = pg_array(relay->arena, PG_INT8, (int)n);
    for (size_t i = 0; i < n; i++) {
        pg_array_text(&topic, str_of(topic_name(streams[i]->topic)));
        pg_array_int(&part, streams[i]->part);
        pg_array_int(&seq, seqs[i]);
    }
    const struct pg_param params[] = {pg_array_param(&topic), pg_array_param(&part), pg_array_param(&seq)};
    TRY(pg_call(relay->pg, &select_log_ms, 3, params, &result));
    for (size_t i = 0; i < n; i++) {
        ret_ms[i] = seqs[i] == 0 ? 0 : pg_get_int(result, (int)i, 0);
        if (ret_ms[i] < 0)
            TRY(archived_ms(relay, streams[i], seqs[i], &ret_ms[i]));
    }
    return OK;
}
