-- Webhooks: who subscribed, where each began, how far the log was fanned out, and every delivery with its story.

-- Owned by the group `webhooks`. types is a list of patterns (bus/type_filter.h). The secret is not here: it is
-- HMAC(ENCRYPTION_KEY, id ‖ generation), and until previous_until_ms the one before it signs too.
CREATE TABLE webhook (
    id                uuid PRIMARY KEY,
    url               text NOT NULL,
    types             text NOT NULL,
    description       text,
    is_active         boolean NOT NULL,
    disabled_reason   text, -- of who switched it off: gone, failing; NULL: a person, or nobody
    rights            bigint NOT NULL, -- what it may be told (bus/event_rights.h): those of who made or changed it last
    generation        bigint NOT NULL,
    previous_until_ms bigint NOT NULL,
    version           bigint NOT NULL,
    created_ms        bigint NOT NULL,
    updated_ms        bigint NOT NULL
);
CREATE INDEX webhook_newest ON webhook (created_ms, id);

-- Where an endpoint begins: the heads in the transaction that made it, or switched it on again. Every event that is
-- committed after that has a greater seq. A partition without a row had no event then: it begins at 0.
CREATE TABLE webhook_start (
    webhook_id uuid NOT NULL,
    topic      text NOT NULL,
    part       int NOT NULL,
    seq        bigint NOT NULL,
    PRIMARY KEY (webhook_id, topic, part)
);
CREATE FUNCTION webhook_begin() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM webhook_start WHERE webhook_id = NEW.id;
    INSERT INTO webhook_start (webhook_id, topic, part, seq) SELECT NEW.id, topic, part, seq FROM stream_head;
    INSERT INTO webhook_health (webhook_id) VALUES (NEW.id) ON CONFLICT (webhook_id) DO UPDATE SET failing_since_ms = NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_made AFTER INSERT ON webhook FOR EACH ROW EXECUTE FUNCTION webhook_begin();
CREATE TRIGGER webhook_switched_on AFTER UPDATE OF is_active ON webhook FOR EACH ROW
    WHEN (NEW.is_active AND NOT OLD.is_active) EXECUTE FUNCTION webhook_begin();

-- How far each partition of the log was turned into deliveries, for all endpoints together. It moves by
-- compare-and-set in the transaction that inserts the deliveries, so any number of producers may race.
CREATE TABLE webhook_cursor (
    topic text NOT NULL,
    part  int NOT NULL,
    seq   bigint NOT NULL,
    PRIMARY KEY (topic, part)
) WITH (fillfactor = 50);
-- What is in the log today is nobody's.
INSERT INTO webhook_cursor (topic, part, seq) SELECT topic, part, seq FROM stream_head;

-- One event for one endpoint. Of one endpoint, topic and key only the first unfinished one is `waiting` or `running`;
-- those behind it are `held` until it has ended. A manual one (asked for by a person) holds nobody and is never held.
CREATE TABLE webhook_delivery (
    id           uuid PRIMARY KEY,
    webhook_id   uuid NOT NULL,
    topic        text NOT NULL,
    part         int NOT NULL,
    seq          bigint NOT NULL,
    partitionkey text NOT NULL,
    event_id     uuid NOT NULL,
    type         text NOT NULL,
    state        text NOT NULL CHECK (state IN ('held', 'waiting', 'running', 'delivered', 'failed')),
    manual       boolean NOT NULL DEFAULT false,
    attempts     int NOT NULL DEFAULT 0,
    due_ms       bigint NOT NULL,
    since_ms     bigint NOT NULL, -- when trying began: from here counts how long it is tried again
    created_ms   bigint NOT NULL,
    done_ms      bigint,
    statuses     int[] NOT NULL DEFAULT '{}', -- of the last attempts, oldest first; 0: no answer
    error        text,                        -- of the last attempt: a stable word
    latency_ms   bigint,                      -- of the last attempt
    owner        text,
    lease_until  timestamptz
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX webhook_delivery_event ON webhook_delivery (webhook_id, topic, part, seq);
CREATE INDEX webhook_delivery_due ON webhook_delivery (webhook_id, due_ms) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_chain ON webhook_delivery (webhook_id, topic, partitionkey, seq)
    WHERE state IN ('held', 'waiting', 'running');
CREATE INDEX webhook_delivery_lease ON webhook_delivery (lease_until) WHERE state = 'running';
CREATE INDEX webhook_delivery_done ON webhook_delivery (done_ms) WHERE done_ms IS NOT NULL;
CREATE INDEX webhook_delivery_newest ON webhook_delivery (webhook_id, created_ms, id);

-- Since when an endpoint has taken nothing; no row or NULL: its last delivery worked, or there was none.
CREATE TABLE webhook_health (
    webhook_id       uuid PRIMARY KEY,
    failing_since_ms bigint,
    last_ok_ms       bigint
) WITH (fillfactor = 50);

SELECT bus_group('webhooks');
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook TO dd_webhooks;
GRANT SELECT ON webhook TO dd_producers;
GRANT SELECT, DELETE ON webhook_start TO dd_producers;
GRANT SELECT, INSERT, UPDATE ON webhook_cursor TO dd_producers;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_delivery, webhook_health TO dd_producers;

CREATE VIEW door_webhook AS
    SELECT w.id, w.url, w.types, w.description, w.is_active, w.disabled_reason, w.generation, w.previous_until_ms,
           w.version, w.created_ms, w.updated_ms, h.failing_since_ms, h.last_ok_ms
    FROM webhook w LEFT JOIN webhook_health h ON h.webhook_id = w.id;
CREATE VIEW door_webhook_delivery AS
    SELECT d.id, d.webhook_id, d.event_id, d.type, d.topic, d.part, d.seq, d.partitionkey, d.state, d.manual, d.attempts,
           array_to_json(d.statuses)::text AS statuses, d.error, d.latency_ms, d.due_ms, d.created_ms, d.done_ms
    FROM webhook_delivery d;
GRANT SELECT ON door_webhook, door_webhook_delivery TO dd_door;
