"""The page of all error messages, read from the code that raises them.

A message is a `raise` of one of the project's errors. What is filled in when it is raised stands as ‹name›.
"""

from __future__ import annotations

import ast
import html
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.site.links import ROOT
from rectexport.runtime import errors
from rectexport.runtime.errors import RectexportError

PARTS = ("export", "models", "runtime", "rectexport/cli")
#: Errors that a caller sees, with what to do where the message itself says nothing better.
FAMILIES = {
    "BadInput": "The message names the file, node or tensor. Correct it; running again changes nothing.",
    "UsageError": "The message names the options that contradict each other. `--help` of the command lists them.",
    "ParityError": "The package was not written, or must not be used. The message names output, layer and region; "
    "[Compare with PyTorch](../parity-cli.md) says how to look closer.",
    "NotFinite": "Raised only by sessions that were loaded with `check_finite=True`. Look at the input first, then at "
    "float16 (`--bf16` has a wider range).",
    "MissingDependency": "The message names the extra to install, or the device that is missing.",
    "DeviceError": "Memory of the GPU ran out, or its driver failed: use smaller batches, or close other processes.",
    "RequestError": "The server answers the request with this text and an HTTP or gRPC status; the server goes on.",
}
#: Where messages come from, longest first: the heading, and what helps if the message alone does not.
AREAS = {
    "export/frontend": (
        "Loading a model",
        "The [table of models](../model.md) says what each kind of file needs. `rectexport.load_model` loads without "
        "exporting.",
    ),
    "export/tracing": (
        "Tracing",
        "The network does not pass through torch.export as it is. Try fixed sizes first, then one free axis at a time "
        "([free sizes](../tutorials/free-sizes.md)).",
    ),
    "export/passes": ("Rewriting the graph", "`PassPipeline` leaves a pass out; `rectexport doctor` shows the graph."),
    "export/quantize": ("int8", "[Quantize to int8](../quantization.md) describes data, layers kept in float, limits."),
    "export/int8": ("int8", ""),
    "export/preprocess": ("Images in, answers out", "[Images in, answers out](../images.md) has the whole syntax."),
    "export/ensemble": ("Images in, answers out", ""),
    "export/checking": (
        "Comparing with PyTorch",
        "[Compare with PyTorch](../parity-cli.md) finds the layer.",
    ),
    "export": (
        "Exporting",
        "`-v` shows each step. [Models](../model.md) lists what can be exported.",
    ),
    "models": ("The zoo and checkpoints", "`rectexport models` lists the networks and their arguments."),
    "runtime/engines/tensorrt": ("TensorRT", "[TensorRT](../tensorrt.md) covers versions, profiles and plans."),
    "runtime/engines": ("Opening an engine", "`rectexport verify PACKAGE --backend NAME` says what an engine lacks."),
    "runtime/api": ("Opening an engine", ""),
    "runtime/package": (
        "Reading a package",
        "Copy the package again, or export it again: packages are not edited by hand. [The package](../package.md)",
    ),
    "runtime/arrays": ("Inputs of a session", "`session.inputs` has the names, dtypes, shapes and ranges."),
    "runtime/session": ("Inputs of a session", ""),
    "runtime/base": ("Shapes, files and options", "The message shows the form that is expected."),
    "runtime/evaluation": ("Labelled data", "[Measure accuracy](../eval.md) describes every form of data."),
    "runtime/parity": ("Comparing with PyTorch", ""),
    "runtime/verify": ("Reading a package", ""),
    "runtime/timing": ("Measuring", "[Latency](../latency.md) describes the method."),
    "runtime/profiling": ("Measuring", ""),
    "runtime/tiling": ("Tiling", "[Tiling](../tiling.md) says which networks can be tiled."),
    "runtime/report": ("The report", "`pip install 'rectexport[report]'`; a package is all that it needs."),
    "runtime/serving": ("Serving", "[Serving](../serving.md) lists statuses, limits and repositories."),
    "rectexport/cli": ("The command line", "`rectexport COMMAND --help` has an example of every option's form."),
}


@dataclass(frozen=True)
class Message:
    """A message in the code: its text with ‹name› for what is filled in, its error, and where it is raised."""

    text: str
    error: str
    path: str

    @property
    def area(self) -> str:
        """The heading that it stands under; the longest matching folder decides."""
        found = [place for place in AREAS if self.path.startswith((f"{place}/", f"{place}.py"))]
        return AREAS[max(found, key=len)][0]


def messages() -> list[Message]:
    """Every message in the code, once for each error, in the order of the folders."""
    found: dict[tuple[str, str], Message] = {}
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            for text, error in _raised(ast.parse(path.read_text(encoding="utf-8"))):
                message = Message(text, error, path.relative_to(ROOT).as_posix())
                found.setdefault((text, error), message)
    return list(found.values())


def page() -> str:
    """The page as Markdown."""
    known = messages()
    lines = ["# Errors", "", _INTRODUCTION.format(count=len(known)), ""]
    lines += ["| error | exit code | meaning | what to do |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {_code(name)} | {_meaning(name)} | {advice} |" for name, advice in FAMILIES.items()]
    lines += [""]
    for title in dict.fromkeys(title for title, _ in AREAS.values()):
        here = [message for message in known if message.area == title]
        ways = [advice for other, advice in AREAS.values() if other == title and advice]
        lines += [f"## {title}", "", *ways, ""]
        for message in here:
            lines += [f"<code>{_escaped(message.text)}</code>", f":   {message.error}, `{message.path}`", ""]
    return "\n".join(lines)


_INTRODUCTION = """Every error that rectexport raises on purpose is a `rectexport.RectexportError`. Its message names
what is wrong, what was expected, and a way out, most often after the last semicolon. On the command line it is one line
on stderr, a verdict, and an exit code. Any other exception is a bug: `RECTEXPORT_DEBUG=1` shows its traceback.

The {count} messages below are read from the code; ‹name› stands for what is filled in. Search this page for the
words of your message that are not names or numbers."""


def _code(name: str) -> str:
    kind = getattr(errors, name, None)
    return str(kind.exit_code) if kind else "–"


def _meaning(name: str) -> str:
    kind = getattr(errors, name, None)
    return (kind.__doc__ or "").strip().partition("\n")[0] if kind else "A request that a server refuses."


def _raised(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Text and error of every raise in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            arguments = node.exc.args[1:] if node.exc.func.id == "RequestError" else node.exc.args
            text = "".join(_text(argument) for argument in arguments)
            if node.exc.func.id in FAMILIES and any(sign.isalpha() for sign in _own_words(text)):
                yield text, node.exc.func.id


def _own_words(text: str) -> str:
    """A message without what is filled in."""
    return "".join(part.partition("›")[2] if "›" in part else part for part in text.split("‹"))


def _text(node: ast.expr) -> str:
    """An expression as it stands in a message."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value) if isinstance(node.value, ast.Constant) else f"‹{_name(node.value)}›"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Option" and node.args:
        value = "".join(f"={_text(argument)}" for argument in node.args[1:])
        return _text(node.args[0]) + value
    return f"‹{_name(node)}›"


def _name(node: ast.expr) -> str:
    """A word for a value that is filled in."""
    if isinstance(node, ast.Name):
        return node.id.strip("_")
    if isinstance(node, ast.Attribute):
        return _name(node.value) if node.attr in ("name", "path", "__name__") else node.attr
    if isinstance(node, ast.Call | ast.Subscript | ast.Starred | ast.IfExp):
        inner = [value for value in ast.walk(node) if isinstance(value, ast.Name)]
        names = [value.id for value in inner if value.id not in _FUNCTIONS]
        return names[-1].strip("_") if names else "…"
    return "…"


_FUNCTIONS = {"list", "len", "sorted", "type", "str", "brief", "printable", "summary", "repr", "join", "range", "min"}


def _escaped(text: str) -> str:
    """A message as HTML in Markdown: nothing in it is markup."""
    shown = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"&#{ord(sign)};" if sign in "\\`*_{}[]|~" else sign for sign in shown)


def families_in_code() -> set[str]:
    """The names of the project's errors, for a test that none is missing in FAMILIES."""
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RectexportError)]
    return {kind.__name__ for kind in kinds if kind is not RectexportError}


def areas_without_messages() -> list[str]:
    """Places in AREAS that no message comes from."""
    paths = {message.path for message in messages()}
    return [place for place in AREAS if not any(path.startswith((f"{place}/", f"{place}.py")) for path in paths)]


def modules_that_raise() -> list[Path]:
    """Modules with a message, for tests."""
    return sorted({ROOT / message.path for message in messages()})
