"""Compare a package with a reference, and with itself."""
