"""The store's schema, step by step; run by the store itself whenever it is created or opened."""
