"""One question to a process of its own: a spec as its argument, one line of JSON as its answer.

An engine that was profiled keeps memory and threads, so each launch has a new process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rectexport.runtime import errors
from rectexport.runtime.errors import BadInput, RectexportError, from_plain, to_plain
from rectexport.runtime.timing.process import THREAD_VARIABLES


def ask(module: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What `python -m module SPEC` answers. Raises its error, or BadInput for a process that dies."""
    environment = {key: value for key, value in os.environ.items() if key not in THREAD_VARIABLES}
    command = [sys.executable, "-m", module, json.dumps(dict(spec))]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        words = [line for line in done.stderr.splitlines() if line.strip()]
        said = f"; it said: {words[-1][:300]}" if words else ""
        raise BadInput(f"the process that runs the model ended with {ended}{said}") from None
    if "error" in answer:
        kind = getattr(errors, answer["kind"], BadInput)
        assert issubclass(kind, RectexportError)
        raise kind(*from_plain(answer["error"]))
    return answer


def answer(work: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """The other side: do the work that the command line specifies and print the answer, or the error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to stderr
    try:
        result = dict(work(json.loads(sys.argv[1])))
    except RectexportError as error:
        result = {"error": to_plain(error), "kind": type(error).__name__}
    stream.write(json.dumps(result) + "\n")
    stream.flush()
