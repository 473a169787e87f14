-- Which types each group handles, written by the groups themselves when they start. A query that must not read the
-- past waits for a group only while an event of these types is still before it; all others the group passes unread,
-- and commits that later. Types are only added: one too many costs a reader some milliseconds, one too few the truth.
CREATE TABLE group_listens (
    grp  text NOT NULL,
    type text NOT NULL,
    PRIMARY KEY (grp, type)
);
GRANT SELECT, INSERT ON group_listens TO PUBLIC; -- every group of today and of tomorrow, and the door

COMMENT ON COLUMN command.position IS 'not used: the position of a result is found in event_log by its correlation id';
