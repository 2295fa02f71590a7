"""Whether the rows of a batch are independent: a row's outputs must not change with the rows beside it.

Only then may a server put the requests of several clients into one run. The rows that are run together differ in scale,
sign and content, because a dependence on the rows beside one shows only where those are unlike: a model that divides
by the maximum of its batch answers two mirrored rows rightly. Several batch sizes are run, which share no divisor, so
that a dependence on every second or fourth row is found too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import DEPENDENT, INDEPENDENT, NOT_SHOWN, TensorEntry

#: Factors of floating-point inputs, one for each request that is made up; the first request is the example itself.
SCALES = (1.0, 1.0, -1.0, 30.0, 0.01, 100.0, -10.0, 3.0)
#: The same for a model that was proven at export, where only the engine is in question: values near the example's.
GENTLE = (1.0, 1.0, 0.5, 2.0, 1.5, 0.25)
#: Requests in one run, besides as many as fit.
SIZES = (2, 3, 5, 7)
#: Bytes of inputs in one run, and of all answers that are kept.
RUN_BYTES, ANSWER_BYTES = 16 << 20, 256 << 20
#: Allowed difference, as a share of a row's largest output: at least, and at most. Engines use other kernels for other
#: batch sizes.
LEAST, MOST = 1e-4, 5e-2
#: A row of outputs whose largest is below this share of the example's is compared as if it were that large.
FLOOR = 0.01
#: Share of whole-number outputs that may differ, as where rounding decides between equals in a label map.
TIES = 1e-3
SEED = 20
#: Most rows of a run where the package sets no limit.
UNBOUNDED = 2**31 - 1

Feeds = Mapping[str, Array]
Run = Callable[[Feeds], Mapping[str, Array]]


@dataclass(frozen=True)
class RowVerdict:
    """INDEPENDENT, DEPENDENT or NOT_SHOWN, and the reason where it is not the first."""

    verdict: str
    reason: str = ""


def batch_axis(shapes: Sequence[Sequence[object]]) -> bool:
    """Whether axis 0 of all these shapes is one dynamic dimension, a name."""
    first = {shape[0] if shape else 0 for shape in shapes}
    return len(first) == 1 and isinstance(next(iter(first)), str)


def batch_range(inputs: Sequence[TensorEntry], outputs: Sequence[TensorEntry]) -> tuple[int, int] | None:
    """Fewest and most rows of a run; None unless axis 0 of all is one dynamic dimension, of any size in its range."""
    ranges = [entry.range for entry in inputs if entry.range is not None]
    steps = any(entry.min and entry.step_of(0) != 1 for entry in ranges)
    if steps or not batch_axis([entry.shape for entry in (*inputs, *outputs)]):
        return None
    return max((entry.min[0] for entry in ranges), default=1), min(
        (entry.max[0] for entry in ranges), default=UNBOUNDED
    )


def judge_package(run: Run, package: Package, least: int, most: int) -> RowVerdict:
    """Ask an engine about a package's rows, with those of all goldens that have the shape of the first.

    run          as for `judge_rows`; least, most: rows of a request and of a run

    Where the package says that its rows are independent, values near the goldens' suffice: only the engine is in
    question. Raises BadInput for goldens that cannot be read.
    """
    cases = [feeds for feeds, _ in package.golden_cases().values()]
    alike = [feeds for feeds in cases if _row_shapes(feeds) == _row_shapes(cases[0])]
    tolerance = package.manifest.tolerances.get("relative_l2", 0.0)
    scales = GENTLE if package.manifest.rows == INDEPENDENT else SCALES
    return judge_rows(run, alike, least, most, tolerance, scales)


def _row_shapes(feeds: Feeds) -> dict[str, tuple[int, ...]]:
    return {name: array.shape[1:] for name, array in feeds.items()}


def judge_rows(
    run: Run,
    examples: Sequence[Feeds],
    unit: int,
    largest: int,
    tolerance: float,
    scales: Sequence[float] = SCALES,
) -> RowVerdict:
    """Run requests alone and together, and compare.

    run        inputs by name -> outputs by name
    examples   inputs that the model takes, equal in shape except for axis 0, which is the batch of every tensor
    unit       rows of one request: the smallest batch
    largest    most rows of one run
    tolerance  relative L2 that the model's outputs may be off by; twice that is allowed between two batch sizes
    scales     factors of floating-point inputs, one for each request

    A made-up request that the engine refuses, or that has NaN or infinity in an output, is left out.
    """
    if largest < 2 * unit:
        return RowVerdict(NOT_SHOWN, f"a run takes at most {largest} rows, and a request has {unit}")
    requests, answers = [], []
    room = ANSWER_BYTES
    for feeds in _unlike(examples, unit, scales):
        answer = _answer(run, feeds)
        if answer is None:
            continue
        wrong = next((name for name, array in answer.items() if array.ndim == 0 or len(array) != unit), "")
        if wrong:
            return RowVerdict(NOT_SHOWN, f"output {wrong} has no row for each row of the inputs")
        requests.append(feeds)
        answers.append(answer)
        room -= sum(array.nbytes for array in answer.values())
        if room < 0 and len(requests) >= 3:
            break
    if len(requests) < 2:
        return RowVerdict(NOT_SHOWN, "the model answers fewer than two unlike inputs with finite numbers")
    allowed = min(max(LEAST, 2 * tolerance), MOST)
    for turn, size in enumerate(_sizes(requests[0], unit, largest)):
        chosen = [(turn * 3 + place) % len(requests) for place in range(size)]
        together = _answer(run, {name: np.concatenate([requests[k][name] for k in chosen]) for name in requests[0]})
        reason = _difference(together, [answers[k] for k in chosen], answers[0], unit, allowed)
        if reason:
            return RowVerdict(DEPENDENT, f"{reason}, in a run of {size * unit} rows")
    return RowVerdict(INDEPENDENT)


def _sizes(request: Feeds, unit: int, largest: int) -> list[int]:
    """Requests in each run: some small numbers, and the most that the limits allow."""
    fits = max(2, RUN_BYTES // max(1, sum(array.nbytes for array in request.values())))
    most = min(largest // unit, fits)
    return sorted({*(size for size in SIZES if size <= most), most})


def _unlike(examples: Sequence[Feeds], unit: int, scales: Sequence[float]) -> list[dict[str, Array]]:
    generator = np.random.default_rng(SEED)
    return [
        {name: _made_up(array, unit, turn, scale, generator) for name, array in examples[turn % len(examples)].items()}
        for turn, scale in enumerate(scales)
    ]


def _made_up(array: Array, unit: int, turn: int, scale: float, generator: np.random.Generator) -> Array:
    """Rows like the example's in dtype: its values in another order and, for floats, of another size and sign."""
    rows = array.take((np.arange(unit) + turn) % len(array), axis=0)
    if not turn:
        return np.asarray(rows, order="C")
    mixed = generator.permutation(rows.ravel()).reshape(rows.shape)
    if array.dtype.kind != "f":
        return np.asarray(mixed, array.dtype)
    if mixed.size and np.ptp(mixed) == 0:  # a constant in another order is the same
        mixed = generator.standard_normal(rows.shape)
    with np.errstate(over="ignore"):
        return np.asarray(mixed * scale, array.dtype)


def _answer(run: Run, feeds: Feeds) -> dict[str, Array] | None:
    """The outputs, or None where the model does not take these values."""
    try:
        answer = dict(run(feeds))
    except RectexportError:
        return None
    finite = all(np.isfinite(array).all() for array in answer.values() if array.dtype.kind == "f")
    return answer if finite else None


def _difference(
    together: Mapping[str, Array] | None,
    alone: Sequence[Mapping[str, Array]],
    usual: Mapping[str, Array],
    unit: int,
    allowed: float,
) -> str:
    """What changed in the company of other rows; empty if nothing did."""
    if together is None:
        return "requests that the model answers alone give an error, NaN or infinity"
    for name, array in together.items():
        if array.ndim == 0 or len(array) != unit * len(alone):
            return f"output {name} has shape {list(array.shape)}"
        for place, answer in enumerate(alone):
            found = array[place * unit : (place + 1) * unit]
            if found.shape != answer[name].shape or not _close(answer[name], found, usual[name], allowed):
                return f"output {name} of a row depends on the rows beside it"
    return ""


def _close(alone: Array, found: Array, usual: Array, allowed: float) -> bool:
    if not alone.size:
        return True
    if alone.dtype.kind != "f":
        return float((alone != found).mean()) <= TIES
    wide = alone.astype(np.float64)
    largest = max(float(np.abs(wide).max()), FLOOR * float(np.abs(usual.astype(np.float64)).max()))
    return float(np.abs(wide - found.astype(np.float64)).max()) <= allowed * largest
