"""The coordinator: plans, rounds, aggregation of what the sites contribute, releases."""
