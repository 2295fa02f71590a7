"""Read a training checkpoint without running code from it: objects of unknown classes become inert stand-ins.

torch.load with weights_only=True refuses a whole file because of one path, enumeration or NumPy scalar beside the
weights, as Lightning and others write them. Here tensors and plain values are read as weights_only reads them, and an
object of any other class becomes an `Inert`, which holds what the file says of it. Nothing is imported for it and
nothing of it is called. A file that names a function which only an attack would name is still refused.
"""

from __future__ import annotations

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._weights_only_unpickler import _get_allowed_globals

#: Modules of which no checkpoint needs anything, and such functions of builtins.
_SUSPICIOUS = frozenset(
    {"code", "commands", "ctypes", "importlib", "nt", "os", "pickle", "posix", "pty", "runpy", "shutil", "socket"}
    | {"subprocess", "sys", "timeit", "webbrowser"}
)
_SUSPICIOUS_BUILTINS = frozenset({"__import__", "breakpoint", "compile", "eval", "exec", "input", "open"})


#: Most modules of a pickled network, and their nesting.
MOST_MODULES, DEEPEST = 100_000, 100


class Inert(dict[Any, Any]):
    """An object of a class that was not imported: arguments, state and items as the file has them."""

    kind = ""

    def __new__(cls, *args: Any, **_: Any) -> Inert:
        made = super().__new__(cls)
        made.arguments, made.state, made.listed = args, None, []  # type: ignore[attr-defined]
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


def load_inert(path: Path) -> tuple[Any, list[str]]:
    """The value that torch.save stored in an archive, and the names of classes that were not imported.

    Raises pickle.UnpicklingError for what weights_only refuses for another reason than an unknown class, and for a
    function that only an attack would name.
    """
    unknown: dict[str, type[Inert]] = {}

    class Unpickler(_Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return _found(module, name, unknown)

    def load(file: Any, **more: Any) -> Any:
        return Unpickler(file, **more).load()

    reader = SimpleNamespace(__name__=__name__, Unpickler=Unpickler, load=load)
    value = torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
    return value, sorted(unknown)


def _found(module: str, name: str, unknown: dict[str, type[Inert]]) -> Any:
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    full = f"{module}.{name}"
    allowed = _get_allowed_globals()
    if full in allowed:
        return allowed[full]
    builtin = module == "builtins" and name in _SUSPICIOUS_BUILTINS
    if builtin or _SUSPICIOUS.intersection(full.split(".")[:-1]):
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {full}")
    return unknown.setdefault(full, type("Inert", (Inert,), {"kind": full}))


def _callable(function: Any) -> bool:
    if isinstance(function, type) and issubclass(function, Inert):
        return True
    return any(function is entry for entry in _get_allowed_globals().values())


_Base: Any = pickle._Unpickler  # the one written in Python, whose instructions can be replaced


class _Unpickler(_Base):
    """Python's unpickler, with the limits that torch's weights_only reader has, plus `Inert`."""

    def __init__(self, file: Any, **more: Any) -> None:
        super().__init__(file, **more)
        self.stack: list[Any]

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if isinstance(function, Inert):
            function = Inert  # a method of an unknown class
        elif not _callable(function):
            raise pickle.UnpicklingError(f"Trying to call unsupported GLOBAL {function!r:.100}")
        self.stack[-1] = function(*arguments)

    def _new(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not _callable(kind) or not isinstance(kind, type):
            raise pickle.UnpicklingError(f"Trying to make an object of unsupported GLOBAL {kind!r:.100}")
        self.append(kind(*arguments) if kind is nn.Parameter else kind.__new__(kind, *arguments))

    def _new_with_names(self) -> None:
        names = self.stack.pop()
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, type) or not issubclass(kind, Inert):
            raise pickle.UnpicklingError(f"Trying to make an object of unsupported GLOBAL {kind!r:.100}")
        self.append(kind(*arguments, **names))

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Inert):
            made.state = state  # type: ignore[attr-defined]
        elif type(made) is Tensor:
            made.set_(*state)
        elif type(made) is nn.Parameter:
            made.__setstate__(state)
        elif type(made) is OrderedDict and isinstance(state, dict):
            made.__dict__.update(state)
        else:
            raise pickle.UnpicklingError(f"Trying to set the state of unsupported GLOBAL {type(made).__name__}")

    def _set(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict, Counter) and not isinstance(target, Inert):
            raise pickle.UnpicklingError(f"Trying to set items of unsupported GLOBAL {type(target).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[key] = value

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.listed.extend(values)  # type: ignore[attr-defined]
        elif type(target) is list:
            target.extend(values)
        elif type(target) is set:
            target.update(values)
        else:
            raise pickle.UnpicklingError(f"Trying to extend unsupported GLOBAL {type(target).__name__}")

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("holds an instruction that torch.save does not write")

    dispatch: ClassVar[dict[int, Any]] = {
        **_Base.dispatch,
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _new,
        pickle.NEWOBJ_EX[0]: _new_with_names,
        pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: lambda self: self._set([self.stack.pop(-2), self.stack.pop()]),
        pickle.SETITEMS[0]: lambda self: self._set(self.pop_mark()),
        pickle.APPEND[0]: lambda self: self._extend([self.stack.pop()]),
        pickle.APPENDS[0]: lambda self: self._extend(self.pop_mark()),
        pickle.ADDITEMS[0]: lambda self: self._extend(self.pop_mark()),
        **dict.fromkeys([pickle.INST[0], pickle.OBJ[0], pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]], _refuse),
    }


def module_state(value: Inert) -> dict[str, Tensor] | None:
    """The state dict of a pickled torch.nn.Module that was not imported; None where the object is something else."""
    return dict(_tensors(value, "", [MOST_MODULES])) if _is_module(value) else None


def _is_module(value: Any) -> bool:
    state = getattr(value, "state", None)
    tables = ("_parameters", "_modules")
    return isinstance(state, Mapping) and all(isinstance(state.get(key), Mapping) for key in tables)


def _tensors(module: Inert, prefix: str, left: list[int]) -> Iterator[tuple[str, Tensor]]:
    left[0] -= 1  # a file can hold a module that contains itself
    state: Mapping[str, Any] = module.state  # type: ignore[attr-defined]
    left_out = state.get("_non_persistent_buffers_set") or ()
    for table in ("_parameters", "_buffers"):
        for name, value in (state.get(table) or {}).items():
            if isinstance(value, Tensor) and (table == "_parameters" or name not in left_out):
                yield f"{prefix}{name}", value.detach()
    for name, child in state["_modules"].items():
        if _is_module(child) and left[0] > 0 and prefix.count(".") < DEEPEST:
            yield from _tensors(child, f"{prefix}{name}.", left)
