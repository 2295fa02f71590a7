"""The parent's end of a timing worker: a process that holds one model and does nothing unless asked.

Between its bursts a worker is stopped (SIGSTOP). The thread pools of inference engines spin for tens of
milliseconds after a run, waiting for the next; left alone they would take the cores from whoever is timed then.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rectexport.runtime import errors
from rectexport.runtime.errors import BadInput, RectexportError

WORKER = "rectexport.runtime.timing.worker"
#: Engines read their number of threads here; workers are told theirs, so that no contestant has another.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Contestant:
    """What is timed: a name, and the worker that loads it.

    module   imported and run by the worker's Python; it calls rectexport.runtime.timing.worker.serve
    spec     what the module is told, plain values
    """

    name: str
    spec: Mapping[str, Any]
    module: str = WORKER


@dataclass
class TimingProcess:
    """A running worker, which has loaded its model; `said` is what it told about it."""

    name: str
    process: subprocess.Popen[str]
    errors: Any
    said: dict[str, Any] = field(default_factory=dict)

    def wait_ready(self) -> None:
        """Block until the model is loaded, then stop the process. Raises what kept the worker from loading it."""
        self.said = self._answer()
        self._signal("SIGSTOP")

    def burst(self, seconds: float) -> list[float]:
        """Let the worker run its model for about this long; seconds of each run. Raises BadInput if it died."""
        self._signal("SIGCONT")
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
        except OSError:
            raise BadInput(self._last_words()) from None
        times = self._answer()["seconds"]
        self._signal("SIGSTOP")
        return [float(value) for value in times]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise BadInput(self._last_words()) from None
        if "error" in answer:
            kind = getattr(errors, answer["kind"], BadInput)
            assert issubclass(kind, RectexportError)
            raise kind(f"{self.name}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        self.process.kill()
        code = self.process.wait()
        self.errors.seek(0)
        lines = [line for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        said = f"; it said: {lines[-1][:300]}" if lines else ""
        return f"{self.name}: could not be timed, its process ended with {ended}{said}"

    def _signal(self, name: str) -> None:
        number = getattr(signal, name, None)  # Windows has no such signals, and its workers go on spinning
        if number is not None:
            self.process.send_signal(number)


@contextmanager
def started(contestant: Contestant) -> Iterator[TimingProcess]:
    """A worker whose model is being loaded; killed at the end."""
    command = [sys.executable, "-m", contestant.module, json.dumps(dict(contestant.spec))]
    environment = {key: value for key, value in os.environ.items() if key not in _THREAD_VARIABLES}
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, text=True, env=environment
        )
        try:
            yield TimingProcess(contestant.name, process, noise)
        finally:
            process.kill()
            process.communicate()  # waits, and closes pipes whatever is left in them
