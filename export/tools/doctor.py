"""Examine an ONNX file, or the models of a package, before it is deployed, without running it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, checker

from rectexport.exporter.engine_facts.facts import judged_engines
from rectexport.exporter.frontend.onnx_file import read_onnx
from rectexport.exporter.graph.dialect import BODIES, DOMAIN, default_opset
from rectexport.exporter.graph.results import Refusal
from rectexport.exporter.graph.surgeon import open_graph
from rectexport.exporter.passes.matching.rewrite import Scene
from rectexport.exporter.passes.matching.values import Values
from rectexport.exporter.passes.raising import raise_model
from rectexport.exporter.passes.raising.prepare import prepare
from rectexport.exporter.tools.borders_found import LayerBorder, layer_borders
from rectexport.exporter.tools.engine_report import Row, engine_report, verdicts
from rectexport.exporter.tools.folded_factor import Suspicion, find_folded_factors
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import MODEL, Package
from rectexport.runtime.package.proofs import Proof, read_proofs


@dataclass(frozen=True)
class Diagnosis:
    """What was found in an ONNX file.

    operators    how many of each of our operators, found as dialect nodes or in plain operators
    refusals     places that resemble one of our operators but are not, with the reason
    suspicions   convolutions into which a simplifier may have folded a rectification factor
    faults       why ONNX's checker refuses the file
    borders      what stands beyond the border of each convolution, pool and padding
    engines      what is known against each engine; it says nothing about `healthy`
    """

    opset: int
    ir_version: int
    nodes: int
    inputs: dict[str, list[int | str]]
    operators: dict[str, int]
    refusals: tuple[Refusal, ...]
    suspicions: tuple[Suspicion, ...]
    faults: tuple[str, ...]
    borders: tuple[LayerBorder, ...]
    engines: tuple[Row, ...]

    @property
    def healthy(self) -> bool:
        """Whether the file is valid and nothing in it is suspicious."""
        return not self.suspicions and not self.faults

    @property
    def dynamic(self) -> list[str]:
        """Dimensions of the inputs that are not fixed, as "name[axis]"."""
        return [
            f"{name}[{axis}]"
            for name, shape in self.inputs.items()
            for axis, size in enumerate(shape)
            if isinstance(size, str)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        document = {"healthy": self.healthy, **asdict(self)}
        document["borders"] = [entry.as_dict() for entry in self.borders]
        document["refusals"] = [entry.as_dict() for entry in self.refusals]
        return {**document, "dynamic": self.dynamic, "verdicts": verdicts(self.engines)}


@dataclass(frozen=True)
class PackageDiagnosis:
    """What was found in each model file of a package, by file name, and the proofs of its manifest."""

    package: Path
    models: dict[str, Diagnosis]
    proofs: tuple[Proof, ...]

    @property
    def healthy(self) -> bool:
        """Whether every model is."""
        return all(found.healthy for found in self.models.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "healthy": self.healthy,
            "package": str(self.package),
            "models": {name: found.as_dict() for name, found in self.models.items()},
            "proofs": [proof.as_dict() for proof in self.proofs],
        }


def load_model(path: Path) -> ModelProto:
    """Read an ONNX file, valid or not. Raises BadInput when it is missing, not ONNX, or has no nodes."""
    model, _ = read_onnx(path, check=False)  # what large tensors hold does not matter here
    if not model.graph.node:
        raise BadInput(f"{path}: has no nodes; it may not be an ONNX file")
    return model


def diagnose(model: ModelProto, tensorrt_version: str | None = None) -> Diagnosis:
    """Examine a model; it is not changed. tensorrt_version: judge it for this one, as in 10.3, instead of 8.6 to 11."""
    raised, results = raise_model(model)
    ready = prepare(raised)
    graph = open_graph(raised if isinstance(ready, str) else ready)
    scene = Scene(graph, Values(graph))
    stored = {entry.name for entry in model.graph.initializer}
    return Diagnosis(
        opset=default_opset(model),
        ir_version=model.ir_version,
        nodes=len(model.graph.node),
        inputs={value.name: _shape(value) for value in model.graph.input if value.name not in stored},
        operators=_operators(raised),
        refusals=tuple(entry for result in results for entry in result.refused),
        suspicions=tuple(find_folded_factors(scene)),
        faults=_faults(model),
        borders=layer_borders(scene),
        engines=engine_report(model, tensorrt_version),
    )


def diagnose_package(path: Path, tensorrt_version: str | None = None) -> PackageDiagnosis:
    """Examine every model of a package, each for the engines that run it. Raises BadInput for a damaged package."""
    package = Package.open(path)
    package.verify_files()
    found = {}
    for name in sorted({MODEL, *package.manifest.models.values()} & package.manifest.files.keys()):
        judged = judged_engines(tensorrt_version)
        others = {entry.title for entry in judged if package.model_for(entry.name).name != name}
        diagnosis = diagnose(load_model(package.path / name), tensorrt_version)
        found[name] = replace(diagnosis, engines=tuple(row for row in diagnosis.engines if row.engine not in others))
    return PackageDiagnosis(package.path, found, read_proofs(package.manifest.data))


def _operators(model: ModelProto) -> dict[str, int]:
    counts = Counter(node.op_type for node in model.graph.node if node.domain == DOMAIN)
    return {name: counts[name] for name in BODIES if counts[name]}


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [
        dimension.dim_value if dimension.HasField("dim_value") else dimension.dim_param or "?"
        for dimension in value.type.tensor_type.shape.dim
    ]


def _faults(model: ModelProto) -> tuple[str, ...]:
    try:
        checker.check_model(model)
    except (checker.ValidationError, ValueError) as error:
        lines = str(error).strip().splitlines()
        return (lines[0] if lines else type(error).__name__,)
    return ()
