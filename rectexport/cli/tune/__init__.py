"""Helpers of `rectexport tune`."""
