"""The models to time, each on a backend, and the pairs of them to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.engines.backends import BACKENDS, TORCH
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.timing.process import WORKER, Contestant

#: The backends that run a package's file. `auto` is not one: results must name the backend.
NAMES = tuple(backend.name for backend in BACKENDS if backend.name != TORCH)


@dataclass(frozen=True)
class Entrant:
    """A model on a backend: the module of its timing process, and that module's spec without the inputs."""

    name: str
    backend: str
    spec: Mapping[str, Any]
    module: str = WORKER

    @property
    def key(self) -> str:
        """Name and backend, for people."""
        return f"{self.name}, {self.backend}"

    def contestant(self, inputs: Sequence[TensorSpec]) -> Contestant:
        """The contestant for these inputs, as `stopwatch.race` takes it."""
        shapes = [[spec.name, spec.dtype, list(spec.shape)] for spec in inputs]
        return Contestant(self.key, {**self.spec, "inputs": shapes}, self.module)


@dataclass(frozen=True)
class Match:
    """All entrants, and the pairs (entrant, base) to compare."""

    entrants: tuple[Entrant, ...]
    pairs: tuple[tuple[Entrant, Entrant], ...]


def match(models: Sequence[Entrant], bases: Sequence[Entrant] = ()) -> Match:
    """Pair each model with the base on its backend, else the first base; without bases, with the first model."""
    if not bases:
        return Match(tuple(models), tuple((entry, models[0]) for entry in models[1:]))
    by_backend = {base.backend: base for base in bases}
    pairs = tuple((entry, by_backend.get(entry.backend, bases[0])) for entry in models)
    return Match((*models, *bases), pairs)


def package_entrants(package: Package, name: str, backends: Sequence[str], told: Mapping[str, Any]) -> list[Entrant]:
    """A package on each backend; `told` is part of every spec.

    Raises UsageError for a backend that is unknown or given twice.
    """
    for backend in backends:
        if backend not in NAMES:
            raise UsageError(f"--backend {backend}: expected one of {', '.join(NAMES)}")
        if backends.count(backend) > 1:
            raise UsageError(f"--backend {backend}: is given twice; give each backend once")
    spec = {"package": str(package.path.absolute()), **told}
    return [Entrant(name, backend, {**spec, "engine": backend}) for backend in backends]


def short_names(one: Path, other: Path) -> tuple[str, str]:
    """Folder names of two packages, or their whole paths if the names are equal."""
    names = one.resolve().name, other.resolve().name
    if names[0] != names[1]:
        return names
    if one.resolve() == other.resolve():
        return names[0], f"{names[1]} again"
    return str(one), str(other)
