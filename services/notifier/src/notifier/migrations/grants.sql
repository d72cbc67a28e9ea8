GRANT SELECT, INSERT, DELETE ON inbox, outbox TO gallra_notifier;
GRANT SELECT, INSERT, UPDATE ON purge_chunk_seen TO gallra_notifier;
GRANT SELECT ON schema_migration, delivery_step TO gallra_notifier;
GRANT SELECT, INSERT ON template, message_customer TO gallra_notifier;
GRANT SELECT, INSERT, UPDATE, DELETE ON recipient, contact, basis, suppression TO gallra_notifier;
GRANT SELECT, INSERT, UPDATE ON service, message, delivery, pace, alert TO gallra_notifier;
GRANT SELECT, UPDATE ON announced, relay TO gallra_notifier;
GRANT SELECT, INSERT ON delivery_change TO gallra_notifier;
GRANT UPDATE (reply) ON delivery_change TO gallra_notifier;
