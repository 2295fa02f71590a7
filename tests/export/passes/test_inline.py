"""Dialect functions replaced by their bodies."""

from __future__ import annotations

import numpy as np
from onnx import helper, parser

from rectexport.exporter.passes import PassResult, inline
from rectexport.models.layers.symmetry import group_pads, group_sizes
from tests.export.helper import build, check_pass, constants, normal, operators, outputs

MAP = "kernel_shape=[3,3], strides=[2,1], pads=[1,1,0,1], dilations=[1,2], numerator=9"
STANDARD = {""}


def test_every_operator_of_the_dialect() -> None:
    splits, pads = group_sizes(6), group_pads(4)
    body = (
        "y = Conv<pads=[1,1,0,1], strides=[2,1], dilations=[1,2]>(x, w)",
        f"q = rectexport.Rectify<{MAP}, empty_bias=0>(y, x, b)",
        "c = rectexport.CRelu<axis=1>(q)",
        f"s = rectexport.SymmetricPad<splits={splits}, pads={pads}>(c)",
        "n = rectexport.NegConcat<axis=-1>(s)",
        f"r = rectexport.RectificationMap<{MAP}>(x, y)",
        "z = Identity(n)",
    )
    model = build(
        "(float[N,2,H,W] x) => (float[N,6,P,Q] z, float[1,1,P,Q] r)",
        "\n".join(body),
        w=normal(3, 2, 3, 3),
        b=normal(3),
    )
    feeds = {"x": normal(2, 2, 7, 8)}, {"x": normal(1, 2, 4, 9)}
    inlined, result = check_pass(inline.run, model, *feeds)
    assert result.fired == (
        "Rectify q", "CRelu c", "SymmetricPad s", "NegConcat n", "RectificationMap r",
    )  # fmt: skip
    assert {node.domain for node in inlined.graph.node} == STANDARD
    assert not inlined.functions
    assert [entry.domain for entry in inlined.opset_import] == [""]
    np.testing.assert_array_equal(constants(inlined)["w"], constants(model)["w"])


def test_attributes_become_constants() -> None:
    """What depends on attributes only is computed now, not at every inference."""
    pad = f"z = rectexport.SymmetricPad<splits=[1,1,1,1], pads={group_pads(2)}>(x)"
    inlined, _ = check_pass(
        inline.run, build("(float[N,4,H,W] x) => (float[N,4,P,Q] z)", pad), {"x": normal(1, 4, 3, 3)}
    )
    assert [name for name in operators(inlined) if name != "Constant"] == [
        "Split",
        "Pad",
        "Pad",
        "Pad",
        "Pad",
        "Concat",
    ]


def test_functions_of_others_stay() -> None:
    own = parser.parse_function('<domain: "mine", opset_import: ["" : 18]> Twice (x) => (y) { y = Add(x, x) }')
    model = build("(float[N,2] x) => (float[N,4] z)", "t = Neg(x)\n z = rectexport.CRelu<axis=1>(t)")
    model.functions.append(own)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.graph.node[0].CopyFrom(helper.make_node("Twice", ["x"], ["t"], domain="mine"))
    inlined, result = check_pass(inline.run, model, {"x": normal(2, 2)})
    assert result.fired == ("CRelu z",)
    assert [entry.name for entry in inlined.functions] == ["Twice"]


def test_nodes_in_branches() -> None:
    branches = "then_branch = g () => (float[N,4] b) { b = rectexport.CRelu<axis=1>(x) }, "
    branches += "else_branch = h () => (float[N,4] c) { c = rectexport.NegConcat<axis=1>(x) }"
    model = build("(bool which, float[N,2] x) => (float[N,4] z)", f"z = If<{branches}>(which)")
    inlined, result = inline.run(model)
    assert result.fired == ("CRelu b", "NegConcat c")
    assert not inlined.functions
    for which in (True, False):
        feed = {"which": np.array(which), "x": normal(3, 2)}
        np.testing.assert_array_equal(outputs(inlined, feed)[0], outputs(model, feed)[0])


def test_labels_prefer_the_name_of_the_node() -> None:
    model = build("(float[N,2] x) => (float[N,4] z)", "z = rectexport.CRelu<axis=1>(x)")
    model.graph.node[0].name = "stem"
    assert inline.run(model)[1].fired == ("CRelu stem",)


def test_a_model_without_dialect_is_left_alone() -> None:
    model = build("(float[N,2] x) => (float[N,2] z)", "c = Constant<value_floats=[1.0, 2.0]>()\n z = Add(x, c)")
    _, result = check_pass(inline.run, model, {"x": normal(3, 2)})
    assert result == PassResult("inline")
