"""A look through a dataset and its boxes, read-only: see docs/browse.md."""
