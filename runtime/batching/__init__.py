"""Several calls in one run: when rows may share one, and which of the waiting calls do."""
