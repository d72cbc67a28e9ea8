"""The master log: immutable, forgetting, verifiable."""
