"""Every check passes a model with independent rows, and finds the fault that it is made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.parity.metamorphic import Bound, Check, Subject, rows_of, run_checks, same_bits

EXACT = Bound(0.0, "the same")
X = {"x": np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)}
ROW_CHECKS = ("equal rows", "batch size", "row order", "padding")


class Engine:
    """Returns a function of the input and of the number of calls."""

    def __init__(self, answer: Callable[[Any, int], Any]) -> None:
        self.answer = answer
        self.asked = 0
        self.closed = False

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.asked += 1
        return {"y": np.asarray(self.answer(feeds["x"], self.asked), np.float32)}

    def close(self) -> None:
        self.closed = True


def check(answer: Callable[[Any, int], Any], **changes: Any) -> dict[str, Check]:
    given: dict[str, Any] = {"feeds": X, "batch": (1, 8), "tolerance": 1e-5, "rebuilt": EXACT}
    given.update({"reopen": lambda: Engine(answer), **changes})
    return {found.name: found for found in run_checks(Subject(engine=Engine(answer), **given))}


def failing(checks: Mapping[str, Check]) -> set[str]:
    return {name for name, found in checks.items() if found.failures}


def mean(x: Any, asked: int = 0) -> Any:
    return x.mean((2, 3))


def test_independent_rows_pass_every_check() -> None:
    checks = check(mean)
    assert list(checks) == [*ROW_CHECKS, "second run", "rebuilt session"]
    assert not failing(checks) and not any(found.skipped for found in checks.values())
    assert all(found.bit_equal for found in checks.values())


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda x, _: mean(x) - mean(x).mean(0), {"batch size", "padding"}),  # a statistic of the batch
        (lambda x, _: mean(x) + 0.1 * np.arange(len(x))[:, None], {"equal rows", "row order"}),  # of the place
        (lambda x, _: np.roll(mean(x), len(x) > 3, axis=0), {"padding"}),  # rows mixed in larger batches
        (lambda x, _: mean(x) * (1 + 0.1 * (len(x) == 1)), {"batch size"}),  # another kernel for one row
        (lambda x, _: mean(x[::-1] if len(x) == 3 else x), {"batch size", "row order", "padding"}),
        (lambda x, asked: mean(x) + 1e-7 * asked, {"second run"}),  # below every tolerance
    ],
    ids=["batch-dependent", "place-dependent", "mixed", "one-row", "reversed", "non-deterministic"],
)
def test_a_planted_fault_is_found_by_its_check(fault: Callable[[Any, int], Any], found: set[str]) -> None:
    assert failing(check(fault)) == found


def test_state_left_by_an_earlier_run_is_found() -> None:
    """The first input is run again after another one."""
    last: list[Any] = [0.0]

    def stale(x: Any, asked: int) -> Any:
        before, last[0] = last[0], mean(x)[:1]
        return mean(x) + (1e-6 * before if asked > 1 else 0.0)

    assert "second run" in failing(check(stale, batch="fixed batch"))


def test_a_rebuilt_session_may_differ_within_its_bound() -> None:
    def other() -> Engine:
        return Engine(lambda x, _: mean(x) * np.float32(1.000003))

    assert failing(check(mean, reopen=other)) == {"rebuilt session"}
    checks = check(mean, reopen=other, rebuilt=Bound(1e-5, "other kernels"))
    assert not failing(checks)
    assert not checks["rebuilt session"].bit_equal and 0 < checks["rebuilt session"].worst < 1e-5


def test_the_rebuilt_session_is_closed() -> None:
    opened: list[Engine] = []

    def reopen() -> Engine:
        opened.append(Engine(mean))
        return opened[-1]

    check(mean, reopen=reopen)
    assert [engine.closed for engine in opened] == [True]


def test_rounding_within_the_bound_passes_and_is_reported() -> None:
    checks = check(lambda x, _: mean(x) * (1 + 1e-6 * len(x)))
    assert not failing(checks)
    assert not checks["batch size"].bit_equal and 1e-7 < checks["batch size"].worst < 2e-5
    assert checks["batch size"].bound.relative_l2 == 2e-5 and "twice the tolerance" in checks["batch size"].bound.reason


def test_failures_name_the_output_and_its_worst_element() -> None:
    (failure,) = check(lambda x, _: mean(x) + (np.arange(len(x)) == 2)[:, None] * [0, 5])["equal rows"].failures
    assert failure.startswith("3 equal rows: y differs, relative L2 ")
    assert "allowed relative L2 2e-05; farthest off at (2, 1): expected " in failure


def test_an_output_of_another_shape_is_a_failure() -> None:
    checks = check(lambda x, _: mean(x)[:, : 1 + (len(x) > 2)])
    assert checks["batch size"].failures == [
        f"batch {size} against 3: y has shape [{size}, 1], expected [{size}, 2]" for size in (1, 2)
    ]


def test_a_fixed_batch_skips_only_the_batch_checks() -> None:
    checks = check(mean, batch="fixed batch")
    assert [checks[name].skipped for name in ROW_CHECKS] == ["fixed batch"] * 4
    assert not checks["second run"].skipped and not checks["rebuilt session"].skipped
    assert checks["equal rows"].as_dict()["bit_equal"] is None


def test_an_output_without_batch_axis_is_skipped() -> None:
    checks = check(lambda x, _: x.sum((0, 1)))
    assert checks["row order"].skipped == "output y has shape [4, 4] for 3 rows: it has no batch axis"
    assert not failing(checks)


@pytest.mark.parametrize(
    ("batch", "rows", "skipped"),
    [
        ((1, 1), 1, {"batch size", "row order", "padding"}),
        ((1, 2), 2, {"padding"}),
        ((3, 3), 3, {"batch size", "padding"}),
        ((4, 9), 5, set()),
    ],
)
def test_narrow_batch_ranges_skip_checks_that_need_more_rows(batch: Any, rows: int, skipped: set[str]) -> None:
    assert rows_of(*batch) == rows
    feeds = {"x": np.random.default_rng(1).standard_normal((rows, 1, 2, 2)).astype(np.float32)}
    checks = check(mean, batch=batch, feeds=feeds)
    assert {name for name, found in checks.items() if found.skipped} == skipped
    assert not failing(checks)


def test_nan_is_equal_to_itself_bit_by_bit() -> None:
    nan, zero = np.array([np.nan], np.float32), np.zeros(1, np.float32)
    assert same_bits(nan, nan) and not same_bits(zero, -zero) and not same_bits(zero, zero.astype(np.float64))
    assert not failing(check(lambda x, _: np.full((len(x), 2), np.nan)))
