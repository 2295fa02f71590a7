"""Models whose forward takes more than a list of tensors: nested inputs, keywords, constants, optional inputs.

    forward(batch={"image": x, "sizes": [a, b]}, threshold=0.5, mask=None)

A package takes tensors alone, here batch.image, batch.sizes.0 and batch.sizes.1. Everything else is a constant of the
package. The wrapper that `arranged` makes takes the tensors and puts them in their places.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, TensorArgument
from torch.utils import _pytree as pytree

from rectexport.exporter.frontend.source import OUR_WRAPPERS
from rectexport.runtime.errors import BadInput, UsageError

_OTHERS = "numbers, None, and dicts, lists and tuples of tensors are taken, too"


@dataclass(frozen=True)
class Slot:
    """The place of a tensor among the arguments, by its position among the package's inputs."""

    index: int


@dataclass(frozen=True)
class Layout:
    """Arguments of forward with a Slot for each tensor; names of the tensors in the package, in order."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    names: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Whether forward takes just the tensors, in order."""
        return not self.kwargs and self.args == tuple(Slot(index) for index in range(len(self.names)))

    def filled(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of forward, with these tensors."""
        return tuple(_filled(value, tensors) for value in self.args), {
            name: _filled(value, tensors) for name, value in self.kwargs.items()
        }

    def shapes(self, dynamic_shapes: Any, parameters: Sequence[str]) -> tuple[Any, ...] | None:
        """torch.export's dynamic_shapes for the tensors in order, of those for forward, by place or by parameter."""
        if dynamic_shapes is None:
            return None
        found: list[Any] = [None] * len(self.names)
        by_name = isinstance(dynamic_shapes, Mapping)
        for index, value in enumerate(self.args):
            _shapes_of(value, _entry(dynamic_shapes, parameters[index] if by_name else index), found)
        for name, value in self.kwargs.items():
            _shapes_of(value, _entry(dynamic_shapes, name) if by_name else None, found)
        return tuple(found)


class Wrapper(nn.Module):
    """A module around others, of which an exported program's has one mode only."""

    def train(self, mode: bool = True) -> Wrapper:
        """Set the mode of all modules that have two."""
        self.training = mode
        for child in self.children():
            with suppress(NotImplementedError):
                child.train(mode)
        return self


class Arranged(Wrapper):
    """A model behind a forward that takes the tensors of a layout."""

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.model, self.layout = model, layout

    def forward(self, *tensors: Tensor) -> Any:
        args, kwargs = self.layout.filled(tensors)
        return self.model(*args, **kwargs)


def arranged(model: nn.Module, layout: Layout) -> nn.Module:
    """The model itself if it takes the layout's tensors in order, else behind a wrapper that does."""
    return model if layout.plain else with_parameters(Arranged(model, layout), layout.names)


def with_parameters(wrapper: nn.Module, names: Sequence[str]) -> nn.Module:
    """The wrapper, of a class whose forward(*tensors) has a parameter for each name, as torch.export wants it."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [inspect.Parameter(re.sub(r"\W|^(?=\d)", "_", name), kind) for name in names]
    inherited: Callable[..., Any] = type(wrapper).forward

    def forward(self: Any, *tensors: Tensor) -> Any:
        return inherited(self, *tensors)

    forward.__signature__ = inspect.Signature([inspect.Parameter("self", kind), *own])  # type: ignore[attr-defined]
    wrapper.__class__ = type(type(wrapper).__name__, (type(wrapper),), {"forward": forward})
    return wrapper


def inner_path(stack: Sequence[tuple[str, Any]]) -> str:
    """The path of the innermost of (path, class) pairs of modules, in the model that is inside our wrappers."""
    path = stack[-1][0] if stack else ""
    for outer, kind in stack:
        inside = f"{outer}.model" if outer else "model"
        if str(kind).rpartition(".")[2] in OUR_WRAPPERS and (path == inside or path.startswith(f"{inside}.")):
            return inner_path([(entry.removeprefix(inside).removeprefix("."), kind) for entry, kind in stack[1:]])
    return path


def read_arguments(
    model: Any, example_inputs: Any, more: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Layout, dict[str, Tensor]]:
    """The layout and the tensors of example inputs, a tuple of positional arguments or a mapping of keywords.

    more holds further keyword arguments, `kwargs` in messages.

    The tensors are in order, by their places for error messages: example_inputs[0]. Raises UsageError for a value that
    is neither a tensor nor a constant, and where there is no tensor.
    """
    tensors: dict[str, Tensor] = {}
    names: list[str] = []

    def placed(value: Any, path: str, where: str) -> Any:
        if isinstance(value, Tensor):
            tensors[where] = value
            names.append(path)
            return Slot(len(names) - 1)
        if isinstance(value, Mapping):
            return {key: placed(entry, f"{path}.{key}", f"{where}[{key!r}]") for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return _sequence(value, [placed(v, f"{path}.{i}", f"{where}[{i}]") for i, v in enumerate(value)])
        if value is None or isinstance(value, bool | int | float):
            return value
        raise UsageError(f"{where}: expected a tensor, got {type(value).__name__}; {_OTHERS}")

    if isinstance(example_inputs, Mapping):
        kwargs = {name: placed(value, name, f"example_inputs[{name!r}]") for name, value in example_inputs.items()}
        args: tuple[Any, ...] = ()
    else:
        parameters = forward_names(model, len(example_inputs))
        args = tuple(
            placed(value, name, f"example_inputs[{index}]")
            for index, (name, value) in enumerate(zip(parameters, example_inputs, strict=True))
        )
        kwargs = {}
    if more:
        _check_more(model, more, len(args), kwargs)
        kwargs.update({name: placed(value, name, f"kwargs[{name!r}]") for name, value in more.items()})
    _check_keywords(model, kwargs)
    layout = Layout(args, kwargs, tuple(names))
    if not tensors:
        raise UsageError("example_inputs: expected at least one tensor")
    return layout, tensors


def tensor_inputs(program: ExportedProgram) -> list[str]:
    """Names of the placeholders of a program's inputs that are tensors; the others are constants."""
    specs = [spec for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT]
    return [spec.arg.name for spec in specs if isinstance(spec.arg, TensorArgument)]


def tensor_types(program: ExportedProgram) -> list[str]:
    """NumPy's names of the dtypes of a program's tensors, in order; empty where they are not known."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    types = (values[name].dtype if values.get(name) is not None else "" for name in tensor_inputs(program))
    return [str(kind).removeprefix("torch.") for kind in types]


def program_layout(program: ExportedProgram) -> Layout:
    """The layout of a program's inputs. Raises BadInput for one that is neither a tensor nor a constant."""
    leaves: list[Any] = []
    names = tensor_inputs(program)
    for spec in program.graph_signature.input_specs:
        if spec.kind != InputKind.USER_INPUT:
            continue
        if isinstance(spec.arg, TensorArgument):
            leaves.append(Slot(names.index(spec.arg.name)))
        elif isinstance(spec.arg, ConstantArgument):
            leaves.append(spec.arg.value)
        else:
            raise BadInput(f"input {spec.arg.name} of the program: every input must be a tensor or a constant")
    args, kwargs = pytree.tree_unflatten(leaves, program.call_spec.in_spec)
    layout = Layout(args, kwargs, tuple(names))
    if layout.plain:
        return layout
    paths: dict[int, str] = {}
    signature = program.module_call_graph[0].signature
    parameters = (signature.forward_arg_names if signature else None) or [f"input_{i}" for i in range(len(args))]
    for name, value in (*zip(parameters, args, strict=False), *kwargs.items()):
        _name_slots(value, name, paths)
    return Layout(args, kwargs, tuple(paths[index] for index in range(len(names))))


def program_module(program: ExportedProgram) -> nn.Module:
    """The program as a module that takes its tensors in order and runs in any precision.

    Its assertions about the types of tensors are left out: they say float32, and the reference is float64.
    """
    module: Any = program.module(check_guards=False)
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    module.recompile()
    return arranged(module, program_layout(program))


def _name_slots(value: Any, path: str, paths: dict[int, str]) -> None:
    if isinstance(value, Slot):
        paths[value.index] = path
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            _name_slots(entry, f"{path}.{key}", paths)
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            _name_slots(entry, f"{path}.{index}", paths)


def forward_names(model: Any, count: int) -> list[str]:
    """Names of the first `count` arguments of forward, or input_0, input_1, … where they have none."""
    named = [entry.name for entry in parameters_of(model) or () if entry.kind is entry.POSITIONAL_OR_KEYWORD]
    return [named[i] if i < len(named) else f"input_{i}" for i in range(count)]


def parameters_of(model: Any) -> list[inspect.Parameter] | None:
    """The parameters of forward; None where Python cannot tell them."""
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (AttributeError, TypeError, ValueError):
        return None


def layout_of(model: Any, names: Sequence[str]) -> Layout:
    """The layout for inputs that are chosen by the names of forward's parameters; those before a gap go by place."""
    parameters = [entry.name for entry in parameters_of(model) or ()]
    first = [name for name, parameter in zip(names, parameters, strict=False) if name == parameter]
    if first != list(names[: len(first)]) or not set(names) <= set(parameters):
        return Layout(tuple(Slot(index) for index in range(len(names))), {}, tuple(names))
    rest = {name: Slot(index) for index, name in enumerate(names) if index >= len(first)}
    return Layout(tuple(Slot(index) for index in range(len(first))), rest, tuple(names))


def _check_more(model: Any, more: Mapping[str, Any], by_place: int, given: Mapping[str, Any]) -> None:
    parameters = parameters_of(model) or []
    if not parameters or any(entry.kind is entry.VAR_KEYWORD for entry in parameters):
        return
    left = [entry.name for entry in parameters[by_place:] if entry.name not in given]
    for name in more:
        if name not in left:
            takes = ", ".join(left) or "nothing else"
            raise UsageError(f"kwargs: forward takes no {name!r} besides example_inputs; it takes {takes}")


def _check_keywords(model: Any, kwargs: Mapping[str, Any]) -> None:
    parameters = parameters_of(model)
    if parameters is None or any(entry.kind is entry.VAR_KEYWORD for entry in parameters):
        return
    known = [entry.name for entry in parameters]
    if unknown := [name for name in kwargs if name not in known]:
        raise UsageError(f"example_inputs: no parameter {unknown[0]!r}; forward takes {', '.join(known)}")


def _filled(value: Any, tensors: Sequence[Any]) -> Any:
    if isinstance(value, Slot):
        return tensors[value.index]
    if isinstance(value, Mapping):
        return {key: _filled(entry, tensors) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return _sequence(value, [_filled(entry, tensors) for entry in value])
    return value


def _sequence(like: Any, values: list[Any]) -> Any:
    """A list, tuple or named tuple of the same kind."""
    if hasattr(like, "_fields"):
        return type(like)(*values)
    return values if isinstance(like, list) else tuple(values)


def _entry(shapes: Any, key: Any) -> Any:
    try:
        return shapes[key]
    except (IndexError, KeyError, TypeError):
        return None


def _shapes_of(value: Any, shapes: Any, found: list[Any]) -> None:
    if isinstance(value, Slot):
        found[value.index] = shapes
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            _shapes_of(entry, _entry(shapes, key), found)
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            _shapes_of(entry, _entry(shapes, index), found)
