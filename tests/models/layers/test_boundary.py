"""Convolutions with a border of any kind: values, gradients, options, export."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rectexport.models import BoundaryConv1d, BoundaryConv2d, BoundaryConv3d
from rectexport.models.layers.borders import BORDERS
from rectexport.models.layers.boundary import boundary_pad
from rectexport.models.layers.geometry import resolve_padding
from rectexport.plugins import reference

LAYERS = {1: BoundaryConv1d, 2: BoundaryConv2d, 3: BoundaryConv3d}
TORCH = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def test_the_borders_are_those_of_the_reference() -> None:
    assert BORDERS == reference.BORDERS


@settings(max_examples=40, deadline=None)
@given(data=st.data(), rank=st.integers(1, 3), seed=st.integers(0, 99))
def test_padding_is_the_references(data: st.DataObject, rank: int, seed: int) -> None:
    borders = [data.draw(st.sampled_from(BORDERS if axis == rank - 2 else BORDERS[:-2])) for axis in range(rank)]
    pads = [data.draw(st.integers(0, 2)) for _ in range(2 * rank)]
    x = image(2, 3, *[data.draw(st.integers(3, 6)) for _ in range(rank)], seed=seed)
    expected = reference.boundary_pad(x.numpy(), pads, borders)
    np.testing.assert_array_equal(boundary_pad(x, pads, borders).numpy(), expected)
    modes = [BORDERS.index(border) for border in borders]
    np.testing.assert_array_equal(torch.ops.rectexport.boundary_pad(x, modes, pads).numpy(), expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("mode", BORDERS[:4])
def test_one_mode_is_torchs_own_layer(rank: int, mode: str) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2, "padding_mode": mode}
    ours, theirs = LAYERS[rank](4, 6, 3, **options), TORCH[rank](4, 6, 3, **options)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, *(7, 6, 5)[:rank], requires_grad=True)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x[0]), theirs(x)[0])
    gradients = [torch.autograd.grad(layer(x).square().sum(), x)[0] for layer in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_modes_and_pads_by_axis() -> None:
    torch.manual_seed(0)
    layer = BoundaryConv2d(2, 3, 3, padding=(1, 0, 2, 1), padding_mode=("poles", "circular")).double()
    assert layer.pads == (2, 1, 1, 0)  # left 1, right 0, top 2, bottom 1
    x = image(1, 2, 5, 6)
    weight, bias = (value.detach().numpy() for value in (layer.weight, layer.bias))
    expected = reference.boundary_conv(x.numpy(), weight, bias, None, layer.pads, ("poles", "circular"))
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-12)
    assert "padding_mode=('poles', 'circular')" in repr(layer)


def test_padding_in_every_spelling() -> None:
    assert resolve_padding(2, (3, 3), (1, 1), (1, 1)) == (2, 2, 2, 2)
    assert resolve_padding((1, 2), (3, 3), (1, 1), (1, 1)) == (1, 2, 1, 2)
    assert resolve_padding((1, 2, 3, 4, 5, 6), (3,) * 3, (1,) * 3, (1,) * 3) == (5, 3, 1, 6, 4, 2)
    assert resolve_padding("same", (4,), (1,), (1,)) == (1, 2)
    assert resolve_padding("valid", (4,), (2,), (1,)) == (0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding_mode": "mirror"}, "padding_mode: expected one of"),
        ({"padding_mode": ("zeros",)}, "expected a mode or 2 of them"),
        ({"padding_mode": ("circular", "poles")}, "for the axis before the last"),
        ({"padding": -1}, "non-negative"),
        ({"padding": (1, 2, 3)}, "expected an int or 2"),
        ({"padding": "full"}, "'same' or 'valid'"),
        ({"padding": "same", "stride": 2}, "needs stride 1"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoundaryConv2d(1, 1, 3, **options)


def test_an_input_that_is_too_small_is_named() -> None:
    layer = BoundaryConv2d(1, 1, 5, padding=2, padding_mode="reflect")
    with pytest.raises(ValueError, match="'reflect' reaches 1 elements beyond an axis of 2, got 2; pad less"):
        layer(torch.zeros(1, 1, 4, 2))


def test_export_writes_one_operator_and_keeps_sizes_free() -> None:
    torch.manual_seed(0)
    layer = BoundaryConv2d(2, 3, 3, padding=1, padding_mode=("replicate", "circular"))
    dynamic = {0: torch.export.Dim("n"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    program = torch.export.export(layer, (torch.randn(2, 2, 5, 6),), dynamic_shapes=(dynamic,))
    ours = [str(node.target) for node in program.graph.nodes if "rectexport" in str(node.target)]
    assert ours == ["rectexport.boundary_pad.default"]
    x = torch.randn(3, 2, 4, 9)
    torch.testing.assert_close(program.module()(x), layer(x))
