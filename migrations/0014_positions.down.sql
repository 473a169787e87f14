COMMENT ON COLUMN command.position IS NULL;
DROP TABLE group_listens;
