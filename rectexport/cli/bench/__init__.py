"""Helpers of `rectexport bench`."""
