"""Names of outputs and dimensions."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.tracing.naming import name_dimensions, strip_notes
from rectexport.runtime.base.shapes import ShapeRange


def test_symbols_are_renamed_everywhere_and_notes_removed() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "s77", "s0"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "s77 - 2", "2*s0"])
    node = helper.make_node("Identity", ["x"], ["y"], doc_string="/home/someone/net.py")
    model = helper.make_model(helper.make_graph([node], "g", [x], [y], doc_string="a note"))
    bounds = ShapeRange((1, 3, 4, 4), (1, 3, 8, 8), (1, 3, 9, 9))
    name_dimensions(model, [InputPlan("x", np.zeros(bounds.opt, np.float32), bounds)])
    strip_notes(model)
    found = [
        [dim.dim_param for dim in value.type.tensor_type.shape.dim[2:]]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert found == [["height", "width"], ["height - 2", "2*width"]]
    assert b"someone" not in model.SerializeToString() and not model.graph.doc_string
