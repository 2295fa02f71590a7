"""What is read from an ONNX file, and what is refused before a library follows it. tests/hostile has more."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from rectexport.exporter.frontend import onnx_file
from rectexport.exporter.frontend.onnx_file import numeric_type, read_onnx
from rectexport.exporter.graph.dialect import function
from rectexport.runtime.errors import BadInput
from tests.export.helper import build


def plain() -> ModelProto:
    return build("(float[2] x) => (float[2] y)", "y = Add(x, w)", w=np.ones(2, np.float32))


def saved(model: ModelProto, folder: Path, **options: object) -> Path:
    onnx.save(model, folder / "m.onnx", **options)
    return folder / "m.onnx"


def test_honest(tmp_path: Path) -> None:
    external = {"save_as_external_data": True, "location": "m.data", "size_threshold": 0}
    read = read_onnx(saved(plain(), tmp_path, **external))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read.graph.initializer[0]), np.ones(2))
    assert numeric_type(read.graph.input[0]) == "float32"


@pytest.mark.parametrize("place", ["../secret", "/etc/passwd", "a/../../secret", "link", "linked/secret", "no", "."])
def test_weights_elsewhere(tmp_path: Path, place: str) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret").write_bytes(bytes(8))
    (tmp_path / "inner/link").symlink_to("../secret")
    (tmp_path / "inner/linked").symlink_to("..")
    model = plain()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    with pytest.raises(BadInput, match=r"weights of w are stored in"):
        read_onnx(saved(model, tmp_path / "inner"))


def called(*names: str) -> ModelProto:
    """A model in which each function calls the next, twice, and the last an operator or the first of that name."""
    model = plain()
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    for name, inner in pairwise(names):
        nodes = [helper.make_node(inner, [a], [b], domain="f" if inner in names[:-1] else "") for a, b in ("am", "mb")]
        model.functions.append(helper.make_function("f", name, ["a"], ["b"], nodes, imports))
    model.graph.node[0].CopyFrom(helper.make_node(names[0], ["x"], ["y"], domain="f"))
    model.opset_import.append(helper.make_opsetid("f", 1))
    return model


def test_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_INLINED", 8)
    read_onnx(saved(called("A", "B", "C", "Neg"), tmp_path))
    with pytest.raises(BadInput, match="have 16 nodes once inlined"):
        read_onnx(saved(called("A", "B", "C", "D", "Neg"), tmp_path))
    for names in (("A", "A"), ("A", "B", "A")):
        with pytest.raises(BadInput, match="calls itself"):
            read_onnx(saved(called(*names), tmp_path))


def test_other_definitions_of_the_dialect_are_refused(tmp_path: Path) -> None:
    ours = build("(float[1,2,3,3] x) => (float[1,4,3,3] y)", "y = rectexport.CRelu <axis = 1> (x)")
    read_onnx(saved(ours, tmp_path))
    other = ModelProto()
    other.CopyFrom(ours)
    other.functions[0].node[0].op_type = "Neg"
    with pytest.raises(BadInput, match=r"function rectexport\.CRelu of its own"):
        read_onnx(saved(other, tmp_path))
    for change, said in (
        (lambda node: node.input.append("x"), "expected 1 inputs"),
        (lambda node: node.attribute.pop(), "expected attributes axis"),
        (lambda node: setattr(node.attribute[0], "i", 1 << 40), "axis: expected 1 ints"),
        (lambda node: setattr(node, "op_type", "Owned"), "no such operator"),
    ):
        other.CopyFrom(ours)
        change(other.graph.node[0])
        with pytest.raises(BadInput, match=said):
            read_onnx(saved(other, tmp_path))
    assert function("CRelu", 18).name == "CRelu"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("size", [4, 12])
def test_weights_of_another_length_than_their_shape(tmp_path: Path, check: bool, size: int) -> None:
    """ONNX's checker lets those pass that are longer."""
    model = plain()
    model.graph.initializer[0].raw_data = bytes(size)
    with pytest.raises(BadInput, match=r"not a valid ONNX model: .*w"):
        read_onnx(saved(model, tmp_path), check)


@pytest.mark.parametrize("kind", [onnx.TensorProto.BFLOAT16, onnx.TensorProto.INT4, onnx.TensorProto.FLOAT8E4M3FN])
def test_types_that_numpy_lacks_are_read(tmp_path: Path, kind: int) -> None:
    model = plain()
    model.graph.initializer.append(helper.make_tensor("odd", kind, [3], [1, 0, 1]))
    model.graph.initializer.append(helper.make_tensor("text", onnx.TensorProto.STRING, [1], [b"a"]))
    assert len(read_onnx(saved(model, tmp_path)).graph.initializer) == 3
