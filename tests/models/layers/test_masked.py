"""Masked partial convolutions against the NumPy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rectexport.models import MaskedConv1d, MaskedConv2d, MaskedConv3d
from rectexport.models.layers.geometry import resolve_padding
from rectexport.models.layers.masked import masked_conv
from rectexport.plugins import reference

KINDS: list[tuple[Any, tuple[Any, ...], tuple[int, ...]]] = [
    (MaskedConv1d, (2, 4, 3, 2, (2, 1), 1, 2), (7,)),
    (MaskedConv2d, (2, 4, (3, 2), 1, (1, 1), (1, 2)), (5, 6)),
    (MaskedConv2d, (2, 3, 3, 2, (2, 0, 1, 1)), (5, 6)),
    (MaskedConv3d, (2, 4, 2, 1, 1), (3, 4, 2)),
]


def masks(*shape: int) -> list[torch.Tensor]:
    """Nothing, everything, a half, and single values known."""
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return [torch.zeros_like(drawn), torch.ones_like(drawn), (drawn > 0.5).double(), (drawn > 0.95).double()]


@pytest.mark.parametrize("numerator", ["mask", "one", "channels"])
@pytest.mark.parametrize("bias_mode", ["after", "inside"])
@pytest.mark.parametrize("multi_channel", [False, True])
@pytest.mark.parametrize(("kind", "arguments", "size"), KINDS)
def test_as_the_reference(
    kind: Any, arguments: Any, size: tuple[int, ...], multi_channel: bool, bias_mode: str, numerator: str
) -> None:
    torch.manual_seed(0)
    layer = kind(*arguments, dtype=torch.float64, multi_channel=multi_channel, bias_mode=bias_mode, numerator=numerator)
    pads = resolve_padding(layer.padding, layer.kernel_size, layer.stride, layer.dilation)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    taps = {"mask": None, "one": 1, "channels": weight[0].size}[numerator]
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    for mask in masks(2, 2 if multi_channel else 1, *size):
        y, known = layer(x, mask)
        window = (layer.stride, pads, layer.dilation, layer.groups)
        expected, seen = reference.masked_conv(
            x.numpy(), mask.numpy(), weight, bias, *window, numerator=taps, bias_mode=bias_mode
        )
        assert y.isfinite().all() and known.shape[1] == (layer.out_channels if multi_channel else 1)
        np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(known.numpy(), np.broadcast_to(seen, known.shape))


def test_keys_gradients_and_half_precision() -> None:
    layer = MaskedConv2d(2, 3, 3, padding=1)
    assert list(layer.state_dict()) == list(nn.Conv2d(2, 3, 3).state_dict())
    x, mask = torch.randn(1, 2, 5, 5, requires_grad=True), (torch.rand(1, 1, 5, 5) > 0.5).float()
    y, _ = layer(x, mask)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert gradient.isfinite().all() and not gradient[(mask == 0).expand_as(gradient)].any()
    half, known = layer.bfloat16()(x.bfloat16(), mask.bfloat16())
    assert half.dtype == known.dtype == torch.bfloat16
    assert repr(layer).endswith("multi_channel=False, numerator=mask, bias_mode=after)")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"numerator": "all"}, "numerator"), ({"bias_mode": "before"}, "bias_mode"), ({"padding": -1}, "padding")],
)
def test_unknown_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedConv2d(1, 1, 3, **options)


def test_a_mask_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mask: expected 1 channels, got shape \(1, 2, 4, 4\)"):
        MaskedConv2d(2, 1, 3)(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match="mask: expected shape"):
        masked_conv(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 3, 3))
