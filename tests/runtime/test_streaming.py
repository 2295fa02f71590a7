"""Streams of inferences: order, errors in the middle, closing early, bounded memory, and what runs at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.streaming import stream


def double(value: int) -> int:
    return 2 * value


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 50])
def test_results_come_in_the_order_of_the_items(workers: int, depth: int) -> None:
    found = stream(double, range(20), lambda item: item + 1, lambda result: result - 1, workers, depth)
    assert list(found) == [2 * (item + 1) - 1 for item in range(20)]


def test_without_steps_and_without_items() -> None:
    assert list(stream(double, [1, 2], None, None, 1, 2)) == [2, 4]
    assert list(stream(double, [], double, double, 1, 2)) == []


def broken(item: int) -> int:
    if item == 3:
        raise ValueError("item 3")
    return item


@pytest.mark.parametrize("place", ["infer", "prepare", "finish", "items"])
def test_an_error_comes_in_the_place_of_its_result(place: str) -> None:
    def items() -> Iterator[int]:
        for item in range(10):
            yield broken(item) if place == "items" else item

    steps = {name: broken if name == place else (lambda item: item) for name in ("infer", "prepare", "finish")}
    found = stream(steps["infer"], items(), steps["prepare"], steps["finish"], 2, 4)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(found)
    with pytest.raises(StopIteration):
        next(found)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rectexport-")]


def test_no_more_items_are_taken_than_there_is_room_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    for index, _ in enumerate(stream(double, items(), double, double, 2, 5)):
        assert len(taken) <= index + 5


def test_closing_early_takes_no_further_item_and_ends_the_threads() -> None:
    taken: list[int] = []
    found = stream(double, (taken.append(item) or item for item in range(100)), double, double, 2, 4)  # type: ignore[func-returns-value]
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]
    assert len(taken) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rectexport-")]


def test_preparing_inference_and_finishing_overlap() -> None:
    """Each waits for another item's other step: one after the other, they would wait for ever."""
    together = threading.Barrier(3, timeout=20)

    def meet(item: int) -> int:
        if item == 10:
            together.wait()
        return item

    # The third item is prepared, the second inferred and the first finished at the same time.
    found = stream(
        lambda item: (meet(10 if item == 2 else 0), item)[1],
        [1, 2, 3],
        lambda item: (meet(10 if item == 3 else 0), item)[1],
        lambda item: (meet(10 if item == 1 else 0), item)[1],
        2,
        3,
    )
    assert list(found) == [1, 2, 3]


def test_a_session_answers_a_stream(exported: Path) -> None:
    with load(exported, threads=1) as session:
        (name, image), = session.package.goldens()[0].items()  # fmt: skip
        scales = [1.0, 0.5, 2.0]
        expected = [session(image * np.float32(scale)).argmax() for scale in scales]
        shapes = (lambda scaled: scaled, lambda scaled: (scaled,), lambda scaled: {name: scaled})
        for given in shapes:
            found = session.stream(scales, lambda scale, given=given: given(image * np.float32(scale)), np.argmax)
            assert list(found) == expected
        wrong = session.stream([image, image[:, :0]])
        next(wrong)
        with pytest.raises(BadInput):
            next(wrong)
        for settings in ({"workers": 0}, {"depth": 0}):
            with pytest.raises(UsageError, match="at least 1"):
                session.stream([], **settings)
    with pytest.raises(BadInput, match="closed"):
        session.stream([image])
