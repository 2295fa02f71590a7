"""Fingerprints of what data can be given as: paths, or arrays by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.base.files import sha256


def fingerprint(value: Any) -> str:
    """A text that changes when the content changes; of a folder, when a name, a size or a time in it does.

    Anything that is neither a path nor arrays is told apart by its repr. Raises BadInput for a device or a pipe.
    """
    if isinstance(value, Mapping):
        return repr({name: fingerprint(entry) for name, entry in value.items()})
    if isinstance(value, (str, Path)):
        return f"{value}: {_of_path(Path(value))}"
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return f"{array.dtype.name} {array.shape} {content}"
    return repr(value)


def _of_path(path: Path) -> str:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        stats = [(str(file.relative_to(path)), file.stat()) for file in files]
        listed = "\n".join(f"{name}\t{stat.st_size}\t{stat.st_mtime_ns}" for name, stat in stats)
        return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()
    return sha256(path) if path.exists() else "absent"
