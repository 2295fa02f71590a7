"""Choosing layers, weight bits and parameters for one engine."""

from __future__ import annotations

import pytest

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import Int8
from rectexport.exporter.quantize.measuring import model_outputs, snr_db
from rectexport.exporter.quantize.quantizer import Quantizer
from rectexport.runtime.base.processor import Processor
from rectexport.runtime.errors import BadInput
from tests.export.quantize.nets import items, rectified_net


def quantizer(**options: object) -> Quantizer:
    return Quantizer(rectified_net(), items(), (8, 1), Int8(None, **options), Log())  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", ["head", "he*", "logits"])
def test_patterns_keep_layers_in_float(pattern: str) -> None:
    found = quantizer(keep_float=(pattern,)).run("openvino")
    assert found.layers == ["a", "b"] and found.kept == {"head": "asked for"} and "flat" not in found.parameters


def test_a_pattern_that_matches_nothing_is_refused_with_the_names() -> None:
    with pytest.raises(BadInput, match="matches no layer; there are a, b, head"):
        quantizer(keep_float=("hed",)).run("openvino")


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(BadInput, match="no layer to quantize: a because asked for"):
        quantizer(keep_float=("*",)).run("openvino")


@pytest.mark.parametrize(
    ("target", "features", "bits"),
    [
        ("onnxruntime", ("avx2",), 7),
        ("onnxruntime", ("avx2", "avx512_vnni"), 8),
        ("onnxruntime", ("avx2", "avx_vnni"), 8),
        ("openvino", ("avx2",), 7),
        ("openvino", ("avx2", "avx512_vnni"), 8),
        ("tensorrt", ("avx2",), 8),
    ],
)
def test_weights_have_7_bits_where_products_would_saturate(target: str, features: tuple[str, ...], bits: int) -> None:
    assert quantizer()._bits(target, Processor("x86_64", features))[0] == bits


def test_arm_adds_products_exactly() -> None:
    assert quantizer()._bits("onnxruntime", Processor("aarch64", ("asimd",)))[0] == 8


def test_a_bound_keeps_layers_in_float_and_is_reached() -> None:
    plain = quantizer().run("onnxruntime")
    data = items()
    expected = model_outputs(rectified_net(), data, (8, 1))
    reached = snr_db(expected, model_outputs(plain.model, data, (8, 1)))
    found = quantizer(min_snr=reached + 1.5, float_budget=0.99).run("onnxruntime")
    assert found.kept and all("stands in the way" in reason for reason in found.kept.values())
    assert snr_db(expected, model_outputs(found.model, data, (8, 1))) >= reached + 1.5


def test_both_targets_use_one_calibration() -> None:
    both = quantizer()
    first, second = both.run("openvino"), both.run("tensorrt")
    assert first.parameters["x"].dtype == "uint8" and second.parameters["x"].dtype == "int8"
    assert both._known["x"] is both._known["a.out"]


@pytest.mark.parametrize("placement", ["both", "strips"])
def test_a_placement_is_taken_at_every_size(placement: str) -> None:
    """The convolution "a" is rectified; its output has 8 by 8 places."""
    assert quantizer(placement=placement).run("onnxruntime").placement.forms["a"] == placement
    assert quantizer(placement=placement).run("openvino").placement.forms["a"] == "after"
