"""Starts the tritonserver of PyPI's nvidia-pytriton wheel, from an environment of its own.

Its Python backend uses the packages of the `python3` that is first on PATH, and needs NumPy 1 there.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectexport.runtime.serving.triton.config import as_text
from rectexport.runtime.serving.triton.ensemble import ENSEMBLE
from rectexport.runtime.serving.triton.merge import read_config
from rectexport.runtime.serving.triton.repository import CONFIG

ROOT = Path(__file__).resolve().parents[2]
#: The environment that `make test-triton` makes.
HOME = ROOT / ".venv-triton"
STAND_IN = Path(__file__).with_name("model.py")
START_SECONDS = 60.0


def absent() -> str:
    """Why there is no tritonserver here; empty where there is one."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"nvidia-pytriton has no tritonserver for {platform.system()} on {platform.machine()}"
    if not (HOME / ".stamp").exists():
        return "no tritonserver: make test-triton installs it"
    return "" if list(_site().glob("pytriton/tritonserver/bin/tritonserver")) else "nvidia-pytriton has none here"


def _site() -> Path:
    return next(HOME.glob("lib/python*/site-packages"))


@dataclass
class Triton:
    """A running server."""

    http: str
    grpc: str
    log: Path

    def states(self) -> dict[str, str]:
        """Model/version -> READY, or why it is not loaded."""
        entries = self.ask("POST", "/v2/repository/index")
        return {f"{one['name']}/{one.get('version', '')}": one.get("reason") or one.get("state", "") for one in entries}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON, None for an empty one."""
        connection = http.client.HTTPConnection(self.http, timeout=20)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            data = connection.getresponse().read()
            return json.loads(data) if data else None
        finally:
            connection.close()


def stand_in(repository: Path, out: Path, threads: int = 0) -> Path:
    """A copy of a repository whose models run in the Python backend, on the CPU; all other fields stay.

    In place of a plan the ONNX file beside it is run. threads is ONNX Runtime's number, 0 for its own choice.
    """
    shutil.copytree(repository, out)
    for path in out.glob(f"*/{CONFIG}"):
        config = read_config(path)
        if config.platform == ENSEMBLE:
            continue
        file = config.default_model_filename
        config.parameters["stand_in_for"].string_value = file if file.endswith(".onnx") else "model.onnx"
        config.parameters["threads"].string_value = str(threads)
        for group in config.instance_group:  # there is no GPU, and no plan is run
            group.kind = group.KIND_CPU
            group.ClearField("profile")
        config.backend, config.platform, config.default_model_filename = "python", "", "model.py"
        path.write_text(as_text(config))
        for version in path.parent.iterdir():
            if version.name.isdecimal():
                shutil.copyfile(STAND_IN, version / "model.py")
    return out


@contextlib.contextmanager
def tritonserver(repository: Path, scratch: Path) -> Iterator[Triton]:
    """A server over the repository; models that it refuses do not end it."""
    home = _site() / "pytriton/tritonserver"
    python = HOME / "bin/python"
    words = "import sys, sysconfig; print(sysconfig.get_config_var('LIBDIR'), '%d.%d' % sys.version_info[:2])"
    library, version = subprocess.run([python, "-c", words], check=True, capture_output=True, text=True).stdout.split()
    backends = scratch / "backends"
    shutil.copytree(home / "backends", backends)
    shutil.copy2(home / f"python_backend_stubs/{version}/triton_python_backend_stub", backends / "python")
    ports = [_free_port() for _ in range(3)]
    flags = {
        "model-repository": repository,
        "backend-directory": backends,
        "exit-on-error": "false",
        "http-address": "127.0.0.1",
        "grpc-address": "127.0.0.1",
        "http-port": ports[0],
        "grpc-port": ports[1],
        "metrics-port": ports[2],
    }
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{_site() / 'nvidia_pytriton.libs'}:{library}",
        "PATH": f"{HOME / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": "",
    }
    log = scratch / "log"
    command = [str(home / "bin/tritonserver"), *(f"--{name}={value}" for name, value in flags.items())]
    with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream, env=environment) as process:
        try:
            running = Triton(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", log)
            _wait(running, process)
            yield running
        finally:
            process.kill()


def _wait(running: Triton, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            running.ask("GET", "/v2")
            return
        time.sleep(0.1)
    raise AssertionError(f"tritonserver did not start:\n{running.log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])
