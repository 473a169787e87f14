-- Rebuilding read models and replaying ranges (docs/replay.md). A rebuild fills copies of a group's tables in a schema of
-- their own, rebuild_<group>. The runner's own statements do it: in that schema stand also a consumer_offset and a
-- dead_letter, so with the schema first on the search_path everything a flush writes falls there, and nothing else.

-- The last rebuild of each group. What is in hand is a row, so whoever goes on after a crash knows where.
CREATE TABLE rebuild (
    grp text PRIMARY KEY,
    generation bigint NOT NULL DEFAULT 1,
    purpose text NOT NULL CHECK (purpose IN ('swap', 'verify')),
    state text NOT NULL CHECK (state IN ('filling', 'swapped', 'done', 'abandoned')),
    tables text[] NOT NULL,
    build text NOT NULL,           -- of the program that fills: another one begins anew
    begun_ms bigint NOT NULL,
    ended_ms bigint,
    result text                    -- of a verify: JSON, one object per table
);

-- Why these tables cannot be swapped, NULL when they can. Views follow; whatever else binds to a table by its oid would
-- stay with the old one.
CREATE FUNCTION rebuild_obstacle(tables text[]) RETURNS text LANGUAGE sql SET search_path = public, pg_temp AS $$
    SELECT coalesce(
        (SELECT 'table ' || t || ' does not exist' FROM unnest(tables) t WHERE to_regclass(format('public.%I', t)) IS NULL LIMIT 1),
        (SELECT 'table ' || c.conrelid::regclass || ' has a foreign key that touches it' FROM pg_constraint c
            WHERE c.contype = 'f' AND (c.conrelid = ANY (o.oids) OR c.confrelid = ANY (o.oids)) LIMIT 1),
        (SELECT 'table ' || g.tgrelid::regclass || ' has trigger ' || g.tgname FROM pg_trigger g
            WHERE g.tgrelid = ANY (o.oids) AND NOT g.tgisinternal LIMIT 1),
        (SELECT 'table ' || c.oid::regclass || ' has policies or parents' FROM pg_class c
            WHERE c.oid = ANY (o.oids) AND (c.relrowsecurity OR c.relispartition OR c.relhassubclass OR c.relkind <> 'r') LIMIT 1),
        (SELECT 'column ' || a.attname || ' of ' || a.attrelid::regclass || ' has grants of its own' FROM pg_attribute a
            WHERE a.attrelid = ANY (o.oids) AND a.attacl IS NOT NULL LIMIT 1),
        (SELECT 'materialised view ' || r.ev_class::regclass || ' reads a table' FROM pg_depend d
            JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class c ON c.oid = r.ev_class
            WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = ANY (o.oids) AND c.relkind <> 'v' LIMIT 1),
        (SELECT 'function ' || d.objid::regproc || ' is bound to a table' FROM pg_depend d
            WHERE d.classid = 'pg_proc'::regclass AND d.refobjid = ANY (o.oids) LIMIT 1))
    FROM (SELECT array_agg(to_regclass(format('public.%I', t))::oid) AS oids FROM unnest(tables) t) o
$$;

-- An empty table like public.name in that schema: columns, checks, defaults, keys and indexes under the same names,
-- storage options, owner and grants. LIKE names indexes anew and leaves options and grants behind.
CREATE FUNCTION rebuild_copy(name text, schema text) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    live regclass := format('public.%I', name)::regclass;
    copy text := format('%I.%I', schema, name);
    x record;
BEGIN
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)', copy, live);
    FOR x IN SELECT conname, pg_get_constraintdef(oid) AS def FROM pg_constraint
             WHERE conrelid = live AND contype IN ('p', 'u', 'x') ORDER BY contype, conname LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', copy, x.conname, x.def);
    END LOOP;
    FOR x IN SELECT pg_get_indexdef(i.indexrelid) AS def FROM pg_index i WHERE i.indrelid = live
             AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')) LOOP
        EXECUTE replace(x.def, format(' ON public.%I USING ', name), format(' ON %s USING ', copy));
    END LOOP;
    FOR x IN SELECT array_to_string(reloptions, ', ') AS options, pg_get_userbyid(relowner) AS owner
             FROM pg_class WHERE oid = live LOOP
        IF x.options IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s SET (%s)', copy, x.options);
        END IF;
        EXECUTE format('ALTER TABLE %s OWNER TO %I', copy, x.owner);
    END LOOP;
    FOR x IN SELECT a.privilege_type, a.is_grantable,
                    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
             FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = live LOOP
        EXECUTE format('GRANT %s ON %s TO %s%s', x.privilege_type, copy, x.grantee,
                       CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
END $$;

-- Drops a schema of ours with its tables. Without CASCADE: what something outside has come to depend on must not go.
CREATE FUNCTION rebuild_drop(schema text) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    t regclass;
BEGIN
    FOR t IN SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = schema AND c.relkind = 'r' ORDER BY c.relname LOOP
        EXECUTE format('DROP TABLE %s', t);
    END LOOP;
    EXECUTE format('DROP SCHEMA IF EXISTS %I', schema);
END $$;

-- Begins a generation: forgets what an earlier one left, makes the copies, and offsets at the beginning of the log.
CREATE FUNCTION rebuild_begin(grp text, purpose text, build text, now_ms bigint, tables text[], topics text[],
                              parts bigint[]) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    shadow text := 'rebuild_' || grp;
    t text;
BEGIN
    PERFORM rebuild_drop(shadow), rebuild_drop('replaced_' || grp);
    EXECUTE format('CREATE SCHEMA %I', shadow);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', shadow, 'dd_' || grp);
    FOREACH t IN ARRAY tables || ARRAY['consumer_offset', 'dead_letter'] LOOP
        PERFORM rebuild_copy(t, shadow);
    END LOOP;
    EXECUTE format('INSERT INTO %I.consumer_offset (grp, topic, part) SELECT $1, * FROM unnest($2, $3::int[])', shadow)
        USING grp, topics, parts;
    INSERT INTO rebuild AS r (grp, purpose, state, tables, build, begun_ms)
        VALUES (grp, purpose, 'filling', tables, build, now_ms)
        ON CONFLICT ON CONSTRAINT rebuild_pkey DO UPDATE SET generation = r.generation + 1, purpose = excluded.purpose,
            state = excluded.state, tables = excluded.tables, build = excluded.build, begun_ms = excluded.begun_ms,
            ended_ms = NULL, result = NULL;
END $$;

-- How far each partition is: in the rebuild, in the log, and in the live group. No rows when none is being filled.
CREATE FUNCTION rebuild_positions(grp text) RETURNS TABLE (topic text, part int, seq bigint, head bigint, live bigint)
    LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT s.topic, s.part, s.seq, coalesce(h.seq, 0), coalesce(o.seq, 0) FROM %I.consumer_offset s'
        ' LEFT JOIN public.stream_head h ON h.topic = s.topic AND h.part = s.part'
        ' LEFT JOIN public.consumer_offset o ON o.grp = s.grp AND o.topic = s.topic AND o.part = s.part'
        ' ORDER BY s.topic, s.part', 'rebuild_' || grp);
EXCEPTION WHEN undefined_table OR invalid_schema_name THEN
    RETURN; -- none, or it has just been dropped
END $$;

-- Fresh statistics: the first plans that readers make on a swapped table must not be those of an empty one.
CREATE FUNCTION rebuild_analyze(grp text, tables text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY tables LOOP
        EXECUTE format('ANALYZE %I.%I', 'rebuild_' || grp, t);
    END LOOP;
END $$;

-- Number of rows of a table and a hash of them that does not depend on their order.
CREATE FUNCTION rebuild_hash(schema text, name text, OUT n bigint, OUT hash text) LANGUAGE plpgsql STABLE AS $$
BEGIN
    EXECUTE format('SELECT count(*), md5(concat(sum(hashtextextended(t::text, 0)::numeric),'
                   ' '' '', sum(hashtextextended(t::text, 1)::numeric))) FROM %I.%I t', schema, name) INTO n, hash;
END $$;

-- The swap, in the caller's transaction, which holds the live group's offset rows since its beginning: no flush of the
-- group is under way, and the next one is void by its epoch. Then views and tables are locked, views first, as readers
-- do; from here to the commit readers wait. A reader resolves what a view reads only after it has the view's lock, and
-- takes its snapshot after all its locks, so it sees the old model whole or the new one whole. Views keep their oid,
-- owner and grants; only what they read is said anew.
CREATE FUNCTION rebuild_swap(grp text, now_ms bigint) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    shadow text := 'rebuild_' || grp;
    replaced text := 'replaced_' || grp;
    names text[] := (SELECT r.tables FROM rebuild r WHERE r.grp = rebuild_swap.grp AND r.state = 'filling');
    oids oid[] := (SELECT array_agg(format('public.%I', t)::regclass::oid) FROM unnest(names) t);
    columns text;
    x record;
BEGIN
    CREATE TEMPORARY TABLE rebuild_view ON COMMIT DROP AS
        SELECT DISTINCT c.oid::regclass::text AS name, pg_get_viewdef(c.oid) AS def,
            coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '') AS options
        FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class c ON c.oid = w.ev_class
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = ANY (oids) AND c.relkind = 'v';
    FOR x IN SELECT name FROM rebuild_view ORDER BY name LOOP
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', x.name);
    END LOOP;
    FOR x IN SELECT t FROM unnest(names) t ORDER BY t LOOP
        EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', x.t);
    END LOOP;
    FOR x IN SELECT t FROM unnest(names) t WHERE
            (SELECT array_agg((attname, atttypid, attnotnull)::text ORDER BY attnum) FROM pg_attribute
                WHERE attrelid = format('public.%I', t)::regclass AND attnum > 0 AND NOT attisdropped) IS DISTINCT FROM
            (SELECT array_agg((attname, atttypid, attnotnull)::text ORDER BY attnum) FROM pg_attribute
                WHERE attrelid = format('%I.%I', shadow, t)::regclass AND attnum > 0 AND NOT attisdropped) LOOP
        RAISE EXCEPTION 'table % was changed since the rebuild began', x.t USING ERRCODE = '42P17';
    END LOOP;

    EXECUTE format('CREATE SCHEMA %I', replaced);
    FOR x IN SELECT t FROM unnest(names) t LOOP
        EXECUTE format('ALTER TABLE public.%I SET SCHEMA %I', x.t, replaced);
        EXECUTE format('ALTER TABLE %I.%I SET SCHEMA public', shadow, x.t);
    END LOOP;
    FOR x IN SELECT * FROM rebuild_view LOOP
        EXECUTE format('CREATE OR REPLACE VIEW %s%s AS %s', x.name, x.options, x.def);
    END LOOP;

    -- The group goes on where the new model stands; what is parked is what the new model has parked.
    EXECUTE format('INSERT INTO public.consumer_offset AS o (grp, topic, part, seq, ms) SELECT grp, topic, part, seq, ms'
                   ' FROM %I.consumer_offset ON CONFLICT (grp, topic, part) DO UPDATE'
                   ' SET seq = excluded.seq, ms = excluded.ms, epoch = o.epoch + 1', shadow);
    DELETE FROM dead_letter d WHERE d.grp = rebuild_swap.grp AND d.state = 'parked';
    SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
        WHERE attrelid = 'public.dead_letter'::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = '';
    EXECUTE format('INSERT INTO public.dead_letter (%s) SELECT %s FROM %I.dead_letter ORDER BY n', columns, columns, shadow);
    UPDATE rebuild r SET state = 'swapped' WHERE r.grp = rebuild_swap.grp;
END $$;

-- Ends a generation after its swap, its comparison or its abandonment: what is left of it goes.
CREATE FUNCTION rebuild_end(grp text, state text, result text, now_ms bigint) RETURNS void LANGUAGE plpgsql
    SET search_path = public, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM rebuild_drop('rebuild_' || grp), rebuild_drop('replaced_' || grp);
    UPDATE rebuild r SET state = state, result = result, ended_ms = now_ms WHERE r.grp = grp;
END $$;

-- Ranges that are being handled again, a row per partition. The group's offset went back to from_seq - 1; up to reset_seq,
-- where it had been, everything was handled before: whether an event is repeated is a comparison of integers.
CREATE TABLE replay (
    grp text NOT NULL,
    topic text NOT NULL,
    part int NOT NULL,
    from_seq bigint NOT NULL,
    to_seq bigint NOT NULL,        -- between to_seq and reset_seq nothing is handled again
    reset_seq bigint NOT NULL,
    types text NOT NULL,           -- patterns of bus/type_filter.h, '' for all
    rate bigint NOT NULL,          -- events per second of this partition at most, 0: no limit
    begun_ms bigint NOT NULL,
    PRIMARY KEY (grp, topic, part)
);

-- Sends a group back. Raising the epoch voids the flush that is under way; whoever takes the partition again reads the
-- row first. mss: the time of the event before each from. Partitions that are not as far as their from are left alone.
CREATE FUNCTION replay_begin(grp text, topics text[], parts bigint[], froms bigint[], tos bigint[], mss bigint[],
                             types text, rate bigint, now_ms bigint) RETURNS bigint LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    x record;
    n bigint := 0;
BEGIN
    FOR x IN SELECT u.*, o.seq FROM unnest(topics, parts, froms, tos, mss) AS u(topic, part, from_seq, to_seq, ms)
             JOIN consumer_offset o ON o.grp = replay_begin.grp AND o.topic = u.topic AND o.part = u.part
             ORDER BY u.topic, u.part FOR UPDATE OF o LOOP
        CONTINUE WHEN x.from_seq > x.seq OR x.from_seq > x.to_seq;
        INSERT INTO replay VALUES (replay_begin.grp, x.topic, x.part, x.from_seq, least(x.to_seq, x.seq), x.seq,
                                   replay_begin.types, replay_begin.rate, now_ms);
        UPDATE consumer_offset o SET seq = x.from_seq - 1, ms = x.ms, epoch = epoch + 1
            WHERE o.grp = replay_begin.grp AND o.topic = x.topic AND o.part = x.part;
        n := n + 1;
    END LOOP;
    RETURN n;
END $$;

-- What a group has in hand; forgets what it has passed.
CREATE FUNCTION replays(grp text) RETURNS SETOF replay LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
    DELETE FROM replay r USING consumer_offset o WHERE r.grp = replays.grp AND o.grp = r.grp AND o.topic = r.topic
        AND o.part = r.part AND o.seq >= r.reset_seq;
    SELECT * FROM replay r WHERE r.grp = replays.grp
$$;

-- Functions that make and drop tables are for whoever owns the shop's tables.
REVOKE EXECUTE ON FUNCTION rebuild_obstacle(text[]), rebuild_copy(text, text), rebuild_drop(text),
    rebuild_begin(text, text, text, bigint, text[], text[], bigint[]), rebuild_positions(text),
    rebuild_analyze(text, text[]), rebuild_hash(text, text), rebuild_swap(text, bigint),
    rebuild_end(text, text, text, bigint),
    replay_begin(text, text[], bigint[], bigint[], bigint[], bigint[], text, bigint, bigint) FROM PUBLIC;
