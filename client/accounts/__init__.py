"""Who may read at this node: accounts, passwords, one-time codes, sessions, and signing in with the hospital's own
identity provider. No HTTP here."""
