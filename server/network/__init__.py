"""The coordinator on the network: certificates, SuperLink on loopback, the front door, and what starts a run."""
