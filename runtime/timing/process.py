"""The parent's end of a timing process, which holds one model and runs it only on request.

Between its bursts a timing process is stopped (SIGSTOP): the thread pools of inference engines spin for tens of
milliseconds after a run and would take cores from the process that is timed next.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from rectexport.runtime import errors
from rectexport.runtime.errors import BadInput, RectexportError, from_plain

WORKER = "rectexport.runtime.timing.worker"
#: Engines read their number of threads from these. They are removed, because each process gets it in its spec.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Contestant:
    """A model to time: its name, and the program that loads it.

    module   run by the timing process as `python -m MODULE SPEC`; it calls rectexport.runtime.timing.worker.serve
    spec     the module's argument, plain values
    """

    name: str
    spec: Mapping[str, Any]
    module: str = WORKER


@dataclass
class TimingProcess:
    """A running timing process; `said` is what it reported about its model once it was loaded."""

    name: str
    process: subprocess.Popen[str]
    errors: Any
    said: dict[str, Any] = field(default_factory=dict)

    def wait_ready(self) -> None:
        """Block until the model is loaded, then stop the process. Raises the error of a model that does not load."""
        self.said = self._answer()
        self._signal("SIGSTOP")

    def burst(self, seconds: float) -> list[float]:
        """Run the model for about `seconds`; returns the seconds of each run. Raises BadInput if the process died."""
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
            raise kind(f"{self.name}: ", *from_plain(answer["error"]))
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
        number = getattr(signal, name, None)  # Windows lacks these signals; there, processes go on spinning
        if number is not None:
            self.process.send_signal(number)


@contextmanager
def started(contestant: Contestant) -> Iterator[TimingProcess]:
    """A timing process that is loading its model; killed at the end."""
    command = [sys.executable, "-m", contestant.module, json.dumps(dict(contestant.spec))]
    environment = {key: value for key, value in os.environ.items() if key not in THREAD_VARIABLES}
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, text=True, env=environment
        )
        try:
            yield TimingProcess(contestant.name, process, noise)
        finally:
            process.kill()
            process.wait()  # not for the end of its pipes: a process that its library started may keep them open
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
