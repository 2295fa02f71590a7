"""The order of the passes, and what each form of rectification runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from onnx import ModelProto

from rectexport.exporter.passes import (
    PASSES,
    RECTIFY_FORMS,
    STAGES,
    Pass,
    PassContext,
    PassPipeline,
    PassResult,
    Refusal,
    select_passes,
)
from rectexport.exporter.passes.lowering.machinery.tuning import COUNTED, MEASURED
from rectexport.exporter.passes.order import LOWER
from tests.export.helper import build, normal, operators, outputs, passes_after_lowering, relative_l2, signature

WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9"
BODY = f"""
  y = Conv<pads=[1,1,1,1]>(x, w)
  q = rectexport.Rectify<{WINDOW}, empty_bias=1>(y, x, b)
  n = BatchNormalization(q, scale, shift, mean, var)
  c = rectexport.CRelu<axis=1>(n)
  z = Identity(c)
"""


RAISED = (
    "raise_tidy", "raise_symmetric_pad", "raise_boundary_pad", "raise_shift", "raise_embedded_kernel", "raise_conv_sum",
    "raise_avr", "raise_crelu", "raise_masked_conv", "raise_rectification",
)  # fmt: skip
TENSORRT = {
    *("global_mean", "wrap_pad", "resize_matrix", "narrow_arithmetic", "early_cast", "dft_matrix", "whole_shape"),
    "rectify_ones",
}
FAULTS = (
    "wrap_pad", "resize_matrix", "ceil_pool", "narrow_arithmetic", "early_cast", "lrn_bias", "dft_matrix",
    "softplus_tail",
)  # fmt: skip
LOWERED = ("lower_norm_conv", "lower_linear_convs", "lower_symmetric_conv", "lower_crelu", "lower_neg_concat")


def names(**context: str) -> list[str]:
    return [entry.name for entry in select_passes(PassContext(**context))]


def test_order() -> None:
    assert [entry.name for entry in PASSES] == [
        *RAISED, "rectify_unbiased", "masked_ones", "masked_narrow", "batch_norm", "global_mean", *FAULTS, *LOWERED,
        "lower_boundary", "lower_circular",
        "lower_rectify",
        "rectify_fold", "rectify_graph", "rectify_ones", "rectify_border", "masked_counts", "boundary_pad",
        "inline", "cleanup", "shared_weights", "whole_shape", "float16", "bfloat16",
    ]  # fmt: skip


def test_stages_stand_in_order() -> None:
    stages = [STAGES.index(entry.stage) for entry in PASSES]
    assert stages == sorted(stages)


@pytest.mark.parametrize(
    ("context", "left_out", "added"),
    [
        ({"rectify": "fold"}, {"lower_rectify", "rectify_graph"}, set()),
        ({"rectify": "graph"}, {"lower_rectify", "rectify_fold"}, set()),
        ({"rectify": "plugin"}, {"lower_rectify"}, {"rectify_border"}),
        ({"precision": "fp16"}, set(), {"float16"}),
        ({"precision": "bf16"}, set(), {"bfloat16"}),
        (
            {"target": "tensorrt"},
            set(),
            TENSORRT,
        ),
        ({"target": "tensorrt", "precision": "int8"}, {"lower_rectify"}, TENSORRT - {"rectify_ones"}),
        ({"target": "openvino"}, set(), {*FAULTS, "shared_weights"} - {"early_cast"}),
        ({"target": "portable"}, set(), {"wrap_pad", "softplus_tail"}),
    ],
)
def test_each_form_precision_and_target_has_its_passes(
    context: dict[str, str], left_out: set[str], added: set[str]
) -> None:
    assert set(names()) - set(names(**context)) == left_out
    assert set(names(**context)) - set(names()) == added


def test_a_pass_gets_what_it_takes_of_the_context() -> None:
    taken: dict[str, object] = {}

    def run(model: ModelProto, **given: object) -> tuple[ModelProto, PassResult]:
        taken.update(given)
        return model, PassResult("mine")

    context = PassContext("portable", "graph")
    (entry,) = select_passes(context, [Pass("mine", run, takes=("target", "rectify"))])
    entry.run(build("(float[2] x) => (float[2] y)", "y = Relu(x)"))
    assert taken == {"target": "portable", "rectify": "graph"}


def test_raise_passes_in_a_row_run_as_one() -> None:
    between = PassPipeline.default().after("raise_avr", Pass("mine", lambda model: (model, PassResult("mine"))))
    found = [entry.name for entry in select_passes(PassContext(), between.passes)]
    assert found[:4] == ["raise", "mine", "raise", "rectify_unbiased"]


def test_a_pass_that_is_left_out_would_have_found_nothing() -> None:
    """Where a model has none of a pass's operators, the pass does nothing."""
    values = {"w": normal(4, 2, 3, 3), "b": normal(4, seed=1), "scale": normal(4, seed=2), "shift": normal(4, seed=3)}
    values |= {"mean": normal(4, seed=4), "var": normal(4, seed=5) ** 2 + np.float32(0.1)}
    pads = "splits=[1,1,0,0], pads=[1,1,0,0,1,0,0,1,0,1,1,0,0,0,1,1]"
    models = [
        build("(float[N,2,H,W] x) => (float[N,8,H,W] z)", BODY, **values),
        build("(float[N,2,5,6] x) => (float[N,8,5,6] z)", BODY, **values),
        build("(float[N,2,H,W] x) => (float[N,2,Y,X] z)", f"z = rectexport.SymmetricPad<{pads}>(x)"),
        build("(float[N,2,H,W] x) => (float[N,2,H,W] z)", "z = Relu(x)"),
    ]
    context = PassContext()
    checked = set()
    for entry in PASSES:
        bound = replace(entry, run=partial(entry.run, **{name: getattr(context, name) for name in entry.takes}))
        for model in filter(bound.finds_nothing, models):
            assert bound.run(model) == (model, PassResult(bound.run(model)[1].name)), entry.name
            checked.add(entry.name)
    assert checked == {entry.name for entry in PASSES if entry.operators is not None}


def test_every_lowering_pass_is_chosen_by_counting_or_timed() -> None:
    """Tuning knows each operator that the passes lower."""
    lowered = {entry.name for entry in PASSES if entry.stage == LOWER}
    assert {f"lower_{operator.name}" for operator in (*COUNTED, *MEASURED)} == lowered


@pytest.mark.parametrize("form", [form for form in RECTIFY_FORMS if form != "plugin"])
@pytest.mark.parametrize("dims", ["H,W", "5,6"])
def test_all_together(form: str, dims: str) -> None:
    """Nothing of the dialect is left, the numbers stay, and a second round finds nothing to do."""
    values = {"w": normal(4, 2, 3, 3), "b": normal(4, seed=1), "scale": normal(4, seed=2), "shift": normal(4, seed=3)}
    values |= {"mean": normal(4, seed=4), "var": normal(4, seed=5) ** 2 + np.float32(0.1)}
    model = build(f"(float[N,2,{dims}] x) => (float[N,8,{dims}] z)", BODY, **values)
    feeds = {"x": normal(3, 2, 5, 6)}
    expected, lowered = outputs(model, feeds)[0], model
    for entry in passes_after_lowering(form):
        lowered, result = entry.run(lowered)
        assert result.name == entry.name
        assert relative_l2(expected, outputs(lowered, feeds)[0]) <= 1e-6, entry.name
    assert {node.domain for node in lowered.graph.node} == {""}
    assert not lowered.functions
    assert signature(lowered) == signature(model)
    assert "BatchNormalization" not in operators(lowered) and "Identity" not in operators(lowered)
    assert ("Shape" in operators(lowered)) is (dims == "H,W")  # of static sizes even the graph form is constant
    for entry in passes_after_lowering(form):
        again, result = entry.run(lowered)
        assert again is lowered, entry.name
        assert not result.fired


def test_report_is_plain() -> None:
    result = PassResult("fold", ("a", "b"), (Refusal("c", "dynamic"),))
    assert result.as_dict() == {
        "name": "fold",
        "fired": ["a", "b"],
        "refused": [{"node": "c", "reason": "dynamic"}],
    }
