"""Rewrite operators that torch.onnx translates wrongly, or not at all, before it sees them.

    avg_pool2d(x, divisor_override=d)   an average without it, times kernel size / d; torch.onnx drops d
    adaptive_avg_pool2d(x, k)           dynamic H, W: the mean for k = 1, else A_h x A_w^T, where row i of A averages
                                        the window of output i
    adaptive_max_pool2d(x, k)           for each axis the maximum over the windows, other positions at -inf
    aminmax(x)                          amin(x), amax(x)
    clamp(x, -1, 0.5)                   clamp(x, -1.0, 0.5); torch.onnx takes no mixed bounds
    a // b of sizes, where a may be < 0 (a - a % b) // b: ONNX's Div of integers rounds towards 0

Window i of an adaptive pool over n positions is [floor(i n / k), ceil((i + 1) n / k)) (AdaptivePooling.h of ATen).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import SymInt, Tensor
from torch._meta_registrations import pooling_output_shape

_aten = torch.ops.aten


def prepare(program: Any) -> Any:
    """The program with such operators rewritten; itself, changed in place or not at all, where no other is needed."""
    _float_bounds(program)
    _round_down(program)
    used = {node.target for node in program.graph.nodes if node.op == "call_function"}
    table = {target: function for target, function in _TABLE.items() if target in used}
    if not any(_concerns(node) for node in program.graph.nodes):
        return program
    return program.run_decompositions(table)


def _concerns(node: Any) -> bool:
    if node.target in (_aten.adaptive_avg_pool2d.default, _aten.adaptive_avg_pool1d.default):
        return _dynamic_plane(node.args[0]) or not all(isinstance(size, int) for size in node.args[1])
    if node.target == _aten.avg_pool2d.default:
        return len(node.args) > 6 and node.args[6] is not None
    return node.target in _TABLE


def _dynamic_plane(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and not all(isinstance(size, int) for size in value.shape[-2:])


def _float_bounds(program: Any) -> None:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.target is _aten.clamp.default and isinstance(value, Tensor) and value.is_floating_point():
            node.args = tuple(float(entry) if isinstance(entry, int) else entry for entry in node.args)


def _round_down(program: Any) -> None:
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is not operator.floordiv or not isinstance(node.meta.get("val"), SymInt):
            continue
        dividend, divisor = node.args
        if not _may_be_negative(dividend):
            continue
        with graph.inserting_before(node):
            rest = _call(graph, operator.mod, dividend, divisor)
            multiple = _call(graph, operator.sub, dividend, rest)
        node.args = (multiple, divisor)
    program.graph_module.recompile()


def _call(graph: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    node = graph.call_function(function, arguments)
    values = [entry.meta["val"] if isinstance(entry, torch.fx.Node) else entry for entry in arguments]
    node.meta["val"] = function(*values)
    return node


def _may_be_negative(size: Any) -> bool:
    value = size.meta.get("val") if isinstance(size, torch.fx.Node) else size
    if not isinstance(value, SymInt):
        return isinstance(value, int) and value < 0
    return bool(value.node.shape_env.bound_sympy(value.node.expr).lower < 0)


def _pair(value: Sequence[Any]) -> tuple[Any, Any]:
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def _avg_pool2d(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    if divisor_override is None:
        return NotImplemented
    kernel, step, pad = _pair(kernel_size), _pair(stride or kernel_size), _pair(padding)
    ends = [
        pad[axis] + _overhang(x.shape[-2 + axis], kernel[axis], pad[axis], step[axis], ceil_mode) for axis in (0, 1)
    ]
    padded = F.pad(x, (pad[1], ends[1], pad[0], ends[0]))
    return _aten.avg_pool2d.default(padded, kernel, step) * (prod(kernel) / divisor_override)


def _overhang(size: Any, kernel: int, pad: int, step: int, ceil_mode: bool) -> Any:
    """How far the last window reaches beyond the padded input, as it may with ceil_mode."""
    if not ceil_mode:
        return 0
    count = pooling_output_shape(size, kernel, pad, step, 1, True)
    return torch.sym_max((count - 1) * step + kernel - size - 2 * pad, 0)


def _windows(size: Any, count: Any, x: Tensor) -> Tensor:
    """[count, size]: whether a position is in the window of an output. p >= floor(a / k) is (p + 1) k > a."""
    output = torch.arange(count, device=x.device)[:, None]
    position = torch.arange(size, device=x.device)[None, :]
    starts, ends = output * size, (output + 1) * size
    return torch.logical_and((position + 1) * count > starts, position * count < ends)


def _adaptive_avg_pool2d(x: Tensor, output_size: Sequence[Any]) -> Tensor:
    if all(isinstance(size, int) and size == 1 for size in output_size):
        return x.mean((-2, -1), keepdim=True)
    height, width = (_windows(x.shape[axis], output_size[axis], x).to(x.dtype) for axis in (-2, -1))
    rows = height / height.sum(1, keepdim=True)
    columns = width / width.sum(1, keepdim=True)
    return rows @ x @ columns.t()


def _adaptive_avg_pool1d(x: Tensor, output_size: Sequence[Any]) -> Tensor:
    if isinstance(output_size[0], int) and output_size[0] == 1:
        return x.mean(-1, keepdim=True)
    windows = _windows(x.shape[-1], output_size[0], x).to(x.dtype)
    return x @ (windows / windows.sum(1, keepdim=True)).t()


def _adaptive_max_pool2d(x: Tensor, output_size: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The maxima, and where they are in the flattened plane: of equal ones the first, row by row."""
    height, width = (_windows(x.shape[axis], output_size[axis], x) for axis in (-2, -1))
    across = x.unsqueeze(-2).masked_fill(torch.logical_not(width), float("-inf"))  # [..., H, k, W]
    rows, columns = across.amax(-1), across.argmax(-1)
    down = rows.unsqueeze(-3).masked_fill(torch.logical_not(height)[:, :, None], float("-inf"))  # [..., k, H, k]
    row = down.argmax(-2)
    return down.amax(-2), row * x.shape[-1] + columns.gather(-2, row)


def _adaptive_max_pool1d(x: Tensor, output_size: Sequence[Any]) -> tuple[Tensor, Tensor]:
    result, places = _adaptive_max_pool2d(x.unsqueeze(-2), (1, output_size[0]))
    return result.squeeze(-2), places.squeeze(-2)


def _aminmax(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    axes = list(range(x.dim())) if dim is None else [dim]
    return x.amin(axes, keepdim), x.amax(axes, keepdim)


_TABLE: Mapping[Any, Callable[..., Any]] = {
    _aten.avg_pool2d.default: _avg_pool2d,
    _aten.adaptive_avg_pool2d.default: _adaptive_avg_pool2d,
    _aten.adaptive_avg_pool1d.default: _adaptive_avg_pool1d,
    _aten.adaptive_max_pool2d.default: _adaptive_max_pool2d,
    _aten.adaptive_max_pool1d.default: _adaptive_max_pool1d,
    _aten.aminmax.default: _aminmax,
}
