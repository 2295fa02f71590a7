"""Modules that are called by the names of their inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rectexport.exporter.frontend.by_name import by_name, called_by_name
from rectexport.exporter.frontend.source import Source


class Difference(nn.Module):
    def forward(self, x: Tensor, y: Tensor, *, scale: Tensor | None = None, twice: bool = False) -> Tensor:
        z = (x - y) * (1 if scale is None else scale)
        return 2 * z if twice else z


X, Y, S = torch.tensor([5.0]), torch.tensor([3.0]), torch.tensor([10.0])


def source() -> Source:
    return Source("module", Difference(), "a module")


def test_inputs_in_another_order() -> None:
    called = called_by_name(source(), ["scale", "y", "x"])
    assert float(called.model(S, Y, X)) == 20
    program = torch.export.export(called.model, (S, Y, X), dynamic_shapes={"scale": None, "y": None, "x": None})
    assert float(program.module()(S, Y, X)) == 20


def test_what_is_called_in_order_stays_as_it_is() -> None:
    for names in (["x", "y"], ["x"], ["a", "b"], ["input_0", "input_1"]):
        given = source()
        assert called_by_name(given, names) is given
    other = Source("onnx", object(), "ONNX file")
    assert called_by_name(other, ["y", "x"]) is other


def test_constants_and_places() -> None:
    assert float(by_name(Difference(), ["a", "y"], {"twice": True}, 1)(X, Y)) == 4
