-- What the front door may count for /metrics, without seeing any job.
CREATE VIEW door_jobs AS
    SELECT kind, count(*) AS open, min(due_ms) AS oldest_ms
    FROM job WHERE state <> 'done' GROUP BY kind;
GRANT SELECT ON door_jobs TO dd_door;
