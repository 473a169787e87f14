-- A message that was parked while it was handled again (bus replay, bus rebuild) has had its effects: a retry must not
-- repeat them, and what it caused is not the effect of something that waits.
ALTER TABLE dead_letter ADD COLUMN replayed boolean NOT NULL DEFAULT false;

-- Before a swap: what the new model has parked was handled before, but not what the old one had parked itself.
CREATE FUNCTION rebuild_owed(grp text) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('UPDATE %I.dead_letter n SET replayed = false FROM public.dead_letter o WHERE n.replayed'
                   ' AND o.grp = n.grp AND o.topic = n.topic AND o.key = n.key AND o.seq = n.seq'
                   ' AND o.state = ''parked'' AND NOT o.replayed', 'rebuild_' || grp);
END $$;
REVOKE EXECUTE ON FUNCTION rebuild_owed(text) FROM PUBLIC;
