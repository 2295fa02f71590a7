"""The dialect's operators as torch custom ops: values, and shapes without values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rectexport.models.layers import ops
from rectexport.models.layers.symmetry import group_pads
from rectexport.plugins import reference

OPS = torch.ops.rectexport
WINDOW = ([3, 2], [2, 1], [1, 0, 2, 1], [1, 2])


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("mode", ["sum", "average"])
@pytest.mark.parametrize("empty", ["bias", "zero"])
def test_rectify(mode: str, empty: str) -> None:
    x, weight, bias = image(2, 3, 7, 8), image(4, 3, 3, 2, seed=1), image(4, seed=2)
    y = torch.from_numpy(reference.conv2d(x.numpy(), weight.numpy(), None, *WINDOW[1:], 1))
    before = y.clone()
    expected = reference.rectified_conv2d(x.numpy(), weight.numpy(), bias.numpy(), *WINDOW[1:], mode=mode, empty=empty)
    np.testing.assert_allclose(OPS.rectify(y, x, bias, *WINDOW, mode, empty).numpy(), expected, atol=1e-12)
    assert torch.equal(y, before)


def test_half_precision_is_multiplied_by_exact_factors() -> None:
    assert ops.map_dtype(torch.float16) == ops.map_dtype(torch.bfloat16) == torch.float32
    assert ops.map_dtype(torch.float64) == torch.float64
    y, factors = torch.full((1, 1, 1, 2), 3.0, dtype=torch.float16), torch.tensor([[1.5, 1 / 3]])
    found = ops.scale_and_shift(y, factors, torch.tensor([0.5], dtype=torch.float16), "bias")
    assert found.dtype == torch.float16 and found.flatten().tolist() == [5.0, 1.5]


def test_the_shift_is_left_out_where_nothing_is_seen() -> None:
    y, factors, bias = torch.ones(1, 2, 1, 2), torch.tensor([[0.0, 2.0]]), torch.tensor([1.0, -1.0])
    assert ops.scale_and_shift(y, factors, bias, "zero").flatten().tolist() == [0, 3, 0, 1]
    assert ops.scale_and_shift(y, factors, bias, "bias").flatten().tolist() == [1, 3, -1, 1]
    assert ops.scale_and_shift(y, factors, None, "bias").flatten().tolist() == [0, 2, 0, 2]


def test_symmetric_pad_and_doubling() -> None:
    x = image(2, 5, 3, 4)
    found = OPS.symmetric_pad(x, [2, 1, 1, 1], group_pads(4, "wu"))
    np.testing.assert_array_equal(found.numpy(), reference.symmetric_pad(x.numpy(), 4, "wu", "first"))
    assert torch.equal(OPS.neg_concat(x, 2), torch.cat((x, -x), 2))
    assert torch.equal(OPS.crelu(x, -1), torch.cat((x.relu(), (-x).relu()), -1))


def test_shapes_without_values_are_those_of_the_values() -> None:
    x, y, bias = image(2, 5, 3, 4), image(2, 4, 2, 3), image(4)
    calls = [
        (OPS.rectify, (y, x, bias, *WINDOW, "sum", "bias")),
        (OPS.symmetric_pad, (x, [2, 1, 1, 1], group_pads(4, "wu"))),
        (OPS.boundary_pad, (x, [5, 1], [1, 0, 2, 3])),
        (OPS.crelu, (x, 1)),
        (OPS.neg_concat, (x, -1)),
    ]
    for operator, arguments in calls:
        bare = [entry.to("meta") if isinstance(entry, Tensor) else entry for entry in arguments]
        found, expected = operator(*bare), operator(*arguments)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), operator
