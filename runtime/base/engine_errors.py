"""Shared wording for engine errors."""

from __future__ import annotations

from collections.abc import Mapping

from rectexport.runtime.base.runner import Array

CLOSED = "the model was closed; load it again"


def first_line(error: BaseException) -> str:
    """The first line of an engine's message, at most 500 characters."""
    return str(error).strip().splitlines()[0][:500] if str(error).strip() else type(error).__name__


def shown(feeds: Mapping[str, Array]) -> str:
    """Names, dtypes and shapes, as in "x float32[1, 3, 8, 8]"."""
    return ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
