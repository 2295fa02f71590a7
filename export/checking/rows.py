"""Show at export whether the rows of a batch are independent, for the servers that put requests into one run."""

from __future__ import annotations

from collections.abc import Sequence

from rectexport.exporter.checking.values import value_cases
from rectexport.exporter.frontend.inputs import InputPlan, fit_example
from rectexport.runtime.batching.rows import RowVerdict, batch_axis, judge_rows
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.package.manifest import NOT_SHOWN

#: Most rows in one run; servers take no more unless told so.
MAX_ROWS = 64


def show_rows(runner: OnnxRuntimeRunner, inputs: Sequence[InputPlan], tolerance: float) -> RowVerdict:
    """The verdict for a model on ONNX Runtime; inputs tell the examples and the range of the batch.

    Integers are also drawn from the whole range of their type, where the model takes them: an example of zeros and
    ones has the same maximum as any other.
    """
    if not batch_axis([spec.shape for spec in (*runner.inputs, *runner.outputs)]):
        return RowVerdict(NOT_SHOWN, "axis 0 is not one dynamic dimension of every input and output")
    if any(entry.range.step_of(0) > 1 for entry in inputs):
        return RowVerdict(NOT_SHOWN, "the batch comes in steps, so requests of any size cannot be joined")
    examples = [{entry.name: fit_example(entry.example, entry.range.opt) for entry in inputs}]
    whole = value_cases(inputs).get("range")
    if whole is not None:
        shapes = {entry.name: entry.range.opt for entry in inputs}
        examples.append({name: fit_example(array, shapes[name]) for name, array in whole.items()})
    unit = max(entry.range.min[0] for entry in inputs)
    largest = min(MAX_ROWS, *(entry.range.max[0] for entry in inputs))
    return judge_rows(runner.run, examples, unit, max(largest, unit), tolerance)
