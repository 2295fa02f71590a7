"""The project's code as the page of errors reads it: modules, functions, and who calls them. Nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from docs.site.links import ROOT

#: Folders of the repository, and the packages that they are installed as.
PARTS = {
    "export": "rectexport.exporter",
    "models": "rectexport.models",
    "plugins": "rectexport.plugins",
    "runtime": "rectexport.runtime",
    "rectexport/cli": "rectexport.cli",
}


#: A method that more classes have than this is not followed on an unknown object.
MOST_METHODS = 6


@dataclass(eq=False)
class Module:
    """A module: its functions by qualified name, its constants, what it imports as (module, name), fields by class."""

    name: str
    path: str
    tree: ast.Module
    functions: dict[str, Function] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    fields: dict[str, list[str]] = field(default_factory=dict)


@dataclass(eq=False)
class Function:
    """A function or method, with the class and the function around it."""

    module: Module
    node: ast.FunctionDef | ast.AsyncFunctionDef
    owner: str
    outer: Function | None

    @cached_property
    def parameters(self) -> list[str]:
        """Names of the parameters that have a place, without self and cls."""
        known = self.node.args
        names = [one.arg for one in (*known.posonlyargs, *known.args)]
        return names[1:] if self.owner and names[:1] in (["self"], ["cls"]) else names

    @cached_property
    def own_nodes(self) -> list[ast.AST]:
        """Everything in the function, without functions and classes defined in it."""
        return list(_own_nodes(self.node))

    def takes(self, name: str) -> bool:
        """Whether a parameter has this name."""
        known = self.node.args
        more = [one for one in (known.vararg, known.kwarg) if one is not None]
        return any(one.arg == name for one in (*known.posonlyargs, *known.args, *known.kwonlyargs, *more))

    def returned(self) -> Iterator[ast.expr]:
        """What it returns or yields."""
        for node in self.own_nodes:
            if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) and node.value is not None:
                yield node.value


@dataclass(frozen=True, eq=False)
class Scope:
    """Where an expression stands; given: what the parameters of the function are, where the call is known."""

    module: Module
    function: Function | None = None
    given: Mapping[str, tuple[ast.expr, Scope]] = field(default_factory=dict)


@dataclass(eq=False)
class Code:
    """All modules by name, all calls by the last name of what is called, and what is raised where it is made."""

    modules: dict[str, Module] = field(default_factory=dict)
    calls: dict[str, list[tuple[ast.Call, Scope]]] = field(default_factory=dict)
    raised: list[tuple[ast.Call, Scope]] = field(default_factory=list)

    def find(self, module: Module, name: str) -> Module | Function | tuple[ast.expr, Scope] | None:
        """What a name at the top of a module stands for: a module, a function, or a constant and its place."""
        if name in module.functions:
            return module.functions[name]
        if name in module.constants:
            return module.constants[name], Scope(module)
        where, what = module.imports.get(name, ("", ""))
        if f"{where}.{what}" in self.modules:
            return self.modules[f"{where}.{what}"]
        return self.find(self.modules[where], what) if where in self.modules and what else None

    def called(self, call: ast.Call, scope: Scope) -> list[Function]:
        """The function of the project that a call calls; of an unknown object, every method of that name."""
        called = call.func
        if isinstance(called, ast.Name):
            nearest = self._nearest(called.id, scope)
            return [nearest] if nearest else []
        if not isinstance(called, ast.Attribute):
            return []
        owner = called.value.id if isinstance(called.value, ast.Name) else ""
        if owner in ("self", "cls") and scope.function is not None:
            own = scope.module.functions.get(f"{scope.function.owner}.{called.attr}")
            return [own] if own else []
        found = self.find(scope.module, owner) if owner else None
        if isinstance(found, Module):
            inner = self.find(found, called.attr)
            return [inner] if isinstance(inner, Function) else []
        known = self.methods.get(called.attr, [])
        return known if len(known) <= MOST_METHODS else []

    def held(self, name: str) -> Iterator[tuple[ast.expr, Scope]]:
        """What the fields of this name are, where values of their classes are made."""
        for module in self.modules.values():
            for kind, fields in module.fields.items():
                for call, scope in self.calls.get(kind, ()) if name in fields else ():
                    given = dict(zip(fields, call.args, strict=False))
                    given.update({word.arg: word.value for word in call.keywords if word.arg})
                    if name in given:
                        yield given[name], scope

    @cached_property
    def methods(self) -> dict[str, list[Function]]:
        """The methods of all classes by name."""
        found: dict[str, list[Function]] = {}
        for module in self.modules.values():
            for function in module.functions.values():
                if function.owner and function.outer is None:
                    found.setdefault(function.node.name, []).append(function)
        return found

    def _nearest(self, name: str, scope: Scope) -> Function | None:
        """The function of this name that is seen from a place."""
        around = scope.function
        while around is not None:
            for one in scope.module.functions.values():
                if one.outer is around and one.node.name == name:
                    return one
            around = around.outer
        found = self.find(scope.module, name)
        return found if isinstance(found, Function) else None

    def callers(self, function: Function) -> Iterator[tuple[ast.Call, Scope]]:
        """The calls of a function."""
        for call, scope in self.calls.get(function.node.name, ()):
            if function in self.called(call, scope):
                yield call, scope


def read_code() -> Code:
    """Read every module of the project."""
    code = Code()
    for part, package in PARTS.items():
        for path in sorted((ROOT / part).rglob("*.py")):
            words = [package, *path.relative_to(ROOT / part).with_suffix("").parts]
            name = ".".join(words).removesuffix(".__init__")
            code.modules[name] = _module(name, path)
    for module in code.modules.values():
        _note(code, module)
    return code


def code_of(source: str) -> Code:
    """A project of one module with this source, for tests."""
    module = _parsed("example", "example.py", source)
    code = Code({"example": module})
    _note(code, module)
    return code


def _module(name: str, path: Path) -> Module:
    return _parsed(name, path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))


def _parsed(name: str, path: str, source: str) -> Module:
    module = Module(name, path, ast.parse(source))
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
                module.constants.update(_constants(target, statement.value))
        elif isinstance(statement, ast.ClassDef):
            inner = [one.target for one in statement.body if isinstance(one, ast.AnnAssign)]
            module.fields[statement.name] = [target.id for target in inner if isinstance(target, ast.Name)]
    _note_functions(module, module.tree.body, "", None)
    return module


def _constants(target: ast.expr, value: ast.expr) -> dict[str, ast.expr]:
    if isinstance(target, ast.Name):
        return {target.id: value}
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = zip(target.elts, value.elts, strict=True)
        return {name.id: part for name, part in pairs if isinstance(name, ast.Name)}
    return {}


def _note_functions(module: Module, body: list[ast.stmt], owner: str, outer: Function | None) -> None:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = Function(module, node, owner, outer)
            around = f"{outer.node.name}.<locals>." if outer else f"{owner}." if owner else ""
            key = f"{around}{node.name}"
            while key in module.functions:  # a property and its setter, for example
                key += "'"
            module.functions[key] = function
            _note_functions(module, node.body, owner, function)
        elif isinstance(node, ast.ClassDef):
            _note_functions(module, node.body, node.name, outer)
        else:
            blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
            blocks += [inner.body for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ()))]
            for block in blocks:
                _note_functions(module, block, owner, outer)


def _own_nodes(root: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function, or in a module and the bodies of its classes, in order; nothing defined within."""
    left = [*ast.iter_child_nodes(root)][::-1]
    while left:
        node = left.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node
            left += [*ast.iter_child_nodes(node)][::-1]
        elif isinstance(root, ast.Module) and isinstance(node, ast.ClassDef):
            left += [*ast.iter_child_nodes(node)][::-1]


def _note(code: Code, module: Module) -> None:
    for function in (None, *module.functions.values()):
        scope = Scope(module, function)
        for node in function.own_nodes if function else _own_nodes(module.tree):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                code.calls.setdefault(name, []).append((node, scope))
            elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                code.raised.append((node.exc, scope))
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                module.imports.update({one.asname or one.name: (node.module, one.name) for one in node.names})
