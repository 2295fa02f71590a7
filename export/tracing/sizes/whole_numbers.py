"""Keep `int(size)` symbolic while torch.export runs a model.

torch's sizes are SymInt and SymFloat objects. `int(x)` makes a plain number of them, that of the example, and with
deferred assertions torch forgets to say so: `int(math.ceil(height / 4)) * 4 - height` then pads every image by what the
example needs. torch.sym_int does the same and stays symbolic. `int` cannot be given that meaning, but the name can:
while the model is traced, `int` in the modules of its code is a class that looks like int and treats sizes so.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

#: Code that knows what a symbolic size is, or that must see the class int itself.
_NOT_IN = ("torch", "builtins", "numpy", "rectexport", "typing", "collections")


class _LikeInt(type):
    """What `int` answers to when it is not called with a size."""

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        if len(arguments) == 1 and not options:
            (value,) = arguments
            if isinstance(value, torch.SymInt):
                return value
            if isinstance(value, torch.SymFloat):
                return torch.sym_int(value)
        return builtins.int(*arguments, **options)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, builtins.int)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, builtins.int)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is builtins.int

    def __hash__(cls) -> int:
        return hash(builtins.int)


class _Int(int, metaclass=_LikeInt):
    """Stands for `int` in the model's modules."""


@contextmanager
def symbolic_int(model: Any) -> Iterator[None]:
    """Within the block, `int` of a size is symbolic in the Python code that the model is made of."""
    changed = [module for module in _modules(model) if "int" not in vars(module)]
    for module in changed:
        vars(module)["int"] = _Int
    try:
        yield
    finally:
        for module in changed:
            del vars(module)["int"]


def _modules(model: Any) -> list[ModuleType]:
    """Python modules of the packages that define the classes of the model's layers, loaded so far."""
    classes = {base for layer in model.modules() for base in type(layer).__mro__}
    packages = {entry.__module__.partition(".")[0] for entry in classes} - set(_NOT_IN)
    found = ((name, module) for name, module in sys.modules.items() if name.partition(".")[0] in packages)
    return [module for _, module in found if isinstance(module, ModuleType)]
