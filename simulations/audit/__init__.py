"""The audit: what an attacker gets from real releases, steps and updates, set beside what the ledger claims."""
