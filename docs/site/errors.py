"""The page of all error messages, with the way out of each group of them."""

from __future__ import annotations

import html
from collections.abc import Iterator

from docs.site.code import Code
from docs.site.messages import AGAIN, Message, messages, reasons
from docs.site.wording import Text
from rectexport.runtime import errors

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
    "runtime/tuning": ("Measuring", ""),
    "runtime/tiling": ("Tiling", "[Tiling](../tiling.md) says which networks can be tiled."),
    "runtime/report": ("The report", "`pip install 'rectexport[report]'`; a package is all that it needs."),
    "runtime/serving": ("Serving", "[Serving](../serving.md) lists statuses, limits and repositories."),
    "rectexport/cli": ("The command line", "`rectexport COMMAND --help` has an example of every option's form."),
}

_INTRODUCTION = """Every error that rectexport raises on purpose is a `rectexport.RectexportError`. Its message names
what is wrong, what was expected, and a way out, most often after the last semicolon. On the command line it is one line
on stderr, a verdict, and an exit code. Any other exception is a bug: `RECTEXPORT_DEBUG=1` shows its traceback.

The {count} messages below are read from the code. ‹name› stands for what is filled in; where that may be words of ours
too, they are listed under the message. Parameters are written as in Python: the command line shows `--opset 5` in place
of `opset=5`. Search this page for the words of your message that are not names or numbers."""
_REASONS = """Messages quote these, most often behind a colon. From Python, layers and networks raise them as they are,
as the exception that is named."""


def page(code: Code) -> str:
    """The page as Markdown."""
    known = messages(code)
    lines = ["# Errors", "", _INTRODUCTION.format(count=len(known)), ""]
    lines += ["| error | exit code | meaning | what to do |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {_code(name)} | {_meaning(name)} | {advice} |" for name, advice in FAMILIES.items()]
    lines += [""]
    for title in dict.fromkeys(title for title, _ in AREAS.values()):
        ways = [advice for other, advice in AREAS.values() if other == title and advice]
        lines += [f"## {title}", "", *ways, ""]
        lines += [line for message in known if area_of(message.path) == title for line in _entry(message)]
    lines += ["## Reasons in other messages", "", _REASONS, ""]
    lines += [line for reason in reasons(code) for line in _entry(reason)]
    return "\n".join(lines)


def area_of(path: str) -> str:
    """The heading that the messages of a file stand under; the longest matching folder decides."""
    found = [place for place in AREAS if path.startswith((f"{place}/", f"{place}.py"))]
    return AREAS[max(found, key=len)][0]


def _entry(message: Message) -> list[str]:
    """A message, its error and file, and what may be filled in."""
    kind = message.error if message.error == AGAIN else f"`{message.error}`"
    choices = [f"    - ‹{name}›: <code>{_escaped(text.shown)}</code>" for name, text in _choices(message.text)]
    more = ["", *choices] if choices else []
    return [f"<code>{_escaped(message.text.shown)}</code>", f":   {kind}, `{message.path}`", *more, ""]


def _choices(text: Text) -> Iterator[tuple[str, Text]]:
    """What may be filled in, by name, also in what is filled in itself; each once."""
    found = [(name, choice) for name, texts in text.choices for choice in texts]
    inner = [entry for _, choice in found for entry in _choices(choice)]
    yield from dict.fromkeys([*found, *inner])


def _code(name: str) -> str:
    kind = getattr(errors, name, None)
    return str(kind.exit_code) if kind else "–"


def _meaning(name: str) -> str:
    kind = getattr(errors, name, None)
    return (kind.__doc__ or "").strip().partition("\n")[0] if kind else "A request that a server refuses."


def _escaped(text: str) -> str:
    """A message as HTML in Markdown: nothing in it is markup."""
    shown = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"&#{ord(sign)};" if sign in "\\`*_{}[]|~" else sign for sign in shown)
