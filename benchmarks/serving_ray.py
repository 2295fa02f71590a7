"""Run our Ray Serve application on one machine, in a process of its own, for benchmarks.serving and the long tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 180.0
MODEL = "m"


@contextmanager
def ray_server(package: Path, fast: bool, *options: str) -> Iterator[str]:
    """Start `rectexport serve --ray`; gives its address once it is ready. fast sets HAProxy and Ray for throughput."""
    port = _free_port()
    settings = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"} if fast else {}
    command = [sys.executable, "-m", "rectexport", "serve", f"{MODEL}={package}", "--ray", "--port", str(port)]
    # Each replica takes a fraction of a core, so that replicas, proxy and client fit on a small machine.
    command += ["--replicas", "2..2", "--num-cpus", "0.25", "--insecure", *options]
    environment = {**os.environ, **settings, "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            _wait(process, log)
            yield f"127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _wait(process: subprocess.Popen[bytes], log: Any) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        log.seek(0)
        lines = [line for line in log.read().splitlines() if line.startswith('{"time"')]
        if any(json.loads(line)["event"] == "serving" for line in lines):
            return
        time.sleep(0.1)
    log.seek(0)
    raise SystemExit(f"Ray did not start:\n{log.read()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])
