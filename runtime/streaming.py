"""A stream of inferences: preparing, inference and finishing at the same time, in order, in bounded memory.

    items ──prepare──▶ inference ──finish──▶ results, in the order of the items
          a few threads  one thread   a few threads

An item is taken only when there is room: at most `depth` items are anywhere between the iterable and the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any


def stream(
    infer: Callable[[Any], Any],
    items: Iterable[Any],
    prepare: Callable[[Any], Any] | None,
    finish: Callable[[Any], Any] | None,
    workers: int,
    depth: int,
) -> Iterator[Any]:
    """finish(infer(prepare(item))) for each item, in order; an error is raised in the place of its result.

    After an error, or when the iterator is closed, no further item is taken, and what was begun is waited for.
    """
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="rectexport-stream") as pool,
        ThreadPoolExecutor(1, thread_name_prefix="rectexport-infer") as engine,
    ):
        waiting: deque[Future[Any]] = deque()

        def begin(item: Any) -> Future[Any]:
            prepared = None if prepare is None else pool.submit(prepare, item)
            return engine.submit(answer, item, prepared)

        def answer(item: Any, prepared: Future[Any] | None) -> Future[Any] | Any:
            found = infer(item if prepared is None else prepared.result())
            return found if finish is None else pool.submit(finish, found)

        def result() -> Any:
            found = waiting.popleft().result()
            return found if finish is None else found.result()

        failure: Exception | None = None
        try:
            source = iter(items)
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception as error:  # raised behind the results of the items before
                    failure = error
                    break
                waiting.append(begin(item))
                if len(waiting) >= depth:
                    yield result()
            while waiting:
                yield result()
            if failure is not None:
                raise failure
        finally:
            for entry in waiting:
                entry.cancel()
            for entry in waiting:
                with suppress(BaseException):  # of a result that nobody asks for
                    entry.result()
