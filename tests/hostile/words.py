"""Hostile command lines and paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.case import DOCTOR, EXPORT, OPTIMIZE, Case
from tests.hostile.files import bound_socket
from tests.hostile.graphs import ESCAPES
from tests.hostile.packages import tiny

#: What may stand at an output's path, as a word of the command line.
PLACES = {
    "link": "to-folder",
    "file": "file",
    "below-file": "file/out",
    "root": "/",
    "device": "/dev/null",
    "proc": "/proc/out",
    "here": ".",
    "up": "..",
    "long": "o" * 300,
    "others": "others",
}
SHAPES = (
    *(
        "x:",
        "x:0",
        "x:-1",
        "x:1x",
        "x:1x1x8x8x",
        "x:99999999999999999999",
        "x:" + "9" * 5000,
        "x:1e3",
        "x:[1,1,8",
        ":1",
    ),
    *("x:1099511627776x1x8x8", "x:65536x65536x65536x65536", "x:1x1x8x8:object", "x:1x1x8x8:float32:float32", "y:1"),
    *("x:１x1x8x8", "x:1x1x8x8,x:1x1x8x8", "\x1b[2J:1x1", "x:" + "1x" * 5000 + "1", "x:" + "[" * 5000, "x:1x1x8x8\n"),
)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    for index, shape in enumerate(SHAPES):
        for flag in ("--input", "--max-shapes"):
            yield Case(f"shape-{index}.onnx", tiny, (*EXPORT, flag, shape), (0, 1, 2) if index == 20 else (1, 2))
    for index, value in enumerate(("nan", "-1", "inf", "x", "1e999", "y:", ":1", "1" * 5000, "\x1b[2J:1", "0x1")):
        yield Case(f"bound-{index}.onnx", tiny, (*EXPORT, "--atol", value), (0, 1, 2))
    for index, text in enumerate(ESCAPES.values()):
        if text and len(text) < 200:
            yield Case(f"arch-{index}.onnx", tiny, (*EXPORT, "--arch", text), (1, 2))
            yield Case(f"option-{index}.onnx", tiny, (*EXPORT, "--target", text), (1, 2))
            yield Case(f"json-{index}.onnx", tiny, (*EXPORT, "--rectify", text, "--json"), (1, 2))
            yield Case(f"no-file-{index}", lambda path: None, (text, "-o", "out"), (1, 2))
    for name, option in {
        "deep": "(" * 10_000,
        "code": "__import__('os').system('touch canary')",
        "power": "9**9**9",
    }.items():
        yield Case(
            f"zoo-{name}.pt",
            lambda path: None,
            ("models", "save", "digits", "{file}", "--option", f"conv={option}"),
            (1, 2),
        )
    yield Case(
        "zoo-width.pt", lambda path: None, ("models", "save", "digits", "{file}", "--option", "width=1e30"), (1, 2)
    )
    yield from _files()
    yield from _outputs()


def _files() -> Iterator[Case]:
    """Things at the model's path that are not models."""
    makers = {
        "folder": Path.mkdir,
        "pipe": os.mkfifo,
        "socket": bound_socket,
        "zeros": lambda path: path.symlink_to("/dev/zero"),
        "null": lambda path: path.symlink_to("/dev/null"),
        "itself": lambda path: path.symlink_to(path),
        "nowhere": lambda path: path.symlink_to("/nonexistent"),
        "memory": lambda path: path.symlink_to("/proc/self/mem"),
        "unreadable": _unreadable,
    }
    for name, make in makers.items():
        for suffix in (".pt", ".onnx", ".safetensors"):
            yield Case(f"{name}{suffix}", make)
        for words in (OPTIMIZE, DOCTOR):
            yield Case(f"{name}.onnx", make, words)
    yield Case("long-name", lambda path: None, ("n" * 5000 + ".pt", "-o", "out"))
    yield Case("good.onnx", tiny, codes=(0,))


def _unreadable(path: Path) -> None:
    """A folder at the output's path, which also stops root."""
    path.symlink_to("/proc/1/root/nonexistent/x")


def _outputs() -> Iterator[Case]:
    """Things at the output's path; the case's folder holds a link to a folder, and a file."""
    for name, out in PLACES.items():
        yield Case(f"out-{name}.onnx", _beside, ("{file}", "-o", out))
        if name != "below-file":
            yield Case(
                f"optimized-{name}.onnx",
                _beside,
                ("optimize", "{file}", "-o", out),
                (0, 1) if name in ("link", "file") else (1,),
            )


def _beside(path: Path) -> None:
    tiny(path)
