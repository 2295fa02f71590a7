"""The packages that a server is asked to serve, with their names and versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.manifest import FILE_NAME

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}")


@dataclass(frozen=True)
class ServedPackage:
    """A package and the name and version it is served under. Versions are whole numbers, as Triton requires."""

    name: str
    version: str
    path: Path


def find_packages(words: Sequence[str]) -> list[ServedPackage]:
    """The packages of words such as PKG, NAME=PKG, NAME/VERSION=PKG, or the folder of a Triton repository.

    A name that is repeated without a version gets the next version. Raises BadInput for a folder that holds no package
    and UsageError for a bad name or a version given twice.
    """
    packages: list[ServedPackage] = []
    for word in words:
        label, given, folder = word.rpartition("=")
        path = Path(folder)
        if not given and not (path / FILE_NAME).exists():
            packages += _in_repository(path)
            continue
        name, _, version = (label or path.resolve().name).partition("/")
        taken = [int(package.version) for package in packages if package.name == name]
        packages.append(_served(name, version or str(max(taken, default=0) + 1), path))
    keys = [(package.name, package.version) for package in packages]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"model {key[0]} version {key[1]} is given twice; write NAME/VERSION=PKG")
    return packages


def _served(name: str, version: str, path: Path) -> ServedPackage:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r}: a model's name has letters, digits and _ . + -; write NAME={path}")
    if not version.isdecimal() or int(version) < 1:
        raise UsageError(f"{name}: version {version!r}: expected a whole number from 1")
    return ServedPackage(name, str(int(version)), path)


def _in_repository(folder: Path) -> list[ServedPackage]:
    """The packages in NAME/VERSION/ of a Triton repository."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such package or model repository")
    found = [
        _served(manifest.parents[1].name, manifest.parent.name, manifest.parent)
        for manifest in sorted(folder.glob(f"*/*/{FILE_NAME}"))
        if manifest.parent.name.isdecimal()
    ]
    if not found:
        raise BadInput(
            f"{folder}: neither a package (no manifest.json) nor a model repository with packages in NAME/VERSION/; "
            "make one with: rectexport triton PKG REPO"
        )
    return found
