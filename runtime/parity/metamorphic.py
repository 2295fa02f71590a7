"""Checks without a reference: relations that must hold between a model's own outputs.

A network for images computes every row of its batch independently. So equal rows must have equal outputs, and neither
the batch size, nor the order of the rows, nor padding rows may change an output; otherwise the model, the export or the
engine has a bug. And a second run on the same inputs must have the same outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rectexport.runtime.base.metrics import Difference, compare
from rectexport.runtime.base.runner import Array

Feeds = Mapping[str, Array]
Outputs = Mapping[str, Array]

#: Rows of the checked batch, and rows of padding appended to it, if the range allows.
ROWS, PADDING = 3, 2
_ORDER = (
    "twice the tolerance: at another batch size or row the engine may add in another order, "
    "and each of the two outputs may be off by the tolerance"
)


class Engine(Protocol):
    """The part of a session that the checks use."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by input name -> arrays by output name."""

    def close(self) -> None:
        """Free the engine."""


@dataclass(frozen=True)
class Bound:
    """Allowed relative L2 between two outputs, 0 for bit-equal, and the reason for it."""

    relative_l2: float
    reason: str

    def __str__(self) -> str:
        return f"relative L2 {self.relative_l2:.0e}" if self.relative_l2 else "bit-equal"


@dataclass
class Check:
    """A relation and its result; skipped says why it was not checked."""

    name: str
    bound: Bound
    skipped: str = ""
    outputs: dict[str, Difference] = field(default_factory=dict)
    bit_equal: bool = True
    failures: list[str] = field(default_factory=list)

    @property
    def worst(self) -> float:
        """The largest relative L2 of all outputs."""
        return max((value.relative_l2 for value in self.outputs.values()), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "check": self.name,
            "allowed_relative_l2": self.bound.relative_l2,
            "reason": self.bound.reason,
            "skipped": self.skipped or None,
            "bit_equal": None if self.skipped else self.bit_equal,
            "outputs": {name: value.as_dict() for name, value in self.outputs.items()},
            "failures": self.failures,
        }


@dataclass(frozen=True)
class Subject:
    """What is checked: an open engine, a function that opens another like it, and feeds.

    feeds      different rows, `rows_of` them, if the batch is dynamic
    batch      smallest and largest batch size, or the reason why it cannot vary
    tolerance  allowed relative L2 of an output
    rebuilt    allowed difference to a second engine made from the same file
    """

    engine: Engine
    reopen: Callable[[], Engine]
    feeds: Feeds
    batch: tuple[int, int] | str
    tolerance: float
    rebuilt: Bound


def rows_of(low: int, high: int) -> int:
    """How many rows to feed if the batch size may be low..high."""
    return min(max(ROWS, low + 1), high)


def run_checks(subject: Subject) -> Iterator[Check]:
    """Run every check in turn; engines opened for a check are closed again."""
    base = subject.engine.run(subject.feeds)
    yield from _row_checks(subject, base)
    yield _second_run(subject, base)
    yield _rebuilt(subject, base)


def same_bits(first: Array, second: Array) -> bool:
    """Whether two arrays are equal in type, shape and every bit, NaN and the sign of zero included."""
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def _row_checks(subject: Subject, base: Outputs) -> Iterator[Check]:
    bound = Bound(2 * subject.tolerance, _ORDER)
    checks = {"equal rows": _equal_rows, "batch size": _batch_size, "row order": _row_order, "padding": _padding}
    rows = len(next(iter(subject.feeds.values()))) if not isinstance(subject.batch, str) else 0
    reason = subject.batch if isinstance(subject.batch, str) else _unfit(base, rows)
    for name, check in checks.items():
        made = Check(name, bound, skipped=reason)
        if not reason:
            assert not isinstance(subject.batch, str)
            check(made, subject, base, rows, subject.batch)
        yield made


def _unfit(base: Outputs, rows: int) -> str:
    for name, array in base.items():
        if not array.ndim or array.shape[0] != rows:
            return f"output {name} has shape {list(array.shape)} for {rows} rows: it has no batch axis"
    return ""


def _equal_rows(check: Check, subject: Subject, base: Outputs, rows: int, batch: tuple[int, int]) -> None:
    """Feed the first row in every place: every output row must equal the first."""
    answer = subject.engine.run({name: array[[0] * rows] for name, array in subject.feeds.items()})
    _expect(check, {name: array[[0] * rows] for name, array in answer.items()}, answer, f"{rows} equal rows")


def _batch_size(check: Check, subject: Subject, base: Outputs, rows: int, batch: tuple[int, int]) -> None:
    """Feed the first rows as smaller batches: their outputs must be those of the whole batch."""
    if batch[0] >= rows:
        check.skipped = f"no batch smaller than {rows}"
    for size in range(batch[0], rows):
        answer = subject.engine.run(_first(subject.feeds, size))
        _expect(check, _first(base, size), answer, f"batch {size} against {rows}")


def _row_order(check: Check, subject: Subject, base: Outputs, rows: int, batch: tuple[int, int]) -> None:
    """Rotate the rows by one: the outputs must be rotated too."""
    if rows < 2:
        check.skipped = "the batch is never larger than 1"
        return
    order = np.roll(np.arange(rows), 1)
    answer = subject.engine.run({name: array[order] for name, array in subject.feeds.items()})
    _expect(check, {name: array[order] for name, array in base.items()}, answer, f"{rows} rows rotated by one")


def _padding(check: Check, subject: Subject, base: Outputs, rows: int, batch: tuple[int, int]) -> None:
    """Append rows of zeros, as a server with fixed batches does: the other outputs must not change."""
    extra = min(PADDING, batch[1] - rows)
    if extra < 1:
        check.skipped = f"no batch larger than {rows}"
        return
    padded = {name: np.concatenate([array, np.zeros_like(array[[0] * extra])]) for name, array in subject.feeds.items()}
    answer = subject.engine.run(padded)
    _expect(check, base, _first(answer, rows), f"{rows} rows padded to {rows + extra}")


def _second_run(subject: Subject, base: Outputs) -> Check:
    """Run the same feeds again after other ones: a run must not affect later runs."""
    check = Check("second run", Bound(0.0, "the same engine on the same inputs must give the same bits"))
    subject.engine.run({name: np.ascontiguousarray(np.flip(array)) for name, array in subject.feeds.items()})
    _expect(check, base, subject.engine.run(subject.feeds), "the second run")
    return check


def _rebuilt(subject: Subject, base: Outputs) -> Check:
    check = Check("rebuilt session", subject.rebuilt)
    engine = subject.reopen()
    try:
        _expect(check, base, engine.run(subject.feeds), "another session of the same file")
    finally:
        engine.close()
    return check


def _first(arrays: Mapping[str, Array], rows: int) -> dict[str, Array]:
    return {name: np.ascontiguousarray(array[:rows]) for name, array in arrays.items()}


def _expect(check: Check, expected: Outputs, actual: Outputs, what: str) -> None:
    for name, wanted in expected.items():
        got = actual[name]
        if wanted.shape != got.shape:
            check.bit_equal = False
            check.failures.append(f"{what}: {name} has shape {list(got.shape)}, expected {list(wanted.shape)}")
            continue
        difference, equal = compare(wanted, got), same_bits(wanted, got)
        if name not in check.outputs or difference.relative_l2 >= check.outputs[name].relative_l2:
            check.outputs[name] = difference
        check.bit_equal &= equal
        if equal or (check.bound.relative_l2 and difference.relative_l2 <= check.bound.relative_l2):
            continue
        where = (
            f"farthest off at {difference.worst}" if difference.worst else "only signs of zero or bits of NaN differ"
        )
        check.failures.append(
            f"{what}: {name} differs, relative L2 {difference.relative_l2:.1e}, allowed {check.bound}; {where}"
        )
