"""Billing: from the facts of the journal to what a session costs and whether it may be billed."""
