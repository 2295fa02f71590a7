"""Reference from a model file: its outputs and inner tensors, computed by PyTorch in float64."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

import onnx
from onnx import GraphProto, ModelProto, ValueInfoProto
from torch import nn

from rectexport.exporter.checking.reference import Reference, make_reference
from rectexport.exporter.frontend.adapt import adapt_source
from rectexport.exporter.frontend.computable import computable
from rectexport.exporter.frontend.inputs import InputPlan, ShapeOptions, plan_inputs
from rectexport.exporter.frontend.load import LoadOptions, load_source
from rectexport.exporter.frontend.source import Source, independent_copy
from rectexport.exporter.graph.dialect import default_opset
from rectexport.exporter.preprocess.wrap import Processing, prepare
from rectexport.exporter.tracing.trace import Traced, trace
from rectexport.runtime.base.files import sha256
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape, format_shape
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package


@final
class SourceReference:
    """A model as the exporter reads it, in float64; it is traced only when inner tensors are requested.

    Raises BadInput for a model that takes other inputs than the package.
    """

    @classmethod
    def of_file(cls, path: Path, package: Package, options: LoadOptions) -> SourceReference:
        """A model file. Raises BadInput if it cannot be loaded, UsageError for options that do not fit it."""
        return cls(load_source(path, options), package, _origin(path, package))

    @classmethod
    def of_module(cls, model: nn.Module, package: Package) -> SourceReference:
        """A module, whose copy is put into eval mode and float64."""
        return cls(Source("module", independent_copy(model).cpu().eval(), type(model).__name__), package, "")

    def __init__(self, source: Source, package: Package, note: str) -> None:
        source = computable(source)
        self.remarks = source.remarks
        source, self._inputs = _planned(source, package)
        source, _ = adapt_source(source, [entry.example for entry in self._inputs])
        self._source, self._package = source, package
        self._outer = make_reference(source, _outer(package, self._inputs))
        self._inner: Reference | None = None
        self.traced: ModelProto | None = None
        self.note = note

    @property
    def description(self) -> str:
        return f"{self._source.description}, {self._outer.description}"

    def accepts(self, shapes: Mapping[str, Shape]) -> bool:
        return True

    def outputs(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        found = self._outer.outputs(feeds)
        names = [entry.name for entry in self._package.manifest.outputs]
        if len(found) != len(names):
            raise BadInput(
                f"{self._source.name}: {len(found)} outputs, the package has {len(names)}: {', '.join(names)}"
            )
        return dict(zip(names, found, strict=True))

    def tensors(self, feeds: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        return self._traced().tensors(feeds, names)

    def inner_names(self) -> set[str]:
        return self._traced().inner_names()

    def layer(self, name: str) -> str:
        return self._traced().layer(name)

    def close(self) -> None:
        """Does nothing: Python frees everything that is held."""

    def _traced(self) -> Reference:
        if self._inner is None:
            opset = default_opset(onnx.load(self._package.model_file, load_external_data=False))
            traced = trace(self._source, self._inputs, opset)
            self._inner, self.traced = make_reference(self._source, traced), traced.model
        return self._inner


def _outer(package: Package, inputs: tuple[InputPlan, ...]) -> Traced:
    """As much of a trace as a reference needs for the outputs, which the package records."""
    graph = GraphProto(output=[ValueInfoProto(name=entry.name) for entry in package.manifest.outputs])
    return Traced(ModelProto(graph=graph), inputs, structure=package.manifest.structure)


def _planned(source: Source, package: Package) -> tuple[Source, tuple[InputPlan, ...]]:
    """The source in the package's processing, its inputs over the package's ranges.

    Raises BadInput when they have other names, UsageError when the package does not hold its processing.
    """
    names = [entry.name for entry in package.manifest.inputs]
    around = Processing.of(package.manifest.data)
    if not around.image and source.input_names and source.input_names != names:
        theirs, ours = ", ".join(source.input_names), ", ".join(names)
        raise BadInput(f"{source.name}: has the inputs {theirs}, the package has {ours}")
    ranges = {entry.name: entry.range for entry in package.manifest.inputs if entry.range is not None}
    common = [f"{name}:{format_shape(bounds.opt)}" for name, bounds in ranges.items()]
    source = prepare(source, ShapeOptions(opt=common), around)
    plans = plan_inputs(source, ShapeOptions(opt=common)).inputs
    return source, tuple(replace(plan, range=ranges.get(plan.name, plan.range)) for plan in plans)


def _origin(path: Path, package: Package) -> str:
    recorded = package.manifest.data.get("source")
    digest = recorded.get("sha256") if isinstance(recorded, dict) else None
    if digest is None:
        return f"the package does not record which file it was made from; it is compared with {path}"
    same = sha256(path) == digest
    return f"{path} is {'the' if same else 'NOT the'} file that the package was made from, by its sha256"
