"""A second package that gets the same requests beside the served one, and whose answers are only compared."""
