"""Build a network from the user's own code, named as mynets.py:UNet or package.module:function.

The code runs: naming it on the command line is the permission. Errors name the user's file and line.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from rectexport.exporter.frontend.source import in_eval_mode, unwrapped
from rectexport.runtime.base.texts import brief, summary
from rectexport.runtime.errors import BadInput, Option, UsageError

#: Most names that an error lists.
LISTED = 8
_EXAMPLE = "as in mynets.py:UNet or package.module:build"


def build_own(
    named: str | Callable[..., Any] | nn.Module, arguments: Sequence[str] | Mapping[str, Any] = (), hint: str = ""
) -> nn.Module:
    """The network that a name, class, function or module gives with these arguments, in float32 and eval mode.

    arguments is a mapping, or words as they are typed: "width=8", "blocks=(2,2)", "width=8,act=relu". hint is added to
    the message where the arguments do not fit. Raises UsageError for words that do not parse, and BadInput where the
    code cannot be imported or fails, with its file and line.
    """
    positional, by_name = ((), dict(arguments)) if isinstance(arguments, Mapping) else parse_arguments(arguments)
    with own_imports():
        made = find_own(named) if isinstance(named, str) else named
        if not isinstance(made, nn.Module):
            made = _called(made, positional, by_name, named, hint)
        elif positional or by_name:
            raise UsageError(_option(named), ": is a module already, which takes no ", Option("model_args"))
    made = unwrapped(made)
    if not isinstance(made, nn.Module):
        raise BadInput(_option(named), f": gave a {type(made).__name__}, expected a torch.nn.Module")
    return in_eval_mode(made.float())


def _option(named: Any) -> Option:
    return Option("model", named if isinstance(named, str) else getattr(named, "__qualname__", type(named).__name__))


def _called(made: Any, positional: Sequence[Any], by_name: Mapping[str, Any], named: Any, hint: str) -> Any:
    try:
        return made(*positional, **by_name)
    except (Exception, SystemExit) as error:
        misfit = isinstance(error, TypeError) and _misfit(made, positional, by_name)
        more = f"{made.__name__}{misfit}{hint}; give arguments with " if misfit else ""
        parts = (f"; {more}", Option("model_args", "width=8")) if misfit else ()
        raise BadInput(_option(named), f": {explained(error)}", *parts) from error


def _misfit(made: Any, positional: Sequence[Any], by_name: Mapping[str, Any]) -> str:
    """The parameters that a callable takes, where the arguments do not fit them; otherwise empty."""
    try:
        signature = inspect.signature(made)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*positional, **by_name)
    except TypeError:
        return f" takes {brief(str(signature))[1:-1]}"
    return ""


@contextmanager
def own_imports() -> Iterator[None]:
    """Within the block, modules of the current folder can be imported, as by `python`; the path is restored."""
    before = list(sys.path)
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path[:] = before


def find_own(named: str) -> Any:
    """What a name such as mynets.py:UNet or package.module:build stands for; the code is imported.

    Call it within `own_imports`. Raises UsageError for a name of another form, BadInput where there is none.
    """
    place, colon, attribute = named.rpartition(":")
    if not colon:
        place, attribute = named, ""
    module = _from_file(Path(place), named) if place.endswith(".py") else _imported(place, named)
    if not attribute:
        parts = (f": name the class or function too, {_EXAMPLE}; ", _offers(module, place))
        raise UsageError(Option("model", named), *parts)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise BadInput(Option("model", named), f": {place} has no {attribute}; {_offers(module, place)}") from None
    if not callable(found):
        raise BadInput(Option("model", named), f": is a {type(found).__name__}, expected a class or function")
    return found


def _offers(module: ModuleType, place: str) -> str:
    """The networks that a module defines."""
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__
    ]
    return f"it defines {', '.join(own[:LISTED])}" if own else f"{place} defines no torch.nn.Module"


def _from_file(path: Path, named: str) -> ModuleType:
    """Import a file by the name that its folders give it, so that its own imports work."""
    path = path.absolute()
    if not path.is_file():
        raise BadInput(Option("model", named), f": {path.name}: no such file in {path.parent}")
    root, parts = path.parent, [path.stem] if path.stem != "__init__" else []
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    name = ".".join(parts)
    known = sys.modules.get(name)
    if known is None and (len(parts) > 1 or not _taken(name)):
        return _imported(name, named)
    if known is not None and getattr(known, "__file__", None) and Path(known.__file__ or "").absolute() == path:
        return known
    return _executed(path, f"own_{path.stem}", named)  # another module has this name


def _taken(name: str) -> bool:
    """Whether Python would import something else by this name than a file on the path's first place."""
    return name in sys.builtin_module_names or not name.isidentifier()


def _imported(name: str, named: str) -> ModuleType:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise BadInput(
                Option("model", named), f": no module {error.name} in this folder or installed; {_EXAMPLE}"
            ) from None
        raise BadInput(Option("model", named), f": cannot be imported: {explained(error)}") from error
    except (ValueError, TypeError) as error:
        if not name or name.startswith("."):
            raise UsageError(Option("model", named), f": expected a file or a module, {_EXAMPLE}") from None
        raise BadInput(Option("model", named), f": cannot be imported: {explained(error)}") from error
    except (Exception, SystemExit) as error:
        raise BadInput(Option("model", named), f": cannot be imported: {explained(error)}") from error


def _executed(path: Path, name: str, named: str) -> ModuleType:
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BadInput(Option("model", named), f": cannot be imported: {explained(error)}") from error
    return module


def explained(error: BaseException) -> str:
    """An error of the user's code, with the file and line where it arose there: "mynets.py, line 12: ValueError: …"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    place = f"{_shown(own[-1].filename)}, line {own[-1].lineno}: " if own else ""
    return place + summary(error)


def _is_own(file: str) -> bool:
    path = Path(file)
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    base = (str(Path(os.__file__).parent), str(Path(__file__).resolve().parents[3]))
    return path.is_file() and not installed and not str(path.resolve()).startswith(base)


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def parse_arguments(words: Sequence[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments as they are typed. Values are Python's plain values; a bare word is a text: act=relu.

    Raises UsageError for a word of another form, or a name given twice.
    """
    positional: list[Any] = []
    by_name: dict[str, Any] = {}
    for word in words:
        for name, value in _arguments(word):
            if name is None:
                positional.append(value)
            elif name in by_name:
                raise UsageError(Option("model_args", word), f": {name} is given twice")
            else:
                by_name[name] = value
    return tuple(positional), by_name


def _arguments(word: str) -> list[tuple[str | None, Any]]:
    try:
        call = ast.parse(f"f({word})", mode="eval").body
        if not isinstance(call, ast.Call) or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError
        found = [(None, _plain(node)) for node in call.args]
        return [*found, *((keyword.arg, _plain(keyword.value)) for keyword in call.keywords)]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        name, equals, text = word.partition("=")
        if equals and name.isidentifier() and text:
            return [(name, text)]
    raise UsageError(Option("model_args", word), ": expected NAME=VALUE, as in width=8 or blocks=(2,2)")


def _plain(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
