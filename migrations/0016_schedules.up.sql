-- Schedules: events that come by the calendar. next_ms is the slot that fires next; it moves in the transaction that
-- appends its event, so that a slot fires once however many producers run. fault: why a schedule stands still.
CREATE TABLE schedule (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    cron       text NOT NULL,
    zone       text NOT NULL,
    catch_up   text NOT NULL CHECK (catch_up IN ('last', 'each', 'none')),
    next_ms    bigint NOT NULL,
    last_ms    bigint, -- the last slot that fired
    is_active  boolean NOT NULL DEFAULT true,
    fault      text,
    created_ms bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX schedule_due ON schedule (next_ms) WHERE is_active;
GRANT SELECT, UPDATE ON schedule TO dd_producers;
