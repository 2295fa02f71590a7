"""Which packages a server is asked to serve, and under which names and versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.manifest import FILE_NAME

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}")


@dataclass(frozen=True)
class Source:
    """A package and the name and version it is served under; versions are whole numbers, as Triton wants them."""

    name: str
    version: str
    path: Path


def find_sources(words: Sequence[str]) -> list[Source]:
    """What PKG, NAME=PKG, NAME/VERSION=PKG or the folder of a Triton repository names.

    A name given again without a version gets the next one. Raises BadInput for a folder that holds no package and
    UsageError for a bad name or a version given twice.
    """
    sources: list[Source] = []
    for word in words:
        label, given, folder = word.rpartition("=")
        path = Path(folder)
        if not given and not (path / FILE_NAME).exists():
            sources += _in_repository(path)
            continue
        name, _, version = (label or path.resolve().name).partition("/")
        taken = [int(source.version) for source in sources if source.name == name]
        sources.append(_source(name, version or str(max(taken, default=0) + 1), path))
    keys = [(source.name, source.version) for source in sources]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"model {key[0]} version {key[1]} is given twice; write NAME/VERSION=PKG")
    return sources


def _source(name: str, version: str, path: Path) -> Source:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r}: a model's name has letters, digits and _ . + -; write NAME={path}")
    if not version.isdecimal() or int(version) < 1:
        raise UsageError(f"{name}: version {version!r}: expected a whole number from 1")
    return Source(name, str(int(version)), path)


def _in_repository(folder: Path) -> list[Source]:
    """NAME/VERSION/ of a Triton repository that hold packages."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such package or model repository")
    found = [
        _source(manifest.parents[1].name, manifest.parent.name, manifest.parent)
        for manifest in sorted(folder.glob(f"*/*/{FILE_NAME}"))
        if manifest.parent.name.isdecimal()
    ]
    if not found:
        raise BadInput(
            f"{folder}: neither a package (no manifest.json) nor a model repository with packages in NAME/VERSION/; "
            "make one with: rectexport triton PKG REPO"
        )
    return found
