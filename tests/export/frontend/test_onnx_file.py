"""What is read from an ONNX file, and what is refused before a library follows it. tests/hostile has more."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

import rectexport
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions, ShapeOptions
from rectexport.exporter.frontend import onnx_file
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.frontend.onnx_file import numeric_type
from rectexport.exporter.graph.dialect import function
from rectexport.exporter.pipeline import run_export
from rectexport.runtime.errors import BadInput
from tests.export.helper import build


def read(path: Path, check: bool = True) -> ModelProto:
    """The whole model."""
    model, outside = onnx_file.read_onnx(path, check)
    assert not outside.tensors
    return model


def plain() -> ModelProto:
    return build("(float[2] x) => (float[2] y)", "y = Add(x, w)", w=np.ones(2, np.float32))


def saved(model: ModelProto, folder: Path, **options: object) -> Path:
    onnx.save(model, folder / "m.onnx", **options)
    return folder / "m.onnx"


def test_honest(tmp_path: Path) -> None:
    external = {"save_as_external_data": True, "location": "m.data", "size_threshold": 0}
    found = read(saved(plain(), tmp_path, **external))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(found.graph.initializer[0]), np.ones(2))
    assert numeric_type(found.graph.input[0]) == "float32"


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
        read(saved(model, tmp_path / "inner"))


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
    read(saved(called("A", "B", "C", "Neg"), tmp_path))
    with pytest.raises(BadInput, match="have 16 nodes once inlined"):
        read(saved(called("A", "B", "C", "D", "Neg"), tmp_path))
    for names in (("A", "A"), ("A", "B", "A")):
        with pytest.raises(BadInput, match="calls itself"):
            read(saved(called(*names), tmp_path))


def test_other_definitions_of_the_dialect_are_refused(tmp_path: Path) -> None:
    ours = build("(float[1,2,3,3] x) => (float[1,4,3,3] y)", "y = rectexport.CRelu <axis = 1> (x)")
    read(saved(ours, tmp_path))
    other = ModelProto()
    other.CopyFrom(ours)
    other.functions[0].node[0].op_type = "Neg"
    with pytest.raises(BadInput, match=r"function rectexport\.CRelu of its own"):
        read(saved(other, tmp_path))
    for change, said in (
        (lambda node: node.input.append("x"), "expected 1 inputs"),
        (lambda node: node.attribute.pop(), "expected attributes axis"),
        (lambda node: setattr(node.attribute[0], "i", 1 << 40), "axis: expected 1 ints"),
        (lambda node: setattr(node, "op_type", "Owned"), "no such operator"),
    ):
        other.CopyFrom(ours)
        change(other.graph.node[0])
        with pytest.raises(BadInput, match=said):
            read(saved(other, tmp_path))
    assert function("CRelu", 18).name == "CRelu"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("size", [4, 12])
def test_weights_of_another_length_than_their_shape(tmp_path: Path, check: bool, size: int) -> None:
    """ONNX's checker lets those pass that are longer."""
    model = plain()
    model.graph.initializer[0].raw_data = bytes(size)
    with pytest.raises(BadInput, match=r"not a valid ONNX model: .*w"):
        read(saved(model, tmp_path), check)


@pytest.mark.parametrize("kind", [onnx.TensorProto.BFLOAT16, onnx.TensorProto.INT4, onnx.TensorProto.FLOAT8E4M3FN])
def test_types_that_numpy_lacks_are_read(tmp_path: Path, kind: int) -> None:
    model = plain()
    model.graph.initializer.append(helper.make_tensor("odd", kind, [3], [1, 0, 1]))
    model.graph.initializer.append(helper.make_tensor("text", onnx.TensorProto.STRING, [1], [b"a"]))
    assert len(read(saved(model, tmp_path)).graph.initializer) == 3


def external(values: np.ndarray, folder: Path, location: str = "w.data", name: str = "w") -> TensorProto:
    """A tensor whose values are stored in a file of `folder`."""
    values.tofile(folder / location)
    tensor = numpy_helper.from_array(values, name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(values.nbytes))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def constant(tensor: TensorProto, output: str = "w") -> NodeProto:
    return helper.make_node("Constant", [], [output], value=tensor)


def in_a_function(tensor: TensorProto) -> ModelProto:
    """y = F(x), F adds the tensor, which is an attribute of a Constant in the function."""
    model = plain()
    del model.graph.initializer[:]
    nodes = [constant(tensor), helper.make_node("Add", ["a", "w"], ["b"])]
    model.functions.append(helper.make_function("f", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 18)]))
    model.graph.node[0].CopyFrom(helper.make_node("F", ["x"], ["y"], domain="f"))
    model.opset_import.append(helper.make_opsetid("f", 1))
    return model


def in_an_attribute(tensor: TensorProto) -> ModelProto:
    model = plain()
    del model.graph.initializer[:]
    model.graph.node.insert(0, constant(tensor))
    return model


def in_a_branch(tensor: TensorProto) -> ModelProto:
    """y = x + tensor in both branches of an If, once as an initializer and once as an attribute."""
    model = plain()
    del model.graph.initializer[:]
    result = [helper.make_tensor_value_info("r", TensorProto.FLOAT, [2])]
    first = helper.make_graph([helper.make_node("Add", ["x", "w"], ["r"])], "first", [], result, [tensor])
    second = helper.make_graph([constant(tensor), helper.make_node("Add", ["x", "w"], ["r"])], "second", [], result)
    choice = helper.make_node("If", ["true"], ["y"], then_branch=first, else_branch=second)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    model.graph.node[0].CopyFrom(choice)
    return model


def in_a_sparse_initializer(tensor: TensorProto) -> ModelProto:
    model = plain()
    del model.graph.initializer[:]
    indices = numpy_helper.from_array(np.arange(2, dtype=np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [2]))
    return model


def in_the_default_of_a_functions_attribute(tensor: TensorProto) -> ModelProto:
    model = in_a_function(tensor)
    body = model.functions[0]
    reference = body.node[0].attribute[0]
    reference.CopyFrom(AttributeProto(name="value", ref_attr_name="v", type=AttributeProto.TENSOR))
    body.attribute_proto.append(helper.make_attribute("v", tensor))
    return model


EVERYWHERE = [
    in_a_function,
    in_an_attribute,
    in_a_branch,
    in_a_sparse_initializer,
    in_the_default_of_a_functions_attribute,
]


@pytest.mark.parametrize("make", EVERYWHERE)
def test_weights_stored_outside_the_file_are_read_wherever_the_model_has_them(
    tmp_path: Path, make: Callable[[TensorProto], ModelProto]
) -> None:
    path = saved(make(external(np.array([3, 5], np.float32), tmp_path)), tmp_path)
    model = read(path)
    assert b"w.data" not in model.SerializeToString()
    (tmp_path / "w.data").unlink()
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": np.ones(2, np.float32)})[0], [4, 6])


@pytest.mark.parametrize("make", EVERYWHERE)
@pytest.mark.parametrize(("location", "said"), [("../secret", "outside its folder"), ("none", "which is not a file")])
def test_weights_outside_the_folder_are_refused_wherever_the_model_has_them(
    tmp_path: Path, make: Callable[[TensorProto], ModelProto], location: str, said: str
) -> None:
    (tmp_path / "inner").mkdir()
    tensor = external(np.array([3, 5], np.float32), tmp_path, "secret")
    tensor.external_data[0].value = location
    with pytest.raises(BadInput, match=f"weights of w are stored in '{location}', {said}"):
        read(saved(make(tensor), tmp_path / "inner"))


@pytest.mark.parametrize("make", EVERYWHERE)
def test_an_export_needs_no_file_beside_its_own(tmp_path: Path, make: Callable[[TensorProto], ModelProto]) -> None:
    path = saved(make(external(np.array([3, 5], np.float32), tmp_path)), tmp_path)
    run_export(load_source(path), ShapeOptions(), tmp_path / "out", ExportOptions(), Log())
    (tmp_path / "w.data").unlink()
    with rectexport.load(tmp_path / "out", backend="onnxruntime") as session:
        np.testing.assert_array_equal(session(np.ones(2, np.float32)), [4, 6])


@pytest.mark.parametrize("length", [4, 12])
def test_weights_of_another_length_are_refused_before_they_are_read(tmp_path: Path, length: int) -> None:
    tensor = external(np.zeros(4, np.float32), tmp_path)
    tensor.dims[:] = [2]
    tensor.external_data[2].value = str(length)
    with pytest.raises(BadInput, match=rf"{length} bytes at offset 0 of 'w\.data', expected 8 for its shape \[2\]"):
        read(saved(in_an_attribute(tensor), tmp_path))


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (TensorProto.INT4, 2),
        (TensorProto.UINT4, 2),
        (TensorProto.FLOAT4E2M1, 2),
        (TensorProto.BFLOAT16, 6),
        (TensorProto.FLOAT8E5M2, 3),
        (TensorProto.BOOL, 3),
        (TensorProto.COMPLEX64, 24),
    ],
)
def test_types_of_every_width_are_read_from_files(tmp_path: Path, kind: int, length: int) -> None:
    model = plain()
    stored = external(np.zeros(length, np.uint8), tmp_path, name="odd")
    stored.data_type, stored.dims[:] = kind, [3]
    model.graph.initializer.append(stored)
    assert len(read(saved(model, tmp_path)).graph.initializer[1].raw_data) == length
    stored.external_data[2].value = str(length - 1)
    model.graph.initializer[1].CopyFrom(stored)
    with pytest.raises(BadInput, match=rf"expected {length} for its shape \[3\]"):
        read(saved(model, tmp_path))


def test_many_weights_in_one_place_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred tensors of one gigabyte each may share a file of one gigabyte."""
    monkeypatch.setattr(onnx_file, "MAX_SHARED", 64)
    tensor = external(np.zeros(2, np.float32), tmp_path)
    model = plain()
    for index in range(33):
        tensor.name = f"w{index}"
        model.graph.initializer.append(tensor)
    with pytest.raises(BadInput, match="its weights take 264 bytes, more than the 256 that files of this size"):
        read(saved(model, tmp_path))


def test_a_sparse_giant_of_weights_is_refused(tmp_path: Path) -> None:
    tensor = external(np.zeros(2, np.float32), tmp_path)
    with (tmp_path / "w.data").open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(BadInput, match=r"w\.data: .* a sparse file is not read"):
        read(saved(in_a_function(tensor), tmp_path))
