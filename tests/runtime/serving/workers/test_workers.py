"""Worker processes and worker threads behave the same."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.files import sha256
from rectexport.runtime.errors import BadInput, Option
from rectexport.runtime.serving.workers import process as process_worker
from rectexport.runtime.serving.workers.hosted import ModelSpec
from rectexport.runtime.serving.workers.process import ProcessWorker
from rectexport.runtime.serving.workers.protocol import BatchResult, Feeds, ModelFailed, Ran, Worker, WorkerDied
from rectexport.runtime.serving.workers.thread import ThreadWorker
from tests.runtime.serving.conftest import run
from tests.runtime.tiny import disprove, dynamic_package


def ended(worker: Worker, feeds: Feeds) -> asyncio.Future[BatchResult]:
    """Begin a batch; the future holds its result."""
    found: asyncio.Future[BatchResult] = asyncio.get_running_loop().create_future()
    worker.run(feeds, found.set_result)
    return found


@pytest.mark.parametrize("kind", [ProcessWorker, ThreadWorker])
def test_a_worker_answers_fails_and_dies(trouble: Path, kind: Any) -> None:
    async def test() -> None:
        worker = kind(ModelSpec(str(trouble), "onnxruntime", threads=1))
        gone = asyncio.Event()
        worker.lost = gone.set
        facts = await worker.start()
        assert facts["max_batch"] == 8 and facts["seconds"] > 0 and facts["remark"] == ""
        rows = [np.array([[2, 1, 0]], np.float32), np.array([[3, 2, 0], [4, 0, 0]], np.float32)]
        ran = await ended(worker, {"x": rows})
        assert isinstance(ran, Ran)
        expected = np.array([[np.log(2) + 1], [np.log(3) + 2], [np.log(4)]])
        np.testing.assert_allclose(ran.outputs["y"], expected, rtol=1e-6)
        failed = await ended(worker, {"x": [np.array([[2, 9, 0]], np.float32)]})
        assert isinstance(failed, ModelFailed) and "ONNX Runtime could not run" in str(failed)
        hanging = ended(worker, {"x": [np.array([[2, 1, 1e6]], np.float32)]})
        await asyncio.sleep(0.05)
        if kind is ProcessWorker:
            os.kill(worker.pid, signal.SIGKILL)
        else:
            worker.kill()
        assert isinstance(await hanging, WorkerDied)
        assert gone.is_set()
        assert isinstance(await ended(worker, {"x": rows}), WorkerDied)
        worker.kill()

    run(test)
    for thread in threading.enumerate():
        if thread.name == "rectexport-worker":  # left behind in the engine, which must not outlive the interpreter
            thread.join()


@pytest.mark.parametrize("kind", [ProcessWorker, ThreadWorker])
def test_a_package_that_cannot_be_opened(package: Path, kind: Any) -> None:
    (package / "model.onnx").write_bytes(b"no model")

    async def test() -> None:
        worker = kind(ModelSpec(str(package), threads=1))
        with pytest.raises(BadInput, match="sha256"):
            await worker.start()
        worker.kill()

    run(test)


@pytest.mark.parametrize("kind", [ProcessWorker, ThreadWorker])
def test_an_engine_that_disagrees_is_served_only_if_that_is_allowed(tmp_path: Path, kind: Any) -> None:
    package = dynamic_package(tmp_path / "tiny").path
    with np.load(package / "goldens.npz") as stored:
        arrays: dict[str, Any] = {**stored, "output.y": stored["output.y"] + 1}
    np.savez(package / "goldens.npz", **arrays)
    document = json.loads((package / "manifest.json").read_text())
    document["files"]["goldens.npz"] = sha256(package / "goldens.npz")
    (package / "manifest.json").write_text(json.dumps(document))
    disprove(package)

    async def test() -> None:
        refused = kind(ModelSpec(str(package), "onnxruntime", threads=1))
        with pytest.raises(BadInput, match="output y is off") as raised:
            await refused.start()
        assert Option("allow_unproven", True) in raised.value.args
        refused.kill()
        worker = kind(ModelSpec(str(package), "onnxruntime", threads=1, allow_unproven=True))
        assert "output y: relative L2" in (await worker.start())["remark"]
        worker.kill()

    run(test)


def test_a_worker_that_never_opens_its_model(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(process_worker, "START", 0.01)
        worker = ProcessWorker(ModelSpec(str(package), threads=1))
        with pytest.raises(BadInput, match=r"did not open the model within 0\.01 s"):
            await worker.start()
        assert worker.pid is not None
        while True:  # until it is dead and reaped
            try:
                os.kill(worker.pid, 0)
            except ProcessLookupError:
                return
            await asyncio.sleep(0.01)

    run(test)
