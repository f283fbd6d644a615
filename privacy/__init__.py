"""Patient-level differential privacy, aggregation, and the wire contract between coordinator and node."""
