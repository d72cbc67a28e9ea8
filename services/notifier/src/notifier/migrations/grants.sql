GRANT SELECT, INSERT, DELETE ON inbox, outbox TO gallra_notifier;
GRANT SELECT, INSERT, UPDATE ON purge_chunk_seen TO gallra_notifier;
GRANT SELECT ON schema_migration TO gallra_notifier;
GRANT SELECT, INSERT, UPDATE, DELETE ON recipient, contact TO gallra_notifier;
GRANT SELECT, INSERT, UPDATE ON service, message, delivery, alert TO gallra_notifier;
