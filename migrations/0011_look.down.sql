DROP VIEW story_event, story_command, story_job, story_timer, story_parked, story_offset;
DROP FUNCTION story_uuid(text);
DROP TABLE fsck_mark;
ALTER TABLE consumer_offset DROP COLUMN gap_fetches, DROP COLUMN repeats;
DROP INDEX event_log_partitionkey;
