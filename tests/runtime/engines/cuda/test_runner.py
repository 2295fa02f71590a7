"""ONNX Runtime CUDA on a fake GPU: provider options, placement of arrays, refused models."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.base.runner import BackendOptions, DeviceRunner
from rectexport.runtime.engines.cuda import graphs as cuda_graphs
from rectexport.runtime.engines.cuda import libraries as cuda_libraries
from rectexport.runtime.engines.cuda import runner as cuda_runner
from rectexport.runtime.engines.cuda.runner import CudaRunner
from rectexport.runtime.errors import BadInput, MissingDependency
from rectexport.runtime.package.folder import Package
from rectexport.runtime.session import Session
from tests.runtime.fakes import PROVIDERS, FakeCupyArray, FakeOrt, fake_cupy

Make = Callable[..., FakeOrt]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Installs a fake GPU and an ONNX Runtime that uses it."""

    def make(**options: Any) -> FakeOrt:
        ort = FakeOrt(**options)
        monkeypatch.setattr(cuda_runner, "require", lambda module: ort)
        monkeypatch.setattr(cuda_libraries, "no_gpu", lambda device=0: None)
        monkeypatch.setattr(cuda_libraries, "preload", lambda ort: None)
        return ort

    return make


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.fixture
def goldens(exported: Path) -> tuple[np.ndarray, np.ndarray]:
    inputs, outputs = Package.open(exported).goldens()
    return next(iter(inputs.values())), next(iter(outputs.values()))


@pytest.fixture(params=[False, True], ids=["plain", "graphs"])
def session(request: Any, gpu: Make, exported: Path) -> Iterator[Session]:
    gpu()
    package = Package.open(exported)
    with Session(package, CudaRunner(package, BackendOptions(cuda_graphs=request.param))) as opened:
        yield opened


def test_provider_options(gpu: Make, exported: Path) -> None:
    ort = gpu()
    package = Package.open(exported)
    runner = CudaRunner(package, BackendOptions(device=2, prefer_nhwc=True))
    ((name, settings), cpu) = ort.asked[0]
    assert [name, cpu] == PROVIDERS
    assert settings == {
        "device_id": "2",
        "use_tf32": "0",
        "prefer_nhwc": "1",
        "enable_cuda_graph": "0",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "arena_extend_strategy": "kNextPowerOfTwo",
    }
    assert ort.arguments == [{"enable_fallback": 0}] and ort.fallback_disabled == 1
    assert isinstance(runner, DeviceRunner) and runner.device == 2
    assert runner.description == f"ONNX Runtime {ort.real.__version__}, CUDA device 2"
    assert [spec.name for spec in runner.inputs] == [entry.name for entry in package.manifest.inputs]


def test_provider_options_for_dynamic_sizes(gpu: Make, exported: Path) -> None:
    options = cuda_runner._provider_options(_dynamic(exported), BackendOptions(cuda_graphs=True))
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert (options["enable_cuda_graph"], options["prefer_nhwc"]) == ("1", "0")


def _dynamic(exported: Path) -> Package:
    from dataclasses import replace

    package = Package.open(exported)
    (entry,) = package.manifest.inputs
    named = replace(entry, shape=("batch", *entry.shape[1:]))
    return Package(package.path, replace(package.manifest, inputs=(named,)))


def test_host_arrays_in_and_out(session: Session, goldens: tuple[np.ndarray, np.ndarray]) -> None:
    image, expected = goldens
    for _ in range(3):
        answer = session(image)
        assert isinstance(answer, np.ndarray)
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(session(image[::-1]), expected[::-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)  # a later run has not written into it


def test_gpu_arrays_stay_on_the_gpu(session: Session, cupy: Any, goldens: tuple[np.ndarray, np.ndarray]) -> None:
    image, expected = goldens
    for _ in range(3):
        answer = session(FakeCupyArray(image.copy()))
        assert isinstance(answer, FakeCupyArray)
        np.testing.assert_allclose(answer.host, expected, rtol=1e-4, atol=1e-5)
    strided = FakeCupyArray(np.asfortranarray(image))
    np.testing.assert_allclose(session(strided).host, expected, rtol=1e-4, atol=1e-5)
    assert cupy.synchronized > 0


def test_outputs_are_written_into_given_arrays(
    session: Session, cupy: Any, goldens: tuple[np.ndarray, np.ndarray]
) -> None:
    image, expected = goldens
    (name,), (output,) = [entry.name for entry in session.inputs], [entry.name for entry in session.outputs]
    target = FakeCupyArray(np.zeros_like(expected))
    results = session.run({name: FakeCupyArray(image.copy())}, {output: target})
    assert results[output] is target
    np.testing.assert_allclose(target.host, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(BadInput, match=rf"^out {output}: expected shape \[4, 10\], got \[4, 9\]$"):
        session.run({name: FakeCupyArray(image)}, {output: FakeCupyArray(np.zeros((4, 9), np.float32))})
    with pytest.raises(BadInput, match=rf"^out {output}: is not contiguous"):
        session.run({name: FakeCupyArray(image)}, {output: FakeCupyArray(np.asfortranarray(expected))})
    with pytest.raises(BadInput, match=rf"^{name}: is on GPU 1, but the session runs on GPU 0"):
        session.run({name: FakeCupyArray(image, device=1)})


def test_addresses_are_bound_without_a_copy(gpu: Make, cupy: Any, exported: Path) -> None:
    ort = gpu()
    package = Package.open(exported)
    runner = CudaRunner(package, BackendOptions(device=1))
    (image,), (expected,) = (list(arrays.values()) for arrays in package.goldens())
    ort.bound.clear()
    given = FakeCupyArray(image.copy(), device=1)
    (name, output) = (package.manifest.inputs[0].name, package.manifest.outputs[0].name)
    target = FakeCupyArray(np.zeros_like(expected), device=1)
    Session(package, runner).run({name: given}, {output: target})
    assert ort.bound == [
        ("input", name, "cuda", 1, given.data.ptr),
        ("input", name, "cuda", 1, given.data.ptr),
        ("output", output, "cuda", 1, None),  # the first run at this shape: how large are the outputs?
        ("output", output, "cuda", 1, target.data.ptr),
    ]
    ort.bound.clear()
    Session(package, runner).run({name: given}, {output: target})
    assert len(ort.bound) == 2


def test_each_shape_has_its_graph_and_one_thread_runs_them(
    gpu: Make, exported: Path, monkeypatch: pytest.MonkeyPatch, goldens: tuple[np.ndarray, np.ndarray]
) -> None:
    monkeypatch.setattr(cuda_graphs, "GRAPHS", 1)
    ort = gpu()
    package = Package.open(exported)
    runner = CudaRunner(package, BackendOptions(cuda_graphs=True))
    assert ort.asked[0][0][1]["enable_cuda_graph"] == "1"
    assert ort.runs == ["-1"]  # the profiled one
    threads = set()
    real = runner._session.real.run_with_iobinding
    runner._session.real = _Watched(runner._session.real, lambda: threads.add(threading.current_thread().name))
    (name,) = [spec.name for spec in runner.inputs]
    image, expected = goldens
    for _ in range(3):
        (answer,) = runner.run({name: image}).values()
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
    assert ort.runs[1:] == ["-1", "1", "1", "1"]  # buffers first, then recorded and replayed
    assert ort.bound[-1] == ("fixed", package.manifest.outputs[0].name)
    engine = runner._engine
    assert isinstance(engine, cuda_graphs.CudaGraphs)
    assert engine._graph({name: np.zeros((9, 1, 8, 8), np.float32)}) is None  # no more graphs than allowed
    assert real is not None and threads == {"rectexport-cuda-graphs_0"}
    runner.close()
    with pytest.raises(BadInput, match="the model was closed"):
        runner.run({name: image})


class _Watched:
    def __init__(self, real: Any, seen: Callable[[], None]) -> None:
        self.real, self.seen = real, seen

    def run_with_iobinding(self, *arguments: Any) -> None:
        self.seen()
        self.real.run_with_iobinding(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def test_nodes_on_the_cpu_are_refused_by_name(gpu: Make, exported: Path) -> None:
    gpu(on_cpu=["Conv", "Gemm"])
    with pytest.raises(BadInput) as refused:
        CudaRunner(Package.open(exported), BackendOptions())
    message = str(refused.value)
    count = re.search(r" (\d+) nodes would run on the CPU: \S+ \((?:Conv|Gemm)\), ", message)
    assert count is not None and message.count(" (") == cuda_runner.NAMED
    assert f" and {int(count[1]) - cuda_runner.NAMED} more; " in message
    gpu(on_cpu=["Gemm"])
    with pytest.raises(BadInput, match=r": 1 node would run on the CPU: \w+ \(Gemm\); the CUDA provider"):
        CudaRunner(Package.open(exported), BackendOptions())


def test_a_provider_that_does_not_load_is_refused(gpu: Make, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(providers=["CPUExecutionProvider"])
    monkeypatch.setattr(cuda_libraries, "provider_fault", lambda ort: "libcudnn.so.9: cannot open")
    with pytest.raises(MissingDependency) as missing:
        CudaRunner(Package.open(exported), BackendOptions())
    assert "would use the CPU: libcudnn.so.9: cannot open; install the CUDA and cuDNN" in str(missing.value)
    assert missing.value.exit_code == 5


@pytest.mark.parametrize(("fault", "error"), [("libcublas.so.12", MissingDependency), (None, BadInput)])
def test_a_session_that_fails_names_the_library_or_the_model(
    gpu: Make, exported: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None, error: type[Exception]
) -> None:
    ort = gpu()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such thing\nsecond line")

    monkeypatch.setattr(ort, "InferenceSession", fail)
    monkeypatch.setattr(cuda_libraries, "provider_fault", lambda ort: fault)
    with pytest.raises(error, match=fault or "refuses it: no such thing$"):
        CudaRunner(Package.open(exported), BackendOptions())


def test_without_a_gpu_no_session_is_opened(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_libraries, "no_gpu", lambda device=0: f"no GPU {device}")
    with pytest.raises(MissingDependency, match=r"^backend cuda: no GPU 0"):
        load(exported, "cuda")
