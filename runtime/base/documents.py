"""Make values valid strict JSON."""

from __future__ import annotations

from typing import Any

import numpy as np


def strict(value: Any) -> Any:
    """The same document with NaN and infinity, which JSON lacks, as the strings "nan", "inf" and "-inf"."""
    if isinstance(value, dict):
        return {key: strict(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(entry) for entry in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
