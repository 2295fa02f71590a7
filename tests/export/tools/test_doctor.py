"""`rectexport doctor`: what it finds, and what it keeps quiet about."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper
from torch import nn

from rectexport.cli.commands.doctor import NO_PROOF
from rectexport.cli.main import main
from rectexport.exporter.tools.doctor import diagnose, diagnose_package, load_model
from rectexport.exporter.tools.engine_report import verdicts
from rectexport.plugins import reference
from rectexport.runtime.base.files import sha256
from rectexport.runtime.errors import BadInput
from tests.export.helper import build
from tests.export.nets import exported, image, source

CHANNELS = 32
ORT = "ONNX Runtime 1.31"


def factor(size: int, kernel: int) -> np.ndarray:
    """r along one axis, for a padding that keeps the size."""
    pad = kernel // 2
    return reference.rectification_map(1, size, (1, kernel), pads=(0, pad, 0, pad))[0]


def model_of(*maps: np.ndarray, kernel=3, size=(CHANNELS, CHANNELS), spread=0.1, scale=None) -> ModelProto:
    """A convolution with 32 output channels whose norms spread, and multiplies by the maps."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((CHANNELS, 4, kernel, kernel))
    weight *= np.exp(spread * random.standard_normal(CHANNELS)).reshape(-1, 1, 1, 1)
    if scale is not None:
        weight *= scale.reshape(-1, 1, 1, 1)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y0"], "conv", pads=[kernel // 2] * 4)]
    arrays = {"w": weight}
    for index, entry in enumerate(maps):
        nodes.append(helper.make_node("Mul", [f"y{index}", f"r{index}"], [f"y{index + 1}"], f"mul{index}"))
        arrays[f"r{index}"] = entry
    nodes.append(helper.make_node("Relu", [f"y{len(maps)}"], ["z"]))
    x = helper.make_tensor_value_info("x", 1, [1, 4, *size])
    z = helper.make_tensor_value_info("z", 1, [1, CHANNELS, *size])
    stored = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", [x], [z], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_separable_maps_are_intact_as_they_are(kernel):
    r = factor(CHANNELS, kernel)
    found = diagnose(model_of(r.reshape(1, 1, -1, 1), r.reshape(1, 1, 1, -1), kernel=kernel))
    assert found.healthy and found.operators == {"Rectify": 1}


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_both_factors_folded(kernel):
    r = factor(CHANNELS, kernel)
    (suspicion,) = diagnose(model_of(kernel=kernel, scale=r * r)).suspicions
    assert suspicion.node == "conv" and "are larger, as the factors of" in suspicion.evidence[0]


def test_one_factor_folded_and_the_other_left():
    r = factor(CHANNELS, 3)
    (suspicion,) = diagnose(model_of(factor(9, 3).reshape(1, 1, -1, 1), size=(9, CHANNELS), scale=r)).suspicions
    assert "mul0 multiplies by one half of r: the column factor is missing" in suspicion.evidence


@pytest.mark.parametrize("kernel", [3, 5])
def test_what_onnxslim_does_is_found(kernel):
    slim = pytest.importorskip("onnxslim").slim
    r = factor(CHANNELS, kernel)
    model = model_of(r.reshape(1, 1, -1, 1), r.reshape(1, 1, 1, -1), kernel=kernel)
    broken = slim(model)
    if any(node.op_type == "Mul" for node in broken.graph.node):
        pytest.skip("this version of OnnxSlim leaves the factors alone")
    assert diagnose(broken).suspicions


def test_an_ordinary_convolution_is_not_suspicious():
    assert diagnose(model_of()).healthy
    assert diagnose(model_of(scale=factor(CHANNELS, 3), size=(9, 9))).healthy  # not as wide as its channels


def test_dynamic_sizes_and_opset():
    model = model_of()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.input[0].type.tensor_type.shape.dim[3].Clear()
    found = diagnose(model)
    assert found.dynamic == ["x[0]", "x[3]"] and found.inputs == {"x": ["batch", 4, CHANNELS, "?"]}
    assert (found.opset, found.nodes) == (18, 2)


def test_a_near_miss_of_rectification_is_reported():
    r = np.outer(factor(CHANNELS, 3), factor(CHANNELS, 3))[None, None]
    r[0, 0, 0, 0] += 0.1
    found = diagnose(model_of(r))
    assert found.healthy and not found.operators
    assert "no function of the convolution's tap counts" in found.refusals[0].reason


def test_the_model_is_not_changed():
    model = model_of(np.outer(factor(CHANNELS, 3), factor(CHANNELS, 3))[None, None])
    before = model.SerializeToString()
    diagnose(model)
    assert model.SerializeToString() == before


def run(arguments, capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    captured = capsys.readouterr()
    return stopped.value.code or 0, captured.out, captured.err


def test_the_command(tmp_path, capsys):
    r = factor(CHANNELS, 3)
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    onnx.save(model_of(np.outer(r, r)[None, None]), good)
    onnx.save(model_of(scale=r * r), bad)
    code, out, _ = run(["doctor", str(good)], capsys)
    assert code == 0 and "rectexport's operators: Rectify 1" in out and out.splitlines()[-1].startswith("PASSED ")
    code, out, _ = run(["doctor", str(bad)], capsys)
    assert code == 1 and "suspicious: conv" in out and out.splitlines()[-1].startswith("FAILED ")
    code, out, err = run(["doctor", str(bad), "--json"], capsys)
    assert code == 1 and json.loads(out)["suspicions"][0]["node"] == "conv" and "FAILED" in err


def pool(opset: int = 18) -> ModelProto:
    body = "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2], ceil_mode=1, count_include_pad=1>(x)"
    return build("(float[1,2,8,8] x) => (float[1,2,5,5] y)", body, opset)


def lines_of(text: str, beginning: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip().startswith(beginning)]


def test_engines_are_told_with_their_findings(tmp_path, capsys):
    path = tmp_path / "pool.onnx"
    onnx.save(pool(), path)
    code, out, _ = run(["doctor", str(path)], capsys)
    assert code == 0, "what an engine does wrong is no fault of the file"
    (row,) = lines_of(out, "OpenVINO 2026.4 ")
    assert row.split() == ["OpenVINO", "2026.4", "wrong", "1"]
    assert lines_of(out, "OpenVINO 2026.4, wrong: AveragePool: ") and "  at: AveragePool→y" in out
    assert "  way out: pass ceil_pool" in out and "  source: OpenVINO 2026.4.1" in out
    assert lines_of(out, "TensorRT 8.6, unknown: opset 18; it is documented for opsets up to 17")
    assert NO_PROOF in out.splitlines()
    code, out, _ = run(["doctor", str(path), "--json"], capsys)
    document = json.loads(out)
    assert document["verdicts"][ORT] == "ok" and document["verdicts"]["OpenVINO 2026.4"] == "wrong"
    assert {row["source"] for row in document["engines"] if row["verdict"] == "wrong"} != {""}


def test_one_version_of_tensorrt_is_judged(tmp_path, capsys):
    path = tmp_path / "pool.onnx"
    onnx.save(pool(), path)
    code, out, _ = run(["doctor", str(path), "--tensorrt-version", "10.3"], capsys)
    assert code == 0 and lines_of(out, "TensorRT 10.3 ") and lines_of(out, "OpenVINO 2026.4 ")
    assert not lines_of(out, "TensorRT 8.6") and not lines_of(out, "TensorRT 11")
    code, _, err = run(["doctor", str(path), "--tensorrt-version", "7.2"], capsys)
    assert code == 2 and "--tensorrt-version" in err and "expected 8.5, 8.6, or one of 10 and 11" in err


def test_nodes_of_one_finding_are_told_together(tmp_path, capsys):
    names = [f"t{index}" for index in range(6)]
    window = "kernel_shape=[3,3], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1"
    body = "".join(f"{y} = AveragePool<{window}>({x})\n" for x, y in pairwise(names))
    path = tmp_path / "pools.onnx"
    onnx.save(build("(float[1,2,8,8] t0) => (float[a,b,c,d] t5)", body), path)
    _, out, _ = run(["doctor", str(path)], capsys)
    assert len(lines_of(out, "OpenVINO 2026.4, wrong: ")) == 1
    assert "  at: AveragePool→t1, AveragePool→t2, AveragePool→t3 and 2 more" in out


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package whose proofs are: ONNX Runtime agrees, OpenVINO differs."""
    folder = tmp_path_factory.mktemp("doctor") / "net"
    exported(source(nn.AvgPool2d(3, 2, 1, ceil_mode=True).eval(), image(1, 2, 8, 8)), folder)
    document = json.loads((folder / "manifest.json").read_text())
    machine = {"architecture": "x86_64", "features": []}
    worst = {"relative_l2": 0.2, "output": "y", "region": "edge", "case": "example"}
    shared = {"precision": "float32", "processor": machine, "cases": 4, "worst": worst}
    document["proofs"] = [
        {"engine": "onnxruntime", "version": "1.31.1", "verdict": "agrees", "reason": "", **shared},
        {"engine": "openvino", "version": "2026.4.1", "verdict": "differs", "reason": "output y is off", **shared},
    ]
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


def test_a_package_is_shown_with_its_proofs(package, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(["doctor", str(package)], capsys)
    assert all(len(line) <= 80 for line in lines_of(out, ORT) + lines_of(out, "OpenVINO 2026.4 "))
    assert code == 0 and f"{package / 'model.onnx'}: opset" in out
    assert lines_of(out, ORT)[0].split() == [*ORT.split(), "ok", "1.31.1", "agrees,", "4", "cases"]
    assert "2026.4.1 differs, 4 cases" in lines_of(out, "OpenVINO 2026.4 ")[0]
    assert lines_of(out, "proof: openvino 2026.4.1 differs: output y is off")
    code, out, _ = run(["doctor", str(package), "--json"], capsys)
    document = json.loads(out)
    assert [proof["verdict"] for proof in document["proofs"]] == ["agrees", "differs"]
    assert document["healthy"] and document["models"]["model.onnx"]["verdicts"][ORT] == "ok"


def test_each_model_of_a_package_is_shown_for_the_engines_that_run_it(package, tmp_path):
    folder = tmp_path / "net"
    shutil.copytree(package, folder)
    onnx.save(pool(), folder / "for-openvino.onnx")
    document = json.loads((folder / "manifest.json").read_text())
    document["models"] = {"openvino": "for-openvino.onnx"}
    document["files"]["for-openvino.onnx"] = sha256(folder / "for-openvino.onnx")
    (folder / "manifest.json").write_text(json.dumps(document))
    found = diagnose_package(folder)
    assert verdicts(found.models["for-openvino.onnx"].engines) == {"OpenVINO 2026.4": "wrong"}
    assert "OpenVINO 2026.4" not in verdicts(found.models["model.onnx"].engines)
    assert ORT in verdicts(found.models["model.onnx"].engines)


def test_a_damaged_package_is_refused(package, tmp_path, capsys):
    folder = tmp_path / "net"
    shutil.copytree(package, folder)
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b" ")
    code, _, err = run(["doctor", str(folder)], capsys)
    assert code == 1 and "model.onnx: sha256" in err
    code, _, err = run(["doctor", str(tmp_path)], capsys)
    assert code == 1 and "error: " in err


def test_files_that_are_no_models(tmp_path, capsys):
    text = tmp_path / "model.onnx"
    text.write_text("no model")
    for path in (text, tmp_path / "absent.onnx"):
        with pytest.raises(BadInput):
            load_model(path)
        code, _, err = run(["doctor", str(path)], capsys)
        assert code == 1 and "error: " in err
    code, out, _ = run(["doctor", str(text), "--json"], capsys)
    assert code == 1 and json.loads(out)["passed"] is False


def test_an_invalid_file_is_reported():
    model = model_of()
    model.graph.node[1].input[0] = "nothing"
    found = diagnose(model)
    assert found.faults and not found.healthy
