"""uint8 is cast to float32 where it enters, and back where it leaves: TensorRT takes it for nothing else.

Given   y = Cast(Transpose(x)), x uint8
Result  y = Cast(Transpose(Cast(x, to float32))), and the same for other operators that move or copy elements

Given   y = Cast(x, to T) or Cast(v of type T, to uint8), T neither float32 nor float16
Result  y = Cast(Cast(x, to float32), to T), and so on

Exact: each of the 256 numbers is a float32, moving does not change it, and a float32 that holds one is cast to it. An
integer beyond them wraps around when it is cast, so v mod 256 is taken first. TensorRT has uint8 for inputs and outputs
of the network, and casts it to and from float32 and float16 alone (NvInferRuntimeBase.h of 11.1; TensorRT for RTX 1.7.1
builds other casts, too).

Not when the dtype is not noted, nor for operators that compute with uint8: narrow_arithmetic writes sums, differences
and products otherwise.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.graph.shapes import inferred_outline
from rectexport.exporter.passes.engines.edit import Edit, attribute, standard

NAME = "early_cast"
#: Operators that move or copy elements of the first input; Concat of all.
MOVES = (
    *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "SpaceToDepth", "Split"),
    *("Squeeze", "Tile", "Transpose", "Unsqueeze"),
)
#: What TensorRT casts uint8 to and from.
_PARTNERS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_INTEGERS: dict[int, type[np.signedinteger[Any]]] = {TensorProto.INT32: np.int32, TensorProto.INT64: np.int64}
#: As many as uint8 has.
_NUMBERS = 256


def run(model: ModelProto) -> tuple[ModelProto, PassResult]:
    """Rewrite what moves uint8 or casts it; nodes that cast nothing else than it may lose their last reader."""
    edit = Edit(model, NAME)
    work = _Work(edit, model)
    for node in list(edit.nodes("Cast", *MOVES)):
        if standard(node, "Cast"):
            work.cast(node)
        elif work.dtype(node.input[0]) == TensorProto.UINT8:
            work.move(node)
    return edit.close()


class _Work:
    """floats: uint8 tensor -> the tensor of the same numbers in float32."""

    def __init__(self, edit: Edit, model: ModelProto) -> None:
        self._edit = edit
        self._model = model
        self._floats: dict[str, str] = {}

    @cached_property
    def _inferred(self) -> dict[str, int]:
        """dtypes of inner tensors that the model itself does not note, such as those of passes before this one."""
        found = inferred_outline(self._model) or self._model
        return {entry.name: entry.type.tensor_type.elem_type for entry in found.graph.value_info}

    def dtype(self, name: str) -> int:
        """The tensor's element type, TensorProto.UNDEFINED where it cannot be inferred."""
        return self._edit.dtype(name) or (self._inferred.get(name, 0) if self._has_uint8 else 0)

    @cached_property
    def _has_uint8(self) -> bool:
        """Whether any input, noted tensor or cast is uint8: most models have none, and need no inference."""
        graph = self._model.graph
        noted = (*graph.input, *graph.output, *graph.value_info)
        if any(entry.type.tensor_type.elem_type == TensorProto.UINT8 for entry in noted):
            return True
        return any(_target(node) == TensorProto.UINT8 for node in self._edit.nodes("Cast"))

    def cast(self, node: NodeProto) -> None:
        """A Cast from or to uint8 becomes one from or to float32, and another."""
        (source,), to = node.input, _target(node)
        if source in self._floats:
            self._edit.replace(node, [_from_float(self._floats[source], node.output[0], node.name, to)])
        elif TensorProto.UINT8 in (to, self.dtype(source)) and not self._is_direct(source, to):
            wrapped = self._wrapped(source) if to == TensorProto.UINT8 else []
            middle = self._edit.fresh(node.output[0])
            known = wrapped[-1].output[0] if wrapped else source
            first = _cast(known, middle, self._edit.fresh(node.name or middle), TensorProto.FLOAT)
            self._edit.replace(node, [*wrapped, first, _cast(middle, node.output[0], node.name, to)])
            if to == TensorProto.UINT8:
                self._floats[node.output[0]] = middle

    def _wrapped(self, source: str) -> list[NodeProto]:
        """The node that takes an integer mod 256; none where that was done."""
        dtype, maker = self.dtype(source), self._edit.maker(source)
        if dtype not in _INTEGERS:
            return []
        if maker is not None and standard(maker, "Mod"):
            by = self._edit.constant(maker.input[1])
            if by is not None and by.size == 1 and int(by.reshape(-1)[0]) == _NUMBERS:
                return []
        by_name = self._edit.store(source, np.array(_NUMBERS, _INTEGERS[dtype]))
        result = self._edit.fresh(source)
        return [helper.make_node("Mod", [source, by_name], [result], self._edit.fresh(source))]

    def _is_direct(self, source: str, to: int) -> bool:
        """Whether TensorRT has this cast; one from an unknown dtype is left alone."""
        other = self.dtype(source) if to == TensorProto.UINT8 else to
        return other in (*_PARTNERS, TensorProto.UNDEFINED, TensorProto.UINT8)

    def move(self, node: NodeProto) -> None:
        """The same operator on float32, and a cast back, which nothing reads where everything is cast behind it."""
        copy, before, after = NodeProto(), [], []
        copy.CopyFrom(node)
        for index in range(len(node.input) if node.op_type == "Concat" else 1):
            name = node.input[index]
            if name not in self._floats:
                self._floats[name] = self._edit.fresh(name)
                before.append(_cast(name, self._floats[name], self._edit.fresh(name), TensorProto.FLOAT))
            copy.input[index] = self._floats[name]
        for index, name in enumerate(node.output):
            if name:
                self._floats[name] = copy.output[index] = self._edit.fresh(name)
                after.append(_cast(copy.output[index], name, self._edit.fresh(name), TensorProto.UINT8))
        self._edit.replace(node, [*before, copy, *after])


def _target(node: NodeProto) -> int:
    """The dtype that a Cast gives."""
    return int(attribute(node, "to", TensorProto.UNDEFINED))


def _cast(source: str, target: str, name: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name, to=to)


def _from_float(source: str, target: str, name: str, to: int) -> NodeProto:
    if to == TensorProto.FLOAT:
        return helper.make_node("Identity", [source], [target], name)
    return _cast(source, target, name, to)
