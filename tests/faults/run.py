"""Interrupts commands at every kind of moment, and checks the files that they leave.

After each interruption, the output must be the old one, the complete new one, or one that commands.py allows besides;
once the command has run again, no temporary of ours may be left beside it or in the folder for temporary files, and no
process that it started.

`python -m tests.faults.run [COMMAND …]` runs all or the named commands and prints the count; `make faults`.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from rectexport.runtime.base.temporary import PARTIAL
from tests.faults.commands import DIGITS, LINES, Line, Tree, read, same
from tests.hostile.packages import tiny
from tests.warm.client import Ended, Warm

Fault = dict[str, Any]
#: Time limit of any run, on a machine under other load.
SECONDS = 120
#: Seconds in which a process that a killed command started must end.
LINGERING = 10
#: What ONNX Runtime writes into the folder for temporary files when it is loaded: an identifier of its telemetry.
FOREIGN = (".ses",)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}


@dataclass(frozen=True)
class Place:
    """A folder to work in; `temporary` is its TMPDIR."""

    folder: Path
    temporary: Path
    warm: Warm

    @property
    def out(self) -> Path:
        """The outputs of commands."""
        return self.folder / "work/out"

    def run(self, words: tuple[str, ...], fault: Fault | None = None, also: bool = False, trt: bool = False) -> Ended:
        """Run a command, and on request the same one beside it; `trt` gives it a fake machine with TensorRT."""
        filled = [word.format(out=self.out, here=self.folder) for word in words]
        environment = {"TMPDIR": str(self.temporary), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return self.warm.run(
            filled,
            self.folder,
            seconds=SECONDS,
            fault=fault,
            also=filled if also else (),
            environment=environment,
            tensorrt=trt,
        )

    def clear(self) -> None:
        """An empty folder to write in."""
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        (self.folder / "work").mkdir(exist_ok=True)  # it cannot be removed where a disk is mounted

    def keep(self, name: str, line: Line) -> None:
        """Make the old output once, so that `begin` only copies it."""
        self.clear()
        for words in line.before:
            ended = self.run(words, trt=line.tensorrt)
            assert ended.code == 0, ended.err
        self.out.rename(self.folder / f"before-{name}")

    def begin(self, name: str, existing: bool = True) -> None:
        """Start with an empty folder, or with the old output."""
        self.clear()
        before = self.folder / f"before-{name}"
        if existing and before.is_dir():
            shutil.copytree(before, self.out)
        elif existing:
            shutil.copyfile(before, self.out)

    def rests(self) -> list[str]:
        """Files that a command left besides its output, and processes that still work there after LINGERING seconds."""
        last = time.monotonic() + LINGERING
        while (running := self._processes()) and time.monotonic() < last:
            time.sleep(0.1)
        beside = [path.name for path in (self.folder / "work").iterdir() if path.name != "out"]
        within = [path.name for path in self.out.glob(f".*{PARTIAL}")]
        left = [path.name for path in self.temporary.iterdir() if path.name not in FOREIGN]
        return [*beside, *within, *left, *running]

    def _processes(self) -> list[str]:
        """Processes that were told of a path in the folder of outputs: those that a command started."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it may have ended meanwhile
                if os.fsencode(self.folder / "work") in path.read_bytes():
                    found.append(f"process {path.parent.name}")
        return found


def prepare(folder: Path, names: Collection[str]) -> Place:
    """The inputs of the named commands, and a warm process for them."""
    models(folder)
    (folder / "tmp").mkdir()
    here = {name: str(folder / name) for name in ("package", "digits", "page", "scripted", "key", "first-key")}
    warm_up = {
        "": [[str(folder / "tiny.onnx"), "-o", here["package"]]],
        "digits": [[DIGITS, "-o", here["digits"]], ["report", here["digits"], "-o", here["page"]]],
        "keys": [["keygen", here["key"]], ["keygen", here["first-key"]]],
        "script": [[str(folder / "honest.torchscript.pt"), "--input", "x:1x1x8x8", "-o", here["scripted"]]],
    }
    needs = sorted({"", *(LINES[name].needs for name in names)})
    if "script" in needs:
        from tests.hostile.archives import honest  # which imports PyTorch

        honest(folder)
    place = Place(folder, folder / "tmp", Warm(folder, *(words for need in needs for words in warm_up[need])))
    for words in (words for need in needs for words in warm_up[need] if "-o" in words):
        assert Path(words[-1]).exists(), f"{words} failed"
    return place


def models(folder: Path) -> None:
    """Write the small input files, also after a fault removed one."""
    tiny(folder / "tiny.onnx")
    tiny(folder / "other.onnx", weight=2.0)
    images = np.random.default_rng(0).random((8, 1, 8, 8), np.float32)
    np.savez(folder / "data.npz", x=images, labels=np.arange(8))


def interrupt(place: Place, name: str, fault: Fault, new: Tree, existing: bool) -> Iterator[str]:
    """Run one command with one fault; returns the faults found afterwards."""
    line = LINES[name]
    place.begin(name, existing or line.inside)
    old = read(place.out)
    ended = place.run(line.words, fault, trt=line.tensorrt)
    found = read(place.out)
    taken = _taken(fault)
    if not (found == _less(old, taken) or same(_less(found, taken), _less(new, taken)) or line.also(place.out, old)):
        yield f"the output is neither old nor new: {sorted(found) if found else found}"
    if "Traceback" in ended.err or "internal error" in ended.err:
        yield f"said {ended.err[-500:]!r}"
    if ended.code is None:
        yield "did not end"
    early = ended.code == CODES[signal.SIGINT] and not ended.err  # between the handlers' installing and the command
    if "signal" in fault and not early and ended.code not in (0, CODES[fault["signal"]], -fault["signal"]):
        yield f"ended with {ended.code}: {ended.err[-300:]!r}"
    if ended.code == 0 and not same(_less(found, taken), _less(new, taken)):
        yield "ended well, and the output is not the new one"
    if fault.get("do") == "remove":
        models(place.folder)
        if line.inside:
            place.begin(name)
    forbidden = line.goes_on(place.out)
    again = place.run(line.words, trt=line.tensorrt)
    if again.code or not same(read(place.out), new):
        yield f"the next run ended with {again.code}: {again.err[-900:]!r}"
    if said := [words for words in forbidden if words in again.out]:
        yield f"the next run did {said} again"
    if rests := place.rests():
        yield f"after the next run there is still {rests}"


def _taken(fault: Fault) -> str:
    """The path in the output that another process removes: "*" is all of it, "" nothing."""
    path = fault.get("path", "") if fault.get("do") == "remove" else ""
    return "*" if path == "work" else path.removeprefix("work/out/") if path.startswith("work/out/") else ""


def _less(tree: Tree, name: str) -> Tree:
    """The files without those that were removed."""
    return tree if tree is None or not name else None if name == "*" else {k: v for k, v in tree.items() if k != name}


def operations(place: Place, name: str) -> int:
    """How many file operations a command performs."""
    place.begin(name)
    place.run(LINES[name].words, {"do": "count"}, trt=LINES[name].tensorrt)
    return int((place.folder / "operations").read_text())


def expected(place: Place, name: str) -> Tree:
    """The output of an undisturbed run; makes the old output as well."""
    line = LINES[name]
    place.keep(name, line)
    place.begin(name, line.inside)
    ended = place.run(line.words, trt=line.tensorrt)
    assert ended.code == 0, ended.err
    return read(place.out)


def faults(place: Place, name: str, step: int, times: int, generator: random.Random) -> Iterator[tuple[Fault, bool]]:
    """Faults for one command, each with or without an old output: every `step`-th operation, `times` moments."""
    line, count = LINES[name], operations(place, name)
    for at in range(1, count + 1, step):
        number = SIGNALS[at // step % 3]
        yield {"at": at, "do": "kill", "signal": number}, True
        yield {"at": at, "do": "kill", "signal": signal.SIGKILL}, bool(at % 2)
        yield {"at": at, "do": "fail", "errno": (errno.ENOSPC, errno.EROFS, errno.EACCES)[at // step % 3]}, bool(at % 3)
        yield {"at": at, "do": "remove", "path": line.taken[at // step % 3]}, True
    place.begin(name)
    seconds = place.run(line.words, trt=line.tensorrt).seconds
    for index in range(times):
        yield {"after": generator.uniform(0.01, seconds), "signal": SIGNALS[index % 3]}, bool(index % 4)
    for size in (2000, 20_000):
        yield {"do": "limit", "bytes": size}, True
    yield {"do": "clock"}, True


def two_at_once(place: Place, name: str, new: Tree) -> Iterator[str]:
    """Two processes that write to one path: both end, and the output is complete."""
    line = LINES[name]
    place.begin(name, line.inside)
    ended = place.run(line.words, also=True, trt=line.tensorrt)
    if ended.code or ended.also or not same(read(place.out), new):
        yield f"two at once: {ended.code}, {ended.also}, {ended.err[-300:]!r}"
    if rests := place.rests():
        yield f"two at once left {rests}"


def main() -> None:
    """Run all or the named commands with all faults."""
    generator, counts, wrong = random.Random(3), Counter[str](), 0
    with TemporaryDirectory() as folder:
        names = sys.argv[1:] or list(LINES)
        place = prepare(Path(folder), names)
        for name in names:
            new = expected(place, name)
            for fault, existing in faults(place, name, LINES[name].every, 30, generator):
                counts[name] += 1
                for said in interrupt(place, name, fault, new, existing):
                    wrong += 1
                    print(f"{name} {fault}: {said}", flush=True)
            for said in two_at_once(place, name, new) if LINES[name].together else ():
                wrong += 1
                print(f"{name}: {said}", flush=True)
            print(f"{name}: {counts[name]} interruptions", flush=True)
        place.warm.close()
    print(f"{counts.total()} interruptions, {wrong} faults")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
