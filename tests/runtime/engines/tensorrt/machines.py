"""A machine with a fake GPU and a fake TensorRT: see fake_cuda.py and fake_tensorrt.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.files import sha256
from rectexport.runtime.engines.tensorrt import cuda, versions
from rectexport.runtime.engines.tensorrt.versions import Api
from tests.runtime.engines.tensorrt.fake_cuda import FakeCuda
from tests.runtime.engines.tensorrt.fake_tensorrt import VERSIONS, State, make_tensorrt


@dataclass
class Machine:
    """The fake machine: its driver, the fake TensorRT's settings and records, and a way to change its version."""

    gpu: FakeCuda
    trt: State
    install: Callable[[str], ModuleType]

    def api(self) -> Api:
        """The installed TensorRT."""
        return versions.load()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """TensorRT 10.13.3 on an H100."""
    fake, state = FakeCuda(), State()
    driver = cuda.Driver(fake)
    monkeypatch.setattr(cuda, "driver", lambda: driver)
    monkeypatch.setattr(versions, "version", lambda name: None)  # whatever wheels of TensorRT are installed here
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)

    def install(version: str) -> ModuleType:
        module = make_tensorrt(version, fake, state)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        forget_polygraphy()  # it keeps the module that it met first
        return module

    install("10.13.3")
    yield Machine(fake, state, install)
    forget_polygraphy()


@pytest.fixture(params=VERSIONS)
def every_version(request: pytest.FixtureRequest, machine: Machine) -> Machine:
    """The machine with each TensorRT in turn."""
    machine.install(request.param)
    return machine


def forget_polygraphy() -> None:
    """Unload Polygraphy: it keeps the first TensorRT module that it imports."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "polygraphy"]:
        del sys.modules[name]


@pytest.fixture
def flexible(tmp_path: Path) -> Path:
    """A package of one convolution and a ReLU, [n, 1, h, w] -> [n, 2, h, w]: n 1..8, h and w 4..16."""
    helper = pytest.importorskip("onnx.helper")
    weight = np.random.default_rng(0).standard_normal((2, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
    ]
    x, y = (helper.make_tensor_value_info(name, 1, ["n", size, "h", "w"]) for name, size in (("x", 1), ("y", 2)))
    initializer = helper.make_tensor("w", 1, weight.shape, weight.tobytes(), raw=True)
    graph = helper.make_graph(nodes, "flexible", [x], [y], [initializer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    folder = tmp_path / "flexible"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model)
    shape = {"shape": ["n", 1, "h", "w"], "dtype": "float32"}
    bounds = {"min": [1, 1, 4, 4], "opt": [2, 1, 8, 8], "max": [8, 1, 16, 16]}
    document = {
        "format": "rectexport-package",
        "version": 1,
        "inputs": [{"name": "x", **shape, "range": bounds}],
        "outputs": [{"name": "y", **shape, "shape": ["n", 2, "h", "w"]}],
        "tolerances": {"relative_l2": 1e-5},
        "files": {"model.onnx": sha256(folder / "model.onnx")},
    }
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def edit_manifest(package: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest's document in place."""
    path = package / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
