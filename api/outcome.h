/*
 * The problem in the row of a command that was refused or lost.
 */
#pragma once

#include "api/http.h"
#include "api/wait.h"
#include "bus/pg/pg.h"

/* The strings live as long as the arena. */
struct problem outcome_problem(const struct outcome *o, struct arena *arena);
/* As it stands inside another document. */
struct str outcome_problem_json(const struct problem *problem, struct arena *arena);

/*
 * The columns of an outcome, from `command c` and, when it is only the repeat of another one, that row `w`.
 * The events are those that carry the command's id as correlation id, which are in the log in the snapshot in
 * which the row is: whoever sees the result finds its events, at no cost to the flush that wrote both. Of a
 * command that has not ended nobody asks; of one with very many events the first thousand count.
 */
#define OUTCOME_COLUMNS                                                                                      \
    "c.id, coalesce(w.status, c.status), coalesce(w.http_status, c.http_status),"                            \
    " coalesce(w.result, c.result), p.events"
#define OUTCOME_EVENTS                                                                                       \
    " LEFT JOIN LATERAL (SELECT string_agg(topic || ' ' || part || ' ' || seq, ' ') AS events"               \
    " FROM (SELECT topic, part, max(seq) AS seq"                                                             \
    " FROM (SELECT topic, part, seq FROM event_log WHERE correlationid = coalesce(w.correlationid,"          \
    " c.correlationid) AND correlationid <> '' AND coalesce(w.status, c.status) IN ('succeeded', "           \
    "'rejected')"                                                                                            \
    " LIMIT 1000) e GROUP BY topic, part) h) p ON true "
/* One row of these columns; borrowed from the result. */
struct outcome outcome_of(const struct pg_result *rows, int row);
/* Sets the X-Event-Position of the answer to come: what the command's events reach, and what the request said
 * that it had seen, so that a client who always sends what he was given last never falls back. */
void outcome_position(struct request *req, const struct outcome *o);
