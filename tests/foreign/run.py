"""Run every pass, for every target, on models from elsewhere: it must keep the outputs or leave the model unchanged.

`python -m tests.foreign.run [node|stored|torch …]` (`make backend-models`) takes all kinds of models, or those named,
and prints how many ran and how many were left unchanged; then how `rectexport.optimize` leaves those that ONNX Runtime
runs: unchanged to the byte, with equal outputs, refused or different.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, checker, helper
from onnx.reference import ReferenceEvaluator

import rectexport
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import PASSES, Pass, PassContext, select_passes
from rectexport.exporter.passes.lowering import TARGETS
from rectexport.exporter.passes.order import FINISH, LOWER, PREPARE, RAISE, RECTIFY
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput, RectexportError
from tests.foreign.corpus import Feeds, Foreign, node_models, stored_models, torch_models

#: Rounding of float32 when a sum is computed in another order.
RELATIVE_L2 = 1e-6


@dataclass
class Report:
    """Result for one model: which passes fired, whether the outputs could be compared, and faults."""

    fired: list[str] = field(default_factory=list)
    compared: bool = False
    faults: list[str] = field(default_factory=list)


def examine(foreign: Foreign) -> Report:
    """Run all passes on one model."""
    report = Report()
    valid = _valid(foreign.model)
    expected = _outputs(foreign.model, foreign.feeds)
    report.compared = expected is not None
    alone = [entry for entry in PASSES if entry.stage in (RAISE, PREPARE) and entry.targets is None]
    for entry in alone:
        _apply(entry, foreign.model, foreign.feeds, expected, valid, report)
    start = infer_shapes(foreign.model)
    for entry in select_passes(PassContext("portable"), stages=(RAISE, PREPARE)):
        start = _apply(entry, start, foreign.feeds, expected, valid, report)
    start = infer_shapes(start)
    for target in TARGETS:
        model = start
        for entry in select_passes(PassContext(target), stages=(LOWER, RECTIFY, FINISH)):
            model = _apply(entry, model, foreign.feeds, expected, valid, report, f" for {target}")
    return report


def optimized(foreign: Foreign) -> str | None:
    """How `rectexport.optimize` leaves a model: "unchanged", "equal" or a fault; None without ONNX Runtime's outputs.

    The outputs are compared on the model's own inputs, which `optimize` does not get.
    """
    before, expected = foreign.model.SerializeToString(), _engine_outputs(foreign.model, foreign.feeds)
    if expected is None:
        return None
    try:
        model, _ = rectexport.optimize(foreign.model)
    except RectexportError as error:
        return f"refused: {error}"
    except Exception as error:
        return f"raised {type(error).__name__}: {str(error)[:200]}"
    if foreign.model.SerializeToString() != before:
        return "the given model was changed"
    if model.SerializeToString() == before:
        return "unchanged"
    found = _engine_outputs(model, foreign.feeds)
    if found is None:
        return "the result does not run"
    if _is_random(foreign.model):
        return "equal"
    wrong = [str(index) for index, pair in enumerate(zip(expected, found, strict=True)) if not _equal(*pair)]
    return f"output {', '.join(wrong)} differs" if wrong else "equal"


def _engine_outputs(model: ModelProto, feeds: Feeds) -> list[Any] | None:
    try:
        if any(_is_small(value) for value in feeds.values()):
            return _outputs_of_small(model, feeds)
        return list(OnnxRuntimeRunner(model.SerializeToString(), threads=1, optimize=False).run(feeds).values())
    except Exception:  # BadInput, and what ONNX Runtime raises
        return None


def _is_small(value: Any) -> bool:
    """Whether NumPy has this dtype from another library: floats of 8 and 16 bits, integers of 4 and 2."""
    return isinstance(value, np.ndarray) and value.dtype.isbuiltin == 2


def _outputs_of_small(model: ModelProto, feeds: Feeds) -> list[Any]:
    """Outputs of ONNX Runtime, which takes these dtypes only with their ONNX number. Raises what it raises."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    values = {name: _ort_value(array) for name, array in feeds.items()}
    return [value.numpy() for value in session.run_with_ort_values(None, values)]


def _ort_value(array: Any) -> Any:
    if not _is_small(array):
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    number = helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), number)


def _apply(
    entry: Pass,
    model: ModelProto,
    feeds: Feeds,
    expected: Sequence[Any] | None,
    valid: bool,
    report: Report,
    where: str = "",
) -> ModelProto:
    try:
        rewritten, result = entry.run(model)
    except BadInput:
        return model  # a refusal
    except Exception as error:
        report.faults.append(f"{entry.name}{where} raised {type(error).__name__}: {str(error)[:200]}")
        return model
    if not result.fired:
        if rewritten is not model:
            report.faults.append(f"{entry.name}{where} changed the model but reports that it did not")
        return model
    report.fired.append(entry.name)
    report.faults += [f"{entry.name}{where}: {fault}" for fault in _differences(rewritten, feeds, expected, valid)]
    return rewritten


def _differences(model: ModelProto, feeds: Feeds, expected: Sequence[Any] | None, valid: bool) -> Iterator[str]:
    if valid and not _valid(model):
        yield "the checker refuses the result"
    if expected is None:
        return
    found = _outputs(model, feeds)
    if found is None:
        yield "the result does not run"
        return
    for index, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        if not _equal(wanted, got):
            yield f"output {index} differs"


def _equal(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, list):
        return len(wanted) == len(got) and all(map(_equal, wanted, got))
    if not isinstance(wanted, np.ndarray):
        return bool(wanted == got)
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return False
    if np.array_equal(wanted, got, equal_nan=wanted.dtype.kind in "fc"):
        return True
    distance = np.linalg.norm((wanted.astype(np.float64) - got.astype(np.float64)).ravel())
    return wanted.dtype.kind == "f" and bool(
        distance <= RELATIVE_L2 * np.linalg.norm(wanted.astype(np.float64).ravel())
    )


def _valid(model: ModelProto) -> bool:
    try:
        checker.check_model(model)
    except Exception:
        return False
    return True


def _outputs(model: ModelProto, feeds: Feeds) -> list[Any] | None:
    """Outputs of ONNX Runtime, or of ONNX's reference; None if neither runs the model, or it uses random numbers."""
    if _is_random(model):
        return None
    try:
        return list(OnnxRuntimeRunner(model.SerializeToString(), threads=1, optimize=False).run(feeds).values())
    except Exception:
        try:
            results: Any = ReferenceEvaluator(model).run(None, feeds)
        except Exception:
            return None
        return list(results)


def _is_random(model: ModelProto) -> bool:
    return any(node.op_type.startswith(("Random", "Multinomial", "Bernoulli", "Dropout")) for node in model.graph.node)


def main() -> None:
    """Examine all models, or the kinds named on the command line."""
    kinds = {"node": node_models, "stored": stored_models, "torch": torch_models}
    wrong = 0
    for kind in sys.argv[1:] or kinds:
        counts: Counter[str] = Counter(models=0)
        for foreign in kinds[kind]():
            report = examine(foreign)
            counts["models"] += 1
            counts["compared"] += report.compared
            counts["left unchanged"] += not report.fired
            counts["faults"] += len(report.faults)
            for fault in report.faults:
                print(f"{foreign.name}: {fault}", flush=True)
            left = optimized(foreign)
            counts["run by ONNX Runtime"] += left is not None
            if left in ("unchanged", "equal"):
                counts[f"optimized: {left}"] += 1
            elif left is not None:
                counts["faults"] += 1
                print(f"{foreign.name}: optimize: {left}", flush=True)
        wrong += counts["faults"]
        print(f"{kind}: {', '.join(f'{count} {name}' for name, count in counts.items())}", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
