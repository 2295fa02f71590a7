"""What a fused rectification would cost in cuDNN: one graph with the map beside one without it.

    relu(conv(x, w) · r + bias + residual)    against    relu(conv(x, w) + bias + residual)

r is [N, 1, P, Q] in float16, as the documented patterns want it; NHWC, float16 with float32 sums. The answers are
compared with PyTorch in float32. Needs nvidia-cudnn-frontend, which the kit carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu import dry
from benchmarks.gpu.bench import Bench, milliseconds, ratio
from rectexport.models.layers.geometry import Window, rectification_map

TABLE = "cuDNN graphs"
#: Channels and size of the 3x3 convolutions of ResNet-50.
SHAPES = ((64, 56), (128, 28), (256, 14), (512, 7))
BATCHES = (1, 8, 32)
ALLOWED = 5e-3


@dataclass
class Tensors:
    """One convolution's tensors, channels last."""

    x: Tensor
    w: Tensor
    r: Tensor
    bias: Tensor
    residual: Tensor

    def expected(self, rectified: bool) -> Tensor:
        """The answer of PyTorch in float32."""
        y = F.conv2d(self.x.float(), self.w.float(), padding=1)
        return (y * (self.r.float() if rectified else 1) + self.bias.float() + self.residual.float()).relu()


def run(bench: Bench) -> None:
    """Every shape and batch; a graph that cuDNN does not support is a finding, not a failure."""
    try:
        cudnn = dry.cudnn() if bench.dry else import_module("cudnn")
    except ImportError as error:
        bench.record.skip("cuDNN", str(error))
        return
    bench.record.note(f"cuDNN {cudnn.backend_version()}")
    handle = cudnn.create_handle()
    try:
        for channels, size in ((8, 6),) if bench.dry else SHAPES:
            for batch in (2,) if bench.dry else BATCHES:
                _measure(bench, cudnn, handle, _tensors(bench, batch, channels, size))
    finally:
        cudnn.destroy_handle(handle)


def _tensors(bench: Bench, batch: int, channels: int, size: int) -> Tensors:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        value = torch.randn(*shape, generator=generator)
        return value.to(bench.device, torch.float16, memory_format=torch.channels_last)

    window = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    r = rectification_map((size, size), window, "sum", torch.float32, torch.device(bench.device))
    maps = r.expand(batch, 1, size, size).to(torch.float16).contiguous(memory_format=torch.channels_last)
    weight = normal(channels, channels, 3, 3) * (1 / (3 * channels**0.5))
    plane = (batch, channels, size, size)
    return Tensors(normal(*plane), weight, maps, normal(1, channels, 1, 1), normal(*plane))


def _measure(bench: Bench, cudnn: Any, handle: Any, tensors: Tensors) -> None:
    what = "x".join(map(str, tensors.x.shape))
    if bench.left() <= 0:
        bench.record.skip(what, "out of time")
        return
    runs = {}
    for name, rectified in (("plain", False), ("with the map", True)):
        out = torch.empty_like(tensors.residual)
        try:
            runs[name] = _graph(cudnn, handle, tensors, out, rectified)
        except Exception as error:  # cuDNN's own kinds of error
            bench.record.row(TABLE, x=what, graph=name, supported=f"no: {error}"[:160])
            continue
        runs[name]()
        expected = tensors.expected(rectified)
        distance = float((out.float() - expected).norm() / expected.norm())
        if not distance <= ALLOWED:
            bench.record.fail(f"{what}, {name}: relative L2 {distance:.1e} from PyTorch, allowed {ALLOWED:.0e}")
    times = bench.race(runs) if runs else {}
    for name, rounds in times.items():
        base = times.get("plain")
        compared = ratio(rounds, base) if base else ""
        bench.record.row(TABLE, x=what, graph=name, supported="yes", ms=milliseconds(rounds), **{"to plain": compared})


def _graph(cudnn: Any, handle: Any, tensors: Tensors, out: Tensor, rectified: bool) -> Any:
    """A run of the built graph into `out`. Raises cuDNN's error where it does not support it."""
    graph = cudnn.pygraph(
        handle=handle,
        io_data_type=cudnn.data_type.HALF,
        intermediate_data_type=cudnn.data_type.FLOAT,
        compute_data_type=cudnn.data_type.FLOAT,
    )

    def node(value: Tensor) -> Any:
        return graph.tensor(dim=list(value.shape), stride=list(value.stride()), data_type=cudnn.data_type.HALF)

    x, w, bias, residual = (node(value) for value in (tensors.x, tensors.w, tensors.bias, tensors.residual))
    pack = {x: tensors.x, w: tensors.w, bias: tensors.bias, residual: tensors.residual}
    y = graph.conv_fprop(x, w, padding=[1, 1], stride=[1, 1], dilation=[1, 1])
    if rectified:
        r = node(tensors.r)
        pack[r] = tensors.r
        y = graph.mul(y, r)
    y = graph.relu(graph.add(graph.add(y, bias), residual))
    y.set_output(True).set_data_type(cudnn.data_type.HALF)
    pack[y] = out
    graph.build([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    workspace = torch.empty(graph.get_workspace_size(), device=out.device, dtype=torch.uint8)
    return lambda: graph.execute(pack, workspace, handle=handle)
