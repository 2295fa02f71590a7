"""Which calls share a run, and for how long a batch waits for more."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rectexport.runtime.batching.queue import Queue


@dataclass(eq=False)
class Call:
    key: str
    rows: int
    arrived: float = 0.0


def filled(*calls: Call, most_rows: int = 4, max_delay: float = 1.0) -> Queue[Call]:
    queue: Queue[Call] = Queue(most_rows, max_delay)
    for call in calls:
        queue.add(call)
    return queue


def test_equal_keys_share_a_run_and_the_oldest_goes_first() -> None:
    calls = [Call("b", 1, 2.0), Call("a", 1, 1.0), Call("b", 2, 3.0), Call("b", 2, 4.0)]
    queue = filled(*calls)
    taken = []
    while len(queue):
        taken.append(queue.take())
    assert taken == [[calls[1]], [calls[0], calls[2]], [calls[3]]]
    with pytest.raises(IndexError):
        queue.take()


def test_without_rows_to_share_each_call_has_a_run() -> None:
    queue = filled(Call("a", 1), Call("a", 1), most_rows=0)
    assert [len(queue.take()), len(queue.take()), len(queue)] == [1, 1, 0]


def test_a_call_that_must_be_alone_is_next() -> None:
    first, again, last = Call("a", 1), Call("a", 1), Call("a", 1)
    queue = filled(first, last)
    queue.add(again, alone=True)
    assert queue.take() == [again] and queue.take() == [first, last]


def test_a_removed_call_is_not_taken() -> None:
    first, other = Call("a", 3), Call("b", 1)
    queue = filled(first, other)
    queue.remove(first)
    assert first not in queue and other in queue and queue.take() == [other]


def test_a_batch_waits_only_while_calls_keep_arriving() -> None:
    queue = filled(Call("a", 1))
    assert queue.delay(100.0) == 0  # idle: nothing ran before
    queue.ended(2, now=10.0)  # with one behind it: three rows are expected
    assert queue.delay(10.25) == 0.75 and queue.delay(11.0) == 0 and queue.delay(20.0) == 0
    queue.add(Call("a", 2))
    assert queue.delay(10.25) == 0


def test_a_batch_that_is_full_or_must_not_wait_does_not() -> None:
    queue = filled(Call("a", 3), Call("b", 1))
    queue.ended(100, now=10.0)
    assert queue.delay(10.0) == 0  # no run takes more rows
    queue.take()
    queue.ended(100, now=10.0)
    assert queue.delay(10.0) == 1.0
    queue.add(Call("c", 1), alone=True)
    assert queue.delay(10.0) == 0
    queue.take()
    queue.stop_waiting()
    assert queue.delay(10.0) == 0
    impatient = filled(Call("a", 1), max_delay=0.0)
    impatient.ended(9, now=10.0)
    assert impatient.delay(10.0) == 0
