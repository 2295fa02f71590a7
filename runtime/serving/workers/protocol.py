"""What the batcher and the pool know of a worker: a process of its own, or a thread of the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rectexport.runtime.base.runner import Array

#: Arrays of each request of a batch, by input.
Feeds = Mapping[str, Sequence[Array]]


class WorkerDied(Exception):
    """The worker went away while it held a batch."""


class ModelFailed(Exception):
    """The engine raised; the worker lives."""


@dataclass(frozen=True)
class Ran:
    """A batch's outputs, and the seconds that the engine took."""

    outputs: dict[str, Array]
    seconds: float


#: How a batch ended.
Outcome = Ran | WorkerDied | ModelFailed
Done = Callable[[Outcome], None]


class Worker(Protocol):
    """Runs one batch at a time. `lost` is called once, when it dies or is killed."""

    lost: Callable[[], None]

    async def start(self) -> dict[str, Any]:
        """Open the model and run it; gives worker.facts. Raises BadInput."""

    def run(self, feeds: Feeds, done: Done) -> None:
        """Begin a batch; done is called once, later, in the event loop: a future would take another turn of it."""

    def kill(self) -> None:
        """End it now, whatever it is doing."""
