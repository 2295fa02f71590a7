"""The Worker protocol, which a process and a thread implement, and the results of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rectexport.runtime.base.runner import Array

#: Input name -> the array of each request in a batch.
Feeds = Mapping[str, Sequence[Array]]


class WorkerDied(Exception):
    """The worker died while it ran a batch."""


class ModelFailed(Exception):
    """The engine raised; the worker is still alive."""


@dataclass(frozen=True)
class Ran:
    """A batch's outputs by name, and the seconds that the engine took."""

    outputs: dict[str, Array]
    seconds: float


#: The end of a batch: outputs, or why there are none.
BatchResult = Ran | WorkerDied | ModelFailed
Done = Callable[[BatchResult], None]


class Worker(Protocol):
    """Runs one batch at a time. `lost` is called once, when it dies or is killed."""

    lost: Callable[[], None]

    async def start(self) -> dict[str, Any]:
        """Open the model and warm it up; returns worker.facts. Raises BadInput."""

    def run(self, feeds: Feeds, done: Done) -> None:
        """Begin a batch. done is called once, later, in the event loop; a future would cost another of its turns."""

    def kill(self) -> None:
        """End the worker now, also during a batch."""
