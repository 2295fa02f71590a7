"""The guard: compare a model's outputs before and after each pass, and name the pass that changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import ModelProto, checker

from rectexport.exporter.base.log import Log
from rectexport.exporter.graph.results import Pass, PassResult
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import Array
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import ParityError

#: Enough for float32 rounding in a deep net; a wrong rewrite differs by orders of magnitude more.
RELATIVE_L2 = 1e-5
#: protobuf cannot hold a larger model in one message; such a model is compared by the parity check only.
MAX_BYTES = 2**31 - 1


def run_passes(
    model: ModelProto,
    passes: Sequence[Pass],
    feeds: Sequence[Mapping[str, Array]],
    log: Log,
    guard: bool = True,
    tolerance: float = RELATIVE_L2,
) -> tuple[ModelProto, list[PassResult]]:
    """Apply passes in order; with guard, compare the outputs before and after each that fired, on every feed.

    tolerance bounds the relative L2 difference of every output.
    Raises ParityError, naming the pass, when its result differs, or when ONNX's checker or ONNX Runtime refuses it.
    """
    results = []
    watched = _Watch(model, feeds, tolerance) if guard and model.ByteSize() < MAX_BYTES else None
    for entry in passes:
        rewritten, result = entry.run(model)
        results.append(result)
        log.detail(_summary(result))
        if watched and (result.fired or rewritten is not model):
            watched.check(entry.name, rewritten)
        model = rewritten
    return model, results


class _Watch:
    """Holds the outputs of the last model that was accepted."""

    def __init__(self, model: ModelProto, feeds: Sequence[Mapping[str, Array]], tolerance: float) -> None:
        self._feeds = feeds
        self._tolerance = tolerance
        self._signature = _signature(model)
        self._outputs = self._run(model)

    def check(self, name: str, model: ModelProto) -> None:
        """Compare with the model before; the new outputs become the next reference."""
        if _signature(model) != self._signature:
            raise ParityError(f"pass {name} changed the model's inputs or outputs; run without it, and report this")
        try:
            checker.check_model(model)
            outputs = self._run(model)
        except Exception as error:
            raise ParityError(f"pass {name} made an invalid model: {error}") from error
        for before, after in zip(self._outputs, outputs, strict=True):
            for output, expected in before.items():
                if after[output].shape != expected.shape:
                    raise ParityError(
                        f"pass {name} changed the shape of output {output}: {list(after[output].shape)}, "
                        f"was {list(expected.shape)}; this is a bug in rectexport: please report it"
                    )
                worst = compare(expected, after[output]).relative_l2
                if not worst <= self._tolerance:
                    raise ParityError(
                        f"pass {name} changed output {output}: relative L2 {worst:.1e}, allowed {self._tolerance:.0e}; "
                        "this is a bug in rectexport: please report it with the model's architecture"
                    )
        self._outputs = outputs

    def _run(self, model: ModelProto) -> list[dict[str, Array]]:
        runner = OnnxRuntimeRunner(model.SerializeToString(), optimize=False)
        outputs = [runner.run(feed) for feed in self._feeds]
        runner.close()
        return outputs


def _signature(model: ModelProto) -> list[bytes]:
    stored = {entry.name for entry in model.graph.initializer}  # old files list those as inputs, too
    values = (*(value for value in model.graph.input if value.name not in stored), *model.graph.output)
    return [value.name.encode() + value.type.tensor_type.elem_type.to_bytes(2, "little") for value in values]


def _summary(result: PassResult) -> str:
    reasons = sorted({entry.reason for entry in result.refused})
    refused = f", refused {len(result.refused)} ({'; '.join(reasons)})" if result.refused else ""
    return f"{result.name}: fired {len(result.fired)}{refused}"
