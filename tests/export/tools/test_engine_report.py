"""What is said about engines before a model runs on one: the faults that it has, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from rectexport.exporter.tools.engine_report import EVERY, engine_report, verdicts
from rectexport.models.registry import create_model
from tests.export.helper import build
from tests.export.nets import exported, source
from tests.export.nets import image as example

OPENVINO, ONNXRUNTIME = "OpenVINO 2026.4", "ONNX Runtime 1.31"
TENSORRT = {"8.6": "TensorRT 8.6", "10": "TensorRT 10", "11": "TensorRT 11"}
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)


def wrap(opset: int) -> ModelProto:
    return build("(float[1,2,4,4] x) => (float[1,2,6,6] y)", 'y = Pad<mode="wrap">(x, pads)', opset, pads=PADS)


def relu(opset: int = 18) -> ModelProto:
    return build("(float[2] x) => (float[2] y)", "y = Relu(x)", opset)


def test_a_plain_model_is_ok_everywhere() -> None:
    found = verdicts(engine_report(relu(17)))
    assert set(found.values()) == {"ok"} and len(found) == 5


def test_a_refused_operator_names_node_reason_and_way_out() -> None:
    rows = [row for row in engine_report(wrap(19)) if row.engine == OPENVINO]
    (row,) = rows
    assert row.verdict == "refused" and row.node == "Pad→y" and "wrap" in row.reason
    assert "wrap_pad" in row.way_out and "2026.4.1" in row.source


def test_a_fault_of_old_versions_is_told_for_those() -> None:
    found = verdicts(engine_report(wrap(19)))
    assert found[TENSORRT["8.6"]] == "refused"
    assert found[TENSORRT["10"]] == found[TENSORRT["11"]] == found[ONNXRUNTIME] == "ok"


def test_a_value_that_the_opset_does_not_have() -> None:
    rows = [row for row in engine_report(wrap(18)) if row.engine == EVERY]
    assert [row.reason for row in rows] == ["Pad: mode wrap exists from opset 19 on, the model has 18"]
    assert not [row for row in engine_report(wrap(19)) if row.engine == EVERY]


def test_an_operator_and_an_attribute_that_the_opset_does_not_have() -> None:
    model = build(
        "(float[1,2,4,4] x) => (float[1,2,4,4] y)",
        "a = Gelu(x)\n y = AveragePool<kernel_shape=[1,1], dilations=[1,1]>(a)",
        20,
    )
    model.opset_import[0].version = 18
    reasons = [row.reason for row in engine_report(model) if row.engine == EVERY]
    assert reasons == ["Gelu: opset 18 has no such operator", "AveragePool: at opset 18 it has no attribute dilations"]


def test_an_opset_that_is_too_new() -> None:
    model = relu(21)
    model.opset_import[0].version = 27
    found = verdicts(engine_report(model))
    assert found[ONNXRUNTIME] == "refused" and found[OPENVINO] == "ok"
    assert {found[title] for title in TENSORRT.values()} == {"unknown"}  # its parsers do not check


@pytest.mark.parametrize(
    ("signature", "body", "reason"),
    [
        ("(uint8[4] x) => (uint8[4] y)", "y = Add(x, x)", "saturate"),
        (
            "(float[1,2,8,8] x) => (float[a,b,c,d] y)",
            "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1>(x)",
            "divide",
        ),
        (
            "(float[1,2,8,8] x) => (float[a,b,c,d] y)",
            "y = MaxPool<kernel_shape=[2,2], strides=[2,2], pads=[0,0,1,1], ceil_mode=1>(x)",
            "larger",
        ),
        ("(float[1,4,8,1] x) => (float[a,b,c,d] y)", "y = DFT<onesided=1>(x)", "axis"),
    ],
)
def test_wrong_results_of_openvino(signature: str, body: str, reason: str) -> None:
    rows = [row for row in engine_report(build(signature, body, 21)) if row.engine == OPENVINO]
    assert rows[0].verdict == "wrong" and any(reason in row.reason for row in rows)


def test_pools_without_a_fault_are_ok() -> None:
    window = "kernel_shape=[3,3], strides=[2,2], ceil_mode=1"
    body = f"a = AveragePool<{window}, count_include_pad=1>(x)\n y = MaxPool<{window}, pads=[1,1,1,1]>(a)"
    assert verdicts(engine_report(build("(float[1,2,9,9] x) => (float[a,b,c,d] y)", body, 18)))[OPENVINO] == "ok"


def test_operators_in_branches_are_seen() -> None:
    model = wrap(19)
    pad = model.graph.node.pop()
    pad.output[0] = "t"
    bodies = []
    for name in ("then", "else"):
        branch = helper.make_graph([pad], name, [], [helper.make_tensor_value_info("t", 1, None)])
        bodies.append(branch)
    model.graph.input.append(helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=bodies[0], else_branch=bodies[1]))
    assert verdicts(engine_report(model))[OPENVINO] == "refused"


def test_local_functions_are_refused_by_tensorrt_8() -> None:
    body = "y = rectexport.CRelu<axis=1>(x)"
    model = build("(float[1,2,4,4] x) => (float[1,4,4,4] y)", body)
    found = verdicts(engine_report(model))
    assert found[TENSORRT["8.6"]] == "refused" and found[OPENVINO] == found[ONNXRUNTIME] == "ok"


def test_a_domain_without_functions_is_unknown() -> None:
    model = relu()
    model.graph.node[0].domain = "my"
    model.opset_import.append(helper.make_opsetid("my", 1))
    assert set(verdicts(engine_report(model)).values()) == {"unknown"}


def test_rows_are_json() -> None:
    assert json.loads(json.dumps([row.as_dict() for row in engine_report(wrap(18))]))


@pytest.mark.parametrize("name", ["resnet20", "resnet20_drop_last"])
def test_no_false_alarm_on_portable_exports(name: str, tmp_path: Path) -> None:
    package = exported(source(create_model(name).eval(), example(1, 3, 32, 32)), tmp_path, target="portable").package
    found = verdicts(engine_report(onnx.load(package.model_file)))
    assert found[ONNXRUNTIME] == found[OPENVINO] == found[TENSORRT["10"]] == found[TENSORRT["11"]] == "ok"
    assert EVERY not in found
