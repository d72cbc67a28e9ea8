"""The clock of the law: when each record of personal data must go, and why."""
