"""Models without their large tensors compute, check and infer as the whole ones do."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, checker, numpy_helper

from rectexport.exporter.graph import light
from rectexport.exporter.graph.shapes import infer_shapes, inferred_outline
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from tests.export.helper import build, normal

WEIGHT = normal(64, 64)


def model():
    body = "a = MatMul(x, w)\n b = Add(a, c)\n y = Reshape(b, s)"
    made = build("(float[2,64] x) => (float[2,8,8] y)", body, w=WEIGHT, c=normal(64), s=np.array([2, 8, 8]))
    made.metadata_props.add(key="kept", value="yes")
    return made


def answer(proto, feeds, weights=None):
    runner = OnnxRuntimeRunner(proto.SerializeToString(), threads=1, weights=weights or {})
    return runner.run(feeds)["y"]


def test_large_tensors_become_inputs():
    whole, x = model(), normal(2, 64, seed=1)
    found = light.with_inputs(whole)
    assert list(found.weights) == ["w"] and len(found.model.SerializeToString()) < WEIGHT.nbytes / 4
    checker.check_model(found.model)
    np.testing.assert_array_equal(answer(found.model, {"x": x, **found.weights}), answer(whole, {"x": x}))
    assert found.model.metadata_props[0].value == "yes"
    assert whole.graph.initializer[0].raw_data, "the model itself stays"


def test_large_tensors_become_external_data_that_is_given_beside_the_model():
    whole, x = model(), normal(2, 64, seed=1)
    found = light.with_external(whole)
    assert len(found.model.SerializeToString()) < WEIGHT.nbytes / 4
    np.testing.assert_array_equal(answer(found.model, {"x": x}, found.weights), answer(whole, {"x": x}))
    other = {"w": np.zeros_like(WEIGHT)}
    assert not np.array_equal(answer(found.model, {"x": x}, other), answer(whole, {"x": x}))


def test_an_outline_is_enough_for_shapes():
    whole = model()
    del whole.graph.value_info[:]
    outlined = inferred_outline(whole)
    assert outlined is not None and len(outlined.SerializeToString()) < WEIGHT.nbytes / 4
    assert {value.name for value in outlined.graph.value_info} == {"a", "b"}
    inferred = infer_shapes(whole)
    assert {value.name for value in inferred.graph.value_info} == {"a", "b"}
    assert inferred.graph.initializer[0].raw_data == whole.graph.initializer[0].raw_data


@pytest.mark.parametrize("kind", [TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN])
def test_types_that_numpy_lacks_stay(kind):
    whole = model()
    extra = TensorProto(
        name="e", data_type=kind, dims=[2048], raw_data=bytes(4096 if kind == TensorProto.BFLOAT16 else 2048)
    )
    whole.graph.initializer.append(extra)
    assert list(light.with_inputs(whole).weights) == ["w"]
    assert extra in list(light.with_external(whole).model.graph.initializer)


def test_a_damaged_tensor_stays_for_the_engine_to_refuse():
    whole = model()
    whole.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT, "w"))
    whole.graph.initializer[0].raw_data = whole.graph.initializer[0].raw_data[:-4]
    found = light.with_inputs(whole)
    assert not found.weights and found.model.graph.initializer[0].name == "w"


def test_a_model_is_measured_only_where_its_stored_tensors_come_near_the_limit(monkeypatch):
    whole = model()
    assert light.stored_bytes(whole) == WEIGHT.nbytes + 64 * 4 + 3 * 8
    size = whole.ByteSize()
    assert light.is_larger(whole, size - 1) and not light.is_larger(whole, size)
    monkeypatch.setattr(light, "stored_bytes", lambda model: 10)
    assert not light.is_larger(None, 20)
