"""Remedies in refusals: each is tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rectexport
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions, ShapeOptions
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.pipeline import run_export
from rectexport.runtime.errors import BadInput
from tests.export.nets import image, source, traced


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return x


class DecidesAsAdvised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.sum() > 0, x * 2, x)


class Asserts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.isfinite().all()
        return x * 2


class AssertsAsAdvised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            assert x.isfinite().all()
        return x * 2


class Reads(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, : int(x.max())]


@pytest.mark.parametrize(
    ("net", "advised", "said"),
    [
        (Decides(), DecidesAsAdvised(), r"use torch.where, or torch.cond .* \(if x.sum\(\) > 0:\)"),
        (Asserts(), AssertsAsAdvised(), r"torch.compiler.is_exporting.* \(assert x.isfinite\(\).all\(\)\)"),
        (Reads(), None, "forward reads a number from a tensor's values"),
    ],
)
def test_remedies(net: nn.Module, advised: nn.Module | None, said: str) -> None:
    nested = nn.Sequential(nn.Identity(), net)
    with pytest.raises(BadInput, match=rf"\(module 1\); .*{said}" if advised else said):
        traced(source(nested, image(1, 2, 4, 4)))
    if advised is not None:
        assert traced(source(advised, image(1, 2, 4, 4))).model.graph.node


class Renews(nn.Module):
    """Computes its weight anew in forward, as reparametrized networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.used = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.used.weight.data = self.first.weight.data.clone() * self.second.weight.data
        return self.used(x)


def test_parameters_that_forward_changes(tmp_path: Path) -> None:
    net, example = nn.Sequential(nn.Identity(), Renews()).eval(), image(1, 2, 4, 4)
    said = r"forward gives the model's own parameters new values \(module 1.*torch.jit.trace\(model, example\)"
    with pytest.raises(BadInput, match=said):
        traced(source(net, example))
    torch.jit.trace(net, example).save(str(tmp_path / "model.ts"))
    shapes, out = ShapeOptions(input=["1x2x4x4"]), tmp_path / "package"
    run_export(load_source(tmp_path / "model.ts"), shapes, out, ExportOptions(), Log())
    with rectexport.load(tmp_path / "package") as session:
        np.testing.assert_allclose(session(example.numpy()), net(example).detach().numpy(), atol=1e-5)


def test_an_operator_without_an_onnx_form_is_named_with_its_module() -> None:
    class Middle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.median(1).values

    with pytest.raises(BadInput, match=r"aten.median \(module 1\) has no ONNX form"):
        traced(source(nn.Sequential(nn.Identity(), Middle()), image(1, 3, 4, 4)))
