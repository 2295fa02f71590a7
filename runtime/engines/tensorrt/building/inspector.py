"""Reads from the engine inspector which layers TensorRT built, and in which precision the convolutions run.

The inspector gives one JSON object per layer. Before 10, types read "Row major linear FP16 format" or "Channel major
FP16 format where channel % 8 == 0"; since then also "Half", "BFloat16", "Float". A convolution is a CaskConvolution or
any layer with ParameterType Convolution; in the parts that Myelin compiles, a layer of type conv, or a fusion whose
metadata names an ONNX Conv.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rectexport.runtime.errors import DeviceError, ParityError

#: Pattern in a tensor's "Format/Datatype" -> precision. The order matters: BFLOAT16 contains FLOAT.
_DATATYPES = (
    (re.compile(r"BF16|BFLOAT16", re.I), "bf16"),
    (re.compile(r"FP16|HALF|FLOAT16", re.I), "fp16"),
    (re.compile(r"FP8", re.I), "fp8"),
    (re.compile(r"INT8", re.I), "int8"),
    (re.compile(r"FP32|FLOAT", re.I), "fp32"),
)
_TF32 = re.compile(r"tf32", re.I)
#: A convolution by the layer's name, as ONNX nodes are named by exporters: conv2d, /layer1/conv, Conv_12, node_conv2d.
_CONV_NODE = re.compile(r"(?<![a-z])conv", re.I)
_MYELIN = ("conv", "gemm", "fusion", "kgen")
#: Layers that an error names.
MOST_NAMED = 5


@dataclass(frozen=True)
class Layer:
    """One layer of an engine; precision is that of its first input, None where the inspector does not say."""

    name: str
    kind: str
    precision: str | None
    convolution: bool
    tactic: str = ""

    @property
    def tf32(self) -> bool:
        """Whether its kernel multiplies float32 in TF32."""
        return self.precision == "fp32" and _TF32.search(self.tactic) is not None


@dataclass(frozen=True)
class Share:
    """How many of the convolutions run in the requested precision, which precisions the others run in, their names."""

    precision: str
    at: int
    of: int
    others: tuple[tuple[str, int], ...] = ()
    names: tuple[str, ...] = ()

    def describe(self) -> str:
        """The share as text: 20 of 21 convolutions run in fp16 (95 %), 1 in fp32."""
        if not self.of:
            return "the engine lists no layer as a convolution"
        rest = "".join(f", {count} in {name}" for name, count in self.others)
        return f"{self.at} of {self.of} convolutions run in {self.precision} ({self.at / self.of:.0%}){rest}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        return {"precision": self.precision, "at": self.at, "of": self.of, "others": dict(self.others)}


def read_layers(text: str) -> list[Layer]:
    """The layers in the inspector's JSON. Raises DeviceError when the text is anything else.

    An engine that was built without detailed profiling verbosity lists only its layers' names.
    """
    try:
        found = json.loads(text)["Layers"]
        return [_layer(entry) for entry in found]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeviceError(f"TensorRT's engine inspector gave no list of layers: {error!r}") from None


def _layer(entry: Any) -> Layer:
    if isinstance(entry, str):
        return Layer(entry, "", None, False)
    kind, name = str(entry.get("LayerType", "")), str(entry.get("Name", ""))
    return Layer(name, kind, _precision(entry), _is_convolution(entry, kind, name), str(entry.get("TacticName", "")))


def _precision(entry: dict[str, Any]) -> str | None:
    for tensor in (*entry.get("Inputs", ()), *entry.get("Outputs", ())):
        text = str(tensor.get("Format/Datatype", ""))
        for pattern, name in _DATATYPES:
            if pattern.search(text):
                return name
    return None


def _is_convolution(entry: dict[str, Any], kind: str, name: str) -> bool:
    if entry.get("ParameterType") == "Convolution" or "convolution" in kind.lower():
        return True
    nodes = re.findall(r"\[ONNX Layer: ([^\]]*)\]", str(entry.get("Metadata", "")))
    return kind in _MYELIN and (kind == "conv" or any(_CONV_NODE.search(node) for node in nodes))


def measure_share(layers: Sequence[Layer], precision: str) -> Share:
    """The share of convolutions that run in `precision` (a plan's, or tf32), unknown ones not counted in."""
    ran = [
        (layer.name, "tf32" if layer.tf32 else layer.precision or "unknown") for layer in layers if layer.convolution
    ]
    counted = Counter(found for _, found in ran)
    at = counted.pop(precision, 0)
    names = tuple(name for name, found in ran if found != precision)
    return Share(precision, at, len(ran), tuple(sorted(counted.items())), names)


def check_share(share: Share, name: str) -> None:
    """Raise ParityError when there are convolutions and none runs in the graph's precision.

    TF32 is not checked: TensorRT uses it only where it is faster, and not every kernel's name shows it.
    """
    if share.precision not in ("fp32", "tf32") and share.of and not share.at:
        rest = ", ".join(f"{count} in {other}" for other, count in share.others)
        some = ", ".join(share.names[:MOST_NAMED])
        raise ParityError(
            f"{name}: {share.precision} was asked for, but none of the engine's {share.of} convolutions runs in it "
            f"({rest}): {some}; build in the precision that this GPU supports, or report this with the layer list "
            "(--layers)"
        )
