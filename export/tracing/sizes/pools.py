"""Keep the output size of an adaptive max pooling symbolic while torch.export runs a model.

torch takes that size as plain numbers, those of the example: a layer that pools h to h // 4 would give every image the
example's number of windows. Where h is a multiple of it, the windows are equal:

    Given:   adaptive_max_pool2d(x, (h / k, w / l)), k and l whole numbers
    Result:  max_pool2d(x, (k, l))
    Not when the example's sizes are no multiples; at other sizes of the range, the condition is an assertion of torch

Average pooling needs nothing: torch keeps its sizes symbolic.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@contextmanager
def dividing_pools() -> Iterator[None]:
    """Within the block, F.adaptive_max_pool2d to a symbolic size is a max pooling with equal windows."""
    functions: Any = F
    own = functions.adaptive_max_pool2d

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        kernel = _kernel(input, output_size)
        return own(input, output_size, return_indices) if kernel is None else _equal(input, kernel, return_indices)

    functions.adaptive_max_pool2d = pool
    try:
        yield
    finally:
        functions.adaptive_max_pool2d = own


def _kernel(x: Tensor, output_size: Any) -> list[int] | None:
    """The window, where the output size is symbolic and divides that of x."""
    wanted = (output_size,) * 2 if isinstance(output_size, int | torch.SymInt) else tuple(output_size)
    if not any(isinstance(size, torch.SymInt) for size in wanted):
        return None
    kernel = []
    for size, out in zip(x.shape[-2:], wanted, strict=True):
        if out is None or size % out != 0:
            return None
        kernel.append(int(size // out))
    return kernel


def _equal(x: Tensor, kernel: list[int], return_indices: bool) -> Any:
    pool: Any = F.max_pool2d
    return pool(x, kernel, return_indices=return_indices)
