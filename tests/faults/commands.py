"""The interrupted command lines, the outputs before them, and the outputs allowed afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectexport.runtime.base.temporary import PARTIAL
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.folder import LOCK, PLAN, SIGNATURE, TUNING, Package
from tests.warm.client import ROOT

#: Files by name, or a file under the name "", or nothing.
Tree = dict[str, bytes] | None
MANIFEST = "manifest.json"
DIGITS = str(ROOT / "models/checkpoints/digits.pt")


#: What a command must not say when it runs again, from what an interrupted one left beside its output.
Forbids = Callable[[Path], tuple[str, ...]]


def nothing_kept(out: Path) -> tuple[str, ...]:
    """Each run begins anew."""
    return ()


def neither(out: Path, old: Tree) -> bool:
    """The output is the old or the new one, nothing else."""
    return False


def without_plan(out: Path, old: Tree) -> bool:
    """The package, whole, without a plan or a signature.

    That is what add_files says of one that is killed: a plan that is replaced leaves the manifest first and comes back
    with its new hash, and the signature is of the manifest as it was. A plan that no manifest lists may lie there.
    """
    try:
        package = Package.open(out)
        package.verify_files()
    except RectexportError:
        return False
    found, before = read(out) or {}, old or {}
    names = {name for name in before if not name.endswith(PLAN)} - {MANIFEST, SIGNATURE}
    listed = [name for name in package.manifest.files if name.endswith(PLAN)]
    return not listed and not package.manifest.data.get("plans") and all(found[name] == before[name] for name in names)


def unsigned(out: Path, old: Tree) -> bool:
    """The old package, without its signature, which is removed before the manifest changes, or without a plan."""
    as_it_was = old is not None and read(out) == {name: old[name] for name in old if name != SIGNATURE}
    return as_it_was or without_plan(out, old)


@dataclass(frozen=True)
class Line:
    """A command line that is interrupted.

    {out} is the path that it writes or changes, {here} the folder with the models.

    words     the command line
    before    the command that makes the old output
    inside    whether it changes the old output, which must exist then
    also      whether an output that is neither old nor new is allowed too
    tensorrt  whether it runs on a fake machine with TensorRT
    every     interrupt at every how many file operations
    taken     the path that another process removes meanwhile
    needs     inputs besides the small models: digits, a package; script, a model; keys
    goes_on   what the next run must not do again after an interrupted one
    together  whether two of them may write to one path at the same time
    keeps     what one that failed leaves beside its output on purpose, so that the next goes on
    """

    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...]
    inside: bool = False
    also: Callable[[Path, Tree], bool] = neither
    tensorrt: bool = False
    every: int = 3
    taken: tuple[str, ...] = ("tiny.onnx", "work", "tmp/nothing")
    needs: str = ""
    goes_on: Forbids = nothing_kept
    together: bool = True
    keeps: tuple[str, ...] = ()


def tuned_so_far(out: Path) -> tuple[str, ...]:
    """The export and the proofs of a search with one candidate, where its folder of work has them."""
    work = out.with_name(f"{out.name}.tuning")
    try:
        state = json.loads((work / "state.json").read_bytes())
        Package.open(work / "fp32").verify_files()
    except (OSError, ValueError, RectexportError):
        return ()
    proven = [record for record in state["records"].values() if record["state"] == "proven"]
    return (*(("passes ",) if state["variants"] else ()), *((" prove, ",) if proven else ()))


_PACKAGE = ("{here}/tiny.onnx", "-o", "{out}")
_SEARCH = ("--backends", "onnxruntime", "--threads", "1", "--time", "1s")
_BUILD = ("build", "{out}", "--trt")
_FROM_PACKAGE = ("work/out/model.onnx", "work", "work/out/manifest.json")
LINES: dict[str, Line] = {
    "export": Line(_PACKAGE, ((*_PACKAGE, "--target", "portable"),), every=1),
    "export-report": Line((*_PACKAGE, "--report"), (_PACKAGE,)),
    "export-script": Line(
        ("{here}/honest.torchscript.pt", "--input", "x:1x1x8x8", "-o", "{out}"), (_PACKAGE,), needs="script"
    ),
    "export-torch": Line((DIGITS, "-o", "{out}"), (_PACKAGE,)),
    "optimize": Line(
        ("optimize", "{here}/other.onnx", "-o", "{out}"), (("optimize", "{here}/tiny.onnx", "-o", "{out}"),), every=1
    ),
    "models": Line(
        ("models", "save", "digits", "{out}", "--seed", "1"), (("models", "save", "digits", "{out}", "--seed", "0"),)
    ),
    "report": Line(
        ("report", "{here}/package", "-o", "{out}"),
        (("report", "{here}/digits", "-o", "{out}"),),
        every=1,
        needs="digits",
    ),
    "eval": Line(
        ("eval", "{here}/digits", "--data", "{here}/data.npz", "--metric", "top1", "--html", "{out}"),
        (("report", "{here}/digits", "-o", "{out}"),),
        every=2,
        taken=("data.npz", "work", "tmp/nothing"),
        needs="digits",
    ),
    "tune": Line(
        ("tune", "{here}/tiny.onnx", "-o", "{out}", *_SEARCH),
        (_PACKAGE,),
        every=16,
        taken=("tiny.onnx", "work", "work/out.tuning"),
        goes_on=tuned_so_far,
        together=False,
        keeps=("out.tuning",),
    ),
    "profile": Line(
        ("profile", "{here}/package", "--threads", "1", "--launches", "1", "--duration", "0", "-o", "{out}"),
        (("report", "{here}/package", "-o", "{out}"),),
        every=2,
        taken=("work", "tmp/nothing", "tmp/nothing"),
    ),
    "verify": Line(("verify", "{out}"), (_PACKAGE,), inside=True, every=4, taken=_FROM_PACKAGE),
    "parity": Line(
        ("parity", "{out}", "--against", "{here}/tiny.onnx", "--per-layer"), (_PACKAGE,), inside=True, every=8
    ),
    "sign": Line(
        ("sign", "{out}", "--key", "{here}/key"),
        (_PACKAGE, ("sign", "{out}", "--key", "{here}/first-key")),
        inside=True,
        every=1,
        taken=_FROM_PACKAGE,
        needs="keys",
    ),
    "build": Line(_BUILD, (_PACKAGE,), inside=True, also=without_plan, tensorrt=True, every=2, taken=_FROM_PACKAGE),
    "rebuild": Line(
        (*_BUILD, "--tf32"),
        (_PACKAGE, _BUILD, ("sign", "{out}", "--key", "{here}/key")),
        inside=True,
        also=unsigned,
        tensorrt=True,
        every=2,
        taken=_FROM_PACKAGE,
        needs="keys",
    ),
}


def read(out: Path) -> Tree:
    """The files at the output path; temporaries count as leftovers, the lock file is ignored."""
    if out.is_dir():
        paths = [path for path in out.iterdir() if path.name != LOCK and path.suffix != PARTIAL]
        return {path.name: path.read_bytes() for path in paths if path.is_file()}
    return {"": out.read_bytes()} if out.exists() else None


def same(found: Tree, expected: Tree) -> bool:
    """Whether two packages, or two files, differ only in times."""
    if found is None or expected is None or found.keys() != expected.keys():
        return found == expected
    return all(
        READERS[name](content) == READERS[name](expected[name]) if name in READERS else content == expected[name]
        for name, content in found.items()
        if name != "report.html"  # which shows the times
    )


def _profiled(content: bytes) -> Any:
    """What two profiles of a package have in common; any other file as it is."""
    try:
        document = json.loads(content)
    except ValueError:
        return content
    return sorted(document), [layer["name"] for layer in document["layers"]]


def _tuned(content: bytes) -> Any:
    """What two searches of one candidate have in common."""
    document = json.loads(content)
    return sorted(document), document["chosen"], [sorted(entry) for entry in document["candidates"]]


def _timeless(manifest: bytes) -> Any:
    document = json.loads(manifest)
    for name in ("report.html", TUNING):
        if name in document["files"]:
            document["files"][name] = ""
    for entry in (document, *document.get("plans", ())):
        for field in ("created", "seconds"):
            entry.pop(field, None)
    return document


#: How files that hold times are compared; "" is an output that is a file.
READERS: dict[str, Callable[[bytes], Any]] = {MANIFEST: _timeless, TUNING: _tuned, "": _profiled}
