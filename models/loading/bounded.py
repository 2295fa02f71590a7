"""Bound the size of a network that is built from untrusted arguments by the number of tensors in its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn.modules import module

from rectexport.runtime.errors import BadInput

#: Most modules and parameters of a network: so many per tensor of its state dict, and so many more.
PER_TENSOR, MORE = 20, 1000


@contextmanager
def at_most(tensors: int) -> Iterator[None]:
    """Within the block, raise BadInput once more than PER_TENSOR·tensors + MORE modules and parameters exist.

    Build on the meta device, where the size of tensors costs nothing; their number does, and is bounded here.
    """
    limit = PER_TENSOR * tensors + MORE
    left = limit

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise BadInput(f"more than {limit} modules and parameters, too many for a file of {tensors} tensors")

    hooks = (
        module.register_module_module_registration_hook(count),
        module.register_module_parameter_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
