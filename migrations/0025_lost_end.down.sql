CREATE OR REPLACE FUNCTION subscriber_commit(name text, topics text[], parts int[], epochs bigint[], froms bigint[],
                                             tos bigint[], mss bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    x record;
BEGIN
    PERFORM subscriber_mine(subscriber_commit.name);
    FOR x IN SELECT * FROM unnest(topics, parts, epochs, froms, tos, mss)
                    AS u(topic, part, epoch, from_seq, to_seq, to_ms) ORDER BY topic, part LOOP
        UPDATE consumer_offset o SET seq = x.to_seq, ms = x.to_ms, flush = flush + 1
        WHERE o.grp = 'ext:' || subscriber_commit.name AND topic = x.topic AND part = x.part AND epoch = x.epoch
          AND seq = x.from_seq AND x.to_seq > x.from_seq;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'subscriber % is fenced at %.%', subscriber_commit.name, x.topic, x.part
                USING ERRCODE = 'DSF01';
        END IF;
    END LOOP;
END $$;

ALTER TABLE stream_head DROP COLUMN before_ms;
