GRANT SELECT ON schema_migration TO gallra_console;
GRANT SELECT, INSERT, UPDATE, DELETE ON session TO gallra_console;
