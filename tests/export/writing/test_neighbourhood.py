"""Rewritten neighbourhoods: the nodes between tensors that both graphs have."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from onnx import ModelProto

from rectexport.exporter.passes import batch_norm, cleanup
from rectexport.exporter.writing.neighbourhood import MAX_NODES, operators, rewrites
from tests.export.helper import build, normal

SIGNATURE = "(float[1,2,4,4] x) => (float[1,2,4,4] y)"
STATISTICS = {"scale": np.ones(2, np.float32), "bias": np.ones(2, np.float32), "w": normal(2, 2, 1, 1)}


def ops(excerpt: object) -> list[str]:
    return [node["op"] for node in excerpt.nodes]  # type: ignore[attr-defined]


def normed(between: str = "b = Relu(a)") -> ModelProto:
    body = f"""
        c = Conv(x, w)
        a = BatchNormalization(c, scale, bias, bias, scale)
        {between}
        y = Sigmoid(b)
    """
    return build(SIGNATURE, body, **STATISTICS)


def test_a_fold_is_its_two_nodes_and_the_one_they_become() -> None:
    before = normed()
    after, _ = batch_norm.run(before)
    ((tensor, old, new),) = rewrites(before, after)
    assert tensor == "a"
    assert ops(old) == ["BatchNormalization", "Conv"] and ops(new) == ["Conv"]
    conv = old.nodes[1]
    assert (conv["inputs"], conv["outputs"], conv["constants"]) == (["x"], ["c"], [[2, 2, 1, 1]])
    assert new.nodes[0]["constants"] == [[2, 2, 1, 1], [2]]
    assert old.more == new.more == 0


def test_a_node_that_vanishes_shows_at_its_reader() -> None:
    before = normed("b = Identity(a)")
    after, _ = cleanup.run(before)
    ((tensor, old, new),) = rewrites(before, after)
    assert tensor == "y" and ops(old) == ["Sigmoid", "Identity"] and ops(new) == ["Sigmoid"]
    assert new.nodes[0]["inputs"] == ["a"]


def test_other_constants_are_no_rewrite() -> None:
    before = build(SIGNATURE, "y = Conv(x, w)", w=normal(2, 2, 1, 1))
    larger = build(SIGNATURE, "y = Conv <pads = [1,1,1,1]> (x, v)", v=normal(2, 2, 3, 3))
    assert list(rewrites(before, larger)) == []
    assert list(rewrites(before, before)) == []


def test_constant_nodes_are_constants() -> None:
    before = build(SIGNATURE, "c = Constant <value = float[1] {2.0}> () y = Mul(x, c)")
    after = build(SIGNATURE, "y = Add(x, x)")
    ((_, old, _),) = rewrites(before, after)
    assert ops(old) == ["Mul"] and old.nodes[0]["constants"] == [[1]]


def test_a_long_rewrite_is_cut_after_the_nearest_nodes() -> None:
    names = ["x", *(f"t{index}" for index in range(20)), "y"]
    body = "\n".join(f"{b} = Relu({a})" for a, b in pairwise(names))
    ((_, old, new),) = rewrites(build(SIGNATURE, body), build(SIGNATURE, "y = Sigmoid(x)"))
    assert len(old.nodes) == MAX_NODES and old.more == 21 - MAX_NODES
    assert old.nodes[0]["outputs"] == ["y"] and old.nodes[1]["outputs"] == ["t19"]
    assert ops(new) == ["Sigmoid"]


@pytest.mark.parametrize(("first", "second", "alike"), [("p", "q", True), ("p", "p", False)])
def test_patterns_know_operators_and_joints(first: str, second: str, alike: bool) -> None:
    before = build(SIGNATURE, "y = Relu(x)")
    one = build(SIGNATURE, "p = Abs(x) q = Abs(x) y = Add(p, q)")
    other = build(SIGNATURE, f"q = Abs(x) p = Abs(x) y = Add({first}, {second})")
    ((_, _, left),), ((_, _, right),) = (rewrites(before, model) for model in (one, other))
    assert (left.pattern() == right.pattern()) is alike


def test_operators_are_counted_with_their_domain() -> None:
    attributes = "kernel_shape = [1,1], strides = [1,1], pads = [0,0,0,0], dilations = [1,1]"
    body = f"c = Conv(x, w) y = rectexport.Rectify <{attributes}, numerator = 1, empty_bias = 1> (c, x, b)"
    model = build(SIGNATURE, body, w=normal(2, 2, 1, 1), b=normal(2))
    assert operators(model) == {"Conv": 1, "rectexport.Rectify": 1}
