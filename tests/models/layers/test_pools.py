"""Pools that round up: the same numbers with known and with unknown sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import Dim

from rectexport.models.layers.pools import HalvingAvgPool2d, HalvingMaxPool2d

POOLS = {
    HalvingAvgPool2d: nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
    HalvingMaxPool2d: nn.MaxPool2d(3, 2, ceil_mode=True),
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", POOLS)
def test_every_size_in_every_form(kind: type[nn.Module]) -> None:
    pool, expected = kind(), POOLS[kind]
    dynamic = {0: Dim("n"), 2: Dim("h", min=4), 3: Dim("w", min=4)}
    exported = torch.export.export(pool, (torch.randn(2, 3, 8, 9),), dynamic_shapes=(dynamic,)).module()
    traced = torch.jit.trace(pool, torch.randn(1, 3, 8, 8))
    for height in range(4, 10):
        for width in range(4, 10):
            x = torch.randn(1, 3, height, width) - 5
            for form in (pool, exported, traced):
                torch.testing.assert_close(form(x), expected(x))
