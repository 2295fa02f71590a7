"""Train and evaluate the digits network."""
