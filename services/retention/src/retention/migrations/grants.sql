GRANT SELECT, INSERT, DELETE ON inbox, outbox TO gallra_retention;
GRANT SELECT ON schema_migration TO gallra_retention;
GRANT SELECT, INSERT, UPDATE ON policy, fiscal_year, anchor, deadline_key, legal_hold TO gallra_retention;
GRANT SELECT, INSERT ON service_event, customer_anchor TO gallra_retention;
GRANT SELECT, INSERT, UPDATE, DELETE ON record TO gallra_retention;
GRANT DELETE ON anchor, deadline_key, fiscal_year TO gallra_retention;
GRANT SELECT, UPDATE ON hold_epoch TO gallra_retention;
GRANT SELECT, INSERT, UPDATE ON purge_job, purge_chunk TO gallra_retention;
GRANT SELECT, INSERT, DELETE ON alert_open TO gallra_retention;
