"""The server's end of a shadow: copies of answered requests wait in a short queue for its process.

Nothing waits for a shadow. When its queue is full, requests are not compared, and are counted.

A shadow takes a share of one processor's time: after a comparison of t seconds it rests for t (1 / share - 1) seconds.
A low priority alone does not bound what a shadow costs where the server and its clients keep every processor busy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.serving.batcher import Outputs
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.repository import Repository, ServedModel
from rectexport.runtime.serving.request import InferRequest
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.shadow.child import INPUT, OUTPUT
from rectexport.runtime.serving.shadow.record import Record
from rectexport.runtime.serving.workers.hosted import TOLERANCE, ModelSpec
from rectexport.runtime.serving.workers.pool import Pool
from rectexport.runtime.serving.workers.process import ProcessWorker
from rectexport.runtime.serving.workers.protocol import BatchResult, Ran, Worker, WorkerDied

#: Most requests that wait, and most bytes of their tensors.
QUEUE, QUEUE_BYTES = 64, 256 << 20
#: Seconds after which a comparison is given up: at the lowest priority, it may wait for a processor for long.
RUN = 300.0
PROGRAM = "rectexport.runtime.serving.shadow.child"


@dataclass(frozen=True)
class Copy:
    """An answered request: inputs and outputs under the child's names, and their bytes."""

    tensors: dict[str, list[Any]]
    nbytes: int


@final
class Shadow:
    """Compares a second package with one served model. Call it from the event loop's thread only."""

    def __init__(
        self, package: Package, served: Package, make: Callable[[], Worker], log: Log, name: str, share: float = 1.0
    ) -> None:
        """share is the part of the time, above 0 and at most 1, in which it compares."""
        self._rest, self._resting = 1 / share - 1, False
        self.path = str(package.path)
        self._pool = Pool(make, 1)
        self._log, self._name = log, name
        self._waiting: deque[Copy] = deque()
        self._bytes = 0
        outputs = served.manifest.outputs
        allowed = sum(one.manifest.tolerances.get("relative_l2", TOLERANCE) for one in (package, served))
        exact = ["float" not in entry.dtype for entry in outputs]
        self.record = Record([entry.name for entry in outputs], exact, allowed)
        self._pool.on_idle = self._pump
        self._pool.on_trouble = lambda text: log.event("shadow", model=name, text=text)

    async def start(self) -> None:
        """Start its process, which opens the package and reproduces its goldens. Raises BadInput."""
        await self._pool.start()

    def offer(self, request: InferRequest, outputs: Outputs) -> None:
        """Compare a request that was answered, later; or count it as dropped."""
        if len(self._waiting) >= QUEUE:
            self.record.dropped += 1
            return
        arrays = {f"{INPUT}{name}": [array] for name, array in request.feeds.items()}
        arrays |= {f"{OUTPUT}{name}": [outputs[name]] for name in self.record.outputs}
        size = sum(array.nbytes for (array,) in arrays.values())
        if self._bytes + size > QUEUE_BYTES:
            self.record.dropped += 1
            return
        self._waiting.append(Copy(arrays, size))
        self._bytes += size
        self._pump()

    def report(self) -> dict[str, Any]:
        """What was found, as plain values."""
        state = {"package": self.path, "waiting": len(self._waiting), "trouble": self._pool.trouble or ""}
        return {**state, **self.record.as_dict(), "text": self.record.in_words()}

    def close(self) -> None:
        """Log what was found, and end the process."""
        self._log.event("shadow", model=self._name, text=self.record.in_words())
        self._pool.close()

    def _pump(self) -> None:
        while self._waiting and self._pool.has_idle and not self._resting:
            copy = self._waiting.popleft()
            self._bytes -= copy.nbytes
            self._compare(self._pool.acquire(), copy)

    def _compare(self, worker: Worker, copy: Copy) -> None:
        record = self.record
        loop = asyncio.get_running_loop()
        watch, begin = loop.call_later(RUN, worker.kill), loop.time()

        def done(outcome: BatchResult) -> None:
            watch.cancel()
            if isinstance(outcome, Ran):
                if record.add(outcome.outputs["distances"]):
                    self._log.event("shadow_differs", model=self._name, request=record.first, text=record.in_words())
            else:
                record.failed += 1
                record.failure = str(outcome) or "its process died"
            if self._rest:
                self._resting = True
                loop.call_later(self._rest * (loop.time() - begin), self._wake)
            if not isinstance(outcome, WorkerDied):
                self._pool.release(worker)

        worker.run(copy.tensors, done)

    def _wake(self) -> None:
        self._resting = False
        self._pump()


async def open_shadows(
    sources: Sequence[ServedPackage],
    chosen: Sequence[str],
    repository: Repository,
    spec: ModelSpec,
    log: Log,
    share: float,
) -> dict[tuple[str, str], Shadow]:
    """(name, version) -> its shadow, started. sources are the shadows' packages, chosen the words that named them.

    A word without NAME= stands for the only model; share is each one's part of a processor's time. Raises UsageError
    for a word that fits no model, and BadInput for a package that takes or gives other tensors, or that cannot be
    opened.
    """
    shadows: dict[tuple[str, str], Shadow] = {}
    for word, source in zip(chosen, sources, strict=True):
        model = _model(word, source, repository)
        key = model.name, model.version
        if key in shadows:
            raise UsageError(f"--shadow {word}: model {model.name} version {model.version} has a shadow already")
        package, served = Package.open(source.path.resolve()), model.package
        _require_alike(package, served)
        own = replace(spec, path=str(package.path), threads=1, max_batch=0, identity=package.identity)
        shadows[key] = Shadow(package, served, partial(ProcessWorker, own, PROGRAM), log, model.name, share)
    try:
        for shadow in shadows.values():
            await shadow.start()
    except BaseException:
        for shadow in shadows.values():
            shadow.close()
        raise
    return shadows


def _model(word: str, source: ServedPackage, repository: Repository) -> ServedModel:
    served = repository.served()
    label = word.rpartition("=")[0]
    found = [
        model
        for model in served
        if not label or (model.name == source.name and ("/" not in label or model.version == source.version))
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{model.name}/{model.version}" for model in served)
    raise UsageError(f"--shadow {word}: expected NAME=PACKAGE or NAME/VERSION=PACKAGE for one model of {names}")


def _require_alike(package: Package, served: Package) -> None:
    for side in ("inputs", "outputs"):
        wanted, found = (_kinds(getattr(one.manifest, side)) for one in (served, package))
        if wanted != found:
            raise BadInput(
                f"{package.path}: cannot be a shadow of {served.path}: its {side} are {found}, expected {wanted}"
            )


def _kinds(entries: Sequence[TensorEntry]) -> dict[str, str]:
    return {entry.name: f"{entry.dtype} of {len(entry.shape)} axes" for entry in entries}
