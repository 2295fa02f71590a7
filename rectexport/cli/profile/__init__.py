"""Helpers of `rectexport profile`."""
