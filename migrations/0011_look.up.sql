-- Looking: what operators and managers ask of the log and of the groups, answered from indexes and granted views.

-- All events of one aggregate in the order of time; ids and correlations have their indexes since 0001. There is none
-- on causationid: a cause and its effects share a correlation, so a story is read by that and put together in memory.
CREATE INDEX event_log_partitionkey ON event_log (partitionkey, ms);

-- How often the owners of a partition had to read an event from the log because its stream lacked it, and how many
-- repeats they dropped. Written with the renewal of the lease, never by the flush.
ALTER TABLE consumer_offset ADD COLUMN gap_fetches bigint NOT NULL DEFAULT 0, ADD COLUMN repeats bigint NOT NULL DEFAULT 0;

-- Up to where `bus fsck` has found the log of a partition sound; it begins behind it the next time.
CREATE TABLE fsck_mark (
    topic text NOT NULL,
    part int NOT NULL,
    seq bigint NOT NULL,
    ms bigint NOT NULL,
    PRIMARY KEY (topic, part)
);

-- A text as the uuid that it is, NULL when it is none: causes are requests of clients, too, whose ids may be anything.
CREATE FUNCTION story_uuid(id text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN id::uuid END
$$;

-- What a story is made of (bus/story.h): who, what, when and because of what, never the data of a message.
CREATE VIEW story_event AS
    SELECT topic, part, seq, ms, id, source, type, partitionkey, correlationid, causationid, actor FROM event_log;
CREATE VIEW story_command AS
    SELECT id, topic, part, type, status, http_status, same_as, client,
        coalesce(nullif(correlationid, ''), id::text) AS correlationid, created_ms, done_ms,
        CASE WHEN status = 'rejected' THEN result END AS problem FROM command;
CREATE VIEW story_job AS
    SELECT id, kind, key, state, attempt, due_ms, correlationid, causationid, actor FROM job;
CREATE VIEW story_timer AS
    SELECT id, grp, name, key, topic, part, type, due_ms, correlationid, causationid, actor FROM timer;
CREATE VIEW story_parked AS
    SELECT grp, topic, key, n, lane, seq, command_id, type, reason, attempts, parked_ms FROM dead_letter
    WHERE state = 'parked';
CREATE VIEW story_offset AS
    SELECT grp, topic, part, seq FROM consumer_offset;
GRANT SELECT ON story_event, story_command, story_job, story_timer, story_parked, story_offset TO dd_door;
