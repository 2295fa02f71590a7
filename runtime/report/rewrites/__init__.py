"""What the passes changed: counts, excerpts of the graph before and after, and their drawings."""
