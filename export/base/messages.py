"""Shared wording for errors of libraries."""

from __future__ import annotations


def summary(error: BaseException) -> str:
    """The type of an error and the first line of its message, at most 300 characters of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
