"""Local response normalization with a bias that is no whole number.

Given   y = LRN(x; alpha, beta, bias = k)
Result  y = k^(-beta) · LRN(x; alpha / k, beta, bias = 1)

Exact: k + (alpha / size) · s = k · (1 + (alpha / k / size) · s). OpenVINO 2026.4.1 cuts the bias to a whole number: 1.5
is 1 there, 20 % off.

Not when the bias is a whole number, or not above 0, or the dtype is not noted.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.engines.edit import Edit, attribute

NAME = "lrn_bias"


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite every LRN whose bias is no whole number."""
    edit = Edit(model, NAME)
    for node in list(edit.nodes("LRN")):
        bias = float(attribute(node, "bias", 1.0))
        if bias == round(bias):
            continue
        if bias <= 0:
            edit.refuse(node, f"its bias is {bias:g}, not above 0")
            continue
        dtype = edit.dtype(node.input[0]) or edit.dtype(node.output[0])
        if not dtype:
            edit.refuse(node, "its dtype is not noted")
            continue
        alpha, beta = (float(attribute(node, name, default)) for name, default in (("alpha", 1e-4), ("beta", 0.75)))
        inner = edit.fresh(node.output[0])
        size = attribute(node, "size", 1)
        scaled = helper.make_node(
            "LRN", list(node.input), [inner], edit.fresh(inner), size=size, alpha=alpha / bias, beta=beta, bias=1.0
        )
        factor = edit.store("factor", np.array(bias**-beta, helper.tensor_dtype_to_np_dtype(dtype)))
        edit.replace(node, [scaled, helper.make_node("Mul", [inner, factor], list(node.output), node.name)])
    return edit.close()
