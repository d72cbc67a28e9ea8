"""A platform to try Gallra with: portal, billing and CRM, each with its own tables and holder."""
