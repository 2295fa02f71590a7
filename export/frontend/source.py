"""A model as it was given, from a file or from Python, before tracing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rectexport.exporter.frontend.outside import Outside
from rectexport.runtime.base.runner import Array

#: Type of Source.model, by kind.
KINDS = {
    "module": "torch.nn.Module",
    "program": "torch.export.ExportedProgram",
    "torchscript": "torch.jit.ScriptModule",
    "onnx": "onnx.ModelProto",
}


#: Classes of ours (arguments.py, preprocess/wrap.py) whose attribute `model` is the user's model.
OUR_WRAPPERS = ("Arranged", "Processed")
#: Attribute of the model inside, by the class that wraps it.
_WRAPPERS = {
    **dict.fromkeys(("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "AveragedModel"), "module"),
    "OptimizedModule": "_orig_mod",
}


def unwrapped(model: Any) -> Any:
    """The module inside the wrappers of training: DataParallel and its relatives, AveragedModel, torch.compile."""
    while type(model).__name__ in _WRAPPERS and hasattr(model, _WRAPPERS[type(model).__name__]):
        model = getattr(model, _WRAPPERS[type(model).__name__])
    return model


def in_eval_mode(model: Any) -> Any:
    """The module itself, in eval mode: its own train() may return nothing, which eval() then passes on."""
    model.eval()
    return model


def independent_copy(model: Any, share_parameters: bool = False) -> Any:
    """A deep copy, also of a module that keeps a result of its last call, which PyTorch refuses to copy as it is.

    share_parameters is for a copy whose parameters are only read.
    """
    known = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in torch.utils._pytree.tree_leaves(
            {name: entry for name, entry in vars(module).items() if not name.startswith("_")}
        )
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    if share_parameters:
        known |= {id(value): value for value in model.parameters()}
    return copy.deepcopy(model, known)


@dataclass
class Source:
    """A loaded model and what its file records about it.

    kind             a key of KINDS
    description      the kind of file, for people
    input_names      names of the inputs in order, or None if unknown
    example_inputs   NumPy arrays in the order of input_names, or None if unknown, also for single ones
    default_shape    shape of the only input, if the network's native size is known
    default_shapes   shapes of single inputs by name, where no example is known
    input_dtypes     dtypes by input name, where the file or an option fixes them
    drawn            functions that make an example of a shape, by input name, in place of random numbers
    axes             names of the axes of single inputs, by input name
    container        kind of the file, where the model was taken out of it to be wrapped
    tolerances       bounds that a checkpoint recorded, by metric
    remarks          what was taken or assumed where the file left a choice, in phrases for people
    outside          weights of an ONNX file beyond 2 GB that were not read
    reference        the module that answers are compared with, where it is another one than model
    """

    kind: str
    model: Any
    description: str
    path: Path | None = None
    input_names: list[str] | None = None
    example_inputs: tuple[Array | None, ...] | None = None
    default_shape: tuple[int, ...] | None = None
    default_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    input_dtypes: Mapping[str, str] = field(default_factory=dict)
    drawn: Mapping[str, Callable[[tuple[int, ...]], Array]] = field(default_factory=dict)
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    container: str = ""
    tolerances: Mapping[str, float] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    reference: Any = None
    outside: Outside | None = None

    @property
    def stored(self) -> Mapping[str, Array]:
        """Arrays of the inputs of an ONNX model that stand for weights, by name."""
        return {} if self.outside is None else self.outside.feeds()

    @property
    def name(self) -> str:
        """The file's path, or the name of the model's class."""
        model = self.model
        while type(model).__name__ in OUR_WRAPPERS:
            model = model.model
        return str(self.path) if self.path else type(model).__name__

    @property
    def parameters(self) -> int | None:
        """Number of trained values; None for ONNX, which does not mark them."""
        own = getattr(self.model, "parameters", None)
        return None if own is None else sum(value.numel() for value in own())
