ALTER TABLE parked_correction
    DROP CONSTRAINT parked_correction_grp_topic_key_n_fkey,
    ADD CONSTRAINT parked_correction_grp_topic_key_n_fkey FOREIGN KEY (grp, topic, key, n) REFERENCES dead_letter;
