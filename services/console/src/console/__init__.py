"""The console: pages for people in front of the three services."""
