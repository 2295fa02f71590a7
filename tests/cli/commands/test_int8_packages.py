"""verify, parity, bench, eval, report, serve and triton take an int8 package as any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from rectexport.cli.commands import bench
from rectexport.exporter import int8 as int8_stage
from rectexport.exporter.quantize.speed import Speed
from rectexport.runtime.package.folder import Package
from rectexport.runtime.timing.bench import run_bench
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Timing
from tests.cli.conftest import Command
from tests.export.quantize.nets import items, rectified_net
from tests.runtime.serving.conftest import ask, json_body, serve  # noqa: F401 (a fixture)

SHAPES = ("--min-shapes", "x:1x3x8x8", "--opt-shapes", "x:4x3x8x8", "--max-shapes", "x:8x3x8x8")


@pytest.fixture(scope="module")
def folder(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, the package `float` and, for two engines and TensorRT, the package `int8`."""
    folder = tmp_path_factory.mktemp("int8")
    onnx.save(rectified_net(), folder / "net.onnx")
    np.savez(folder / "data.npz", **items(96).feeds, labels=np.arange(96) % 5)
    words = ("--int8", "--calibrate", folder / "data.npz", "--target", "onnxruntime,openvino,tensorrt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_stage, "compare_speed", lambda *parts: Speed(0.4, 0.38, 0.43, 0.8, 2.0))
        ran = command(folder / "net.onnx", "-o", folder / "int8", *words, *SHAPES)
    assert ran.code == 0, ran.err
    assert command(folder / "net.onnx", "-o", folder / "float", *SHAPES).code == 0
    return folder


def test_a_float_package_is_quantized_from_its_source(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the package's range of sizes, and its default folder beside the others."""
    monkeypatch.setattr(int8_stage, "compare_speed", lambda *parts: Speed(0.4, 0.38, 0.43, 0.8, 2.0))
    monkeypatch.chdir(folder)
    words = ("--source", "net.onnx", "--int8", "--calibrate", "data.npz")
    ran = command("float", *words)
    assert ran.code == 0, ran.err
    made = Package.open(folder / "out" / "float-int8").manifest
    assert made.data["options"]["precision"] == "int8"
    bounds = made.inputs[0].range
    assert bounds is not None and (bounds.min, bounds.opt, bounds.max) == ((1, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("float",), 2, "float: is a package already; give the model that it was made from"),
        (("float", "--source", "net.onnx"), 2, "or for its int8 form --int8 and --source"),
        (("float", "--int8", "--calibrate", "data.npz"), 2, "or for its int8 form --int8 and --source"),
        (("net.onnx", "--source", "net.onnx"), 2, "--source: only where MODEL is a package"),
        (
            ("float", "--source", "other.onnx", "--int8", "--calibrate", "data.npz"),
            1,
            "other.onnx: is not the file that float was made from (net.onnx, sha256",
        ),
        (("float", "--source", "absent.onnx", "--int8", "--calibrate", "data.npz"), 1, "absent.onnx: no such file"),
    ],
)
def test_a_package_without_its_own_source_is_refused(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(folder)
    onnx.save(rectified_net(seed=1), "other.onnx")
    ran = command(*words)
    assert ran.code == code and said in " ".join(ran.err.split()), ran.err


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_verify_and_parity_hold_it_to_its_own_tolerance(command: Command, folder: Path, backend: str) -> None:
    pytest.importorskip(backend)
    assert command("verify", folder / "int8", "--backend", backend).code == 0
    ran = command("parity", folder / "int8", "--against", folder / "net.onnx", "--backend", backend, "--json")
    assert ran.code == 0, ran.err
    worst = max(entry["relative_l2"] for case in json.loads(ran.out)["cases"] for entry in case["outputs"].values())
    assert 1e-4 < worst < 0.1  # it is int8 that was compared


def test_parity_finds_a_package_of_another_model(command: Command, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    onnx.save(rectified_net(seed=1), other)
    assert command("parity", folder / "int8", "--against", other, "--backend", "onnxruntime").code == 3


def test_bench_times_it_against_the_float_package(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fake stopwatch, which opens what it is told to time."""

    def stopwatch(contestants: Sequence[Contestant], how: Any, tick: Any) -> dict[str, Timing]:
        said = {"description": "an engine", "timer": "a clock", "transfers": "none"}
        times = {}
        for entry in contestants:
            model = onnx.load(Path(entry.spec["package"]) / "model.onnx")
            quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
            rounds = tuple((1.0 if quantized else 2.0) * (1 + 0.01 * launch) for launch in range(how.launches))
            times[entry.name] = Timing(rounds, tuple(range(how.launches)), rounds, said)
        return times

    monkeypatch.setattr(bench, "run_bench", partial(run_bench, stopwatch=stopwatch))
    words = ("--vs", folder / "float", "--backend", "onnxruntime", "--fail-if-slower", "0%")
    ran = command("bench", folder / "int8", *words)
    assert ran.code == 0, ran.err
    assert "int8 on onnxruntime takes 0.50" in " ".join(ran.out.split()), ran.out


def test_eval_measures_it_against_the_float_package(command: Command, folder: Path) -> None:
    words = ("--data", folder / "data.npz", "--against", folder / "float", "--backend", "onnxruntime", "--json")
    ran = command("eval", folder / "int8", *words)
    assert ran.code == 0, ran.err
    (engine,) = json.loads(ran.out)["engines"]
    assert engine["agreement"] > 0.95


def test_the_report_has_its_ranges_and_ratios(command: Command, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    page = tmp_path / "report.html"
    ran = command("report", folder / "int8", "-o", page)
    assert ran.code == 0, ran.err
    text = page.read_text()
    assert "int8 takes 0.40 of the time of float32" in text
    assert "Ranges of the quantized tensors, openvino" in text and "Layers, tensorrt" in text


def test_serve_answers_as_the_engine_does(folder: Path, serve: Callable[..., Any]) -> None:  # noqa: F811
    import rectexport

    running = serve(folder / "int8", "--backend", "onnxruntime")
    x = items(2, seed=9).feeds["x"]
    answer = ask(running.http, "/v2/models/int8/infer", json_body(x))
    assert answer.status == 200, answer.body
    served = np.array(json.loads(answer.body)["outputs"][0]["data"], np.float32).reshape(2, 5)
    with rectexport.load(folder / "int8", "onnxruntime") as session:
        assert np.abs(served - session(x)).max() < 1e-5
    with rectexport.load(folder / "float", "onnxruntime") as session:
        assert np.abs(served - session(x)).max() > 1e-4


def test_a_triton_repository_has_the_file_of_its_engine(command: Command, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc")
    ran = command("triton", folder / "int8", tmp_path / "models")
    assert ran.code == 0, ran.err
    (version,) = [path.parent for path in (tmp_path / "models").rglob("model.onnx")]
    model = onnx.load(version / "model.onnx")
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    assert (version / "model.onnx").read_bytes() == (folder / "int8" / "model.onnx").read_bytes()
