"""Shared wording for engine errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rectexport.runtime.base.runner import Array

CLOSED = "the model was closed; load it again"


def first_line(error: BaseException) -> str:
    """The first line of an engine's message, at most 500 characters."""
    return str(error).strip().splitlines()[0][:500] if str(error).strip() else type(error).__name__


def shown(feeds: Mapping[str, Array]) -> str:
    """Names, dtypes and shapes, as in "x float32[1, 3, 8, 8]"."""
    return ", ".join(f"{name} {_kind(value)}" for name, value in feeds.items())


def _kind(value: Any) -> str:
    """Type and shape of an array; the type alone of another value, such as a sequence of tensors."""
    return f"{value.dtype}{list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
