"""Every mail accounted for: service messages, on-call alerts and their ledger."""
