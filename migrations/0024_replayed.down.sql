DROP FUNCTION rebuild_owed(text);
ALTER TABLE dead_letter DROP COLUMN replayed;
