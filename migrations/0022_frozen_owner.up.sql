-- A process that stands still (a paused machine, a stopped process, a link that swallows everything) in the middle of a
-- flush leaves a transaction that waits for its client: it holds the rows of its leases, which nobody else can take then,
-- and the heads it appends to. Ends the transactions that hold rows of this group whose leases ran out grace_ms ago, when
-- they have waited for their clients as long; returns how many, -1 when the owner of this function may not end them. Whoever waits for nothing but the server is left alone,
-- and what is ended was given up already: its fence would refuse the commit. Anybody may call it.
CREATE FUNCTION lease_break(of_group text, grace_ms bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
DECLARE
    grace interval := grace_ms * interval '1 millisecond';
    ended bigint := 0;
BEGIN
    IF EXISTS (SELECT FROM consumer_offset WHERE grp = of_group AND lease_until < now() - grace) THEN
        SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) INTO ended FROM (
            SELECT DISTINCT a.pid FROM consumer_offset o
            JOIN pg_locks l ON l.locktype = 'transactionid' AND l.transactionid = o.xmax AND l.granted
                AND l.mode = 'ExclusiveLock'
            JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE o.grp = of_group AND o.lease_until < now() - grace AND a.wait_event_type = 'Client'
                AND a.query_start < now() - grace) AS frozen;
    END IF;
    RETURN ended;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN -1;
END $$;
