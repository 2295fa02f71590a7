"""What the tests of export/ share: graphs built by hand, and one check that every pass must stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto, checker, helper, numpy_helper, parser, shape_inference

from rectexport.exporter.graph.dialect import attach_functions
from rectexport.exporter.passes import Pass, PassContext, PassResult, select_passes
from rectexport.exporter.passes.order import FINISH, PREPARE, RECTIFY

Array = NDArray[Any]
Run = Callable[[ModelProto], tuple[ModelProto, PassResult]]
RELATIVE_L2 = 1e-6


def build(signature: str, body: str, opset: int = 18, /, **initializers: Array) -> ModelProto:
    """A checked model from ONNX's text form; inner shapes inferred, dialect functions attached.

    build("(float[N,2] x) => (float[N,2] y)", "y = Mul(x, w)", w=array)
    """
    header = f'<ir_version: 10, opset_import: ["" : {opset}, "rectexport" : 1]>'
    model = parser.parse_model(f"{header} graph {signature} {{ {body} }}")
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in initializers.items())
    attach_functions(model)
    checker.check_model(model)
    return shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def session(model: ModelProto) -> ort.InferenceSession:
    """ONNX Runtime on the graph as it stands."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def outputs(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """The model's outputs in order."""
    return session(model).run(None, dict(feeds))


def tensors(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor that a node of the main graph makes, by name."""
    extended = ModelProto()
    extended.CopyFrom(model)
    given_out = {value.name for value in model.graph.output}
    inner = [name for node in model.graph.node for name in node.output if name and name not in given_out]
    extended.graph.output.extend(ValueInfoProto(name=name) for name in inner)
    names = [value.name for value in extended.graph.output]
    return dict(zip(names, session(extended).run(names, dict(feeds)), strict=True))


def relative_l2(expected: Array, actual: Array) -> float:
    """Distance over the expected norm, or the distance itself where that norm is 0."""
    wanted, got = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    norm = float(np.linalg.norm(wanted))
    return float(np.linalg.norm(got - wanted)) / (norm or 1.0)


def signature(model: ModelProto) -> list[tuple[str, int, tuple[Any, ...]]]:
    """Names, types and shapes of what goes in and out."""
    values = (*model.graph.input, *model.graph.output)
    return [(value.name, value.type.tensor_type.elem_type, _dims(value)) for value in values]


def constants(model: ModelProto) -> dict[str, Array]:
    """The initializers by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def operators(model: ModelProto) -> list[str]:
    """Operators of the main graph, in order."""
    return [node.op_type for node in model.graph.node]


def passes_after_lowering(rectify: str = "auto") -> tuple[Pass, ...]:
    """The passes that make any graph with dialect nodes a standard one: no raising, no choice of forms."""
    return select_passes(PassContext(rectify=rectify), stages=(PREPARE, RECTIFY, FINISH))


def check_pass(run: Run, model: ModelProto, *feeds: Mapping[str, Array]) -> tuple[ModelProto, PassResult]:
    """Run a pass and hold it to everything that a pass promises; give back the new model and the report.

    The given model is left alone; both models please ONNX's checker; inputs, outputs and header stay; every
    tensor and initializer that keeps its name keeps its value, and its noted type and shape are true; only a
    pass that fired gives back another model; a second run changes nothing.
    """
    checker.check_model(model)
    before = model.SerializeToString(deterministic=True)
    rewritten, result = run(model)
    assert model.SerializeToString(deterministic=True) == before, "the pass changed the model it was given"
    assert bool(result.fired) == (rewritten is not model), "a pass that did not fire gives back the same model"
    checker.check_model(rewritten)
    assert signature(rewritten) == signature(model)
    assert rewritten.ir_version == model.ir_version
    assert _default_opset(rewritten) == _default_opset(model)
    old, new = constants(model), constants(rewritten)
    for name in old.keys() & new.keys():
        np.testing.assert_array_equal(new[name], old[name], err_msg=f"initializer {name} kept its name only")
    assert feeds
    for feed in feeds:
        _check_values(model, rewritten, feed)
    again, second = run(rewritten)
    assert not second.fired, f"a second run fired at {second.fired}"
    assert again is rewritten
    return rewritten, result


def _check_values(model: ModelProto, rewritten: ModelProto, feed: Mapping[str, Array]) -> None:
    wanted, got = tensors(model, feed), tensors(rewritten, feed)
    for name in wanted.keys() & got.keys():
        assert got[name].shape == wanted[name].shape, name
        assert got[name].dtype == wanted[name].dtype, name
        if wanted[name].dtype.kind == "f" and np.isfinite(wanted[name]).all():
            assert relative_l2(wanted[name], got[name]) <= RELATIVE_L2, name
        else:
            np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)
    for value in rewritten.graph.value_info:
        if value.name in got:
            _check_note(value, got[value.name])


def _check_note(value: ValueInfoProto, array: Array) -> None:
    kind = value.type.tensor_type
    assert helper.tensor_dtype_to_np_dtype(kind.elem_type) == array.dtype, value.name
    if kind.HasField("shape"):
        noted = _dims(value)
        assert len(noted) == array.ndim, f"{value.name}: noted as {noted}, is {array.shape}"
        for size, dim in zip(array.shape, noted, strict=True):
            assert size == dim or isinstance(dim, str), f"{value.name}: noted as {noted}, is {array.shape}"


def _default_opset(model: ModelProto) -> list[int]:
    return [entry.version for entry in model.opset_import if entry.domain == ""]


def _dims(value: onnx.ValueInfoProto) -> tuple[Any, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims)


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> Array:
    """Seeded standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
