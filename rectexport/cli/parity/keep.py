"""A parity request and its result, and the files kept of it: a heat map, and the inputs of a failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.cli.parity.reference import Against
from rectexport.runtime.arrays.input_files import PREFIX
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.parity.heat_map import draw_heat_map
from rectexport.runtime.parity.outcome import ParityOutcome


@dataclass(frozen=True)
class Request:
    """The flags as they were typed."""

    package: Path
    against: Against
    backend: str
    allow_unproven: bool
    inputs: Path | None
    mean: str
    std: str
    shapes: tuple[str, ...]
    per_layer: bool
    memory: str
    heat_map: Path | None
    out: Path | None


@dataclass
class Finished:
    """A finished comparison. reproduce is the command that shows a failure again, from the inputs that were kept."""

    outcome: ParityOutcome
    reference: str
    backend: str
    files: list[Path] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    reproduce: list[str] = field(default_factory=list)


def keep(done: Finished, request: Request) -> None:
    """Write the heat map if asked for; on a failure also the inputs, into a folder beside the package.

    Raises MissingDependency or BadInput if a heat map was asked for and cannot be drawn.
    """
    outcome = done.outcome
    picture = request.heat_map
    if not outcome.passed:
        folder = request.out or _beside(request.package)
        kept, usual = folder / "inputs.npz", folder / "heat-map.png"
        _save_inputs(done, kept)
        usual.unlink(missing_ok=True)  # the heat map of an earlier failure
        picture = picture or usual
        done.reproduce = _command(request, kept, done)
    if picture is None or outcome.exhibit.score < 0:
        return
    try:
        draw_heat_map(picture, outcome.exhibit.title, outcome.exhibit.expected, outcome.exhibit.actual)
    except RectexportError as error:
        if request.heat_map is not None:
            raise
        done.written.append(f"no heat map: {error}")
        return
    done.files.append(picture)
    done.written.append(f"heat map of {outcome.exhibit.title}: {picture}")


def _beside(package: Path) -> Path:
    named = package if package.name not in ("", "..") else package.resolve()
    return named.with_name(f"{named.name}.parity")


def _save_inputs(done: Finished, path: Path) -> None:
    feeds: Any = {f"{PREFIX}{name}": array for name, array in (done.outcome.failed_feeds or {}).items()}
    try:
        with replaced_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **feeds)
    except RectexportError as error:
        done.written.append(f"the inputs were not kept: {error}")
        return
    done.files.append(path)
    done.written.append(f"inputs of the first failure: {path}")


def _command(request: Request, kept: Path, done: Finished) -> list[str]:
    """The command that repeats a failure. A failure of the goldens needs no --inputs: the package holds them."""
    first = next((case.label for case in done.outcome.cases if case.failures), "")
    fed = [] if first == "goldens" or kept not in done.files else ["--inputs", str(kept)]
    words = ["rectexport", "parity", str(request.package), *request.against.words(), *fed, "--per-layer"]
    words += ["--allow-unproven"] * request.allow_unproven
    return words + ([] if request.backend == "auto" else ["--backend", request.backend])
