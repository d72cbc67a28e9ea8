-- The service may add to the log and purge payload; it cannot change or delete what is in the log.
GRANT SELECT, INSERT, DELETE ON inbox, outbox TO gallra_audit_log;
GRANT SELECT, INSERT ON dead_letter TO gallra_audit_log;
GRANT UPDATE (settled, settled_at, settled_by) ON dead_letter TO gallra_audit_log;
GRANT SELECT, INSERT, UPDATE ON duty TO gallra_audit_log;
GRANT SELECT, INSERT, UPDATE ON purge_chunk_seen TO gallra_audit_log;
GRANT SELECT ON schema_migration TO gallra_audit_log;
GRANT SELECT, INSERT ON seen, checkpoint, cosignature TO gallra_audit_log;
GRANT SELECT, UPDATE ON tree, watch TO gallra_audit_log;
GRANT SELECT, INSERT, UPDATE ON tile, bundle, producer TO gallra_audit_log;
GRANT SELECT, INSERT, UPDATE, DELETE ON bucket, tenant, missing_then, standing_alert TO gallra_audit_log;
GRANT SELECT, INSERT, DELETE ON payload TO gallra_audit_log;
GRANT UPDATE (actor, target, outcome, channel, who, what, network,
              who_digest, what_digest, network_digest) ON payload TO gallra_audit_log;
GRANT EXECUTE ON FUNCTION open_month TO gallra_audit_log;
GRANT SELECT, INSERT, UPDATE, DELETE ON request_key TO gallra_audit_log;
