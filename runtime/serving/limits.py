"""Limits of a server: beyond them it refuses requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from rectexport.runtime.serving.request_error import RequestError


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds, counts of requests.

    body        one request's body, also after decompression
    requests    requests that are being read, queued or computed, over all models
    queue       requests that wait for a worker, for each model
    deadline    from a request's arrival at the queue to its answer; a client may ask for less
    run         one run of a model; a worker that takes longer is killed and replaced
    receive     from a request's first byte to its last
    drain       from SIGTERM to exit, to finish requests in progress
    max_delay   longest batching delay while requests keep arriving
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
    """Counts the requests in progress and refuses more than a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.inside = 0

    def enter(self) -> None:
        """Admit a request; raises RequestError 429 at the limit. Call leave() once for each enter()."""
        if self.inside >= self._limit:
            raise RequestError(429, f"{self.inside} requests are being worked on; try again later")
        self.inside += 1

    def leave(self) -> None:
        """A request has ended."""
        self.inside -= 1
