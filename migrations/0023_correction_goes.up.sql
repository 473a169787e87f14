-- A rebuild puts the messages that the new model has parked in the place of those that were (rebuild_swap in 0012). The
-- corrections of a message belong to it and go with it, instead of standing in the way; who made them and why stays in
-- parked_action.
ALTER TABLE parked_correction
    DROP CONSTRAINT parked_correction_grp_topic_key_n_fkey,
    ADD CONSTRAINT parked_correction_grp_topic_key_n_fkey FOREIGN KEY (grp, topic, key, n) REFERENCES dead_letter
        ON DELETE CASCADE;
