REVOKE SELECT (grp, topic, key, state) ON dead_letter FROM dd_door;
DROP FUNCTION bus_group(text), bus_group_parked(text);
ALTER FUNCTION bus_group_before_parked(text) RENAME TO bus_group;
DROP FUNCTION parked_handled(text, text, text, bigint, int, bigint, text, bigint);
DROP TABLE handler_attempt, parked_correction, parked_action;
ALTER TABLE consumer_offset DROP COLUMN crashes, DROP COLUMN taken;
DROP INDEX dead_letter_parked;
ALTER TABLE dead_letter DROP CONSTRAINT dead_letter_state, DROP COLUMN corrected, DROP COLUMN done_ms,
    DROP COLUMN id, DROP COLUMN correlationid;
