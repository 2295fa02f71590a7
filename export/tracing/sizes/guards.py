"""Conditions on sizes that torch.export put into a program instead of refusing the range.

With prefer_deferred_runtime_asserts_over_guards torch traces at the example's sizes, and writes each condition that it
could not prove for the whole range as an assertion into the program. torch.onnx drops these. Here they are read, taken
out, and evaluated at the sizes of the range: most are always true, and the others say where to look.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rectexport.exporter.frontend.arguments import tensor_inputs
from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.runtime.base.shapes import MAX_DIMENSION

#: Sizes of one axis at which conditions are evaluated, and combinations of axes for one condition.
MOST_SIZES, MOST_COMBINATIONS = 512, 4096
#: How far beyond the usual size a range without an upper bound is looked at.
UNBOUNDED_FACTOR = 4

#: An axis of an input, by the input's index.
Axis = tuple[int, int]
Sizes = dict[Axis, int]


@dataclass(frozen=True)
class Guard:
    """A condition on sizes.

    steps    what computes `result`, arguments first: each node, its function and its arguments
    axes     the nodes that are sizes of an input's axis
    """

    text: str
    result: Any
    steps: tuple[tuple[Any, Any, Any], ...]
    axes: dict[Any, Axis]

    def holds(self, sizes: Mapping[Axis, int]) -> bool:
        """Whether it is true at these sizes; a computation that fails there is not."""
        known: dict[Any, Any] = {leaf: sizes[axis] for leaf, axis in self.axes.items()}
        try:
            for node, function, arguments in self.steps:
                known[node] = function(*torch.fx.node.map_arg(arguments, lambda argument: known[argument]))
        except (ArithmeticError, ValueError, TypeError):
            return False
        return bool(known[self.result])


def take_guards(program: Any) -> list[Guard]:
    """Remove the assertions on sizes from a program, and return those that depend on sizes of its inputs alone."""
    inputs = {name: index for index, name in enumerate(tensor_inputs(program))}
    found: dict[str, Guard] = {}
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten._assert_scalar.default:
            continue
        guard = _guard(node, inputs)
        if guard is not None:
            found.setdefault(guard.text, guard)
        graph.erase_node(node)
    return list(found.values())


def drop_unused_sizes(program: Any) -> None:
    """Remove the computations on sizes that only served assertions."""
    graph = program.graph_module.graph
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and _is_number(node):
            graph.erase_node(node)
    program.graph_module.recompile()


def _is_number(node: Any) -> bool:
    return isinstance(node.meta.get("val"), int | float | bool | torch.SymInt | torch.SymFloat | torch.SymBool)


def _guard(node: Any, inputs: Mapping[str, int]) -> Guard | None:
    result = node.args[0]
    if not isinstance(result, torch.fx.Node):
        return None
    nodes: dict[Any, None] = {}
    axes: dict[Any, Axis] = {}
    if not _collect(result, inputs, nodes, axes) or not axes:
        return None
    value = result.meta.get("val")
    text = str(getattr(getattr(value, "node", None), "expr", value))
    return Guard(text, result, tuple((step, step.target, step.args) for step in nodes), axes)


def _collect(node: Any, inputs: Mapping[str, int], nodes: dict[Any, None], axes: dict[Any, Axis]) -> bool:
    """Gather what computes a node, arguments first; False where it depends on more than the inputs' sizes."""
    if node in nodes or node in axes:
        return True
    if node.op != "call_function" or node.kwargs:
        return False
    if node.target is torch.ops.aten.sym_size.int:
        source, axis = node.args
        if source.op != "placeholder" or source.name not in inputs:
            return False
        axes[node] = (inputs[source.name], axis)
        return True
    if isinstance(node.target, torch._ops.OpOverload):
        return False
    if not all(_collect(argument, inputs, nodes, axes) for argument in node.all_input_nodes):
        return False
    nodes[node] = None
    return True


def broken(guard: Guard, inputs: Sequence[InputPlan], symbols: Mapping[Axis, str]) -> Iterator[Sizes]:
    """Sizes within the inputs' ranges at which a guard does not hold, smallest first; axes of one symbol are equal."""
    axes = sorted(set(guard.axes.values()))
    groups: dict[str, list[Axis]] = {}
    for axis in axes:
        groups.setdefault(symbols.get(axis, f"{axis}"), []).append(axis)
    choices = [_sizes(inputs, members[0], _share(len(groups))) for members in groups.values()]
    for combination in itertools.islice(itertools.product(*choices), MOST_COMBINATIONS):
        sizes = {axis: size for members, size in zip(groups.values(), combination, strict=True) for axis in members}
        if not guard.holds(sizes):
            yield sizes


def _share(count: int) -> int:
    return MOST_SIZES if count == 1 else int(MOST_COMBINATIONS ** (1 / count))


def _sizes(inputs: Sequence[InputPlan], axis: Axis, most: int) -> list[int]:
    """Up to `most` sizes of an axis: all, or the smallest half and then evenly spread ones up to the largest."""
    bounds, index = inputs[axis[0]].range, axis[1]
    low, high, step = bounds.min[index], bounds.max[index], bounds.step_of(index)
    if high == MAX_DIMENSION:
        high = bounds.floor(index, UNBOUNDED_FACTOR * bounds.opt[index])
    sizes = range(low, high + 1, step)
    if len(sizes) <= most:
        return list(sizes)
    half = max(most // 2, 2)
    spread = (half + (len(sizes) - 1 - half) * place // (half - 1) for place in range(half))
    return sorted({*sizes[:half], *(sizes[place] for place in spread)})
