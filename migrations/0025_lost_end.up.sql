-- PostgreSQL may come back without the end of its log, from a backup or as a standby that lagged; Redis and subscribers
-- still have what it lost, and its numbers go to other events.

-- The milliseconds of the event before those that the last append wrote. Only for its RETURNING: whoever appends to a
-- stream has to know the whole id of the entry that must stand before his.
ALTER TABLE stream_head ADD COLUMN before_ms bigint NOT NULL DEFAULT 0;

-- As in 0019, and never beyond the log: what takes those numbers later would be passed over.
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
          AND seq = x.from_seq AND x.to_seq > x.from_seq
          AND x.to_seq <= (SELECT h.seq FROM stream_head h WHERE h.topic = x.topic AND h.part = x.part);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'subscriber % is fenced at %.%', subscriber_commit.name, x.topic, x.part
                USING ERRCODE = 'DSF01';
        END IF;
    END LOOP;
END $$;
