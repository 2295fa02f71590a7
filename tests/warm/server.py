"""A process that has imported everything once and runs each command line in a fork of itself.

Reads one JSON request a line from stdin and answers each with one line. A request:

    words    the command line after `rectexport`, or ["load", FOLDER, BACKEND] for rectexport.load
    also     another command line to run at the same time, or null
    folder   where to run it; its files `.out` and `.err` get what it prints
    seconds  wall clock that it may take
    bytes    address space that it may take beyond what this process has
    fault    what to do to it (see rectexport's tests/faults), or null
    tensorrt whether it finds a GPU and TensorRT, both made up: see machine.py

The answer: code (negative for a signal, null when time ran out), seconds, megabytes at the most beyond this process.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = (
    "rectexport.cli.commands.export",
    "rectexport.cli.commands.optimize",
    "rectexport.cli.commands.doctor",
    "rectexport.cli.commands.models",
    "rectexport.exporter.pipeline",
    "rectexport.exporter.frontend.load",
    "rectexport.exporter.optimize",
    "rectexport.exporter.tools.doctor",
    "torch",
    "torch.onnx",
    "safetensors.torch",
    "onnxruntime",
)
CODE_OF_A_BUG = 70


def main() -> None:
    """Import, then answer until stdin ends."""
    for module in MODULES:
        import_module(module)
    for entry in import_module("rectexport.models.catalog").ENTRIES:
        _ = entry.build  # imports the module of its family
    for module in ("tests.faults.inject", "tests.warm.machine"):
        import_module(module)
    for words in sys.argv[1:]:  # what these import or compile is there for all that follow
        _command(json.loads(words))
    faulthandler.register(signal.SIGUSR1)  # what a command was doing when its time ran out
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        begin = time.monotonic()
        children = [_start(request["words"], request, "")]
        if request.get("also"):
            children.append(_start(request["also"], request, "2"))
        answers = [_wait(child, request["seconds"], request.get("fault")) for child in children]
        print(json.dumps({"seconds": time.monotonic() - begin, **answers[0], "also": answers[1:]}), flush=True)


def _start(words: list[str], request: dict[str, Any], suffix: str) -> int:
    child = os.fork()
    if child:
        return child
    code = CODE_OF_A_BUG
    try:
        _set_up(request, suffix)
        code = _command(words)
    except _TooEarly:
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)  # whatever happens: this is a copy of the server


class _TooEarly(Exception):
    """Interrupted before the command began, so the result says nothing about the command."""


def _set_up(request: dict[str, Any], suffix: str) -> None:
    try:
        os.chdir(request["folder"])
        for number, name in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(f"{name}{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.update(request.get("environment") or {})
        if request.get("tensorrt"):
            import_module("tests.warm.machine").install()
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + request["bytes"],) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if request.get("fault"):
            import_module("tests.faults.inject").inject(request["fault"])
    except KeyboardInterrupt:
        raise _TooEarly from None


def _command(words: list[str]) -> int:
    if words[0] == "load":
        return _load(*words[1:])
    try:
        import_module("rectexport.cli.main").main(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def _load(folder: str, backend: str = "auto") -> int:
    """Call `rectexport.load` as a program would: a session, or an error of ours."""
    import rectexport

    try:
        with rectexport.load(folder, backend) as session:
            session.package.goldens()
    except rectexport.RectexportError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _wait(child: int, seconds: float, fault: dict[str, Any] | None = None) -> dict[str, Any]:
    begin, pending = time.monotonic(), fault and fault.get("after")
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            peak = max(0, usage.ru_maxrss - resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024
            return {"code": os.waitstatus_to_exitcode(status), "megabytes": peak}
        passed = time.monotonic() - begin
        if fault and pending is not None and passed > pending:
            pending = None
            os.kill(child, fault["signal"])
        if passed > seconds:
            os.kill(child, signal.SIGUSR1)
            time.sleep(0.2)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"code": None, "megabytes": 0.0}
        time.sleep(0.002)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
