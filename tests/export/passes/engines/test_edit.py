"""Editing a model keeps everything that is not replaced, and invents names that nothing has."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from rectexport.exporter.passes import PASSES, PassContext, select_passes
from rectexport.exporter.passes.engines.edit import Edit
from rectexport.exporter.passes.lowering import TARGETS
from tests.export.helper import build


def branching() -> object:
    """A model whose If bodies use names that a pass would invent."""
    result = helper.make_tensor_value_info("t", TensorProto.FLOAT, [2])
    bodies = [helper.make_graph([helper.make_node("Neg", ["y.edit"], ["t"])], name, [], [result]) for name in "ab"]
    nodes = [
        helper.make_node("Relu", ["x"], ["y.edit"]),
        helper.make_node("If", ["c"], ["y"], then_branch=bodies[0], else_branch=bodies[1]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])]
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)]
    )


def test_invented_names_are_new_in_the_whole_model() -> None:
    edit = Edit(branching(), "edit")
    assert [edit.fresh("y"), edit.fresh("y"), edit.fresh("t")] == ["y.edit.1", "y.edit.2", "t.edit"]


def test_an_initializer_that_a_caller_may_override_is_no_constant() -> None:
    model = build("(float[2] x) => (float[2] y)", "y = Mul(x, w)", w=np.ones(2, np.float32))
    assert Edit(model, "edit").constant("w") is not None
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    assert Edit(model, "edit").constant("w") is None


def test_what_is_not_replaced_stays() -> None:
    model = build("(float[2] x) => (float[2] y)", "a = Mul(x, w)\n y = Neg(a)", w=np.ones(2, np.float32))
    model.doc_string, model.graph.doc_string, model.model_version = "model", "graph", 7
    edit = Edit(model, "edit")
    node = next(edit.nodes("Mul"))
    edit.replace(node, [helper.make_node("Identity", ["x"], ["a"])])
    rewritten, result = edit.close()
    assert [entry.op_type for entry in rewritten.graph.node] == ["Identity", "Neg"]
    assert (rewritten.doc_string, rewritten.graph.doc_string, rewritten.model_version) == ("model", "graph", 7)
    assert not rewritten.graph.initializer and result.fired == ("Mul→a",)


def test_operators_of_other_domains_are_not_taken() -> None:
    model = build("(float[2] x) => (float[2] y)", "y = Neg(x)")
    model.graph.node[0].domain = "my"
    assert not list(Edit(model, "edit").nodes("Neg"))


def test_passes_of_a_target_have_names_of_their_own() -> None:
    names = {entry.name for entry in PASSES if entry.run.__module__.startswith("rectexport.exporter.passes.engines")}
    assert len(names) == 11
    for target in TARGETS:
        needed = names & {entry.name for entry in select_passes(PassContext(target))}
        assert bool(needed) == (target != "onnxruntime")
