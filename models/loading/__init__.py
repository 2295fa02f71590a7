"""Build networks of bounded size from files, and load their weights."""
