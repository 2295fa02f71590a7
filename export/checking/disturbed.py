"""Round every step of a PyTorch model at random, as float32 would, to see what rounding does to its outputs.

One run in float32 may be exact by luck. Here the model runs in float64 and each operator's result is multiplied by
1 + e, |e| <= 2^-24, another e for each element: random arithmetic as in CESTAC (Vignes, "A stochastic arithmetic for
reliable scientific computation", 1993). Whole numbers stay: positions and counts are exact in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

#: Half the distance from 1 to the next float32.
ROUNDOFF = 2.0**-24


class Disturbed(TorchDispatchMode):
    """Within the block, every operator of PyTorch rounds its float results at random; views do not."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The operator's result, rounded."""
        result = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.is_mutable:
            return result
        return pytree.tree_map_only(Tensor, self._rounded, result)

    def _rounded(self, value: Tensor) -> Tensor:
        if not value.is_floating_point() or not value.numel():
            return value
        noise = torch.rand(value.shape, generator=self._generator, dtype=value.dtype)
        return torch.where(value == value.round(), value, value * (1 + ROUNDOFF * (2 * noise - 1)))
