-- The bus: the log and its heads, offsets and leases, results of commands, timers, jobs, parked messages, keys of
-- persons. Who may write what is said at the end. Times called *_ms are UTC milliseconds since 1970; leases are
-- timestamptz, since only PostgreSQL's clock decides about them.

-- What is fixed when a shop is made: partitions, format (written by the first `migrate up`), and marks of one-time work.
CREATE TABLE bus_meta (
    name text PRIMARY KEY,
    value text NOT NULL
);

-- The last event of each partition. A row is locked from the append to the commit, so seq has no gaps and its order is
-- the order of commits. Half-empty pages keep the updates in place (HOT).
CREATE TABLE stream_head (
    topic text NOT NULL,
    part int NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    ms bigint NOT NULL,
    PRIMARY KEY (topic, part)
) WITH (fillfactor = 50);

-- Outbox, archive and replay source in one: append only. specversion and datacontenttype are constants of the format.
CREATE TABLE event_log (
    topic text NOT NULL,
    part int NOT NULL,
    seq bigint NOT NULL,
    ms bigint NOT NULL,
    id uuid NOT NULL,
    source text NOT NULL DEFAULT '',
    type text NOT NULL DEFAULT '',
    subject text NOT NULL DEFAULT '',
    time text NOT NULL DEFAULT '',
    dataschema text NOT NULL DEFAULT '',
    partitionkey text NOT NULL DEFAULT '',
    correlationid text NOT NULL DEFAULT '',
    causationid text NOT NULL DEFAULT '',
    actor text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    data text NOT NULL DEFAULT '',
    PRIMARY KEY (topic, part, seq)
);
CREATE INDEX event_log_id ON event_log (id);
CREATE INDEX event_log_correlationid ON event_log (correlationid);

-- One row per group and partition, for both lanes: cursor on the event lane (ms, seq), counter of flushes, lease.
CREATE TABLE consumer_offset (
    grp text NOT NULL,
    topic text NOT NULL,
    part int NOT NULL,
    ms bigint NOT NULL DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0 CHECK (seq >= 0),
    flush bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until timestamptz,
    PRIMARY KEY (grp, topic, part)
) WITH (fillfactor = 50);

-- Instances of a group that are alive.
CREATE TABLE member (
    grp text NOT NULL,
    instance text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (grp, instance)
) WITH (fillfactor = 50);

-- What became of each command; the primary key is the dedupe. Ids are UUIDv7, so retention deletes a range of the key.
CREATE TABLE command (
    id uuid PRIMARY KEY,
    client text NOT NULL DEFAULT '',
    idempotencykey text,
    fingerprint text,
    topic text,
    part int,
    type text,
    status text NOT NULL CHECK (status IN ('running', 'succeeded', 'rejected', 'parked', 'lost')),
    http_status int,
    result text,
    same_as uuid,
    replyto text,
    position text,
    correlationid text,
    created_ms bigint,
    done_ms bigint
);
CREATE UNIQUE INDEX command_key ON command (client, idempotencykey) WHERE idempotencykey IS NOT NULL;
CREATE INDEX command_open ON command (created_ms) WHERE status IN ('running', 'parked');

-- Time is data: a timer fires by appending its event in the transaction that deletes the row.
CREATE TABLE timer (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    grp text NOT NULL,
    name text NOT NULL,
    key text NOT NULL,
    due_ms bigint NOT NULL,
    topic text NOT NULL,
    part int NOT NULL,
    type text NOT NULL,
    data text NOT NULL,
    correlationid text NOT NULL DEFAULT '',
    causationid text NOT NULL DEFAULT '',
    actor text NOT NULL DEFAULT '',
    UNIQUE (grp, name, key)
);
CREATE INDEX timer_due ON timer (due_ms);

-- Outside work. Jobs of one key run one at a time in the order of n; kinds of another family (the word before the
-- first dot) do not wait for each other.
CREATE TABLE job (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    key text NOT NULL,
    n bigint GENERATED ALWAYS AS IDENTITY,
    payload text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done')),
    attempt int NOT NULL DEFAULT 0,
    due_ms bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until timestamptz,
    correlationid text NOT NULL DEFAULT '',
    causationid text NOT NULL DEFAULT '',
    actor text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    outcome text
) WITH (fillfactor = 70);
CREATE INDEX job_due ON job (kind, due_ms, n) WHERE state = 'waiting';
CREATE INDEX job_lease ON job (lease_until) WHERE state = 'running';
CREATE INDEX job_order ON job (key, n) WHERE state <> 'done';

-- Messages of parked keys, in the order in which they came. envelope is the message as JSON.
CREATE TABLE dead_letter (
    grp text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    n bigint GENERATED ALWAYS AS IDENTITY,
    lane text NOT NULL CHECK (lane IN ('command', 'event')),
    entry text,
    seq bigint,
    command_id uuid,
    type text,
    reason text,
    detail text,
    attempts int NOT NULL DEFAULT 0,
    build text,
    envelope text,
    parked_ms bigint,
    state text NOT NULL DEFAULT 'parked',
    PRIMARY KEY (grp, topic, key, n)
);
CREATE INDEX dead_letter_command ON dead_letter (command_id) WHERE command_id IS NOT NULL;

-- Keys of persons, wrapped by ENCRYPTION_KEY. Deleting a row makes every copy of that person's data unreadable.
CREATE TABLE person_key (
    person uuid PRIMARY KEY,
    wrapped bytea NOT NULL,
    created_ms bigint NOT NULL
);

-- Begins every flush: fence, dedupe and gap detector at once. One row per partition the flush covers; hi NULL leaves
-- the cursor alone (only commands were handled). Rows are locked in the order (topic, part), so that two flushes never
-- wait for each other in a ring. One row that is not as expected (another epoch, another flush, a gap) voids all.
-- Row by row is faster than one statement below about 16 rows (60 to 80 us for one), and 80 us slower for 24.
CREATE FUNCTION fence(grp text, topics text[], parts int[], epochs bigint[], flushes bigint[], los bigint[],
                      his bigint[], mss bigint[]) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    x record;
BEGIN
    FOR x IN SELECT * FROM unnest(topics, parts, epochs, flushes, los, his, mss)
                    AS u(topic, part, epoch, flush, lo, hi, ms_of_hi) ORDER BY topic, part LOOP
        UPDATE consumer_offset o SET flush = flush + 1, seq = coalesce(x.hi, seq), ms = coalesce(x.ms_of_hi, ms)
        WHERE o.grp = fence.grp AND topic = x.topic AND part = x.part AND epoch = x.epoch AND flush = x.flush
          AND (x.hi IS NULL OR seq = x.lo - 1);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'fenced at %.%', x.topic, x.part USING ERRCODE = 'DSF01';
        END IF;
    END LOOP;
END $$;

-- Declares a command lost unless a row of it stands, and returns the row that stands: `lost` is a row before it is
-- told, so a late entry of the command is deduped. The door may call it, hence SECURITY DEFINER.
CREATE FUNCTION command_lost(id uuid) RETURNS command LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    stands command;
BEGIN
    INSERT INTO command (id, status, http_status, created_ms, done_ms)
    VALUES (command_lost.id, 'lost', 503,
            ('x' || substr(replace(command_lost.id::text, '-', ''), 1, 12))::bit(48)::bigint,
            (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
    ON CONFLICT (id) DO NOTHING;
    SELECT c.* INTO stands FROM command c WHERE c.id = command_lost.id;
    RETURN stands;
END $$;
REVOKE EXECUTE ON FUNCTION command_lost(uuid) FROM PUBLIC;

-- Roles. Every group writes under its own, dd_<group>: the bus's tables, and what its migration grants it beside them.
-- A new group calls bus_group() in the migration that makes its tables. Databases of one server share the roles.
CREATE FUNCTION bus_role(role text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- another database of this server made it
    END;
    IF NOT pg_has_role(CURRENT_USER, role, 'MEMBER') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', role);
    END IF;
END $$;
CREATE FUNCTION bus_group(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    role text := 'dd_' || name;
BEGIN
    PERFORM bus_role(role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON stream_head, consumer_offset, command, dead_letter, job TO %I', role);
    EXECUTE format('GRANT SELECT, INSERT ON event_log TO %I', role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON timer, member TO %I', role);
END $$;
REVOKE EXECUTE ON FUNCTION bus_role(text), bus_group(text) FROM PUBLIC;

SELECT bus_group(g) FROM unnest(ARRAY['identity', 'catalog', 'inventory', 'cart', 'orders', 'payments', 'producers']) g;
SELECT bus_role('dd_door');

GRANT SELECT ON bus_meta TO PUBLIC;
GRANT DELETE ON job, command TO dd_producers; -- retention
GRANT SELECT, INSERT, UPDATE, DELETE ON person_key TO dd_identity;
GRANT SELECT ON person_key TO dd_payments, dd_producers, dd_door;
GRANT SELECT ON command, stream_head, consumer_offset, event_log TO dd_door;
GRANT EXECUTE ON FUNCTION command_lost(uuid) TO dd_door;
