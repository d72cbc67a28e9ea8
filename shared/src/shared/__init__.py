"""What every Gallra service speaks: events, bus, database, clock, web frame, telemetry."""
