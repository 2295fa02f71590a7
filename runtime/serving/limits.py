"""How much a server takes on before it says no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from rectexport.runtime.serving.refusal import Refusal


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds, counts of requests.

    body        one request's body, also after decompression
    requests    requests that are being read, waiting or computed, over all models
    queue       requests that wait for a worker, for each model
    deadline    from a request's arrival at the queue to its answer; a client may ask for less
    run         one run of a model; a worker that takes longer is killed and replaced
    receive     from a request's first byte to its last
    drain       from SIGTERM to the end, for requests that are being worked on
    max_delay   how long a batch may wait to grow while requests come in
    """

    body: int = 64 << 20
    requests: int = 2048
    queue: int = 1024
    deadline: float = 30.0
    run: float = 60.0
    receive: float = 30.0
    drain: float = 30.0
    max_delay: float = 500e-6


@final
class Admission:
    """Counts the requests in the house."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.inside = 0

    def enter(self) -> None:
        """Let one in; raises Refusal 429 when the house is full. Every enter needs a leave."""
        if self.inside >= self._limit:
            raise Refusal(429, f"{self.inside} requests are being worked on; try again later")
        self.inside += 1

    def leave(self) -> None:
        """One is done."""
        self.inside -= 1
