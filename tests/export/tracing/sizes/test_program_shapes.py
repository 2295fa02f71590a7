"""Ranges and steps that a program or an ONNX file was made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.export import Dim

from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.tracing.sizes.program_shapes import has_steps, user_shapes, with_file_steps, with_program_range
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.errors import BadInput
from tests.export.nets import image, traced


def program() -> Any:
    shapes = ({0: Dim("n", min=1, max=6), 2: 4 * Dim("h", min=1, max=5)},)
    return torch.export.export(nn.Conv2d(1, 1, 3, padding=1), (image(2, 1, 8, 8),), dynamic_shapes=shapes)


def plan(low: int, opt: int, high: int) -> InputPlan:
    bounds = ShapeRange((2, 1, low, 8), (2, 1, opt, 8), (2, 1, high, 8))
    return InputPlan("x", np.zeros(bounds.opt, np.float32), bounds)


def test_steps_of_a_program() -> None:
    made = program()
    assert has_steps(made)
    assert user_shapes(made) == [[(1, 6, 1), 1, (4, 20, 4), 8]]
    found = with_program_range(plan(8, 8, 8), user_shapes(made)[0]).range
    assert (found.min, found.max, found.step) == ((1, 1, 4, 8), (6, 1, 20, 8), (1, 1, 4, 1))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((10, 10, 10), "axis 2: the model was exported for 4..20 in steps of 4, got 10"),
        ((6, 8, 16), "for 4..20 in steps of 4, but min is 6; the nearest sizes that fit are 4 and 8"),
        ((8, 8, 18), "but max is 18; the nearest sizes that fit are 16 and 20"),
    ],
)
def test_sizes_between_the_steps(sizes: tuple[int, int, int], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        with_program_range(plan(*sizes), user_shapes(program())[0])


def test_a_program_with_steps_is_converted() -> None:
    loaded = Source("program", program(), "program", None, ["input"], (image(2, 1, 8, 8).numpy(),))
    result = traced(loaded)
    assert result.inputs[0].range.step == (1, 1, 4, 1)
    assert result.model.graph.node[0].op_type == "Conv"


@pytest.mark.parametrize(("name", "step"), [("4*s39", (1, 1, 4, 1)), ("4*s39 + 8", (1, 1, 4, 1)), ("height", ())])
def test_steps_in_the_names_of_an_onnx_file(name: str, step: tuple[int, ...], tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, name, 8])
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [value], [value]))
    (found,) = with_file_steps([plan(8, 8, 20)], model)
    assert (found.range.min, found.range.step) == ((2, 1, 8, 8), step)
    if step:
        with pytest.raises(BadInput, match="but max is 18"):
            with_file_steps([plan(8, 8, 18)], model)
