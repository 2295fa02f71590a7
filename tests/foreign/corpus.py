"""Models from elsewhere: the operator tests of the onnx package, and every kind of torch layer."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from rectexport.exporter.base.quiet import quiet

Feeds = dict[str, Any]


@dataclass(frozen=True)
class Foreign:
    """A model and one set of inputs; inputs that its source does not provide are random."""

    name: str
    model: ModelProto
    feeds: Feeds


def node_models() -> Iterator[Foreign]:
    """Models of one operator each, from the onnx package."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        if case.model is not None:
            arrays = [_plain(entry) for entry in (case.data_sets[0][0] if case.data_sets else [])]
            yield Foreign(case.name, case.model, _fed(case.model, arrays))


def stored_models() -> Iterator[Foreign]:
    """Models stored in the onnx package: networks without weights, and exports of older PyTorch versions."""
    root = Path(onnx.__file__).parent / "backend/test/data"
    for path in sorted(root.glob("*/*/model.onnx")):
        model = onnx.load(path)
        arrays = [_array(entry) for entry in sorted(path.parent.glob("test_data_set_0/input_*.pb"), key=_number)]
        yield Foreign(f"{path.parts[-3]}/{path.parts[-2]}", model, _fed(model, arrays))
    for path in sorted(root.glob("light/*.onnx")):
        model = onnx.load(path)
        yield Foreign(f"light/{path.stem}", model, _fed(model, []))


def torch_models() -> Iterator[Foreign]:
    """Models of one torch layer each, as torch.onnx writes it."""
    import torch

    for name, layer, inputs in _layers():
        buffer = io.BytesIO()
        try:
            with quiet():
                program: Any = torch.onnx.export(layer.eval(), tuple(inputs), dynamo=True, verbose=False)
        except torch.onnx.OnnxExporterError:
            continue  # RReLU, which torch.onnx does not support
        program.save(buffer)
        model = onnx.load_from_string(buffer.getvalue())
        yield Foreign(f"torch/{name}", model, _fed(model, [value.numpy() for value in inputs]))


def _plain(value: Any) -> Any:
    """A stored input as ONNX Runtime takes it: no proto and no NumPy scalar."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def _number(path: Path) -> int:
    return int(path.stem.partition("_")[2])


def _array(path: Path) -> Any:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def _fed(model: ModelProto, arrays: list[Any]) -> Feeds:
    """Inputs by name: the given arrays in order, and random ones for the rest."""
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


#: Layers as they are written after `nn.`, by the input that they take.
ON_IMAGES = """
    ReLU(); ReLU6(); LeakyReLU(); PReLU(); RReLU(); ELU(); SELU(); CELU(); GELU(); SiLU(); Mish(); Sigmoid(); Tanh()
    Hardtanh(); Hardswish(); Hardsigmoid(); Hardshrink(); Softshrink(); Softplus(); Softsign(); Tanhshrink()
    LogSigmoid(); Identity(); Flatten(); Dropout(); Dropout2d(); AlphaDropout(); Softmax2d(); Softmax(1); Softmin(1)
    LogSoftmax(1); GLU(1); Threshold(0.1, 0.0); ChannelShuffle(2); PixelShuffle(2); PixelUnshuffle(2); Unfold(2)
    Conv2d(4, 6, 3, padding=1); Conv2d(4, 6, 2, padding="same"); Conv2d(4, 4, 3, 2, 1, groups=4, bias=False)
    Conv2d(4, 6, 3, 1, 2, 2); Conv2d(4, 4, 3, 1, 1, padding_mode="reflect"); ConvTranspose2d(4, 6, 3, 2, 1, 1)
    Conv2d(4, 4, 3, 1, 1, padding_mode="circular"); MaxPool2d(2); MaxPool2d(3, 2, 1, ceil_mode=True)
    AvgPool2d(3, 2, 1); AvgPool2d(3, 2, 1, count_include_pad=False); LPPool2d(2, 2); AdaptiveAvgPool2d(1)
    AdaptiveAvgPool2d(2); AdaptiveMaxPool2d(1); BatchNorm2d(4); BatchNorm2d(4, affine=False)
    InstanceNorm2d(4, affine=True); GroupNorm(2, 4); LayerNorm([4, 8, 8]); RMSNorm(8); LocalResponseNorm(2)
    ZeroPad2d((1, 0, 2, 1)); ConstantPad2d(1, 0.5); ReflectionPad2d(1); ReplicationPad2d(1); CircularPad2d(1)
    Upsample(scale_factor=2); Upsample(scale_factor=2, mode="bilinear"); Linear(8, 3)
    Sequential(Conv2d(4, 4, 3, 1, 1, bias=False), BatchNorm2d(4), ReLU()); Sequential(Conv2d(4, 6, 1), Conv2d(6, 4, 3))
    Sequential(ZeroPad2d((1, 0, 1, 0)), Conv2d(4, 4, 2))
"""
ON_VECTORS = "Linear(4, 3); Linear(4, 3, bias=False); BatchNorm1d(4)"
ON_LINES = """
    Conv1d(4, 6, 3, padding=1); ConvTranspose1d(4, 6, 3, 2); MaxPool1d(2); AvgPool1d(2); AdaptiveAvgPool1d(1)
    InstanceNorm1d(4); ConstantPad1d(1, 0.0)
"""
ON_VOLUMES = """
    Conv3d(4, 6, 3, padding=1); ConvTranspose3d(4, 6, 3, 2); MaxPool3d(2); AvgPool3d(2); AdaptiveAvgPool3d(1)
    BatchNorm3d(4); ConstantPad3d(1, 0.0)
"""
ON_SEQUENCES = """
    First(LSTM(4, 3, batch_first=True)); First(GRU(4, 3, batch_first=True)); First(RNN(4, 3, batch_first=True))
    Attention(MultiheadAttention(4, 2, batch_first=True)); TransformerEncoderLayer(4, 2, 8, batch_first=True)
"""


def _layers() -> Iterator[tuple[str, Any, list[Any]]]:
    """The text of each layer, the layer, and its inputs."""
    import torch
    from torch import nn

    from tests.foreign.wrappers import Attention, First

    names = {**vars(nn), "First": First, "Attention": Attention}
    line, volume = torch.randn(2, 4, 8), torch.randn(2, 4, 6, 6, 6)
    vectors, sequence = torch.randn(2, 4), torch.randn(2, 3, 4)
    for texts, inputs in (
        (ON_IMAGES, [torch.randn(2, 4, 8, 8)]),
        (ON_VECTORS, [vectors]),
        (ON_LINES, [line]),
        (ON_VOLUMES, [volume]),
        (ON_SEQUENCES, [sequence]),
        ("Embedding(5, 4)", [torch.randint(0, 5, (2, 3))]),
        ("Bilinear(4, 4, 3)", [vectors, vectors]),
    ):
        for text in filter(None, (entry.strip() for entry in texts.replace("\n", ";").split(";"))):
            torch.manual_seed(0)
            yield text, eval(text, names), inputs
