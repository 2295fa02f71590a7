"""Triton model repositories: write and check them."""
