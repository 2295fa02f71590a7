"""Remedies in refusals: each is tried."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

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


def test_an_operator_without_an_onnx_form_is_named_with_its_module() -> None:
    class Middle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.median(1).values

    with pytest.raises(BadInput, match=r"aten.median \(module 1\) has no ONNX form"):
        traced(source(nn.Sequential(nn.Identity(), Middle()), image(1, 3, 4, 4)))
