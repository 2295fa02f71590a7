"""Call torch.export for a range of sizes, in the ways that take more and more models.

torch refuses a range where it cannot prove that one graph serves all of it. In turn:

    named       named dimensions; whatever torch proves needs no further look
    deferred    conditions that are not proven become assertions in the program, see guards.py
    strict      the same, by reading the bytecode of forward, which can keep int(size) and other calls symbolic
    unnamed     the same with unnamed dimensions: torch 2.13 fails on its own report of some named ones (-size % 8)
    unbounded   the same without the range's ends, from which torch 2.14 concludes that a size of 64..96 whose 64th part
                is 1 at the example is 64
    multiples   the same with 32 * n instead of a size in steps of 32: sympy gives up on x // 4 // 2 == x // 8 for any x

torch takes a size of 1, which halving leaves of a small example, for 1 at every size, and the range to end where it
grows. Then an example of the largest sizes is traced: a graph that is right for two pixels is right for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.export import Dim

from rectexport.exporter.frontend.arguments import tensor_inputs
from rectexport.exporter.frontend.source import in_eval_mode, independent_copy
from rectexport.exporter.tracing.outputs import register_dataclasses
from rectexport.exporter.tracing.sizes.axes import AskedAxis
from rectexport.exporter.tracing.sizes.guards import Axis, Guard, drop_unused_sizes, take_guards
from rectexport.exporter.tracing.sizes.pools import dividing_pools
from rectexport.exporter.tracing.sizes.whole_numbers import symbolic_int
from rectexport.runtime.base.shapes import MAX_DIMENSION

#: What torch and sympy say where they cannot take a range.
SIZE_ERRORS = (
    "Constraints violated",
    "inconsistent min",
    "SymInt",
    "Expected op to be '=='",
    "cannot be solved",
    "Specializations",
    "user-specified ranges",
)
#: An example is enlarged up to so many elements, and so many times along an axis without an end.
MOST_ELEMENTS, OPEN_FACTOR = 1 << 24, 16
#: How far an enlarged example is made smaller again.
MOST_HALVINGS = 1 << 12


@dataclass
class Exported:
    """A program, and the conditions that torch did not prove for the whole range."""

    program: Any
    guards: tuple[Guard, ...] = ()


@dataclass(frozen=True)
class Request:
    """What to export for.

    names      of the inputs
    asked      the dimensions that may vary, by axis, for each input
    own        dynamic_shapes of the caller that torch is asked for first, as they are
    """

    model: Any
    names: tuple[str, ...]
    arguments: tuple[torch.Tensor, ...]
    asked: Sequence[Mapping[int, AskedAxis]]
    own: Any = None

    @property
    def dynamic(self) -> bool:
        """Whether any dimension may vary."""
        return any(self.asked)

    @property
    def stepped(self) -> bool:
        """Whether any dimension takes only some sizes of its range."""
        return any(dim.step > 1 for dims in self.asked for dim in dims.values())

    @property
    def symbols(self) -> dict[Axis, str]:
        """The symbol of each named dimension, by input and axis."""
        return {
            (index, axis): dim.symbol
            for index, dims in enumerate(self.asked)
            for axis, dim in dims.items()
            if dim.symbol
        }


def export_range(request: Request) -> Exported:
    """Export by the first way that takes the whole range. Raises what torch raised for the way that came closest."""
    if not request.dynamic:
        return Exported(_export(request, request.own))
    first: Exception | None = None
    for attempt in _attempts(request):
        try:
            found = attempt()
            return _from_largest(request, found) if _narrower(request, found) else found
        except Exception as error:
            first = first or error
            if not concerns_sizes(error):
                raise first from first.__cause__
    assert first is not None
    raise first


def _narrower(request: Request, found: Exported) -> bool:
    """Whether torch concluded from a size of 1 in the trace that an axis ends before the range that was asked for."""
    places = {name: index for index, name in enumerate(tensor_inputs(found.program))}
    for node in found.program.graph.nodes:
        for axis, dim in request.asked[places[node.name]].items() if node.name in places else ():
            size = node.meta["val"].shape[axis]
            known = found.program.range_constraints.get(getattr(getattr(size, "node", None), "expr", None))
            if known is not None and known.upper < dim.high:
                return True
    return False


def _from_largest(request: Request, found: Exported) -> Exported:
    """The program of an example of the largest sizes, where it takes the whole range; else the one that was found."""
    try:
        larger = _deferred(_largest(request), _unnamed(request), strict=False)
    except Exception:  # the model may not run there: then trials say at which sizes it does
        return found
    return found if _narrower(request, larger) else larger


def concerns_sizes(error: BaseException) -> bool:
    """Whether torch refused the range, and not the model: at one size it may take it."""
    text = str(error)
    return any(part in text for part in SIZE_ERRORS)


def _attempts(request: Request) -> list[Callable[[], Exported]]:
    named = request.own if request.own is not None else _named(request)
    plain = _named(request)
    attempts: list[Callable[[], Exported]] = []
    if not request.stepped:
        attempts.append(lambda: Exported(_export(request, named)))
    attempts.append(lambda: _deferred(request, plain, strict=False))
    attempts.append(lambda: _deferred(request, plain, strict=True))
    if _all_differ(request):
        attempts.append(lambda: _deferred(request, _unnamed(request), strict=False))
        attempts.append(lambda: _deferred(request, _shapes(request, lambda _: Dim.DYNAMIC), strict=False))
        if request.stepped:
            attempts.append(lambda: _deferred(request, _multiples(request), strict=False))
    return attempts


def _export(request: Request, dynamic_shapes: Any, strict: bool = False, deferred: bool = False) -> Any:
    model = in_eval_mode(independent_copy(request.model, share_parameters=True))  # it may keep tensors of the trace
    options: dict[str, Any] = {
        "dynamic_shapes": dynamic_shapes,
        "strict": strict,
        "prefer_deferred_runtime_asserts_over_guards": deferred,
    }
    with torch.no_grad(), nullcontext() if strict else symbolic_int(model), dividing_pools():
        try:
            return torch.export.export(model, request.arguments, **options)
        except RuntimeError as error:
            if "is not a known type" not in str(error):
                raise
            register_dataclasses(type(request.model).__name__, model(*request.arguments))
            return torch.export.export(model, request.arguments, **options)


def _deferred(request: Request, dynamic_shapes: Any, strict: bool) -> Exported:
    program = _export(request, dynamic_shapes, strict, deferred=True)
    guards = take_guards(program)
    drop_unused_sizes(program)
    return Exported(program, tuple(guards))


def _named(request: Request) -> Any:
    made: dict[str, Any] = {}
    return _shapes(request, lambda dim: _dim(dim, made))


def _dim(asked: AskedAxis, made: dict[str, Any]) -> Any:
    if not asked.symbol:
        return _hint(asked)
    if asked.symbol not in made:
        made[asked.symbol] = Dim(asked.symbol, min=asked.low, max=None if asked.high == MAX_DIMENSION else asked.high)
    return made[asked.symbol]


def _unnamed(request: Request) -> Any:
    return _shapes(request, _hint)


def _hint(asked: AskedAxis) -> Any:
    high = None if asked.high == MAX_DIMENSION else asked.high
    return Dim.DYNAMIC(min=asked.low, max=high)


def _largest(request: Request) -> Request:
    """With zeros of the range's largest sizes, or of smaller ones where these have more than MOST_ELEMENTS."""
    arguments = []
    for argument, asked in zip(request.arguments, request.asked, strict=True):
        shape, share = list(argument.shape), 1.0
        while asked and share > 1 / MOST_HALVINGS:
            for axis, dim in asked.items():
                high = min(dim.high, OPEN_FACTOR * argument.shape[axis]) if dim.high == MAX_DIMENSION else dim.high
                wanted = max(round(high * share), argument.shape[axis])
                shape[axis] = dim.low + (wanted - dim.low) // dim.step * dim.step
            if math.prod(shape) <= max(MOST_ELEMENTS, argument.numel()):
                break
            share /= 2
        arguments.append(argument.new_zeros(shape))
    return replace(request, arguments=tuple(arguments))


def _multiples(request: Request) -> Any:
    return _shapes(request, lambda dim: _multiple(dim) if _in_steps(dim) else _hint(dim))


def _in_steps(asked: AskedAxis) -> bool:
    return asked.step > 1 and bool(asked.symbol) and asked.low % asked.step == 0


def _multiple(asked: AskedAxis) -> Any:
    high = None if asked.high == MAX_DIMENSION else asked.high // asked.step
    return asked.step * Dim(f"{asked.symbol}_steps", min=asked.low // asked.step, max=high)


def _shapes(request: Request, make: Callable[[AskedAxis], Any]) -> Any:
    """dynamic_shapes by position, or by name if the caller's are."""
    dims = [{axis: make(dim) for axis, dim in asked.items()} for asked in request.asked]
    return dict(zip(request.names, dims, strict=True)) if isinstance(request.own, Mapping) else tuple(dims)


def _all_differ(request: Request) -> bool:
    names = list(request.symbols.values())
    return len(set(names)) == len(names)
