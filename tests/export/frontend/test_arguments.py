"""Nested inputs, keywords and constants: a package takes tensors, each called by its place among the arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import rectexport
from rectexport.exporter.frontend.arguments import (
    Layout,
    Slot,
    arranged,
    inner_path,
    layout_of,
    program_layout,
    program_module,
    read_arguments,
)
from rectexport.exporter.frontend.load import load_source
from rectexport.runtime.errors import UsageError
from tests.export.nets import image, seeded


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(
        self, batch: dict[str, Any], mask: Tensor | None = None, factor: float = 1.0, *, shift: Any = None
    ) -> Any:
        y = self.conv(batch["image"]) * factor
        for part in batch["parts"]:
            y = y + part
        y = y if mask is None else y * mask
        return y if shift is None else y + shift


NAMES = ("batch.image", "batch.parts.0", "shift")


def arguments() -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ({"image": image(2, 1, 3, 4), "parts": (image(1),)}, None, 2.5), {"shift": image(1, seed=2)}


def test_layout() -> None:
    args, _ = arguments()
    layout, tensors = read_arguments(Nested(), args)
    assert layout.names == NAMES[:2]
    assert list(tensors) == ["example_inputs[0]['image']", "example_inputs[0]['parts'][0]"]
    assert layout.args == ({"image": Slot(0), "parts": (Slot(1),)}, None, 2.5)
    filled, kwargs = layout.filled(["a", "b"])
    assert (filled, kwargs) == (({"image": "a", "parts": ("b",)}, None, 2.5), {})
    rows = {0: Dim("rows")}
    assert layout.shapes(({"image": rows}, None, None), ["batch", "mask", "factor"]) == (rows, None)
    assert layout.shapes({"batch": {"parts": [rows]}}, ["batch", "mask", "factor"]) == (None, rows)
    assert layout.shapes(None, []) is None


def test_a_flat_list_needs_no_wrapper() -> None:
    layout, _ = read_arguments(nn.Bilinear(2, 2, 1), (image(1, 2), image(1, 2)))
    assert layout.plain and layout.names == ("input1", "input2")
    net = nn.Identity()
    assert arranged(net, layout) is net


@pytest.mark.parametrize(
    ("names", "args", "kwargs"),
    [
        (["batch", "mask"], (Slot(0), Slot(1)), {}),
        (["batch", "factor"], (Slot(0),), {"factor": Slot(1)}),
        (["batch", "mask", "shift"], (Slot(0), Slot(1)), {"shift": Slot(2)}),
        (["other"], (Slot(0),), {}),
    ],
)
def test_a_choice_of_parameters(names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    expected = Layout(args, kwargs, tuple(names))
    assert layout_of(Nested(), names) == expected


def test_a_program_has_the_same_layout() -> None:
    args, kwargs = arguments()
    net = seeded(Nested())
    program = torch.export.export(net, args, kwargs)
    layout = program_layout(program)
    assert layout.names == NAMES
    tensors = (image(2, 1, 3, 4, seed=5), image(1), image(1))
    filled, named = layout.filled(tensors)
    torch.testing.assert_close(program_module(program)(*tensors), net(*filled, **named))


def test_paths_of_layers_are_the_models_own() -> None:
    stack = [("", "x.Processed"), ("model", "x.Arranged"), ("model.model", "Net"), ("model.model.stem", "Conv2d")]
    assert inner_path(stack) == "stem"
    assert inner_path([("", "x.Processed"), ("preprocess", "Scale")]) == "preprocess"
    assert inner_path([("", "Net"), ("model", "Inner"), ("model.stem", "Conv2d")]) == "model.stem"
    assert inner_path([]) == ""


@pytest.mark.parametrize("kind", ["module", "program", "file"])
def test_a_package(kind: str, tmp_path: Path) -> None:
    args, kwargs = arguments()
    net = seeded(Nested())
    if kind == "module":
        batch = {"batch": args[0], "factor": 2.5, "shift": kwargs["shift"]}
        package = rectexport.export(net, batch, tmp_path / "p")
    else:
        program = torch.export.export(net, args, kwargs)
        torch.export.save(program, tmp_path / "net.pt2")
        given = program if kind == "program" else load_source(tmp_path / "net.pt2").model
        package = rectexport.export(given, (*args, kwargs["shift"]), tmp_path / "p")
    assert [entry.name for entry in package.manifest.inputs] == list(NAMES)
    tensors = [image(2, 1, 3, 4, seed=7), image(1, seed=8), image(1, seed=9)]
    wanted = net({"image": tensors[0], "parts": tensors[1:2]}, None, 2.5, shift=tensors[2]).detach()
    with rectexport.load(package.path, backend="onnxruntime", threads=1) as session:
        got = session.run({name: value.numpy() for name, value in zip(NAMES, tensors, strict=True)})["output"]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_open_sizes_of_nested_inputs(tmp_path: Path) -> None:
    args, _ = arguments()
    free = ({"image": {0: Dim("rows", max=8)}, "parts": None}, None, None)
    package = rectexport.export(seeded(Nested()), args, tmp_path / "p", free)
    assert [entry.shape for entry in package.manifest.inputs] == [("batch", 1, 3, 4), (1,)]


def test_nothing_to_give() -> None:
    with pytest.raises(UsageError, match="expected at least one tensor"):
        read_arguments(Nested(), ({"image": None, "parts": []},))
