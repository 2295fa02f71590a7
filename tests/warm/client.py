"""Runs command lines in forks of one warm process: see server.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its code (negative for a signal, None when time ran out), its resources and output.

    `also` is the code of the one that ran beside it, or 0.
    """

    code: int | None
    seconds: float
    megabytes: float
    out: str
    err: str
    also: int | None = 0


class Warm:
    """The warm process; `warm_up` are command lines that it runs once before it forks."""

    def __init__(self, folder: Path, *warm_up: Sequence[str]) -> None:
        paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TERM": "dumb",
            "COLUMNS": "80",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        command = [sys.executable, str(Path(__file__).with_name("server.py")), *map(json.dumps, warm_up)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)
        for line in self._process.stdout or ():
            if line.strip() == "ready":
                return
        raise RuntimeError(f"{command} ended with {self._process.wait()} before it was ready")

    def run(
        self,
        words: Sequence[object],
        folder: Path,
        *,
        also: Sequence[object] = (),
        seconds: float = 20,
        megabytes: int = 2048,
        fault: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        tensorrt: bool = False,
    ) -> Ended:
        """Run `rectexport WORDS` in `folder`, within limits; `also` runs beside it and must end, too.

        `tensorrt` gives it a made-up machine with TensorRT: see machine.py.
        """
        request = {
            "words": [str(word) for word in words],
            "also": [str(word) for word in also],
            "folder": str(folder),
            "seconds": seconds,
            "bytes": megabytes << 20,
            "fault": fault,
            "environment": environment,
            "tensorrt": tensorrt,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        out, err = ((folder / name).read_text(errors="replace") for name in (".out", ".err"))
        beside = answer["also"][0]["code"] if answer["also"] else 0
        return Ended(answer["code"], answer["seconds"], answer["megabytes"], out, err, beside)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close() if self._process.stdin else None
        self._process.wait(30)
