"""Interrupts commands at every kind of moment, and looks at what they leave.

After each: the output is what it was before, or whole and new, and never anything else; nothing of ours is left
beside it or in the folder for temporary files once the command has run again.

`python -m tests.faults.run [COMMAND …]` does it all, or these, and prints the count; `make faults`.
"""

from __future__ import annotations

import errno
import json
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rectexport.cli.main import COMMANDS as INSTALLED
from tests.hostile.archives import honest
from tests.hostile.packages import tiny
from tests.warm.client import ROOT, Ended, Warm

Fault = dict[str, Any]
Tree = dict[str, bytes] | None
DIGITS = str(ROOT / "models/checkpoints/digits.pt")
#: Command lines that write something. The first is run first and its output is what stands there when the second is
#: interrupted; {out} is where they write, {here} the folder with the models.
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "export": (["{here}/tiny.onnx", "-o", "{out}", "--target", "portable"], ["{here}/tiny.onnx", "-o", "{out}"]),
    "export-script": (
        ["{here}/tiny.onnx", "-o", "{out}"],
        ["{here}/honest.torchscript.pt", "--input", "x:1x1x8x8", "-o", "{out}"],
    ),
    "export-torch": (["{here}/tiny.onnx", "-o", "{out}"], [DIGITS, "-o", "{out}"]),
    "optimize": (
        ["optimize", "{here}/tiny.onnx", "-o", "{out}"],
        ["optimize", "{here}/other.onnx", "-o", "{out}"],
    ),
    "models": (
        ["models", "save", "digits", "{out}", "--seed", "0"],
        ["models", "save", "digits", "{out}", "--seed", "1"],
    ),
}
#: First words that are no command but a model to export.
_MODELS = {second[0] for name, (_, second) in COMMANDS.items() if name.startswith("export")}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}


@dataclass(frozen=True)
class Place:
    """A folder to work in; `temporary` is its TMPDIR."""

    folder: Path
    temporary: Path
    warm: Warm

    def run(self, words: list[str], fault: Fault | None = None, also: bool = False) -> Ended:
        """Run a command, and the same beside it if asked."""
        out, here = self.folder / "work/out", self.folder
        filled = [word.format(out=out, here=here) for word in words]
        environment = {"TMPDIR": str(self.temporary), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return self.warm.run(filled, self.folder, fault=fault, also=filled if also else (), environment=environment)

    def clear(self) -> None:
        """An empty folder to write in."""
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        (self.folder / "work").mkdir()

    def output(self) -> Tree:
        """What stands where the output goes."""
        out = self.folder / "work/out"
        if out.is_dir():
            return {path.name: path.read_bytes() for path in out.iterdir()}
        return {"": out.read_bytes()} if out.exists() else None

    def rests(self) -> list[str]:
        """What a command has left besides its output."""
        beside = [path.name for path in (self.folder / "work").iterdir() if path.name != "out"]
        return [*beside, *(path.name for path in self.temporary.iterdir())]


def prepare(folder: Path, torch: bool = True) -> Place:
    """The models that the commands work on, and a process that is warm, for exports from torch if asked."""
    tiny(folder / "tiny.onnx")
    tiny(folder / "other.onnx", weight=2.0)
    (folder / "tmp").mkdir()
    warm_up = [[str(folder / "tiny.onnx"), "-o", str(folder / "package")]]
    if torch:
        honest(folder)
        script = [str(folder / "honest.torchscript.pt"), "--input", "x:1x1x8x8", "-o", str(folder / "scripted")]
        warm_up += [[DIGITS, "-o", str(folder / "digits")], script]
    return Place(folder, folder / "tmp", Warm(folder, *warm_up))


def same(found: Tree, expected: Tree) -> bool:
    """Whether two packages differ in their times alone, or two files in nothing."""
    if found is None or expected is None or "manifest.json" not in expected:
        return found == expected
    return found.keys() == expected.keys() and all(
        _timeless(content) == _timeless(expected[name]) if name == "manifest.json" else content == expected[name]
        for name, content in found.items()
    )


def _timeless(manifest: bytes) -> Any:
    document = json.loads(manifest)
    return {key: value for key, value in document.items() if key not in ("created", "seconds")}


def interrupt(place: Place, name: str, fault: Fault, new: Tree, existing: bool) -> Iterator[str]:
    """Run one command with one fault; what was wrong afterwards."""
    first, second = COMMANDS[name]
    place.clear()
    if existing:
        place.run(first)
    old = place.output()
    ended = place.run(second, fault)
    found = place.output()
    removed = fault.get("path") == "work" and found is None
    if not (same(found, new) or found == old or removed):
        yield f"the output is neither old nor new: {sorted(found) if found else found}"
    if "Traceback" in ended.err or "internal error" in ended.err:
        yield f"said {ended.err[-500:]!r}"
    if ended.code is None:
        yield "did not end"
    if "signal" in fault and ended.code not in (0, CODES[fault["signal"]], -fault["signal"]):
        yield f"ended with {ended.code}: {ended.err[-300:]!r}"
    if ended.code == 0 and not same(found, new):
        yield "ended well, and the output is not the new one"
    if fault.get("do") == "remove":
        prepare_again(place)
    again = place.run(second)
    if again.code or not same(place.output(), new):
        yield f"the next run ended with {again.code}: {again.err[-300:]!r}"
    if rests := place.rests():
        yield f"after the next run there is still {rests}"


def prepare_again(place: Place) -> None:
    """The models, if a fault took one."""
    tiny(place.folder / "tiny.onnx")


def operations(place: Place, name: str) -> int:
    """How many file operations the second run of a command has."""
    first, second = COMMANDS[name]
    place.clear()
    place.run(first)
    place.run(second, {"do": "count"})
    return int((place.folder / "operations").read_text())


def expected(place: Place, name: str) -> Tree:
    """What an undisturbed run writes."""
    place.clear()
    ended = place.run(COMMANDS[name][1])
    assert ended.code == 0, ended.err
    return place.output()


def faults(place: Place, name: str, step: int, times: int, generator: random.Random) -> Iterator[tuple[Fault, bool]]:
    """Faults for one command, and whether an old output stands there: every `step`-th operation, `times` moments."""
    count = operations(place, name)
    for at in range(1, count + 1, step):
        number = SIGNALS[at // step % 3]
        yield {"at": at, "do": "kill", "signal": number}, True
        yield {"at": at, "do": "kill", "signal": signal.SIGKILL}, bool(at % 2)
        yield {"at": at, "do": "fail", "errno": (errno.ENOSPC, errno.EROFS, errno.EACCES)[at // step % 3]}, bool(at % 3)
        yield {"at": at, "do": "remove", "path": ("tiny.onnx", "work", "tmp/nothing")[at // step % 3]}, True
    seconds = place.run(COMMANDS[name][1]).seconds
    for index in range(times):
        yield {"after": generator.uniform(0.01, seconds), "signal": SIGNALS[index % 3]}, bool(index % 4)
    for size in (2000, 20_000):
        yield {"do": "limit", "bytes": size}, True
    yield {"do": "clock"}, True


def two_at_once(place: Place, name: str, new: Tree) -> Iterator[str]:
    """Two processes that write to one place: both end, and the output is whole."""
    place.clear()
    ended = place.run(COMMANDS[name][1], also=True)
    if ended.code or not same(place.output(), new):
        yield f"two at once: {ended.code}, {ended.err[-300:]!r}"
    if rests := place.rests():
        yield f"two at once left {rests}"


def main() -> None:
    """All commands that are installed, all faults."""
    generator, counts, wrong = random.Random(3), Counter[str](), 0
    with TemporaryDirectory() as folder:
        place = prepare(Path(folder))
        for name in sys.argv[1:] or COMMANDS:
            if COMMANDS[name][1][0] in {*INSTALLED, *_MODELS}:
                new = expected(place, name)
                step = 1 if name in ("export", "optimize") else 3
                for fault, existing in faults(place, name, step, 30, generator):
                    counts[name] += 1
                    for said in interrupt(place, name, fault, new, existing):
                        wrong += 1
                        print(f"{name} {fault}: {said}", flush=True)
                for said in two_at_once(place, name, new):
                    wrong += 1
                    print(f"{name}: {said}", flush=True)
                print(f"{name}: {counts[name]} interruptions", flush=True)
        place.warm.close()
    print(f"{counts.total()} interruptions, {wrong} faults")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
