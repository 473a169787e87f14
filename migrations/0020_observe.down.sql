DROP VIEW door_jobs;
