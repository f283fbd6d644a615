"""One study under every combination of some of its keys' values: a row for each, kept as it finishes."""
