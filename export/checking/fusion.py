"""Report fusions of the engine that are lost when inner tensors are marked as outputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.temporary import scratch_folder

#: Nodes that change a tensor's layout or type: a marked output may add one without losing a fusion.
_LAYOUT = ("ReorderInput", "ReorderOutput", "Transpose", "Cast")


@dataclass
class FusionWatch:
    """Counts runs with marked tensors, and in how many of them the engine's graph or the bits of outputs changed.

    counts_nodes is set where ONNX Runtime's CPU provider runs the model: its optimized graph can be saved.
    """

    counts_nodes: bool
    runs: int = 0
    other_bits: int = 0
    other_nodes: int = 0
    after: Counter[str] = field(default_factory=Counter)
    before: Counter[str] | None = None

    def note(self, plain: Path, marked: Path, same_bits: bool) -> None:
        """Record one run of the model file `marked`; `plain` is the package's own model file."""
        self.runs += 1
        self.other_bits += not same_bits
        if not self.counts_nodes:
            return
        if self.before is None:
            self.before = optimized_nodes(plain)
        nodes = optimized_nodes(marked)
        self.other_nodes += nodes != self.before
        self.after |= nodes

    def summary(self) -> str:
        """One line, empty if nothing was marked."""
        if not self.runs:
            return ""
        times = f"{self.runs} run{'s' * (self.runs != 1)} with inner tensors marked as outputs"
        bits = f"the outputs' last bits in {self.other_bits}" if self.other_bits else "no bit of the outputs"
        if self.before is None:
            return f"{times}: marking changed {bits}; the engine does not show what it fuses"
        if not self.other_nodes:
            return f"{times}: marking changed no fusion and {bits}"
        operators = sorted(name for name in self.before | self.after if self.before[name] < self.after[name])
        changes = ", ".join(f"{name} {self.before[name]} → up to {self.after[name]}" for name in operators)
        return f"{times}: marking changed fusion in {self.other_nodes} ({changes or 'other operators'}) and {bits}"


def optimized_nodes(model: Path) -> Counter[str]:
    """Operators of the graph that ONNX Runtime optimizes a model to on the CPU, without changes of layout or type."""
    ort = require("onnxruntime")
    with scratch_folder() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4  # it warns that the file fits only this machine; the file is deleted
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath, load_external_data=False).graph
    return Counter(node.op_type for node in graph.node if node.op_type not in _LAYOUT)
