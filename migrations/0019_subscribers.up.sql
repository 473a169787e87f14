-- Subscribers from outside: programs that use the C library (their positions are rows of consumer_offset under
-- 'ext:<name>', so that trimming, `bus lag` and `bus fsck` see them like any group), and plain groups on Redis.
CREATE TABLE subscriber (
    name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 128),
    kind text NOT NULL CHECK (kind IN ('library', 'redis', 'found')), -- found: a group on Redis that nobody registered
    owner text NOT NULL DEFAULT '',
    login text NOT NULL DEFAULT session_user, -- the only login that may move its position
    types text NOT NULL DEFAULT '*',
    topics text[] NOT NULL DEFAULT '{}',
    created timestamptz NOT NULL DEFAULT now(),
    seen timestamptz NOT NULL DEFAULT now(),
    keep interval NOT NULL DEFAULT '7 days',
    expired timestamptz -- since then it holds nothing in Redis; NULL: alive
);
-- Where plain groups on Redis stand, as the relay saw them: what they were given and have acknowledged. A stream that
-- is made anew gets its groups back from here.
CREATE TABLE subscriber_group (
    name text NOT NULL REFERENCES subscriber ON DELETE CASCADE,
    topic text NOT NULL,
    part int NOT NULL,
    ms bigint NOT NULL,
    seq bigint NOT NULL,
    moved timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, topic, part)
) WITH (fillfactor = 50);

-- Locks the row of a subscriber that the session may speak for; raises otherwise. Errors are of class 42 so that their
-- text reaches the program.
CREATE FUNCTION subscriber_mine(name text) RETURNS subscriber LANGUAGE plpgsql AS $$
DECLARE
    found_row subscriber;
BEGIN
    SELECT * INTO found_row FROM subscriber s WHERE s.name = subscriber_mine.name FOR SHARE;
    IF NOT FOUND OR found_row.kind <> 'library' THEN
        RAISE EXCEPTION 'subscriber % is not registered', name USING ERRCODE = '42704';
    END IF;
    IF found_row.login <> session_user AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN
        RAISE EXCEPTION 'subscriber % belongs to login %', name, found_row.login USING ERRCODE = '42501';
    END IF;
    RETURN found_row;
END $$;

-- Where a new subscriber begins: behind which event. A time begins behind the last event before it; when the log does
-- not reach so far back, at the beginning, which is more than was asked for and never less.
CREATE FUNCTION subscriber_start(topic text, part int, start text, OUT seq bigint, OUT ms bigint)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF start = 'now' THEN
        SELECT h.seq, h.ms INTO seq, ms FROM stream_head h
        WHERE h.topic = subscriber_start.topic AND h.part = subscriber_start.part;
    ELSIF start <> 'earliest' THEN
        SELECT l.seq, l.ms INTO seq, ms FROM event_log l
        WHERE l.topic = subscriber_start.topic AND l.part = subscriber_start.part AND l.ms < start::bigint
        ORDER BY l.seq DESC LIMIT 1;
    END IF;
    seq := coalesce(seq, 0);
    ms := coalesce(ms, 0);
END $$;

-- Registers, or says that it is there. Topics that are not wanted any more keep their rows while another instance may
-- still read them. Returns the number of partitions per topic.
CREATE FUNCTION subscriber_open(name text, instance text, owner text, types text, topics text[], start text,
                                keep_days bigint) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    p int := (SELECT value::int FROM bus_meta m WHERE m.name = 'partitions');
    alone boolean;
BEGIN
    IF subscriber_open.name !~ '^[a-z][a-z0-9-]{0,47}$' THEN
        RAISE EXCEPTION 'the name of a subscriber is a-z, then a-z 0-9 -, at most 48' USING ERRCODE = '42602';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(subscriber_open.name, 19));
    INSERT INTO subscriber (name, kind, owner, types, topics, keep)
    VALUES (subscriber_open.name, 'library', subscriber_open.owner, subscriber_open.types, subscriber_open.topics,
            subscriber_open.keep_days * interval '1 day') ON CONFLICT DO NOTHING;
    PERFORM subscriber_mine(subscriber_open.name);
    alone := NOT EXISTS (SELECT FROM member m WHERE m.grp = 'ext:' || subscriber_open.name
                         AND m.instance <> subscriber_open.instance AND m.until > now());
    UPDATE subscriber s SET owner = subscriber_open.owner, types = subscriber_open.types,
        topics = CASE WHEN alone THEN subscriber_open.topics
                 ELSE ARRAY(SELECT unnest(s.topics) UNION SELECT unnest(subscriber_open.topics)) END,
        keep = subscriber_open.keep_days * interval '1 day', seen = now(), expired = NULL
    WHERE s.name = subscriber_open.name;
    IF alone THEN
        DELETE FROM consumer_offset o WHERE o.grp = 'ext:' || subscriber_open.name
        AND NOT o.topic = ANY (subscriber_open.topics);
    END IF;
    INSERT INTO consumer_offset (grp, topic, part, seq, ms)
    SELECT 'ext:' || subscriber_open.name, t, n, s.seq, s.ms
    FROM unnest(subscriber_open.topics) t, generate_series(0, p - 1) n,
         LATERAL subscriber_start(t, n, subscriber_open.start) s
    WHERE NOT EXISTS (SELECT FROM consumer_offset o WHERE o.grp = 'ext:' || subscriber_open.name AND o.topic = t
                      AND o.part = n)
    ORDER BY t, n;
    RETURN p;
END $$;

-- An instance is alive: renews its leases, gives surplus back (unless it has work in hand), takes what is free of the
-- wanted topics up to its share. Returns what it owns now; what it named and does not get back has gone to another. Taking bumps the epoch.
CREATE FUNCTION subscriber_turn(name text, instance text, lease_ms bigint, idle boolean, topics text[], parts bigint[],
                                epochs bigint[], wants text[])
RETURNS TABLE (topic text, part int, epoch bigint, seq bigint, ms bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    g text := 'ext:' || name;
    lease_end timestamptz := now() + lease_ms * interval '1 millisecond';
    share bigint;
    have bigint;
BEGIN
    PERFORM subscriber_mine(subscriber_turn.name);
    UPDATE subscriber s SET seen = now(), expired = NULL
    WHERE s.name = subscriber_turn.name AND (s.expired IS NOT NULL OR s.seen < now() - interval '1 minute');
    INSERT INTO member (grp, instance, until) VALUES (g, subscriber_turn.instance, lease_end)
    ON CONFLICT (grp, instance) DO UPDATE SET until = excluded.until;
    DELETE FROM member m WHERE m.grp = g AND m.until < now() - interval '1 minute';
    UPDATE consumer_offset o SET lease_until = lease_end
    FROM unnest(topics, parts, epochs) AS x(topic, part, epoch)
    WHERE o.grp = g AND o.topic = x.topic AND o.part = x.part AND o.epoch = x.epoch
      AND o.owner = subscriber_turn.instance;
    GET DIAGNOSTICS have = ROW_COUNT;
    share := ceil((SELECT count(*) FROM consumer_offset o WHERE o.grp = g AND o.topic = ANY (wants))::numeric
                  / (SELECT count(*) FROM member m WHERE m.grp = g AND m.until > now()));
    IF have > share AND idle THEN
        UPDATE consumer_offset o SET owner = NULL, lease_until = NULL
        FROM (SELECT c.topic, c.part FROM consumer_offset c
              WHERE c.grp = g AND c.owner = subscriber_turn.instance AND c.lease_until = lease_end
              ORDER BY c.part DESC, c.topic DESC LIMIT have - share) surplus
        WHERE o.grp = g AND o.topic = surplus.topic AND o.part = surplus.part;
    ELSIF have < share THEN
        WITH free AS (
            SELECT c.topic, c.part FROM consumer_offset c
            WHERE c.grp = g AND c.topic = ANY (wants) AND (c.owner IS NULL OR c.lease_until < now() OR c.owner = subscriber_turn.instance)
              AND NOT (c.owner IS NOT DISTINCT FROM subscriber_turn.instance
                       AND c.lease_until IS NOT DISTINCT FROM lease_end)
            ORDER BY c.owner = subscriber_turn.instance DESC NULLS LAST, c.part, c.topic
            LIMIT share - have FOR UPDATE SKIP LOCKED)
        UPDATE consumer_offset o SET epoch = o.epoch + 1, owner = subscriber_turn.instance, lease_until = lease_end
        FROM free f WHERE o.grp = g AND o.topic = f.topic AND o.part = f.part;
    END IF;
    RETURN QUERY SELECT o.topic, o.part, o.epoch, o.seq, o.ms FROM consumer_offset o
        WHERE o.grp = g AND o.owner = subscriber_turn.instance AND o.lease_until = lease_end;
END $$;

-- Moves the position in the caller's transaction: fence, dedupe and gap detector at once, like fence(). Rows are
-- locked in one order, so that two commits never wait for each other in a ring.
CREATE FUNCTION subscriber_commit(name text, topics text[], parts int[], epochs bigint[], froms bigint[], tos bigint[],
                                  mss bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    x record;
BEGIN
    PERFORM subscriber_mine(subscriber_commit.name);
    FOR x IN SELECT * FROM unnest(topics, parts, epochs, froms, tos, mss)
                    AS u(topic, part, epoch, from_seq, to_seq, to_ms) ORDER BY topic, part LOOP
        UPDATE consumer_offset o SET seq = x.to_seq, ms = x.to_ms, flush = flush + 1
        WHERE o.grp = 'ext:' || subscriber_commit.name AND topic = x.topic AND part = x.part AND epoch = x.epoch
          AND seq = x.from_seq AND x.to_seq > x.from_seq;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'subscriber % is fenced at %.%', subscriber_commit.name, x.topic, x.part
                USING ERRCODE = 'DSF01';
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION subscriber_leave(name text, instance text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM subscriber_mine(subscriber_leave.name);
    UPDATE consumer_offset o SET owner = NULL, lease_until = NULL
    WHERE o.grp = 'ext:' || subscriber_leave.name AND o.owner = subscriber_leave.instance;
    DELETE FROM member m WHERE m.grp = 'ext:' || subscriber_leave.name AND m.instance = subscriber_leave.instance;
END $$;

-- The role of programs that subscribe: reads the log and its heads, writes only through the functions above.
SELECT bus_role('dd_subscriber');
REVOKE EXECUTE ON FUNCTION subscriber_mine(text), subscriber_start(text, int, text),
    subscriber_open(text, text, text, text, text[], text, bigint),
    subscriber_turn(text, text, bigint, boolean, text[], bigint[], bigint[], text[]),
    subscriber_commit(text, text[], int[], bigint[], bigint[], bigint[], bigint[]),
    subscriber_leave(text, text) FROM PUBLIC;
GRANT SELECT ON event_log, stream_head TO dd_subscriber;
GRANT EXECUTE ON FUNCTION subscriber_open(text, text, text, text, text[], text, bigint),
    subscriber_turn(text, text, bigint, boolean, text[], bigint[], bigint[], text[]),
    subscriber_commit(text, text[], int[], bigint[], bigint[], bigint[], bigint[]),
    subscriber_leave(text, text) TO dd_subscriber;
-- The relay remembers and expires.
GRANT SELECT, INSERT, UPDATE, DELETE ON subscriber, subscriber_group TO dd_producers;
