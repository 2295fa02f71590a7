"""The engines that an export is compared on: each installed one, with what it answers or why it does not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import final

from onnx import ModelProto

from rectexport.exporter.checking.inner_tensors import compare_inner
from rectexport.exporter.checking.trial_open import killed_by
from rectexport.runtime.base.environment import missing
from rectexport.runtime.base.runner import Array, Runner
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.engines.openvino_runner import OpenVinoRunner
from rectexport.runtime.engines.proving import engine_version, judge, make_proof
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.proofs import Proof, Worst

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
#: The engines of the CPU, in the order in which they are compared. TensorRT is compared when a plan is built.
CPU_ENGINES = (ONNXRUNTIME, OPENVINO)
#: What an engine computes float32 in, and what a float16 or bfloat16 graph is computed in.
PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8"}


def installed_engines() -> list[str]:
    """CPU engines that are installed here."""
    return [name for name in CPU_ENGINES if missing(name) is None]


def open_engine(name: str, model: Path, outputs: Sequence[str]) -> Runner:
    """The model on an engine, as a session would run it. Raises BadInput where the engine refuses it."""
    return OpenVinoRunner(model, outputs=outputs) if name == OPENVINO else OnnxRuntimeRunner(model)


@final
@dataclass
class EngineCheck:
    """Compares one engine with expected outputs, case by case. It stops running after the engine refuses a case."""

    name: str
    precision: str
    runner: Runner | None = None
    cases: int = 0
    worst: Worst | None = None
    failures: list[str] = field(default_factory=list)
    refused: bool = False
    note: str = ""

    def open(self, path: Path, model: ModelProto) -> None:
        """Load the file of a model; a refusal becomes the result."""
        end = killed_by(self.name, engine_version(self.name), model, path)
        if end:
            self._refuse(f"{path.name}: {end}")
            return
        try:
            self.runner = open_engine(self.name, path, [value.name for value in model.graph.output])
        except RectexportError as error:
            self._refuse(str(error).replace(str(path), path.name))  # the folder is a temporary one

    def compare(
        self,
        case: str,
        feeds: Mapping[str, Array],
        expected: Mapping[str, Array],
        bound: Tolerance,
        looser: Callable[[], Tolerance] | None = None,
    ) -> None:
        """Run one case and keep its failure and its distance; see `add`."""
        if self.runner is None:
            return
        try:
            self.add(case, expected, self.runner.run(feeds), bound, looser)
        except RectexportError as error:
            self._refuse(f"{error} (case {case})")

    def add(
        self,
        case: str,
        expected: Mapping[str, Array],
        actual: Mapping[str, Array],
        bound: Tolerance,
        looser: Callable[[], Tolerance] | None = None,
    ) -> None:
        """Judge what was answered to one case; `looser` gives the bound for what exceeds the first one."""
        failure, worst = judge(expected, actual, bound, case)
        if failure and looser is not None:
            failure, _ = judge(expected, actual, looser(), case)
        self.cases += 1
        if failure:
            self.failures.append(failure)
        if worst is not None and (self.worst is None or not worst.relative_l2 <= self.worst.relative_l2):
            self.worst = worst

    def compare_inner(
        self,
        model: ModelProto,
        feeds: Mapping[str, Array],
        expected: Mapping[str, Array],
        layer: Callable[[str], str],
        bound: Tolerance,
    ) -> None:
        """Note how far inner tensors are off, in a run of their own; it fails nothing. Not for a refused model."""
        if self.cases and not self.refused:
            self.note = compare_inner(model, partial(open_engine, self.name), feeds, expected, layer, bound)

    def proof(self) -> Proof:
        """What came out, for this machine's processor."""
        reason = self.failures[0] if self.failures else ""
        version_here = engine_version(self.name)
        proof = make_proof(self.name, version_here, self.precision, self.cases, self.worst, reason, self.refused)
        return replace(proof, inner=self.note)

    def close(self) -> None:
        """Free the engine."""
        if self.runner is not None:
            self.runner.close()
            self.runner = None

    def _refuse(self, reason: str) -> None:
        self.close()
        self.refused = True
        self.failures.append(reason)
