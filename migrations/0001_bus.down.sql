-- Undoes 0001_bus. The roles stay: other databases of the server may use them.
DROP FUNCTION bus_group(text), bus_role(text), command_lost(uuid);
DROP FUNCTION fence(text, text[], int[], bigint[], bigint[], bigint[], bigint[], bigint[]);
DROP TABLE person_key, dead_letter, job, timer, command, member, consumer_offset, event_log, stream_head, bus_meta;
