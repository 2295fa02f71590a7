"""Building a network from arguments that a stranger chose: it must not grow beyond what its file can fill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn.modules import module

from rectexport.runtime.errors import BadInput

#: Modules and parameters that a network may have for each tensor of its state dict, and besides.
EACH, BESIDES = 20, 1000


@contextmanager
def at_most(tensors: int) -> Iterator[None]:
    """Raise BadInput within the block as soon as modules of more than EACH·tensors + BESIDES parts are built.

    Build on the meta device, where size costs nothing; this bounds the number of parts, which does.
    """
    left = EACH * tensors + BESIDES

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise BadInput(f"a network of more parts than {tensors} tensors can fill")

    hooks = (
        module.register_module_module_registration_hook(count),
        module.register_module_parameter_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
