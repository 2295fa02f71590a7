"""Ranges of sizes: ask torch.export for them, prove what it leaves open, and find what works."""
