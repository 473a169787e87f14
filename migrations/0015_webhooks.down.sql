DROP VIEW door_webhook_delivery, door_webhook;
DROP TABLE webhook_health, webhook_delivery, webhook_cursor, webhook_start, webhook;
DROP FUNCTION webhook_begin();
