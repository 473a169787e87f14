-- Parked work that comes back: what operators did with it, and which message a process died of.

-- A parked message is `parked` until it is `handled` or `discarded`; nothing is ever deleted. corrected counts the
-- corrections of its data, so that a retry that read an older one is void.
-- id and correlationid stand in the envelope too, but nobody should have to read JSON to find a message.
ALTER TABLE dead_letter
    ADD COLUMN id text,
    ADD COLUMN correlationid text,
    ADD COLUMN corrected int NOT NULL DEFAULT 0,
    ADD COLUMN done_ms bigint,
    ADD CONSTRAINT dead_letter_state CHECK (state IN ('parked', 'handled', 'discarded'));
UPDATE dead_letter SET id = substring(envelope FROM '"id":"([^"]*)"'),
    correlationid = substring(envelope FROM '"correlationid":"([^"]*)"');
-- Runners read the parked keys of their group with every turn of their leases, however many were handled since.
CREATE INDEX dead_letter_parked ON dead_letter (grp, topic, key, n) WHERE state = 'parked';

-- Each thing an operator did: who, when, why. A retry is a request: done_ms is NULL until the owner of the key's
-- partition has run it. One retry of a key is open at a time; who asks again joins it.
CREATE TABLE parked_action (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action text NOT NULL CHECK (action IN ('retry', 'discard', 'edit')),
    grp text NOT NULL,
    topic text NOT NULL,
    part int NOT NULL,
    key text NOT NULL,
    n bigint,                        -- of one message; NULL: all that wait
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    asked_ms bigint NOT NULL,
    done_ms bigint,
    handled bigint NOT NULL DEFAULT 0,
    remain bigint NOT NULL DEFAULT 0, -- what waited afterwards
    trying bigint,                   -- retry: n of the message in hand, noted before its handler is called
    tries int NOT NULL DEFAULT 0     -- lives of the owner that had it in hand
);
CREATE UNIQUE INDEX parked_action_open ON parked_action (grp, topic, key) WHERE done_ms IS NULL AND action = 'retry';
CREATE INDEX parked_action_key ON parked_action (grp, topic, key, id);

-- What an operator put in the place of a message's data. The last one counts; the message stays as it came.
CREATE TABLE parked_correction (
    grp text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    n bigint NOT NULL,
    corrected int NOT NULL,
    data text NOT NULL,
    action bigint NOT NULL REFERENCES parked_action,
    PRIMARY KEY (grp, topic, key, n, corrected),
    FOREIGN KEY (grp, topic, key, n) REFERENCES dead_letter
);

-- Crash loops. taken is when a partition was last taken; crashes is how often in a row, each within minutes of the one
-- before, it was taken from an owner that had not given it back. Both are written by the statement that takes a lease,
-- so a healthy partition never pays for them.
ALTER TABLE consumer_offset
    ADD COLUMN crashes int NOT NULL DEFAULT 0,
    ADD COLUMN taken timestamptz;
-- A message that was alone in the hands of a partition's owner, and in how many lives of owners (epochs): committed
-- before its handler is called, deleted in the transaction of its effects.
CREATE TABLE handler_attempt (
    grp text NOT NULL,
    topic text NOT NULL,
    part int NOT NULL,
    id uuid NOT NULL,
    lives int NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (grp, topic, part, id)
);

-- Marks one message handled, in the transaction of its effects. Voids all when an operator discarded or corrected it
-- meanwhile, or when another owner was faster. True: nothing of the key waits any more, and the request is done.
CREATE FUNCTION parked_handled(grp text, topic text, key text, n bigint, corrected int, action bigint, build text,
                               now_ms bigint) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    last boolean;
BEGIN
    UPDATE dead_letter d SET state = 'handled', done_ms = now_ms, attempts = attempts + 1, build = parked_handled.build
    WHERE d.grp = parked_handled.grp AND d.topic = parked_handled.topic AND d.key = parked_handled.key
      AND d.n = parked_handled.n AND d.corrected = parked_handled.corrected AND state = 'parked';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the parked message changed meanwhile' USING ERRCODE = 'DSF01';
    END IF;
    last := NOT EXISTS (SELECT FROM dead_letter d WHERE d.grp = parked_handled.grp AND d.topic = parked_handled.topic
                        AND d.key = parked_handled.key AND state = 'parked');
    UPDATE parked_action a SET handled = handled + 1, trying = NULL, tries = 0,
        done_ms = CASE WHEN last THEN now_ms ELSE a.done_ms END WHERE id = parked_handled.action;
    RETURN last;
END $$;

-- Groups made so far and later ones alike.
ALTER FUNCTION bus_group(text) RENAME TO bus_group_before_parked;
CREATE FUNCTION bus_group_parked(role text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('GRANT SELECT, UPDATE ON parked_action TO %I', role);
    EXECUTE format('GRANT SELECT ON parked_correction TO %I', role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON handler_attempt TO %I', role);
END $$;
CREATE FUNCTION bus_group(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM bus_group_before_parked(name);
    PERFORM bus_group_parked('dd_' || name);
END $$;
REVOKE EXECUTE ON FUNCTION bus_group(text), bus_group_parked(text) FROM PUBLIC;
SELECT bus_group_parked(g) FROM (SELECT DISTINCT grantee::text AS g FROM information_schema.role_table_grants
    WHERE table_name = 'dead_letter' AND privilege_type = 'INSERT' AND grantee LIKE 'dd\_%') made;
GRANT SELECT (grp, topic, key, state) ON dead_letter TO dd_door; -- /health/detailed counts parked keys
