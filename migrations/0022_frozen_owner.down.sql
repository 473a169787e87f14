DROP FUNCTION lease_break(text, bigint);
