"""The command line, the local stack and the demo: the only code that knows all services."""
