"""The Dockerfile's steps for a CPU run in a clean folder, and what they make serves; the image's promises are in it.

There may be no Docker here. One folder stands for the file system of every stage, and the libraries come from this
environment instead of an index, so that no network is needed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.places import ROOT
from tests.runtime.serving.conftest import ask
from tests.runtime.tiny import dynamic_package

DOCKERFILE = ROOT / "deploy/Dockerfile"
#: Folders of the images that the steps write to.
FOLDERS = re.compile(r"(?<![\w./-])/(opt|src|wheels)\b")
TOKEN = "a-token-for-the-container"


def stages() -> dict[str, list[tuple[str, str]]]:
    """Stage -> its instructions and their values, FROM first."""
    parse = pytest.importorskip("dockerfile_parse")
    with DOCKERFILE.open("rb") as stream:
        parser = parse.DockerfileParser(fileobj=stream)
        steps = [(step["instruction"], step["value"]) for step in parser.structure if step["instruction"] != "COMMENT"]
    found: dict[str, list[tuple[str, str]]] = {}
    for instruction, value in steps:
        if instruction == "FROM":
            base, _, name = value.partition(" AS ")
            found[name] = [("FROM", base)]
        elif found:
            found[list(found)[-1]].append((instruction, value))
    return found


def history(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage and of those that it starts from."""
    own = stages()[name]
    base = own[0][1]
    return [*(history(base) if base in stages() else []), *own[1:]]


class Folder:
    """Runs steps with a folder in place of the root of the file system."""

    def __init__(self, root: Path) -> None:
        self.root, self.work = root, root
        library = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1"}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        self.environment = {"PATH": path, "HOME": str(root), **library}

    def inside(self, text: str) -> str:
        """The text with paths of the image as paths of the folder."""
        return FOLDERS.sub(rf"{self.root}/\1", text)

    def build(self, name: str, done: set[str]) -> None:
        """Run the steps of a stage and of all that it needs; each stage once."""
        if name in done:
            return
        done.add(name)
        environment = dict(self.environment)
        for instruction, value in stages()[name]:
            if instruction == "FROM" and value in stages():
                self.build(value, done)
                environment = dict(self.environment)
            elif instruction == "WORKDIR":
                self.work = Path(self.inside(value))
                self.work.mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY":
                self.copy(value, done)
            elif instruction == "ENV":
                for word in shlex.split(self.inside(value)):
                    key, _, given = word.partition("=")
                    environment[key] = given.replace("$PATH", environment["PATH"])
            elif instruction == "RUN":
                subprocess.run(self.inside(value), shell=True, check=True, cwd=self.work, env=environment)
        self.environment = environment

    def copy(self, value: str, done: set[str]) -> None:
        if value.startswith("--from="):
            stage, source, target = value.removeprefix("--from=").split()
            self.build(stage, done)
            assert source == target and Path(self.inside(source)).is_dir(), value
            return
        source, target = value.split()
        if source == ".":
            copy_context(self.work)
        else:
            shutil.copy(ROOT / source, self.inside(target))


def copy_context(out: Path) -> None:
    """The repository's files that Dockerfile.dockerignore lets in."""
    lines = Path(f"{DOCKERFILE}.dockerignore").read_text().splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines and "**/__pycache__" in lines
    for name in kept:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, out / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, out / name)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("scikit_build_core")
    folder = Folder(tmp_path_factory.mktemp("image"))
    folder.build("cpu", set())
    (packages,) = (folder.root / "opt/rectexport/lib").glob("python*/site-packages")
    (packages / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    return folder.root


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def served(image: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server as the image starts it, and its log."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    steps = dict(history("cpu"))
    words = [*json.loads(steps["ENTRYPOINT"]), *json.loads(steps["CMD"])]
    given = {
        "/models": f"net={dynamic_package(tmp_path / 'net').path}",
        "/run/secrets/token": str(token),
        "0.0.0.0": "127.0.0.1",
    }
    command = [given.get(word, word) for word in words]
    program = image / "opt/rectexport/bin" / command[0]
    log = tmp_path / "log"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    with log.open("w") as stream:
        line = [str(program), *command[1:], "--port", "0", "--grpc-port", "0", "--threads", "1"]
        with subprocess.Popen(line, stdout=stream, stderr=stream, env=environment, cwd=tmp_path) as process:
            try:
                yield address(process, log), log
            finally:
                process.terminate()
                process.wait(30)


def address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                return str(event["http"])
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def test_the_steps_make_a_server_that_writes_nothing(image: Path, served: tuple[str, Path]) -> None:
    where, _ = served
    before = files(image)
    installed = list((image / "opt/rectexport/lib").glob("python*/site-packages/rectexport/runtime/serving/server.py"))
    assert installed, "the wheel is not installed"
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [1] * 64}]}).encode()
    assert ask(where, "/v2/models/net/infer", body).status == 401
    assert ask(where, "/v2/models/net/infer", body, authorization=f"Bearer {TOKEN}").status == 200
    check = json.loads(dict(history("cpu"))["HEALTHCHECK"].partition(" CMD ")[2])
    for port, healthy in ((where.rpartition(":")[2], True), ("9", False)):
        program = [sys.executable, *(word.replace(":8000/", f":{port}/") for word in check[1:])]
        assert (subprocess.run(program, capture_output=True).returncode == 0) is healthy
    assert files(image) == before


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_what_each_image_promises(name: str) -> None:
    steps = history(name)
    found: dict[str, Any] = dict(steps)
    user = found["USER"].split(":")[0]
    assert user.isdecimal() and int(user) >= 10000  # by number: Kubernetes can see that it is not root
    assert [instruction for instruction, _ in steps].index("USER") > 0 and "RUN" not in found  # built in other stages
    assert "/v2/health/ready" in found["HEALTHCHECK"] and found["EXPOSE"] == "8000 8001"
    assert json.loads(found["ENTRYPOINT"]) == ["rectexport", "serve"] and "--token-file" in json.loads(found["CMD"])
    assert found["COPY"] == f"--from={name}-packages /opt/rectexport /opt/rectexport"
    extras = dict(history(f"{name}-packages"))["RUN"]
    assert f"[{name},serve,otel]" in extras


def test_the_default_image_is_the_last_stage() -> None:
    assert list(stages())[-1] == "cpu"
