-- One database and one login role per process; may run any number of times.
SELECT format('CREATE ROLE gallra_%s LOGIN PASSWORD ''dev-only''', service)
  FROM unnest(ARRAY['audit_log', 'retention', 'notifier', 'console']) AS service
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gallra_' || service)
\gexec
SELECT format('CREATE DATABASE %I', service)
  FROM unnest(ARRAY['audit_log', 'retention', 'notifier', 'console']) AS service
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = service)
\gexec
