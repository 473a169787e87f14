DO $$
DECLARE
    s text;
BEGIN
    FOR s IN SELECT nspname FROM pg_namespace JOIN rebuild ON nspname IN ('rebuild_' || grp, 'replaced_' || grp) LOOP
        PERFORM rebuild_drop(s);
    END LOOP;
END $$;
DROP FUNCTION replays(text),
    replay_begin(text, text[], bigint[], bigint[], bigint[], bigint[], text, bigint, bigint);
DROP TABLE replay;
DROP FUNCTION rebuild_end(text, text, text, bigint), rebuild_swap(text, bigint), rebuild_hash(text, text),
    rebuild_analyze(text, text[]), rebuild_positions(text),
    rebuild_begin(text, text, text, bigint, text[], text[], bigint[]), rebuild_drop(text), rebuild_copy(text, text),
    rebuild_obstacle(text[]);
DROP TABLE rebuild;
