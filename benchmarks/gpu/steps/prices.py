"""What rectification costs in PyTorch: each network beside its plain twin, in every way to run it.

Batch 1, 8 and 32 in float32, TF32, float16 and bfloat16, channels last; eager, as a CUDA graph, with the map and bias
as one Triton kernel, and compiled. All of one precision and batch take turns in rounds. Inputs are standard normal.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu import dry
from benchmarks.gpu.bench import Bench, milliseconds, ratio
from benchmarks.gpu.fused import fuse, make_kernel
from rectexport.models.registry import create_model, model_entry

TABLE = "The price of rectification in PyTorch"
#: Title -> the network, and the plain one that it is compared with; each a name of the zoo and options.
Choice = tuple[str, dict[str, Any]]
PAIRS: dict[str, tuple[Choice, Choice]] = {
    "RF-ResNet-50": (("resnet50", {"conv": "rectified"}), ("resnet50", {"conv": "plain"})),
    "C2sp, ResNet-50 0.5x": (("c2sp_resnet50_0_5x", {}), ("c3_resnet50_0_5x", {})),
    "CReLU, rectified": (("convpool_cnn_c_crelu", {"conv": "rectified"}), ("convpool_cnn_c_relu", {"conv": "plain"})),
}
TINY: dict[str, tuple[Choice, Choice]] = {"tiny": (("digits", {"conv": "rectified"}), ("digits", {"conv": "plain"}))}
#: Precisions and batches in the order of what is asked most.
PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32, "bf16": torch.bfloat16, "tf32": torch.float32}
BATCHES = (1, 32, 8)
#: A compilation takes up to a minute: these alone are compiled, last.
COMPILED = (("fp16", 32), ("fp16", 1))
#: Relative L2 allowed between the forms of one network in one precision.
ALLOWED = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 2e-2, "bf16": 1e-1}


def run(bench: Bench) -> None:
    """All pairs, uncompiled; then the compiled ones while there is time."""
    pairs = TINY if bench.dry else PAIRS
    kernel = _kernel(bench)
    for title, choices in pairs.items():
        for precision in PRECISIONS:
            for batch in BATCHES if not bench.dry else (2,):
                _measure(bench, title, choices, precision, batch, kernel, compiled=False)
    for precision, batch in COMPILED:
        for title, choices in pairs.items():
            _measure(bench, title, choices, precision, 2 if bench.dry else batch, None, compiled=True)


def _kernel(bench: Bench) -> Any:
    if bench.dry:
        return make_kernel(*dry.triton())
    try:
        return make_kernel(import_module("triton"), import_module("triton.language"))
    except ImportError as error:
        bench.record.skip("the Triton form", str(error))
        return None


def _measure(
    bench: Bench,
    title: str,
    choices: tuple[Choice, Choice],
    precision: str,
    batch: int,
    kernel: Any,
    compiled: bool,
) -> None:
    what = f"{title}, {precision}, batch {batch}"
    if bench.left() <= 0:
        bench.record.skip(what + (", compiled" if compiled else ""), "out of time")
        return
    with torch.inference_mode(), _tf32(precision == "tf32"):
        rectified, plain = (_network(bench, choice, precision) for choice in choices)
        x = _images(bench, choices[0][0], precision, batch)
        models = {"rectified": rectified, "plain": plain}
        if kernel is not None and fuse(fused := copy.deepcopy(rectified), kernel):
            models["rectified, Triton"] = fused
            _compare(bench, what, fused(x), rectified(x), ALLOWED[precision])
        runs = dict(_ways(bench, what, models, x, compiled))
        times = bench.race(runs)
    for name, rounds in times.items():
        base = times[f"plain, {name.rpartition(', ')[2]}"]
        found = {"form": name, "ms": milliseconds(rounds), "to plain": ratio(rounds, base)}
        bench.record.row(TABLE, network=title, precision=precision, batch=batch, **found)


def _ways(
    bench: Bench, what: str, models: dict[str, nn.Module], x: Tensor, compiled: bool
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name -> a run, for each model in each way."""
    for name, model in models.items():
        if compiled:
            made = torch.compile(model, backend="eager" if bench.dry else "inductor")
            _compare(bench, f"{what}, {name}, compiled", made(x), model(x), max(ALLOWED.values()))
            yield f"{name}, compiled", partial(made, x)
        else:
            yield f"{name}, eager", partial(model, x)
            yield f"{name}, graph", bench.captured(partial(model, x))


def _network(bench: Bench, choice: Choice, precision: str) -> nn.Module:
    torch.manual_seed(0)
    name, options = choice
    model = create_model(name, **options).eval()
    return model.to(bench.device, PRECISIONS[precision]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _images(bench: Bench, name: str, precision: str, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *model_entry(name).input_shape, generator=generator)
    return x.to(bench.device, PRECISIONS[precision], memory_format=torch.channels_last)


def _compare(bench: Bench, what: str, found: Tensor, expected: Tensor, allowed: float) -> None:
    """A failure unless the relative L2 is within the bound."""
    distance = float((found.double() - expected.double()).norm() / expected.double().norm())
    if not distance <= allowed:
        bench.record.fail(f"{what}: relative L2 {distance:.1e} from the rectified network, allowed {allowed:.0e}")


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 convolutions and products may run in TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
