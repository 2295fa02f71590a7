"""What an expression of the code says: its own words, and ‹name› for what is filled in when it runs.

A name, a parameter or a call of a function of ours is followed to where its words are written. Where several texts can
stand in one place, they are kept beside the text, as what may be filled in there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from docs.site.code import Code, Function, Module, Scope

#: How many names and calls are followed one behind the other.
DEEPEST = 5


@dataclass(frozen=True)
class Text:
    """A text with ‹name› for what is filled in; choices has the texts of ours that may stand for a name."""

    shown: str
    choices: tuple[tuple[str, tuple[Text, ...]], ...] = ()

    @property
    def own(self) -> str:
        """Its words, without what is filled in."""
        return re.sub(r"‹[^›]*›", "", self.shown)

    @property
    def says_something(self) -> bool:
        """Whether it has words of its own: two in a row, or a choice that has."""
        return bool(re.search(r"[A-Za-z]\W+[A-Za-z]{2}", self.own)) or bool(self.choices)

    @property
    def has_a_word(self) -> bool:
        """Whether it can be found on a page by a word of its own, or by a choice."""
        return bool(re.search(r"[A-Za-z]{3,}", self.own)) or bool(self.choices)

    def whole(self) -> Iterator[Text]:
        """The text, and every choice in it."""
        yield self
        for _, texts in self.choices:
            for text in texts:
                yield from text.whole()


@dataclass(frozen=True)
class Reading:
    """How far an expression has been followed: seen has the names and calls on the way."""

    code: Code
    scope: Scope
    seen: frozenset[tuple[int, str]] = frozenset()

    def at(self, scope: Scope, place: object, name: str) -> Reading | None:
        """The reading that goes on elsewhere; None where it has been, or has come far enough."""
        key = (id(place), name)
        if key in self.seen or len(self.seen) >= DEEPEST:
            return None
        return Reading(self.code, scope, self.seen | {key})


def texts_of(node: ast.expr, reading: Reading) -> list[Text]:
    """Everything that an expression may say; one text where it is plain."""
    kind = type(node)
    reader = _READERS.get(kind)
    found = reader(node, reading) if reader else []
    return _distinct(found) or [hole(node)]


def together(alternatives: Iterable[tuple[str, list[Text]]], between: str = "") -> Text:
    """One text of several parts; a part that may be several texts is filled in, with its choices beside it."""
    shown: list[str] = []
    choices: list[tuple[str, tuple[Text, ...]]] = []
    for name, texts in alternatives:
        told = [text for text in texts if text.shown]
        if len(told) == 1:
            shown.append(told[0].shown)
            choices += told[0].choices
        elif told:
            shown.append(f"‹{name}›")
            speaking = tuple(text for text in told if text.says_something)
            choices += [(name, speaking)] if speaking else []
    return Text(between.join(shown), tuple(dict(choices).items()))


def merged(one: Text, other: Text) -> Text:
    """A text with the choices of two that show the same."""
    names = dict.fromkeys(name for name, _ in (*one.choices, *other.choices))
    both = [
        (name, [text for found, texts in (*one.choices, *other.choices) if found == name for text in texts])
        for name in names
    ]
    return Text(one.shown, tuple((name, tuple(_distinct(texts))) for name, texts in both))


def hole(node: ast.expr) -> Text:
    """What is filled in, by its name in the code."""
    return Text(f"‹{name_of(node)}›")


def name_of(node: ast.expr) -> str:
    """A word for a value that is filled in."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").lower()
    if isinstance(node, ast.Attribute):
        return name_of(node.value) if node.attr in ("name", "path", "__name__") else node.attr.strip("_")
    inner = [value.id for value in ast.walk(node) if isinstance(value, ast.Name)]
    names = [name for name in inner if name not in _FUNCTIONS]
    if not names and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr.strip("_")
    return names[-1].strip("_").lower() if names else "…"


_FUNCTIONS = {
    "self",
    "cls",
    "list",
    "len",
    "sorted",
    "type",
    "str",
    "brief",
    "printable",
    "summary",
    "repr",
    "join",
    "range",
    "min",
    "max",
}
#: Functions, and methods of texts, that give what they are given or a part of it.
_PASSES_ON = {"str", "repr", "list", "tuple", "sorted", "reversed", "set", "next", "iter", "printable", "brief"}
_OF_TEXTS = {"strip", "rstrip", "lstrip", "format", "replace", "partition", "removesuffix", "removeprefix", "lower"}


def _constant(node: ast.Constant, _: Reading) -> list[Text]:
    return [] if node.value is None else [Text(str(node.value))]


def _joined(node: ast.JoinedStr, reading: Reading) -> list[Text]:
    return [together((name_of(value), texts_of(value, reading)) for value in node.values)]


def _formatted(node: ast.FormattedValue, reading: Reading) -> list[Text]:
    return texts_of(node.value, reading)


def _sum(node: ast.BinOp, reading: Reading) -> list[Text]:
    if not isinstance(node.op, ast.Add):
        return []
    return [together((name_of(side), texts_of(side, reading)) for side in (node.left, node.right))]


def _either(node: ast.IfExp, reading: Reading) -> list[Text]:
    return [*texts_of(node.body, reading), *texts_of(node.orelse, reading)]


def _any(node: ast.BoolOp, reading: Reading) -> list[Text]:
    return [text for value in node.values for text in texts_of(value, reading)]


def _value(node: ast.NamedExpr | ast.Starred | ast.Await, reading: Reading) -> list[Text]:
    return texts_of(node.value, reading)


def _sequence(node: ast.List | ast.Tuple, reading: Reading) -> list[Text]:
    return [together((name_of(entry), texts_of(entry, reading)) for entry in node.elts)]


def _comprehension(node: ast.ListComp | ast.GeneratorExp, reading: Reading) -> list[Text]:
    return texts_of(node.elt, reading)


def _chosen(node: ast.Subscript, reading: Reading) -> list[Text]:
    """A value of a table that is written in the code."""
    table = _literal(node.value, reading)
    return [] if table is None else _values(*table)


def _values(table: ast.Dict, reading: Reading) -> list[Text]:
    found = [text for value in table.values for text in texts_of(value, reading)]
    return [text for text in found if text.says_something]


def _literal(node: ast.expr, reading: Reading) -> tuple[ast.Dict, Reading] | None:
    if isinstance(node, ast.Dict):
        return node, reading
    found = reading.code.find(reading.scope.module, node.id) if isinstance(node, ast.Name) else None
    if isinstance(found, tuple) and isinstance(found[0], ast.Dict):
        return found[0], Reading(reading.code, found[1], reading.seen)
    return None


def _name(node: ast.Name, reading: Reading) -> list[Text]:
    """A variable of the function or of those around it, a parameter, or a constant."""
    scope = reading.scope
    function = scope.function
    while function is not None:
        here = Scope(scope.module, function, scope.given if function is scope.function else {})
        further = reading.at(here, function, node.id)
        assigned = list(_assigned(function, node.id))
        if further is not None and assigned:
            return _or_hole([text for way in assigned for text in way.texts(further)], node)
        if further is not None and function.takes(node.id):
            return _or_hole(_given(function, node.id, further), node)
        if assigned or function.takes(node.id):
            return []
        function = function.outer
    found = reading.code.find(scope.module, node.id)
    if isinstance(found, tuple):
        further = reading.at(found[1], found[1].module, node.id)
        return [] if further is None else texts_of(found[0], further)
    return []


@dataclass(frozen=True)
class _Assigned:
    """One way in which a variable gets its value; place: which part of the value it is, of several."""

    value: ast.expr
    place: int | None = None

    def texts(self, reading: Reading) -> list[Text]:
        if self.place is None:
            return texts_of(self.value, reading)
        if isinstance(self.value, ast.Tuple):
            return texts_of(self.value.elts[self.place], reading) if self.place < len(self.value.elts) else []
        if isinstance(self.value, ast.Call):
            return [
                text
                for value, further in _returns(self.value, reading)
                if isinstance(value, ast.Tuple)
                for text in _Assigned(value, self.place).texts(further)
            ]
        return []


def _assigned(function: Function, name: str) -> Iterator[_Assigned]:
    """Every value that a variable of a function gets, and what is added to it."""
    for node in function.own_nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _bound(target, node.value, name)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
            yield from _bound(node.target, node.value, name)
        elif isinstance(node, ast.For | ast.comprehension):
            yield from _of_each(node.target, node.iter, name)
        elif _adds_to(node, name):
            yield from map(_Assigned, node.args)  # type: ignore[attr-defined]


def _bound(target: ast.expr, value: ast.expr, name: str) -> Iterator[_Assigned]:
    if isinstance(target, ast.Name) and target.id == name:
        yield _Assigned(value)
    if isinstance(target, ast.Tuple):
        for place, part in enumerate(target.elts):
            if isinstance(part, ast.Name) and part.id == name:
                yield _Assigned(value, place)


def _of_each(target: ast.expr, values: ast.expr, name: str) -> Iterator[_Assigned]:
    """What a loop's variable is: each of the values, where they stand in the code or come from a function of ours."""
    if isinstance(target, ast.Name) and target.id == name:
        yield from map(_Assigned, values.elts if isinstance(values, ast.Tuple | ast.List) else [values])
    elif isinstance(target, ast.Tuple) and isinstance(values, ast.Call) and isinstance(values.func, ast.Attribute):
        last = target.elts[-1]
        if values.func.attr == "items" and isinstance(last, ast.Name) and last.id == name:
            yield _Assigned(ast.Subscript(values.func.value, ast.Constant(name), ast.Load()))


def _adds_to(node: ast.AST, name: str) -> bool:
    """Whether a call appends to a list of this name."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    owner = node.func.value
    return isinstance(owner, ast.Name) and owner.id == name and node.func.attr in ("append", "extend")


def _given(function: Function, name: str, reading: Reading) -> list[Text]:
    """What a parameter is: as the call gives it that led here, else as every call of the function gives it."""
    if name in reading.scope.given:
        value, scope = reading.scope.given[name]
        return texts_of(value, Reading(reading.code, scope, reading.seen))
    found: list[Text] = []
    for call, scope in reading.code.callers(function):
        arguments = _arguments(call, function)
        if name in arguments:
            found += texts_of(arguments[name], Reading(reading.code, scope, reading.seen))
    return found


def _arguments(call: ast.Call, function: Function) -> dict[str, ast.expr]:
    """The arguments of a call by the names of the function's parameters."""
    placed = [value for value in call.args if not isinstance(value, ast.Starred)]
    found = dict(zip(function.parameters, placed, strict=False))
    more = call.args[len(function.parameters) :]
    if function.node.args.vararg is not None and more:
        found[function.node.args.vararg.arg] = ast.Tuple(more, ast.Load())
    return found | {word.arg: word.value for word in call.keywords if word.arg is not None}


def _returns(call: ast.Call, reading: Reading) -> Iterator[tuple[ast.expr, Reading]]:
    """What a called function of ours returns, read with the arguments of the call."""
    for function in reading.code.called(call, reading.scope):
        given = {name: (value, reading.scope) for name, value in _arguments(call, function).items()}
        further = reading.at(Scope(function.module, function, given), function, "()")
        if further is not None:
            for value in function.returned():
                yield value, further
    if isinstance(call.func, ast.Attribute):
        yield from _held(call.func.attr, reading)


def _held(name: str, reading: Reading) -> Iterator[tuple[ast.expr, Reading]]:
    """What the functions in a field of a dataclass return."""
    for value, scope in reading.code.held(name):
        further = reading.at(scope, value, name)
        if further is not None and isinstance(value, ast.Lambda):
            yield value.body, further
        elif further is not None and isinstance(value, ast.Name):
            yield from _returns(ast.Call(value, [], []), further)


def _call(node: ast.Call, reading: Reading) -> list[Text]:
    called = node.func.id if isinstance(node.func, ast.Name) else ""
    if called == "Option" and node.args:
        value = "".join(f"={text.shown}" for argument in node.args[1:] for text in texts_of(argument, reading)[:1])
        return [Text(texts_of(node.args[0], reading)[0].shown + value)]
    if called == "Spellings":
        return [text for argument in node.args for text in texts_of(argument, reading)]
    if called in _PASSES_ON:
        return [text for argument in node.args for text in texts_of(argument, reading)]
    if isinstance(node.func, ast.Attribute):
        of_text = _method(node, node.func, reading)
        if of_text:
            return of_text
    return _or_hole([text for value, further in _returns(node, reading) for text in texts_of(value, further)], node)


def _method(node: ast.Call, called: ast.Attribute, reading: Reading) -> list[Text]:
    """A method of a text or of a table."""
    if called.attr == "join" and node.args:
        return _with_separators(called.value, node.args[0], reading)
    if called.attr in _OF_TEXTS:
        return texts_of(called.value, reading)
    table = _literal(called.value, reading) if called.attr == "get" else None
    more = [text for argument in node.args[1:] for text in texts_of(argument, reading)] if table else []
    return [*_values(*table), *more] if table else []


def _with_separators(separator: ast.expr, values: ast.expr, reading: Reading) -> list[Text]:
    """Texts that are joined: all of them where they are written in the code, else one of each kind."""
    found, further = values, reading
    constant = reading.code.find(reading.scope.module, values.id) if isinstance(values, ast.Name) else None
    if isinstance(constant, tuple):
        found, further = constant[0], Reading(reading.code, constant[1], reading.seen)
    if isinstance(found, ast.Tuple | ast.List) and not isinstance(values, ast.Starred):
        between = texts_of(separator, reading)[0].shown
        return [together(((name_of(entry), texts_of(entry, further)) for entry in found.elts), between)]
    return [text for text in texts_of(values, reading) if text.says_something]


def _attribute(node: ast.Attribute, reading: Reading) -> list[Text]:
    """A constant of another module of ours."""
    owner = reading.code.find(reading.scope.module, node.value.id) if isinstance(node.value, ast.Name) else None
    found = reading.code.find(owner, node.attr) if isinstance(owner, Module) else None
    return texts_of(found[0], Reading(reading.code, found[1], reading.seen)) if isinstance(found, tuple) else []


def _or_hole(texts: Iterable[Text], node: ast.expr) -> list[Text]:
    """The texts, with one hole in place of those that only fill in something else."""
    return [text if text.says_something or "‹" not in text.shown else hole(node) for text in texts]


def _distinct(texts: Iterable[Text]) -> list[Text]:
    return list(dict.fromkeys(texts))


_READERS: dict[type[ast.expr], Callable[..., list[Text]]] = {
    ast.Constant: _constant,
    ast.JoinedStr: _joined,
    ast.FormattedValue: _formatted,
    ast.BinOp: _sum,
    ast.IfExp: _either,
    ast.BoolOp: _any,
    ast.NamedExpr: _value,
    ast.Starred: _value,
    ast.List: _sequence,
    ast.Tuple: _sequence,
    ast.ListComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.Subscript: _chosen,
    ast.Name: _name,
    ast.Call: _call,
    ast.Attribute: _attribute,
}
