"""A shadow beside a server: a fault at the border is found, a full queue drops, and nothing waits for it."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.package.folder import Package
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.request import InferRequest
from rectexport.runtime.serving.shadow import shadow as module
from rectexport.runtime.serving.shadow.shadow import Shadow
from rectexport.runtime.serving.workers.protocol import Done, Feeds, ModelFailed, Ran, WorkerDied
from tests.runtime.serving.conftest import Running, ask, run
from tests.runtime.serving.fake_worker import FakeWorker
from tests.runtime.tiny import dynamic_package

SIZE = (3, 12, 12)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A convolution, the same with its outermost pixels 1 % larger, and one with another output."""
    torch = pytest.importorskip("torch")
    import rectexport

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, fault: float) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
            factor = torch.full((1, 1, *SIZE[1:]), 1 + fault)
            factor[:, :, 1:-1, 1:-1] = 1
            self.register_buffer("factor", factor)

        def forward(self, x: Any) -> Any:
            return {"y": self.conv(x) * self.factor}

    folder = tmp_path_factory.mktemp("shadow")
    shapes = ({0: torch.export.Dim("n", min=1, max=8)},)
    for label, fault in (("net", 0.0), ("faulty", 0.01)):
        rectexport.export(Net(fault).eval(), (torch.randn(2, *SIZE),), folder / label, shapes, guard=False)
    shutil.copytree(folder / "net", folder / "other")
    document = json.loads((folder / "net/manifest.json").read_text())
    del document["structure"]
    document["outputs"][0]["name"] = "z"
    (folder / "other/manifest.json").write_text(json.dumps(document))
    return {label: folder / label for label in ("net", "faulty", "other")}


def send(address: str, count: int, seed: int) -> None:
    """Requests on one connection; every answer must be 200."""
    connection = http.client.HTTPConnection(address, timeout=30)
    generator = np.random.default_rng(seed)
    for _ in range(count):
        x = generator.standard_normal((1, *SIZE)).astype(np.float32)
        entry = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "parameters": {"binary_data_size": x.nbytes}}
        head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
        fields = {"Inference-Header-Content-Length": str(len(head))}
        connection.request("POST", "/v2/models/net/infer", head + x.tobytes(), fields)
        response = connection.getresponse()
        response.read()
        assert response.status == 200
    connection.close()


def settled(running: Running, count: int) -> dict[str, Any]:
    """The report once every request is compared or dropped."""
    end = time.monotonic() + 120  # on a busy machine the shadow, at the lowest priority, takes long
    while time.monotonic() < end:
        found: dict[str, Any] = json.loads(ask(running.http, "/v2/models/net/shadow").body)
        if found["compared"] + found["dropped"] + found["failed"] == count:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_a_fault_of_one_percent_at_the_border_is_found(
    serve: Callable[..., Running], packages: dict[str, Path]
) -> None:
    running = serve(packages["net"], "--shadow", packages["faulty"], "--shadow-share", "0.5")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: send(running.http, 250, seed), range(4)))
    found = settled(running, 1000)
    assert found["failed"] == 0 and 1 <= found["first_differing"] <= 1000 and found["differing"] == found["compared"]
    regions = found["outputs"]["y"]
    assert 0.005 < regions["edge"]["worst"] < 0.02 and 0.005 < regions["corner"]["worst"] < 0.02
    assert regions["interior"]["worst"] < found["allowed"] and regions["interior"]["differing"] == 0
    text = ask(running.http, "/metrics").body.decode()
    label = 'model="net",version="1"'
    assert f"rectexport_shadow_differing_total{{{label}}} {float(found['differing'])}" in text
    assert 'rectexport_shadow_distance{model="net",output="y",region="edge",version="1"} 0.0' in text
    page = json.loads(ask(running.http, "/page.json").body)["models"][0]
    assert "differ: output y by up to" in page["shadow"] and page["shadow"] == found["text"]
    (told,) = running.events("shadow_differs")
    assert told["request"] == found["first_differing"]
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(30)
    assert "differ: output y" in running.events("shadow")[-1]["text"]


def test_the_same_package_does_not_differ_and_a_dead_shadow_is_replaced(
    serve: Callable[..., Running], packages: dict[str, Path]
) -> None:
    running = serve(f"net={packages['net']}", "--shadow", f"net={packages['net']}", "--shadow-share", "1")
    send(running.http, 40, 0)
    found = settled(running, 40)
    assert found["compared"] == 40 and found["differing"] == 0 and found["first_differing"] is None
    (child,) = children(running.process.pid, "shadow.child")
    assert os.getpriority(os.PRIO_PROCESS, child) == 19
    group = Path(f"/proc/{child}/autogroup")
    assert not group.exists() or group.read_text().endswith("nice 19\n")
    os.kill(child, signal.SIGKILL)
    running.wait_for("shadow")
    send(running.http, 20, 1)
    assert settled(running, 60)["compared"] >= 59  # the one that it died on, if any, counts as failed


def children(parent: int, word: str) -> list[int]:
    """Processes of that parent whose command line has the word."""
    listed = (path for path in Path("/proc").iterdir() if path.name.isdecimal())
    found = []
    for path in listed:
        try:
            command, status = (path / "cmdline").read_text(), (path / "stat").read_text()
        except OSError:
            continue
        if word in command and int(status.rpartition(")")[2].split()[1]) == parent:
            found.append(int(path.name))
    return found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shadow", "{other}"], "cannot be a shadow of"),
        (["--shadow", "b={net}"], "--shadow b="),
        (["--shadow", "{net}", "--shadow", "{faulty}"], "has a shadow already"),
    ],
)
def test_what_cannot_be_a_shadow_is_refused(
    words: list[str], said: str, packages: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    from rectexport.cli.main import main

    chosen = [word.format(**packages) for word in words]
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(packages["net"]), "--port", "0", "--grpc-port", "-1", "--threads", "1", *chosen])
    assert ended.value.code in (1, 2)
    assert said in " ".join(capfd.readouterr().err.split())


class Held(FakeWorker):
    """Answers only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Done] = []

    def run(self, feeds: Feeds, done: Done) -> None:
        self.taken.append(done)


def test_a_shadow_rests_in_proportion_to_what_it_takes(tmp_path: Path) -> None:
    package = Package.open(dynamic_package(tmp_path / "tiny").path)
    name = package.manifest.outputs[0].name
    x = np.ones((1, 4), np.float32)

    async def test() -> None:
        worker = Held()
        shadow = Shadow(package, package, lambda: worker, Log(io.StringIO()), "net", share=0.1)
        await shadow.start()
        loop = asyncio.get_running_loop()
        for _ in range(2):
            shadow.offer(InferRequest("", {"x": x}, (), 1, ()), {name: x})
        begin = loop.time()
        await asyncio.sleep(0.02)
        worker.taken.pop()(Ran({"distances": np.zeros((1, 4))}, 0.0))
        taken = loop.time() - begin
        assert not worker.taken  # the other one waits although the worker is idle
        while not worker.taken:
            await asyncio.sleep(0.001)
        assert loop.time() - begin >= 9 * taken
        shadow.close()

    run(test)


def test_a_full_queue_drops_and_failures_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package.open(dynamic_package(tmp_path / "tiny").path)
    monkeypatch.setattr(module, "QUEUE", 3)
    name = package.manifest.outputs[0].name
    x = np.ones((1, 4), np.float32)
    request = InferRequest("", {"x": x}, (), 1, ())

    async def test() -> None:
        worker, lines = Held(), io.StringIO()
        shadow = Shadow(package, package, lambda: worker, Log(lines), "net")
        await shadow.start()
        for _ in range(6):
            shadow.offer(request, {name: x})
        assert shadow.record.dropped == 2 and len(worker.taken) == 1  # one runs, three wait
        worker.taken.pop()(Ran({"distances": np.zeros((1, 4))}, 0.0))
        worker.taken.pop()(ModelFailed("out of memory"))
        worker.taken.pop()(WorkerDied())
        found = shadow.report()
        assert (found["compared"], found["failed"], found["waiting"]) == (1, 2, 1)
        assert found["failure"] == "its process died"
        monkeypatch.setattr(module, "QUEUE_BYTES", 3)
        shadow.offer(request, {name: x})
        assert shadow.record.dropped == 3  # too large
        shadow.close()

    run(test)
