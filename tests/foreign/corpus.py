"""Models that were not made for us: all that the onnx package tests its operators with, and every kind of torch layer."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

Feeds = dict[str, Any]


@dataclass(frozen=True)
class Foreign:
    """A model and one set of inputs; those of the light models are random."""

    name: str
    model: ModelProto
    feeds: Feeds


def node_models() -> Iterator[Foreign]:
    """One operator each."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        if case.model is not None:
            arrays = case.data_sets[0][0] if case.data_sets else []
            yield Foreign(case.name, case.model, _fed(case.model, arrays))


def stored_models() -> Iterator[Foreign]:
    """What is stored in the onnx package: networks without weights, and what older PyTorch exported."""
    root = Path(onnx.__file__).parent / "backend/test/data"
    for path in sorted(root.glob("*/*/model.onnx")):
        model = onnx.load(path)
        arrays = [_array(entry) for entry in sorted(path.parent.glob("test_data_set_0/input_*.pb"), key=_number)]
        yield Foreign(f"{path.parts[-3]}/{path.parts[-2]}", model, _fed(model, arrays))
    for path in sorted(root.glob("light/*.onnx")):
        model = onnx.load(path)
        yield Foreign(f"light/{path.stem}", model, _fed(model, []))


def torch_models() -> Iterator[Foreign]:
    """One layer each, as torch.onnx writes it."""
    import torch

    for name, (build, *inputs) in _layers().items():
        torch.manual_seed(0)
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(build().eval(), tuple(inputs), dynamo=True, verbose=False)
            program.save(buffer)
        model = onnx.load_from_string(buffer.getvalue())
        yield Foreign(f"torch/{name}", model, _fed(model, [value.numpy() for value in inputs]))


def _number(path: Path) -> int:
    return int(path.stem.partition("_")[2])


def _array(path: Path) -> Any:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def _fed(model: ModelProto, arrays: list[Any]) -> Feeds:
    """Inputs by name: the given ones in order, random ones for the rest."""
    generator = np.random.default_rng(0)
    stored = {entry.name for entry in model.graph.initializer}
    free = [value for value in model.graph.input if value.name not in stored]
    values = free if len(arrays) <= len(free) else list(model.graph.input)
    feeds = {value.name: array for value, array in zip(values, arrays, strict=False) if array is not None}
    for value in free:
        kind = value.type.tensor_type
        if value.name not in feeds and kind.elem_type and not value.type.HasField("optional_type"):
            shape = [dim.dim_value or 2 for dim in kind.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            feeds[value.name] = generator.standard_normal(shape).astype(dtype)
    return feeds


def _layers() -> dict[str, tuple[Callable[[], Any], Any]]:
    import torch
    from torch import nn

    from tests.foreign.wrappers import Attention, First

    def images(channels: int = 4) -> Any:
        return torch.randn(2, channels, 8, 8)

    vectors, line, volume = torch.randn(2, 4), torch.randn(2, 4, 8), torch.randn(2, 4, 6, 6, 6)
    ids = torch.randint(0, 5, (2, 3))
    found: dict[str, tuple[Callable[[], Any], Any]] = {}
    for kind in (
        *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Sigmoid", "Tanh"),
        *("Hardtanh", "Hardswish", "Hardsigmoid", "Hardshrink", "Softshrink", "Softplus", "Softsign", "Tanhshrink"),
        *("LogSigmoid", "Identity", "Flatten", "Dropout", "Dropout2d", "AlphaDropout", "Softmax2d"),
    ):
        found[kind] = (getattr(nn, kind), images())
    for name, build in {
        "Softmax": lambda: nn.Softmax(1), "Softmin": lambda: nn.Softmin(1), "LogSoftmax": lambda: nn.LogSoftmax(1),
        "GLU": lambda: nn.GLU(1), "Threshold": lambda: nn.Threshold(0.1, 0.0), "ChannelShuffle": lambda: nn.ChannelShuffle(2),
        "PixelShuffle": lambda: nn.PixelShuffle(2), "PixelUnshuffle": lambda: nn.PixelUnshuffle(2),
        "Conv2d": lambda: nn.Conv2d(4, 6, 3, padding=1), "Conv2d-same": lambda: nn.Conv2d(4, 6, 2, padding="same"),
        "Conv2d-groups": lambda: nn.Conv2d(4, 4, 3, 2, 1, groups=4, bias=False),
        "Conv2d-dilated": lambda: nn.Conv2d(4, 6, 3, 1, 2, 2), "Conv2d-reflect": lambda: nn.Conv2d(4, 4, 3, 1, 1, padding_mode="reflect"),
        "Conv2d-circular": lambda: nn.Conv2d(4, 4, 3, 1, 1, padding_mode="circular"),
        "ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), "MaxPool2d": lambda: nn.MaxPool2d(2),
        "MaxPool2d-ceil": lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), "AvgPool2d": lambda: nn.AvgPool2d(3, 2, 1),
        "AvgPool2d-uncounted": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), "LPPool2d": lambda: nn.LPPool2d(2, 2),
        "AdaptiveAvgPool2d": lambda: nn.AdaptiveAvgPool2d(1), "AdaptiveAvgPool2d-2": lambda: nn.AdaptiveAvgPool2d(2),
        "AdaptiveMaxPool2d": lambda: nn.AdaptiveMaxPool2d(1), "BatchNorm2d": lambda: nn.BatchNorm2d(4),
        "BatchNorm2d-plain": lambda: nn.BatchNorm2d(4, affine=False), "InstanceNorm2d": lambda: nn.InstanceNorm2d(4, affine=True),
        "GroupNorm": lambda: nn.GroupNorm(2, 4), "LayerNorm": lambda: nn.LayerNorm([4, 8, 8]), "RMSNorm": lambda: nn.RMSNorm(8),
        "LocalResponseNorm": lambda: nn.LocalResponseNorm(2), "ZeroPad2d": lambda: nn.ZeroPad2d((1, 0, 2, 1)),
        "ConstantPad2d": lambda: nn.ConstantPad2d(1, 0.5), "ReflectionPad2d": lambda: nn.ReflectionPad2d(1),
        "ReplicationPad2d": lambda: nn.ReplicationPad2d(1), "CircularPad2d": lambda: nn.CircularPad2d(1),
        "Upsample": lambda: nn.Upsample(scale_factor=2), "Upsample-bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
        "Unfold": lambda: nn.Unfold(2), "Sequential": lambda: nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        "Pad-Conv": lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 1, 0)), nn.Conv2d(4, 4, 2)),
        "Conv-Conv": lambda: nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 3, padding=1)),
    }.items():  # fmt: skip
        found[name] = (build, images())
    for name, build in {
        "Linear": lambda: nn.Linear(4, 3), "Linear-plain": lambda: nn.Linear(4, 3, bias=False), "BatchNorm1d": lambda: nn.BatchNorm1d(4),
    }.items():  # fmt: skip
        found[name] = (build, vectors)
    for name, build in {
        "Conv1d": lambda: nn.Conv1d(4, 6, 3, padding=1), "ConvTranspose1d": lambda: nn.ConvTranspose1d(4, 6, 3, 2),
        "MaxPool1d": lambda: nn.MaxPool1d(2), "AvgPool1d": lambda: nn.AvgPool1d(2), "AdaptiveAvgPool1d": lambda: nn.AdaptiveAvgPool1d(1),
        "InstanceNorm1d": lambda: nn.InstanceNorm1d(4), "ConstantPad1d": lambda: nn.ConstantPad1d(1, 0.0),
    }.items():  # fmt: skip
        found[name] = (build, line)
    for name, build in {
        "Conv3d": lambda: nn.Conv3d(4, 6, 3, padding=1), "ConvTranspose3d": lambda: nn.ConvTranspose3d(4, 6, 3, 2),
        "MaxPool3d": lambda: nn.MaxPool3d(2), "AvgPool3d": lambda: nn.AvgPool3d(2), "AdaptiveAvgPool3d": lambda: nn.AdaptiveAvgPool3d(1),
        "BatchNorm3d": lambda: nn.BatchNorm3d(4), "ConstantPad3d": lambda: nn.ConstantPad3d(1, 0.0),
    }.items():  # fmt: skip
        found[name] = (build, volume)
    found["Embedding"] = (lambda: nn.Embedding(5, 4), ids)
    found["Bilinear"] = (lambda: nn.Bilinear(4, 4, 3), vectors, vectors)  # type: ignore[assignment]
    found["MultiheadAttention"] = (lambda: Attention(nn.MultiheadAttention(4, 2, batch_first=True)), torch.randn(2, 3, 4))
    found["TransformerEncoderLayer"] = (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), torch.randn(2, 3, 4))
    for kind in ("LSTM", "GRU", "RNN"):
        found[kind] = (lambda kind=kind: First(getattr(nn, kind)(4, 3, batch_first=True)), torch.randn(2, 3, 4))  # type: ignore[misc]
    return found

