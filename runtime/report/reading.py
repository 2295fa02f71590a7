"""Reads and checks the documents of a package for its report; they are untrusted input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rectexport.runtime.base.reading import read_bounded
from rectexport.runtime.errors import BadInput
from rectexport.runtime.report.documents import (
    Case,
    Check,
    Distance,
    GraphNode,
    Layer,
    Parity,
    PassChange,
    Rewrite,
    Rewrites,
    Side,
)

MAX_BYTES = 256 << 20
Read = TypeVar("Read")


def read_parity(path: Path) -> Parity:
    """Read parity.json or the output of `rectexport parity --json`. Raises BadInput for anything else."""
    return read_document(path, "a parity document; `rectexport parity PKG --json` writes one", parity_of)


def read_rewrites(path: Path) -> Rewrites:
    """Read a package's rewrites.json. Raises BadInput for anything else."""
    return read_document(path, "a document of rewrites; an export writes one", _rewrites)


def read_document(path: Path, expected: str, build: Callable[[Any], Read]) -> Read:
    """Read a JSON file and build a value from it. Raises BadInput that says what was expected."""
    content = read_bounded(path, MAX_BYTES)
    with faults_as_bad_input(path, expected):
        return build(json.loads(content))


@contextmanager
def faults_as_bad_input(path: Path, expected: str) -> Iterator[None]:
    """Turn errors from a document's structure into BadInput that names the file."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except KeyError as error:
        raise BadInput(f"{path}: expected {expected}; the field {error} is missing") from None
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise BadInput(f"{path}: expected {expected}; {str(error)[:200]}") from None


def parity_of(document: Any) -> Parity:
    """The value of a parity document. Raises KeyError, TypeError or ValueError for another one."""
    return Parity(
        passed=bool(document["passed"]),
        reference=str(document["reference"]),
        backend=str(document["backend"]),
        tolerances={str(name): float(value) for name, value in document["tolerances"].items()},
        cases=tuple(_case(entry) for entry in document["cases"]),
        checks=tuple(_check(entry) for entry in document.get("metamorphic", ())),
    )


def _case(entry: Any) -> Case:
    return Case(
        label=str(entry["case"]),
        shapes={str(name): tuple(int(size) for size in shape) for name, shape in entry["shapes"].items()},
        outputs={str(name): _distance(value) for name, value in entry["outputs"].items()},
        layers=tuple(_layer(layer) for layer in entry["layers"]),
        failures=tuple(str(failure) for failure in entry["failures"]),
    )


def _check(entry: Any) -> Check:
    return Check(
        name=str(entry["check"]),
        at=str(entry["at"]),
        worst=max((float(value["relative_l2"]) for value in entry["outputs"].values()), default=0.0),
        bit_equal=bool(entry.get("bit_equal")),
        skipped=str(entry.get("skipped") or ""),
        failures=tuple(str(failure) for failure in entry["failures"]),
    )


def _layer(entry: Any) -> Layer:
    regions = {str(name): _distance(value) for name, value in entry["regions"].items()}
    return Layer(str(entry["tensor"]), str(entry["layer"]), _distance(entry), regions)


def _distance(entry: Any) -> Distance:
    max_abs, relative_l2, cosine = (float(entry[name]) for name in ("max_abs", "relative_l2", "cosine"))
    return Distance(max_abs, relative_l2, cosine, optional(entry.get("top1")))


def optional(value: Any) -> float | None:
    """A number, or None for null."""
    return None if value is None else float(value)


def _rewrites(document: Any) -> Rewrites:
    nodes, parameters = document["nodes"], document["parameters"]
    return Rewrites(
        before=_counts(nodes["before"]),
        after=_counts(nodes["after"]),
        parameters=None if parameters is None else int(parameters),
        passes=tuple(
            PassChange(
                name=str(entry["name"]),
                delta=_counts(entry["delta"]),
                kinds=int(entry["kinds"]),
                examples=tuple(_rewrite(example) for example in entry["examples"]),
            )
            for entry in document["passes"]
        ),
    )


def _counts(entry: Any) -> dict[str, int]:
    return {str(name): int(count) for name, count in entry.items()}


def _rewrite(entry: Any) -> Rewrite:
    return Rewrite(str(entry["tensor"]), int(entry["count"]), _side(entry["before"]), _side(entry["after"]))


def _side(entry: Any) -> Side:
    nodes = tuple(
        GraphNode(
            op=str(node["op"]),
            name=str(node["name"]),
            inputs=tuple(str(name) for name in node["inputs"]),
            outputs=tuple(str(name) for name in node["outputs"]),
            constants=tuple(tuple(int(size) for size in shape) for shape in node["constants"]),
        )
        for node in entry["nodes"]
    )
    return Side(nodes, int(entry["more"]))
