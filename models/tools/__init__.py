"""Count, seed, build and load networks."""
