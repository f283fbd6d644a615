"""A finished run, comparison or sweep done again, and its figures compared."""
