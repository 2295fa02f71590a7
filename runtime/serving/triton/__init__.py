"""Writes and checks Triton model repositories."""
