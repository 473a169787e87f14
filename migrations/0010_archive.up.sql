-- The event log by time. event_log is partitioned by ms, so that what is old can leave PostgreSQL as a whole: it is
-- written to files (docs/archive.md), and then its partition is dropped. Rows that stand already become the first
-- partition as they are; nothing is copied. (topic, part, seq) stays unique, guaranteed by stream_head and checked by
-- bus fsck; an index over all partitions cannot say so without ms.

-- The partitions there are, [lo_ms, hi_ms). What falls between them is caught by event_log_rest, so that an event never
-- fails because nobody made a partition for it.
CREATE TABLE event_partition (
    name text PRIMARY KEY,
    lo_ms bigint NOT NULL,
    hi_ms bigint NOT NULL,
    CHECK (lo_ms < hi_ms)
);

-- The archive's catalogue. Files of a topic's partition follow one another without gaps from seq 1, and the log goes on
-- behind the last of them. The key is how readers look: the first file that ends behind a position.
CREATE TABLE event_archive (
    topic text NOT NULL,
    part int NOT NULL,
    first_seq bigint NOT NULL CHECK (first_seq > 0),
    last_seq bigint NOT NULL CHECK (last_seq >= first_seq),
    first_ms bigint NOT NULL,
    last_ms bigint NOT NULL,
    file text NOT NULL UNIQUE, -- below the archive's folder
    bytes bigint NOT NULL,
    raw_bytes bigint NOT NULL, -- decompressed
    sha256 text NOT NULL,
    archived_ms bigint NOT NULL,
    PRIMARY KEY (topic, part, last_seq)
);

-- Who does not hold back the trimming of a stream: groups of ours, and of others that read the stream itself. A table of
-- its own, so that nobody who decides about memory ever waits for a flush, or a flush for him.
CREATE TABLE group_detached (
    grp text NOT NULL,
    topic text NOT NULL,
    part int NOT NULL,
    reason text NOT NULL CHECK (reason IN ('budget', 'operator')),
    seq bigint NOT NULL, -- where it was then
    since_ms bigint NOT NULL,
    PRIMARY KEY (grp, topic, part)
);

ALTER TABLE event_log RENAME TO event_log_first;
ALTER TABLE event_log_first DROP CONSTRAINT event_log_pkey;
ALTER INDEX event_log_id RENAME TO event_log_first_id;
ALTER INDEX event_log_correlationid RENAME TO event_log_first_correlationid;
CREATE TABLE event_log (LIKE event_log_first INCLUDING DEFAULTS) PARTITION BY RANGE (ms);
ALTER TABLE event_log ADD PRIMARY KEY (topic, part, seq, ms);
CREATE INDEX event_log_id ON event_log (id);
CREATE INDEX event_log_correlationid ON event_log (correlationid);
CREATE TABLE event_log_rest PARTITION OF event_log DEFAULT;
DO $$
DECLARE
    x record;
BEGIN
    FOR x IN SELECT grantee::regrole AS grantee, privilege_type FROM pg_class, aclexplode(relacl)
             WHERE oid = 'event_log_first'::regclass AND grantee <> relowner LOOP
        EXECUTE format('GRANT %s ON event_log TO %s', x.privilege_type, x.grantee);
    END LOOP;
END $$;

CREATE FUNCTION event_log_utc(ms bigint) RETURNS timestamp LANGUAGE sql IMMUTABLE AS $$
    SELECT timestamp 'epoch' + ms * interval '1 millisecond'
$$;
CREATE FUNCTION event_log_ms(utc timestamp) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(epoch FROM utc) * 1000)::bigint
$$;

-- Makes the partition [lo, hi), and moves there what event_log_rest has caught of it. Writers go on meanwhile; only those
-- who look at event_log_rest wait, for a moment.
CREATE FUNCTION event_log_make(lo bigint, hi bigint) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    name text := 'event_log_' || to_char(event_log_utc(lo), 'YYYYMMDD')
                 || CASE WHEN lo % 86400000 = 0 THEN '' ELSE '_' || lo % 86400000 END;
BEGIN
    LOCK TABLE event_log IN SHARE UPDATE EXCLUSIVE MODE; -- one at a time, and in the order of event_log_drop()
    LOCK TABLE event_log_rest IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE event_log INCLUDING DEFAULTS)', name);
    EXECUTE format('WITH moved AS (DELETE FROM event_log_rest WHERE ms >= %s AND ms < %s RETURNING *)'
                   ' INSERT INTO %I SELECT * FROM moved', lo, hi, name);
    EXECUTE format('ALTER TABLE event_log ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, lo, hi);
    INSERT INTO event_partition VALUES (name, lo, hi);
    RETURN name;
END $$;

-- Makes what is missing of the period (day, week, month) that holds now_ms and of the next ones; returns how many. What
-- was made under another setting stays as it is, and new ones begin where it ends.
CREATE FUNCTION event_log_ahead(now_ms bigint, period text, periods int) RETURNS int LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    step interval := ('1 ' || period)::interval;
    start timestamp := date_trunc(period, event_log_utc(now_ms));
    until_ms bigint := event_log_ms(start + (periods + 1) * step);
    at_ms bigint := now_ms;
    lo bigint;
    hi bigint;
    made int := 0;
BEGIN
    WHILE at_ms < until_ms LOOP
        SELECT hi_ms INTO hi FROM event_partition WHERE lo_ms <= at_ms AND at_ms < hi_ms;
        IF NOT FOUND THEN
            start := date_trunc(period, event_log_utc(at_ms));
            SELECT greatest(event_log_ms(start), max(hi_ms)) INTO lo FROM event_partition WHERE hi_ms <= at_ms;
            SELECT least(event_log_ms(start + step), min(lo_ms)) INTO hi FROM event_partition WHERE lo_ms > at_ms;
            PERFORM event_log_make(lo, hi);
            made := made + 1;
        END IF;
        at_ms := hi;
    END LOOP;
    RETURN made;
END $$;

-- Ends the period that is written to, behind the newest event: what stands now can be archived without waiting for its
-- end. No row moves; the partition gets a narrower bound, which takes one look at its rows. Returns the bound.
CREATE FUNCTION event_log_cut() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    cut bigint;
    p event_partition;
BEGIN
    LOCK TABLE event_log IN ACCESS EXCLUSIVE MODE;
    SELECT max(ms) + 1 INTO cut FROM stream_head;
    SELECT * INTO p FROM event_partition WHERE lo_ms < cut AND cut < hi_ms;
    IF FOUND THEN
        EXECUTE format('ALTER TABLE event_log DETACH PARTITION %I', p.name);
        EXECUTE format('ALTER TABLE event_log ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', p.name, p.lo_ms, cut);
        UPDATE event_partition SET hi_ms = cut WHERE name = p.name;
        PERFORM event_log_make(cut, p.hi_ms);
    END IF;
    RETURN cut;
END $$;

-- The last step of archiving: in one transaction the files enter the catalogue and the rows leave. The files hold the
-- partition as it was read; the lock keeps writers out while it is compared with what stands now. False: somebody wrote
-- into it meanwhile, and nothing happens.
CREATE FUNCTION event_log_drop(partition text, topics text[], parts bigint[], first_seqs bigint[], last_seqs bigint[],
                               first_mss bigint[], last_mss bigint[], files text[], bytess bigint[], raws bigint[],
                               shas text[], now_ms bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    changed boolean;
BEGIN
    IF NOT EXISTS (SELECT FROM event_partition WHERE name = partition) THEN
        RAISE EXCEPTION 'there is no partition %', partition;
    END IF;
    LOCK TABLE event_log IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('SELECT EXISTS (SELECT FROM stream_head h'
                   ' LEFT JOIN unnest($1, $2, $3) a(topic, part, last) ON a.topic = h.topic AND a.part = h.part'
                   ' WHERE (SELECT max(seq) FROM %I e WHERE e.topic = h.topic AND e.part = h.part)'
                   '       IS DISTINCT FROM a.last)', partition)
        INTO changed USING topics, parts, last_seqs;
    IF changed THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE event_log DETACH PARTITION %I', partition);
    INSERT INTO event_archive
        SELECT t, p, fs, ls, fm, lm, f, b, r, s, now_ms
        FROM unnest(topics, parts, first_seqs, last_seqs, first_mss, last_mss, files, bytess, raws, shas)
             u(t, p, fs, ls, fm, lm, f, b, r, s);
    EXECUTE format('DROP TABLE %I', partition);
    DELETE FROM event_partition WHERE name = partition;
    RETURN true;
END $$;
REVOKE EXECUTE ON FUNCTION event_log_make(bigint, bigint), event_log_ahead(bigint, text, int), event_log_cut(),
    event_log_drop(text, text[], bigint[], bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], text[],
                   bigint) FROM PUBLIC;

-- Rows from before: up to the end of the month of the newest of them.
DO $$
DECLARE
    newest bigint := (SELECT max(ms) FROM event_log_first);
    hi bigint := event_log_ms(date_trunc('month', event_log_utc(newest)) + interval '1 month');
BEGIN
    IF newest IS NULL THEN
        DROP TABLE event_log_first;
    ELSE
        EXECUTE format('ALTER TABLE event_log ATTACH PARTITION event_log_first FOR VALUES FROM (0) TO (%s)', hi);
        INSERT INTO event_partition VALUES ('event_log_first', 0, hi);
    END IF;
END $$;
SELECT event_log_ahead((extract(epoch FROM now()) * 1000)::bigint, 'month', 2);

GRANT SELECT ON event_partition, event_archive, group_detached TO PUBLIC;
GRANT INSERT, DELETE ON group_detached TO dd_producers;
GRANT SELECT ON event_log_rest TO dd_producers;
GRANT EXECUTE ON FUNCTION event_log_ahead(bigint, text, int), event_log_drop(text, text[], bigint[], bigint[], bigint[],
    bigint[], bigint[], text[], bigint[], bigint[], text[], bigint) TO dd_producers;
