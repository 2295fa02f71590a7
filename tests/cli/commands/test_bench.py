"""`rectexport bench` on the command line: flags, verdicts and exit codes with fake times, and one real run."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from rectexport.cli.bench.plan import numbers, percent
from rectexport.cli.commands import bench as command_module
from rectexport.runtime.errors import UsageError
from rectexport.runtime.timing.bench import run_bench
from rectexport.runtime.timing.stopwatch import Timing


@pytest.fixture(scope="module")
def packages(command, tiny, tmp_path_factory):
    """Two packages of one network, the second for larger batches, and one with a rectification written by hand."""
    folder = tmp_path_factory.mktemp("packages")
    for name, most in (("small", 4), ("large", 8)):
        sizes = ("--min-shapes", "x:1x1x8x8", "--opt-shapes", "x:2x1x8x8", "--max-shapes", f"x:{most}x1x8x8")
        assert command(tiny, "-o", folder / name, *sizes).code == 0
    weight = np.random.default_rng(0).standard_normal((4, 1, 3, 3)).astype(np.float32)
    rows = np.minimum(np.arange(8) + 2, np.minimum(9 - np.arange(8), 3))
    factor = (9 / np.outer(rows, rows)).astype(np.float32)[None, None]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["y", "r"], ["z"], "scale"),
    ]
    shapes = {"x": [2, 1, 8, 8], "z": [2, 4, 8, 8]}
    x, z = (helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items())
    stored = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(factor, "r")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [z], stored), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    onnx.save(model, folder / "rectified.onnx")
    assert command(folder / "rectified.onnx", "-o", folder / "rectified").code == 0
    return folder


@pytest.fixture
def timed(monkeypatch):
    """A fake stopwatch: seconds by contestant, 0.01 for others. Returns those seconds, and the calls made."""
    seconds, asked = {}, []

    def stopwatch(contestants, how, tick):
        asked.append((contestants, how))
        said = {"description": "an engine", "timer": "a clock", "transfers": "none"}
        luck = np.exp(0.001 * np.cos(np.pi * np.arange(how.launches)))
        times = {}
        for index, entry in enumerate(contestants):
            rounds = seconds.get(entry.name, 0.01) * (luck if index == 0 else np.ones(how.launches))
            times[entry.name] = Timing(tuple(rounds), tuple(range(how.launches)), tuple(rounds), said)
        return times

    monkeypatch.setattr(command_module, "run_bench", partial(run_bench, stopwatch=stopwatch))
    return seconds, asked


@pytest.mark.parametrize(
    ("time", "bound", "code", "verdict"),
    [
        (0.011, "5%", 4, "slower"),
        (0.011, "12%", 0, "slower"),
        (0.011, None, 0, "slower"),
        (0.01, "0%", 0, "no difference"),
        (0.009, "0%", 0, "faster"),
    ],
)
def test_the_verdict_and_the_exit_code(packages, command, timed, time, bound, code, verdict):
    timed[0]["small, onnxruntime"] = time
    flags = () if bound is None else ("--fail-if-slower", bound)
    ran = command("bench", packages / "small", "--vs", packages / "large", *flags)
    assert ran.code == code, ran.out + ran.err
    sentence = next(line for line in ran.out.splitlines() if line.startswith("batch 2: small on onnxruntime takes"))
    assert sentence.endswith(f": {verdict}") and "× large (95 % interval" in sentence
    assert ran.last.startswith("FAILED after" if code else "PASSED in") and "· again: rectexport bench" in ran.last
    assert ("slower than allowed: " in ran.out) == (code == 4)


def test_the_document_and_the_file(packages, command, timed, folder):
    timed[0]["small, onnxruntime"] = 0.02
    words = (packages / "small", "--vs", packages / "large", "--batch", "1,3", "--percentile", "50,99.9", "--json")
    ran = command("bench", *words, "--fail-if-slower", "5%", "-o", folder / "latency.json")
    document = json.loads(ran.out)
    assert ran.code == 4 and document["passed"] is False and ran.last.startswith("FAILED after")
    assert json.loads((folder / "latency.json").read_text()) == document
    assert [(row["name"], row["batch"]) for row in document["contestants"]] == [
        ("small", 1), ("large", 1), ("small", 3), ("large", 3),
    ]  # fmt: skip
    assert {"median_ms", "p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "throughput"} <= set(document["contestants"][0])
    assert [entry["verdict"] for entry in document["comparisons"]] == ["slower", "slower"]


def test_the_options_reach_the_stopwatch(packages, command, timed):
    words = ("--backend", "onnxruntime,openvino", "--threads", "1", "--duration", "3", "--warm-up", "50")
    ran = command("bench", packages / "small", *words, "--launches", "7", "--input", "x:4x1x8x8")
    assert ran.code == 0, ran.err
    assert not any(entry.spec["allow_unproven"] for entry in timed[1][0][0])
    ran = command("bench", packages / "small", *words, "--launches", "7", "--input", "x:4x1x8x8", "--allow-unproven")
    assert ran.code == 0 and all(entry.spec["allow_unproven"] for entry in timed[1][1][0])
    contestants, how = timed[1][0]
    assert (how.seconds, how.warm_up, how.launches) == (3.0, 0.05, 7)
    assert [entry.name for entry in contestants] == ["small, onnxruntime", "small, openvino"]
    assert all(entry.spec["threads"] == 1 for entry in contestants)
    assert all(entry.spec["inputs"] == [["x", "float32", [4, 1, 8, 8]]] for entry in contestants)
    assert "small (openvino) takes" in ran.out and "7 launches, 3 s of runs each" in ran.out


def test_the_plain_twin(packages, command, timed):
    ran = command("bench", packages / "rectified", "--plain-twin")
    assert ran.code == 0, ran.err
    assert "plain twin: 1 rectification removed, 2 nodes before, 1 after" in ran.out
    assert "rectified on onnxruntime takes" in ran.out
    refused = command("bench", packages / "small", "--plain-twin")
    assert refused.code == 1 and "the model has no rectification" in refused.err


def test_pytorch(packages, command, timed, digits):
    ran = command("bench", packages / "small", "--vs", "torch-compile", "--source", digits, "--no-transfers")
    assert ran.code == 0, ran.err
    torch = timed[1][0][0][1]
    assert torch.module == "rectexport.exporter.tools.torch_worker"
    expected = {"source": str(digits), "arch": None, "compile": True, "device": "cpu", "transfers": False}
    assert expected.items() <= torch.spec.items()
    assert f"warning: {digits} is not the file that the package was made from (tiny.onnx, sha256" in ran.out
    missing = command("bench", packages / "small", "--vs", "torch")
    assert missing.code == 2 and "the package was made from a file named tiny.onnx" in missing.err


def test_without_the_exporter(packages, command, monkeypatch):
    from rectexport.runtime.base import environment

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(environment.importlib, "import_module", absent)
    for words in (("--plain-twin",), ("--vs", "torch", "--source", packages / "rectified.onnx")):
        ran = command("bench", packages / "rectified", *words)
        assert ran.code == 5 and "pip install 'rectexport[export]'" in ran.err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--vs", "torch", "--plain-twin"), 2, "--plain-twin and --vs"),
        (("--fail-if-slower", "5%"), 2, "needs something to compare with"),
        (("--plain-twin", "--fail-if-slower", "5"), 2, "expected a percentage, as in 5%"),
        (("--source", "net.pt"), 2, "are for --vs torch and --vs torch-compile"),
        (("--arch", "resnet18"), 2, "are for --vs torch and --vs torch-compile"),
        (("--backend", "tpu"), 2, "--backend tpu: expected one of tensorrt, cuda"),
        (("--batch", "0"), 2, "--batch '0': expected numbers in 1.."),
        (("--batch", "16"), 1, "axis 0: the package takes 1..4, not 16"),
        (("--launches", "5"), 2, "--launches 5: expected 6.."),
        (("--duration", "-1"), 2, "--duration: expected at least 0"),
        (("--threads", "-1"), 2, "--threads"),
        (("--percentile", "101"), 2, "--percentile"),
        (("--vs", "nowhere"), 1, "nowhere: no such package folder"),
        (("--out", "PKG/latency.json"), 2, "latency.json: lies in a package"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_timed(packages, command, timed, words, code, text):
    ran = command("bench", packages / "small", *(word.replace("PKG", str(packages / "small")) for word in words))
    assert ran.code == code and text in ran.err, ran.err
    assert not timed[1] and ("FAILED after" in ran.last or "Invalid value" in ran.err)


def test_a_changed_package_is_refused(packages, command, timed, folder):
    import shutil

    copy = shutil.copytree(packages / "small", folder / "copy")
    (copy / "model.onnx").write_bytes(b"changed")
    ran = command("bench", copy)
    assert ran.code == 1 and "the file was changed or cut short" in ran.err and not timed[1]


def test_numbers_and_percentages():
    assert numbers("1, 8", "--batch", int, 1, 10) == [1, 8]
    assert percent("2.5%", "--x") == 0.025
    for wrong in ("1,1", "a", "", "1,11"):
        with pytest.raises(UsageError, match="--batch"):
            numbers(wrong, "--batch", int, 1, 10)
    for wrong in ("5", "-5%", "x%", "nan%"):
        with pytest.raises(UsageError, match="--x"):
            percent(wrong, "--x")


def test_a_real_benchmark(packages, command):
    """With processes, engine and clock; the times themselves are not checked."""
    words = ("--plain-twin", "--launches", "6", "--duration", "0.06", "--warm-up", "1", "--threads", "1", "--json")
    ran = command("bench", packages / "rectified", *words)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    (entry,) = document["comparisons"]
    assert 0 < entry["low"] <= entry["ratio"] <= entry["high"] and document["notes"]
    for row in document["contestants"]:
        assert row["runs"] >= 6 * 9 and 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["description"].startswith("ONNX Runtime") and set(row["launch_of_round"]) == set(range(6))
