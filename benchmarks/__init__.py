"""Scripts that measure or draw what docs/ shows, and write the committed cost tables."""
