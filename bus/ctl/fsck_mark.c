/*
 * How far the log of each partition was found sound. The heads are read before the checks begin: what is
 * committed meanwhile is checked the next time. A crash before the marks are written only repeats work.
 */
#include "bus/ctl/fsck.h"

static const struct pg_stmt select_marks = {
    "fsck_marks",
    "SELECT h.topic, h.part, h.seq, h.ms, coalesce(k.seq, 0), coalesce(k.ms, 0) FROM stream_head h"
    " LEFT JOIN fsck_mark k ON k.topic = h.topic AND k.part = h.part ORDER BY 1, 2"};

static const struct pg_stmt upsert_marks = {
    "fsck_upsert_marks", "INSERT INTO fsck_mark (topic, part, seq, ms) SELECT topic, part::int, seq, ms"
                         " FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS x(topic, "
                         "part, seq, ms) ORDER BY 1, 2"
                         " ON CONFLICT (topic, part) DO UPDATE SET seq = excluded.seq, ms = excluded.ms"};

err fsck_marks_load(struct fsck *fsck)
{
    _cleanup_(pg_result_freep) struct pg_result *r = NULL;
    TRY(pg_call(fsck->ctl->pg, &select_marks, 0, NULL, &r));
    fsck->marks = arena_array(fsck->ctl->arena, struct fsck_mark, pg_rows(r) + 1);
    for (int i = 0; i < pg_rows(r); i++) {
        enum topic topic = topic_find(pg_get_str(r, i, 0));
        if (topic == TOPIC_NONE)
            continue; /* of a newer version: checked, but not remembered */
        fsck->marks[fsck->n_marks++] = (struct fsck_mark){.topic = topic,
                                                          .part = (int)pg_get_int(r, i, 1),
                                                          .next = pg_get_int(r, i, 2),
                                                          .next_ms = pg_get_int(r, i, 3),
                                                          .seq = pg_get_int(r, i, 4),
                                                          .ms = pg_get_int(r, i, 5)};
    }
    return OK;
}

struct fsck_mark *fsck_mark_of(const struct fsck *fsck, enum topic topic, int part)
{
    for (size_t i = 0; i < fsck->n_marks; i++)
        if (fsck->marks[i].topic == topic && fsck->marks[i].part == part)
            return &fsck->marks[i];
    return NULL;
}

err fsck_marks_save(struct fsck *fsck)
{
    struct arena *arena = fsck->ctl->arena;
    int n = (int)fsck->n_marks;
    struct pg_array a[] = {pg_array(arena, PG_TEXT, n), pg_array(arena, PG_INT8, n),
                           pg_array(arena, PG_INT8, n), pg_array(arena, PG_INT8, n)};
    for (size_t i = 0; i < fsck->n_marks; i++) {
        const struct fsck_mark *mark = &fsck->marks[i];
        bool less = mark->stream && mark->stream < mark->next;
        pg_array_text(&a[0], str_of(topic_name(mark->topic)));
        pg_array_int(&a[1], mark->part);
        pg_array_int(&a[2], less ? mark->stream : mark->next);
        pg_array_int(&a[3], less ? mark->stream_ms : mark->next_ms);
    }
    struct pg_param params[] = {pg_array_param(&a[0]), pg_array_param(&a[1]), pg_array_param(&a[2]),
                                pg_array_param(&a[3])};
    return pg_call(fsck->ctl->pg, &upsert_marks, 4, params, NULL);
}
