"""Parses what the flags of `rectexport tune` are given as: durations and lists."""

from __future__ import annotations

import re
from math import inf

from rectexport.cli.bench.plan import numbers
from rectexport.runtime.errors import UsageError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h)", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
MOST = 1 << 16


def duration(text: str, flag: str) -> float:
    """5ms -> 0.005, 10m -> 600. Raises UsageError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) < inf:
        raise UsageError(f"{flag} {text!r}: expected a time, as in 5ms, 90s or 10m")
    return float(match[1]) * _SECONDS[match[2]]


def counts(text: str | None, flag: str) -> tuple[int, ...]:
    """1,8 -> (1, 8); empty for None. Raises UsageError."""
    return () if text is None else tuple(numbers(text, flag, int, 1, MOST))


def words(text: str | None) -> tuple[str, ...]:
    """openvino,onnxruntime -> both; empty for None."""
    return () if text is None else tuple(part.strip() for part in text.split(","))
