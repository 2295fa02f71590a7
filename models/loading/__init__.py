"""Build networks from files within bounds, and load their weights."""
