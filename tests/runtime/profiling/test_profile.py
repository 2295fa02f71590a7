"""Profiles: with made-up engines, and of the digits network on the engines that are installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.base.environment import missing
from rectexport.runtime.base.files import sha256
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import ORIGINS, Package
from rectexport.runtime.profiling import profile as module
from rectexport.runtime.profiling.changes import FUSED, GONE, NEW, SAME, SPLIT, changes
from rectexport.runtime.profiling.memory import peak_bytes
from rectexport.runtime.profiling.origins import read_graph
from rectexport.runtime.profiling.process import ask
from rectexport.runtime.profiling.profile import Profile, ProfileOptions, profile
from rectexport.runtime.profiling.roofline import COMPUTE, MEMORY, OTHER, UNKNOWN, Peaks, host_peaks
from rectexport.runtime.profiling.sampled import NEXT, EngineLayer, Sampled
from rectexport.runtime.profiling.trace import chrome_trace

needs_onnxruntime = pytest.mark.skipif(missing("onnxruntime") is not None, reason="needs ONNX Runtime")
Asked = Callable[[str, Mapping[str, Any]], dict[str, Any]]


@pytest.fixture
def package(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the digits package with four nodes in its origins.json, on a machine that is not measured."""
    monkeypatch.setattr(module, "host_peaks", lambda threads: Peaks(1e9, 1e8))
    folder = tmp_path / "package"
    shutil.copytree(exported, folder)
    rows = [
        row("conv", "Conv", "x", "t", module="stem.conv", operations=18, weights=72),
        row("scale", "Mul", "t", "u", module="stem.scale", made_by="rectify_fold", operations=1),
        row("relu", "Relu", "u", "v", module="stem.act", operations=1),
        row("fc", "Gemm", "v", "output", module="head", operations=96),
    ]
    write_origins(folder, {"format": "rectexport-origins", "version": 1, "models": {"model.onnx": {"nodes": rows}}})
    return folder


def row(name: str, op: str, read: str, made: str, *, module: str, made_by: str = "", **more: Any) -> dict[str, Any]:
    own = {"name": name, "op": op, "inputs": [read], "outputs": [made], "module": module, "pass": made_by}
    return {**own, "weights": 0, **more}


def write_origins(folder: Path, document: Any) -> None:
    path = folder / ORIGINS
    path.write_text(json.dumps(document))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][ORIGINS] = sha256(path)
    manifest.pop("models", None)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def layer(name: str, kind: str, seconds: float, reorder: str = "", **sizes: Any) -> EngineLayer:
    return EngineLayer(name, kind, (name,), seconds, reorder, **sizes)


SIZED = {"inputs": (64,), "outputs": (1000,), "traffic": 8000}


def engine(*layers: EngineLayer, wall: float = 10e-3) -> Asked:
    """A process that answers these layers, and memory."""

    def asked(program: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        if spec.get("phases"):
            return {"phases": {"load": 1000, "run": 2000}, "description": "an engine"}
        return Sampled("an engine", 5, wall, layers, {"transfers": 1e-3}, 300).as_dict()

    return asked


def taken(package: Path, *layers: EngineLayer, **options: Any) -> Profile:
    how = ProfileOptions(launches=2, **options)
    return profile(package, how, asked=engine(*layers))[0]


def test_time_by_layer_module_and_pass_and_the_rest_by_name(package: Path) -> None:
    found = taken(
        package,
        layer("enter", "ReorderInput", 1e-3, NEXT),
        layer("v", "Conv", 6e-3, **SIZED),
        layer("fc", "Gemm", 1e-3),
        layer("strange", "Cast", 0.5e-3),
    )
    reorder, conv, fc, strange = found.layers
    assert conv.nodes == ("conv", "scale", "relu") and conv.module == "stem.conv"
    assert conv.modules == ("stem.conv", "stem.scale", "stem.act") and conv.passes == ("rectify_fold",)
    assert conv.operations == 20 * 1000 and conv.share == pytest.approx(0.6)
    assert reorder.module == "stem.conv" and reorder.nodes == () and reorder.tied and found.reorders == 0.1
    assert fc.module == "head" and fc.operations is None and fc.bound == UNKNOWN
    assert not strange.tied and strange.module == ""
    assert found.attributed == pytest.approx(0.8)
    assert found.outside == {"transfers": 1e-3, "framework": pytest.approx(0.5e-3)}
    assert found.by(lambda entry: entry.module) == pytest.approx({"stem.conv": 7e-3, "head": 1e-3, "": 0.5e-3})
    assert found.runs == 10 and found.weights == 72 and found.memory == {"load": 1000, "run": 2000}
    document = json.loads(json.dumps(found.as_dict()))
    assert document["layers"][1]["ms"] == pytest.approx(6.0) and document["memory"]["arena_bytes"] == 300


def test_launches_are_weighted_by_their_runs(package: Path) -> None:
    answers = iter(
        [Sampled("e", 1, 4e-3, [layer("fc", "Gemm", 3e-3)]), Sampled("e", 3, 8e-3, [layer("fc", "Gemm", 7e-3)])]
    )
    how = ProfileOptions(launches=2, memory=False)
    found = profile(package, how, asked=lambda program, spec: next(answers).as_dict())[0]
    assert found.wall == pytest.approx(7e-3) and found.layers[0].seconds == pytest.approx(6e-3)


def test_packages_are_profiled_in_turns(package: Path) -> None:
    seen: list[str] = []
    other = package.with_name("other")
    shutil.copytree(package, other)
    answers = engine(layer("fc", "Gemm", 1e-3))

    def asked(program: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        seen.append(Path(spec["package"]).name)
        return answers(program, spec)

    profile([Package.open(package), Package.open(other)], ProfileOptions(launches=2), asked=asked)
    assert seen == ["package", "other"] * 3


def test_a_package_without_origins_has_layers_without_modules(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    del manifest["files"][ORIGINS]
    (package / "manifest.json").write_text(json.dumps(manifest))
    (package / ORIGINS).unlink()
    found = taken(package, layer("fc", "Gemm", 1e-3))
    assert found.attributed == 0 and found.layers[0].nodes == ()


@pytest.mark.parametrize(
    "document",
    [[], {"format": "x", "version": 1}, {"format": "rectexport-origins", "version": 2, "models": {}},
     {"format": "rectexport-origins", "version": 1, "models": {"model.onnx": {"nodes": [{"name": 1}]}}}],
)  # fmt: skip
def test_foreign_origins_are_refused(package: Path, document: Any) -> None:
    write_origins(package, document)
    with pytest.raises(BadInput, match=r"origins\.json: expected rectexport-origins version 1 .* export the package"):
        read_graph(Package.open(package), "onnxruntime")


def test_a_backend_without_layers_is_refused(package: Path) -> None:
    with pytest.raises(UsageError, match=r"backend=.cuda.: it reports no times of layers; take one of tensorrt, open"):
        profile(package, ProfileOptions(backend="cuda"))


def test_what_fused_what_split_where_the_time_went(package: Path) -> None:
    before = taken(package, layer("conv", "Conv", 3e-3), layer("relu", "Relu", 2e-3), layer("fc", "Gemm", 1e-3))
    after = taken(package, layer("v", "Conv", 4e-3), layer("fc", "Gemm", 1e-3))
    rows = {row.module: row for row in changes(after, before)}
    assert rows["stem.act"].what == GONE and rows["stem.act"].seconds == 0
    assert rows["stem.conv"].what == SAME and rows["head"].what == SAME
    assert next(iter(rows)) == "stem.act"  # the largest change first
    assert {row.module: row.what for row in changes(before, after)}["stem.act"] == NEW
    split = taken(package, layer("a", "Gemm", 1e-3), layer("b", "Gemm", 1e-3))
    assert changes(split, split)[0].what == SAME


def test_fused_and_split_count_layers_of_one_module(package: Path) -> None:
    two = [EngineLayer(name, "Gemm", ("fc",), 1e-3) for name in ("fc/1", "fc/2")]
    one = taken(package, layer("fc", "Gemm", 1e-3))
    assert changes(taken(package, *two), one)[0].what == SPLIT
    assert changes(one, taken(package, *two))[0].what == FUSED


def test_a_trace_has_layers_end_to_end_under_their_modules(package: Path) -> None:
    found = taken(package, layer("conv", "Conv", 3e-3), layer("relu", "Relu", 2e-3), layer("fc", "Gemm", 1e-3))
    events = [event for event in chrome_trace(found)["traceEvents"] if event["ph"] == "X"]
    layers = [(event["name"], event["ts"], event["dur"]) for event in events if event["tid"] == 2]
    assert layers[:3] == [("conv", 0, 3000), ("relu", 3000, 2000), ("fc", 5000, 1000)]
    assert [name for name, _, _ in layers[3:]] == ["transfers", "framework"]
    modules = {event["name"]: (event["ts"], event["dur"]) for event in events if event["tid"] == 1}
    assert modules["stem"] == (0, 5000) and modules["stem.act"] == (3000, 2000) and modules["head"] == (5000, 1000)


def test_the_bound_is_the_larger_of_arithmetic_and_memory_unless_both_are_far_away() -> None:
    peaks = Peaks(operations=1e9, traffic=1e8)
    assert peaks.classify(1_000_000, 1000, 2e-3) == COMPUTE
    assert peaks.classify(1000, 100_000, 2e-3) == MEMORY
    assert peaks.classify(1000, 1000, 2e-3) == OTHER
    assert peaks.classify(None, 1000, 1.0) == peaks.classify(1, None, 1.0) == UNKNOWN


def test_no_layer_is_faster_than_the_peaks(package: Path) -> None:
    sizes = {"inputs": (64,), "outputs": (10**12,), "traffic": 10**14}
    found = taken(package, layer("v", "Conv", 6e-3, **sizes))
    assert found.peaks == Peaks(116 * 10**12 / 6e-3, 10**14 / 6e-3)


def test_this_machine_has_peaks_and_memory() -> None:
    peaks = host_peaks(1)
    assert 1e8 < peaks.operations < 1e14 and 1e8 < peaks.traffic < 1e13
    peak = peak_bytes()
    assert peak is not None and peak > 10_000_000


def test_memory_by_phase_is_read_from_the_system(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t    2048 kB\nThreads:\t3\n")
    assert peak_bytes(tmp_path) == 2048 * 1024


def test_an_error_in_the_process_comes_back_with_its_kind(tmp_path: Path) -> None:
    spec = {"package": str(tmp_path), "backend": "onnxruntime", "inputs": []}
    with pytest.raises(BadInput, match=r"manifest\.json"):
        ask("rectexport.runtime.profiling.worker", spec)
    with pytest.raises(BadInput, match=r"ended with exit code 1; it said: .*No module named"):
        ask("rectexport.runtime.profiling.nothing", spec)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_node_of_a_real_package_is_in_a_layer(exported: Path, backend: str) -> None:
    if missing(backend) is not None:
        pytest.skip(f"needs {backend}")
    package = Package.open(exported)
    found = profile(package, ProfileOptions(backend, threads=1, seconds=0.02, launches=1))[0]
    nodes = {node.name for node in read_graph(package, backend).nodes}
    assert {name for layer in found.layers for name in layer.nodes} == nodes
    assert all(layer.tied for layer in found.layers)
    assert 0 < sum(layer.share for layer in found.layers) < 1.05
    assert all(layer.kernel > 0 for layer in found.layers) or backend == "openvino"
    assert (found.dispatch > 0) == (backend == "onnxruntime")
    assert {layer.module for layer in found.layers} >= {"stem.0", "proportional.2", "down.0"}
    assert any("batch_norm" in layer.passes for layer in found.layers)
    assert list(found.memory) == ["start", "load", "warm-up", "run"]
    assert found.memory["start"] <= found.memory["load"]
