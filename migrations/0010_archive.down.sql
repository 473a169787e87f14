-- Undoes 0010_archive: one table again, with all rows. What is in the archive's files would be forgotten, so it is
-- refused while there are any.
DO $$
BEGIN
    IF EXISTS (SELECT FROM event_archive) THEN
        RAISE EXCEPTION 'the log has archived events; without the catalogue nobody would find them';
    END IF;
END $$;
DROP FUNCTION event_log_ahead(bigint, text, int), event_log_make(bigint, bigint), event_log_cut(),
    event_log_drop(text, text[], bigint[], bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], text[],
                   bigint);
DROP FUNCTION event_log_utc(bigint), event_log_ms(timestamp);
ALTER TABLE event_log RENAME TO event_log_by_time;
ALTER INDEX event_log_pkey RENAME TO event_log_by_time_pkey;
ALTER INDEX event_log_id RENAME TO event_log_by_time_id;
ALTER INDEX event_log_correlationid RENAME TO event_log_by_time_correlationid;
CREATE TABLE event_log (LIKE event_log_by_time INCLUDING DEFAULTS);
INSERT INTO event_log SELECT * FROM event_log_by_time;
ALTER TABLE event_log ADD PRIMARY KEY (topic, part, seq);
CREATE INDEX event_log_id ON event_log (id);
CREATE INDEX event_log_correlationid ON event_log (correlationid);
DO $$
DECLARE
    x record;
BEGIN
    FOR x IN SELECT grantee::regrole AS grantee, privilege_type FROM pg_class, aclexplode(relacl)
             WHERE oid = 'event_log_by_time'::regclass AND grantee <> relowner LOOP
        EXECUTE format('GRANT %s ON event_log TO %s', x.privilege_type, x.grantee);
    END LOOP;
END $$;
DROP TABLE event_log_by_time, event_archive, event_partition, group_detached;
