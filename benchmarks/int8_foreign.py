"""Quantize an ONNX model with another tool, in that tool's own environment; imports nothing of this project.

python benchmarks/int8_foreign.py TOOL MODEL.onnx DATA.npz OUT.onnx

TOOL is onnxruntime (quantize_static, uint8, per channel), nncf or modelopt, each with its defaults otherwise. DATA has
one array for each input. Prints the tool's version.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

Feeds = dict[str, Any]


def items(path: str) -> list[Feeds]:
    """One dict of inputs for each item."""
    with np.load(path) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    count = len(next(iter(held.values())))
    return [{name: array[index : index + 1] for name, array in held.items()} for index in range(count)]


def onnxruntime(model: str, data: str, out: str) -> str:
    """onnxruntime.quantization.quantize_static."""
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._items: Iterator[Feeds] = iter(items(data))

        def get_next(self) -> Feeds | None:
            return next(self._items, None)

    quantize_static(
        model,
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return f"onnxruntime {ort.__version__}"


def nncf(model: str, data: str, out: str) -> str:
    """nncf.quantize on ONNX."""
    import nncf as tool
    import onnx

    found = items(data)
    onnx.save(tool.quantize(onnx.load(model), tool.Dataset(found), subset_size=len(found)), out)
    return f"NNCF {tool.__version__}"


def modelopt(model: str, data: str, out: str) -> str:
    """modelopt.onnx.quantization.quantize, int8."""
    import modelopt as tool
    from modelopt.onnx.quantization import quantize

    with np.load(data) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    quantize(
        model,
        quantize_mode="int8",
        calibration_data=held,
        calibration_method="max",
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=out,
    )
    return f"ModelOpt {tool.__version__}"


TOOLS = {"onnxruntime": onnxruntime, "nncf": nncf, "modelopt": modelopt}


if __name__ == "__main__":
    name, *paths = sys.argv[1:]
    print(TOOLS[name](*paths))
