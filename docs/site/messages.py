"""Every message of the project's errors, read from the code.

A message is the text of an error of ours wherever one is made: in a raise, in a helper that returns it, in a future.
Other exceptions of the code are reasons: an error of ours quotes them, and layers raise them as they are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from docs.site.code import Code, Scope
from docs.site.wording import Reading, Text, merged, name_of, texts_of, together
from rectexport.runtime import errors
from rectexport.runtime.errors import RectexportError

#: The error that a server answers a request with; its first argument is the status.
OF_REQUESTS = "RequestError"
#: An error that is raised again with more words.
AGAIN = "the same error"
#: Exceptions that no user reads: faults in the code itself, and the end of a command.
NOT_READ = {"AssertionError", "AttributeError", "Exit", "KeyboardInterrupt", "NotImplementedError", "SystemExit"}


@dataclass(frozen=True)
class Message:
    """A message in the code: its text, its error, and the file that it is made in."""

    text: Text
    error: str
    path: str


def kinds() -> set[str]:
    """The names of the project's errors."""
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RectexportError)]
    return {kind.__name__ for kind in found if kind is not RectexportError} | {OF_REQUESTS}


def messages(code: Code) -> list[Message]:
    """Every message, once for each error, in the order of the files."""
    return _once(message for message in _made(code) if message.text.has_a_word)


def wordless(code: Code) -> list[tuple[str, int]]:
    """File and line of every error that is made without words of ours, for tests."""
    found = [(scope.module.path, call.lineno) for kind in kinds() for call, scope in code.calls.get(kind, ())]
    speaking = {(scope.module.path, call.lineno) for call, scope, text in _texts(code) if text.has_a_word}
    return sorted(set(found) - speaking)


def reasons(code: Code) -> list[Message]:
    """The texts of all other exceptions, which messages quote."""
    found = []
    for call, scope in code.raised:
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if name and name not in NOT_READ | kinds():
            found.append(Message(_together(call.args, code, scope), name, scope.module.path))
    return _once(reason for reason in found if reason.text.says_something)


def _made(code: Code) -> Iterator[Message]:
    made = sorted(_texts(code), key=lambda entry: (entry[1].module.path, entry[0].lineno))
    for call, scope, text in made:
        name = call.func.id if isinstance(call.func, ast.Name) else AGAIN
        yield Message(text, name, scope.module.path)


def _texts(code: Code) -> Iterator[tuple[ast.Call, Scope, Text]]:
    """Every place where an error of ours is made, and its text."""
    for kind in sorted(kinds()):
        for call, scope in code.calls.get(kind, ()):
            yield call, scope, _together(call.args[1:] if kind == OF_REQUESTS else call.args, code, scope)
    for call, scope in code.raised:
        if isinstance(call.func, ast.Call) and isinstance(call.func.func, ast.Name) and call.func.func.id == "type":
            yield call, scope, _together(call.args, code, scope)


def _together(arguments: Iterable[ast.expr], code: Code, scope: Scope) -> Text:
    reading = Reading(code, scope)
    return together((name_of(argument), texts_of(argument, reading)) for argument in arguments)


def _once(found: Iterable[Message]) -> list[Message]:
    """One message for each text and error, with the choices of all places that make it."""
    kept: dict[tuple[str, str], Message] = {}
    for message in found:
        key = (message.text.shown, message.error)
        known = kept.get(key)
        kept[key] = replace(known, text=merged(known.text, message.text)) if known else message
    return list(kept.values())
