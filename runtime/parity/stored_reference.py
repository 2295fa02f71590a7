"""An ONNX file as the reference: runs on ONNX Runtime's CPU provider without graph optimizations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, final

from rectexport.runtime.base.runner import Array, TensorSpec
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package


class ParityReference(Protocol):
    """Computes the expected outputs for a package's inputs, under the package's names."""

    @property
    def description(self) -> str:
        """What computes the outputs, for people."""

    def accepts(self, shapes: Mapping[str, Shape]) -> bool:
        """Whether it takes inputs of these shapes."""

    def outputs(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for these inputs."""

    def close(self) -> None:
        """Free the engine."""


@final
class StoredReference:
    """A model file whose inputs and outputs match the package's by name, or else by order.

    Raises BadInput when ONNX Runtime refuses the file, or when the numbers of inputs or outputs differ.
    """

    def __init__(self, model: Path, package: Package, description: str) -> None:
        self.description = f"{description} in ONNX Runtime on the CPU, without graph optimizations"
        self.model = model
        self._runner = OnnxRuntimeRunner(model, optimize=False)
        manifest = package.manifest
        self._specs = _paired(model, "inputs", [entry.name for entry in manifest.inputs], self._runner.inputs)
        self._outputs = _paired(model, "outputs", [entry.name for entry in manifest.outputs], self._runner.outputs)

    def accepts(self, shapes: Mapping[str, Shape]) -> bool:
        return all(
            len(shape) == len(self._specs[name].shape)
            and all(
                not isinstance(fixed, int) or fixed == size
                for fixed, size in zip(self._specs[name].shape, shape, strict=True)
            )
            for name, shape in shapes.items()
        )

    def feeds(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The package's feeds under this model's names and in its types."""
        return {self._specs[name].name: array.astype(self._specs[name].dtype) for name, array in feeds.items()}

    def outputs(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        answers = self._runner.run(self.feeds(feeds))
        return {name: answers[spec.name] for name, spec in self._outputs.items()}

    def close(self) -> None:
        self._runner.close()


def _paired(model: Path, what: str, ours: Sequence[str], specs: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
    theirs = {spec.name: spec for spec in specs}
    if set(ours) <= set(theirs):
        return {name: theirs[name] for name in ours}
    if len(ours) != len(theirs):
        raise BadInput(f"{model}: has {what} {', '.join(theirs)}, where the package has {', '.join(ours)}")
    return dict(zip(ours, specs, strict=True))
