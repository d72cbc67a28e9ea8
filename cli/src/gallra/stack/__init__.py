"""Everything Gallra needs, on one machine: Kafka, PostgreSQL, a mail sink and the services."""
