-- The service may add to the log and purge payload; it cannot change or delete what is in the log.
GRANT SELECT, INSERT, DELETE ON inbox, outbox TO gallra_audit_log;
GRANT SELECT, INSERT, UPDATE ON purge_chunk_seen TO gallra_audit_log;
GRANT SELECT ON schema_migration TO gallra_audit_log;
GRANT SELECT, INSERT ON entry, checkpoint TO gallra_audit_log;
GRANT SELECT, UPDATE ON tree TO gallra_audit_log;
GRANT SELECT, INSERT, UPDATE ON tile, tenant, bucket TO gallra_audit_log;
GRANT SELECT, INSERT, DELETE ON payload TO gallra_audit_log;
