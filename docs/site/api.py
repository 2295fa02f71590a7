"""Reference pages of the Python API: every public name, its signature, docstring and source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from docs.site.contents import ERRORS, LAYERS, PYTHON, VALUES

_PYTHON = """# Python

Everything that `import rectexport` offers. Importing it imports nothing else: `load` needs numpy and one engine,
`export` PyTorch and the ONNX libraries. Shapes are written as PyTorch writes them, [N, C, H, W]. Every error is a
`RectexportError`; [Errors](errors.md) lists their messages.
"""
_LAYERS = """# Layers and networks

What `rectexport.models` offers. The layers take the arguments of their PyTorch counterparts and have the same
state-dict keys. Images are [N, C, H, W].
"""


def pages() -> dict[str, str]:
    """Both pages, by their places on the site."""
    values = [
        "## What these take and return",
        "",
        *_entries("", VALUES),
        "## Kinds of errors",
        "",
        *_entries("", ERRORS),
    ]
    return {
        "reference/python.md": "\n".join([_PYTHON, *_subjects("rectexport", PYTHON), *values]),
        "reference/layers.md": "\n".join([_LAYERS, *_subjects("rectexport.models", LAYERS)]),
    }


def _subjects(module: str, names: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for subject, listed in names.items():
        yield f"## {subject}\n"
        yield from _entries(f"{module}.", listed)


def _entries(prefix: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        kind = "autoclass" if name.rpartition(".")[2][0].isupper() else "autofunction"
        yield f"```{{eval-rst}}\n.. {kind}:: {prefix}{name}\n```\n"
