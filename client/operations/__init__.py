"""Keeping and running a node: its key, its backups, erasures, the service, and what doctor and status say of it."""
