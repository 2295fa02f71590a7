"""Helpers of `rectexport parity`."""
