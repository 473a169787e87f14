DROP TABLE message_registry;
