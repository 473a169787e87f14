SELECT sample_rows('command', -1);
SELECT sample_rows(inhrelid::regclass, -1) FROM pg_inherits WHERE inhparent = 'event_log'::regclass;
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
    EXECUTE format('WITH moved AS (DELETE FROM event_log_rest WHERE ms >= %s AND ms < %s RETURNING *)'
                   ' INSERT INTO %I SELECT * FROM moved', lo, hi, name);
    EXECUTE format('ALTER TABLE event_log ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, lo, hi);
    INSERT INTO event_partition VALUES (name, lo, hi);
    RETURN name;
END $$;
DROP FUNCTION sample_rows(regclass, int);
