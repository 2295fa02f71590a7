"""origins.json: the module and the pass of each node, through a real export and on graphs written by hand."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rectexport.exporter.graph.results import Code, Pass, PassResult, Refusal
from rectexport.exporter.writing.origins import INT8, Origins, document
from rectexport.exporter.writing.work import INPUT, OUTPUT, Work, work_of


def model(*nodes: onnx.NodeProto, **constants: tuple[int, ...]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    stored = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in constants.items()]
    return helper.make_model(helper.make_graph(list(nodes), "g", values[:1], values[1:], stored))


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], f"node_{output}", **attributes)


TRACED = model(node("Conv", "x w", "conv2d"), node("Relu", "conv2d", "relu"), node("Relu", "relu", "y"), w=(4, 2, 3, 3))
MODULES = {"conv2d": "stem.0", "relu": "stem.1"}


def origins_of(rows: list[dict[str, object]]) -> dict[str, tuple[object, object]]:
    return {str(row["name"]): (row["module"], row["pass"]) for row in rows}


def run(origins: Origins, name: str, after: onnx.ModelProto, before: onnx.ModelProto = TRACED) -> PassResult:
    entry = origins.watched(Pass(name, lambda model: (after, PassResult(name, ("here",)))))
    return entry.run(before)[1]


def test_nodes_of_the_trace_have_their_modules_and_no_pass() -> None:
    origins = Origins(MODULES)
    origins.start(TRACED)
    assert origins_of(origins.rows(TRACED)) == {
        "node_conv2d": ("stem.0", ""),
        "node_relu": ("stem.1", ""),
        "node_y": ("stem.1", ""),  # an output has a name of its own: the node that it reads
    }


def test_a_new_node_is_of_the_module_its_tensor_is_named_after_or_read_by() -> None:
    origins = Origins(MODULES)
    origins.start(TRACED)
    after = model(
        node("Conv", "x w", "conv2d.folded"),  # named after conv2d
        node("Mul", "conv2d.folded r", "val_7"),  # read by relu's node
        node("Relu", "val_7", "relu"),
        node("Relu", "relu", "y"),
        w=(4, 2, 3, 3),
        r=(1, 1, 8, 8),
    )
    run(origins, "rectify_fold", after)
    assert origins_of(origins.rows(after)) == {
        "node_conv2d.folded": ("stem.0", "rectify_fold"),
        "node_val_7": ("stem.1", "rectify_fold"),
        "node_relu": ("stem.1", ""),
        "node_y": ("stem.1", ""),
    }


def test_what_a_skipped_pass_made_is_forgotten() -> None:
    origins = Origins(MODULES)
    origins.start(TRACED)
    after = model(node("Gelu", "x", "y"))
    run(origins, "wrong", after)
    origins.keep([PassResult("wrong", refused=(Refusal("node", "changed", Code.GUARD),))])
    assert origins_of(origins.rows(after, "later")) == {"node_y": ("stem.1", "later")}


def test_nodes_that_no_pass_has_seen_are_of_the_stage_that_is_named() -> None:
    origins = Origins(MODULES)
    origins.start(TRACED)
    quantized = model(
        node("QuantizeLinear", "x s", "x.quantized"),
        node("Conv", "x.quantized w", "conv2d"),
        node("Relu", "conv2d", "relu"),
        node("Relu", "relu", "y"),
        w=(4, 2, 3, 3),
        s=(),
    )
    assert origins_of(origins.rows(quantized, INT8))["node_x.quantized"] == ("stem.0", INT8)


def test_the_document_names_the_version_and_has_rows_by_file() -> None:
    origins = Origins(MODULES)
    origins.start(TRACED)
    found = document({"model.onnx": origins.rows(TRACED)}, MODULES)
    assert found["traced"] == MODULES
    assert (found["format"], found["version"]) == ("rectexport-origins", 1)
    first = found["models"]["model.onnx"]["nodes"][0]
    assert first["inputs"] == ["x"] and first["outputs"] == ["conv2d"]
    assert first["operations"] == 2 * 2 * 9 and first["weights"] == 4 * 4 * 2 * 9
    json.dumps(found)


@pytest.mark.parametrize(
    ("made", "constants", "expected"),
    [
        (node("Conv", "x w", "y", group=2), {"w": (4, 3, 5, 5)}, Work(2 * 3 * 25, OUTPUT, 1200)),
        (node("ConvTranspose", "x w", "y"), {"w": (4, 3, 2, 2)}, Work(2 * 3 * 4, INPUT, 192)),
        (node("Gemm", "x w b", "y", transB=1), {"w": (10, 48), "b": (10,)}, Work(96, OUTPUT, 4 * 490)),
        (node("Gemm", "x w", "y"), {"w": (48, 10)}, Work(96, OUTPUT, 1920)),
        (node("MatMul", "w x", "y"), {"w": (7, 5)}, Work(10, OUTPUT, 140)),
        (node("MatMul", "x x", "y"), {}, Work()),
        (node("MaxPool", "x", "y", kernel_shape=[3, 3]), {}, Work(9)),
        (node("GlobalAveragePool", "x", "y"), {}, Work(1, INPUT)),
        (node("Mul", "x r", "y"), {"r": (1, 1, 8, 8)}, Work(1, OUTPUT, 256)),
        (node("Reshape", "x", "y"), {}, Work()),
    ],
)
def test_work(made: onnx.NodeProto, constants: dict[str, tuple[int, ...]], expected: Work) -> None:
    stored = {name: numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in constants.items()}
    assert work_of(made, stored) == expected
