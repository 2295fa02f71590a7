"""The inference engines a package can run on, and how one is chosen."""
