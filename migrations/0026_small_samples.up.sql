-- Each minute of load autovacuum analyzed these two tables, which only grow: 30,000 rows of up to a kilobyte each,
-- taken from as many pages and sorted by each of their columns; for two to four seconds a core had that to do beside orders.
-- They are found by keys; a sample of a tenth says as much about them, in a tenth of the time (decision 0022). A target
-- of -1 is PostgreSQL's own.
CREATE FUNCTION sample_rows(of_table regclass, target int) RETURNS void LANGUAGE plpgsql
    SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    EXECUTE (SELECT format('ALTER TABLE %s ', of_table)
                    || string_agg(format('ALTER COLUMN %I SET STATISTICS %s', attname, target), ', ' ORDER BY attnum)
             FROM pg_attribute WHERE attrelid = of_table AND attnum > 0 AND NOT attisdropped);
END $$;
SELECT sample_rows('command', 10);
SELECT sample_rows(inhrelid::regclass, 10) FROM pg_inherits WHERE inhparent = 'event_log'::regclass;

-- As in 0021, and new periods have it from the start.
CREATE OR REPLACE FUNCTION event_log_make(lo bigint, hi bigint) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    name text := 'event_log_' || to_char(event_log_utc(lo), 'YYYYMMDD')
                 || CASE WHEN lo % 86400000 = 0 THEN '' ELSE '_' || lo % 86400000 END;
BEGIN
    LOCK TABLE event_log IN SHARE UPDATE EXCLUSIVE MODE; -- one at a time, and in the order of event_log_drop()
    LOCK TABLE event_log_rest IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE event_log INCLUDING DEFAULTS)'
                   ' WITH (autovacuum_vacuum_insert_threshold = -1)', name);
    PERFORM sample_rows(name::regclass, 10);
    EXECUTE format('WITH moved AS (DELETE FROM event_log_rest WHERE ms >= %s AND ms < %s RETURNING *)'
                   ' INSERT INTO %I SELECT * FROM moved', lo, hi, name);
    EXECUTE format('ALTER TABLE event_log ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, lo, hi);
    INSERT INTO event_partition VALUES (name, lo, hi);
    RETURN name;
END $$;
