"""A PyTorch module behind the Runner protocol, for comparing a package with the module it was exported from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from rectexport.runtime.base.engine_errors import CLOSED, first_line, shown
from rectexport.runtime.base.runner import Array, TensorSpec
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.manifest import Manifest, TensorEntry
from rectexport.runtime.package.structure import collect


@final
class TorchRunner:
    """Calls a module on its own device and in its own precision, with the package's inputs in order.

    The tensors in its result, at their places in the manifest's structure, or in the order of its tuples, lists and
    dicts, are the package's outputs. Raises BadInput for a module in training mode: its outputs would depend on the
    batch.
    """

    def __init__(self, model: Any, manifest: Manifest) -> None:
        if getattr(model, "training", False):
            raise BadInput("the module is in training mode; call its eval() first")
        self._torch = sys.modules["torch"]  # already imported: `model` is a module of it
        self._model = model
        self._device = next((value.device for value in model.parameters()), self._torch.device("cpu"))
        self._inputs = [_spec(entry) for entry in manifest.inputs]
        self._outputs = [_spec(entry) for entry in manifest.outputs]
        self._structure = manifest.structure

    @property
    def description(self) -> str:
        return f"PyTorch {self._torch.__version__}, {self._device}"

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._model is None:
            raise BadInput(CLOSED)
        dense = [np.asarray(feeds[spec.name], order="C") for spec in self._inputs]
        tensors = [self._torch.tensor(array, device=self._device) for array in dense]
        try:
            with self._torch.inference_mode():
                results = [value.cpu().numpy() for value in self._values(self._model(*tensors))]
        except Exception as error:
            raise BadInput(f"PyTorch could not run with {shown(feeds)}: {first_line(error)}") from None
        if len(results) != len(self._outputs):
            raise BadInput(f"the module returns {len(results)} tensors, but the package has {len(self._outputs)}")
        return {spec.name: np.array(array) for spec, array in zip(self._outputs, results, strict=True)}

    def _values(self, result: Any) -> list[Any]:
        """The outputs in order, detached."""
        if self._structure is None:
            return list(_flat(result))
        found = collect(self._structure, result)
        return [self._torch.as_tensor(found[spec.name]).detach() for spec in self._outputs]

    def close(self) -> None:
        self._model = None


def _flat(value: Any) -> Iterator[Any]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        for entry in value:
            yield from _flat(entry)
    elif hasattr(value, "detach"):
        yield value.detach()


def _spec(entry: TensorEntry) -> TensorSpec:
    return TensorSpec(entry.name, entry.dtype, entry.shape)
