"""A model as it came in, whatever it was stored as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rectexport.runtime.base.runner import Array

#: What Source.model may be, by kind.
KINDS = {
    "module": "torch.nn.Module",
    "program": "torch.export.ExportedProgram",
    "torchscript": "torch.jit.ScriptModule",
    "onnx": "onnx.ModelProto",
}


#: Attribute of the model inside, by the class that wraps it.
_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}


def unwrapped(model: Any) -> Any:
    """The module inside of what training wraps around it: data parallelism, torch.compile."""
    while type(model).__name__ in _WRAPPERS:
        model = getattr(model, _WRAPPERS[type(model).__name__])
    return model


@dataclass
class Source:
    """A loaded model and what its file says about it.

    example_inputs are numpy arrays in the order of input_names; either may be unknown (None).
    """

    kind: str
    model: Any
    description: str
    path: Path | None = None
    input_names: list[str] | None = None
    example_inputs: tuple[Array, ...] | None = None
    default_shape: tuple[int, ...] | None = None
    tolerances: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file's name, or the class's."""
        return str(self.path) if self.path else type(self.model).__name__

    @property
    def parameters(self) -> int | None:
        """How many numbers were trained; None where the model does not say which those are (ONNX)."""
        own = getattr(self.model, "parameters", None)
        return None if own is None else sum(value.numel() for value in own())
