"""Commands on a full disk: a tmpfs of few bytes or few files, in a mount namespace of its own.

`python -m tests.faults.full_disk [COMMAND …]` fills the disk that the output is on, and the one for temporary files, to
within every one of ROOM of its end; a part of `make faults`. After each: the output is old or new, and nothing of ours
is left, although no other run has cleared up. Then there is room, and the command must succeed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.commands import LINES, Tree, read, same
from tests.faults.run import Place, expected, prepare

#: Free space on the disk: bytes, and files.
ROOM = ((0, 100), (4096, 100), (16 << 10, 100), (64 << 10, 100), (256 << 10, 100), (1 << 30, 0), (1 << 30, 2))
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
INSIDE = "--inside"
PLENTY = "size=1g,nr_inodes=10000"


def refusal() -> str | None:
    """Why no disk can be mounted on this machine, or None."""
    with TemporaryDirectory() as folder:
        try:
            command = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", folder]
            ended = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError as error:
            return f"{error.filename} is not here"
    return ended.stderr.strip() or f"{NAMESPACE[0]} ended with {ended.returncode}" if ended.returncode else None


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Mount a disk at `folder`."""
    _mount(folder, PLENTY, "-t", "tmpfs", "tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path, size: int, files: int) -> None:
    """Fill the disk up to this many free bytes, in whole pages, and free files."""
    used = os.statvfs(folder)
    pages = used.f_blocks - used.f_bfree + size // used.f_frsize
    _mount(folder, f"remount,size={max(1, pages) * used.f_frsize},nr_inodes={used.f_files - used.f_ffree + files}")
    if not pages:
        (folder / "filled").write_bytes(bytes(used.f_frsize))


def _mount(folder: Path, options: str, *words: str) -> None:
    subprocess.run(["mount", *words, "-o", options, folder], check=True)


def try_out(place: Place, name: str, new: Tree, where: Path, room: tuple[int, int]) -> Iterator[str]:
    """Run a command with this much free space at `where`; returns the faults found afterwards."""
    line = LINES[name]
    with disk(where):
        place.begin(name)
        old = read(place.out)
        fill(where, *room)
        ended = place.run(line.words, trt=line.tensorrt)
        found = read(place.out)
        (where / "filled").unlink(missing_ok=True)
        if not (found == old or same(found, new) or line.also(place.out, old)):
            yield f"the output is neither old nor new: {sorted(found) if found else found}"
        if ended.code not in (0, 1) or "Traceback" in ended.err or "internal error" in ended.err:
            yield f"ended with {ended.code}: {ended.err[-500:]!r}"
        if ended.code == 0 and not same(found, new):
            yield "ended well, and the output is not the new one"
        if ended.code == 1 and ended.err.count("error: ") != 1:
            yield f"no message, or more than one: {ended.err[-500:]!r}"
        if rests := [name for name in place.rests() if name not in line.keeps]:
            yield f"left {rests}"
        _mount(where, f"remount,{PLENTY}")
        again = place.run(line.words, trt=line.tensorrt)
        if again.code or not same(read(place.out), new):
            yield f"with room again it ended with {again.code}: {again.err[-900:]!r}"


def main() -> None:
    """Run all or the named commands, in a namespace where disks can be mounted."""
    names = sys.argv[1:]
    if INSIDE not in names:
        if reason := refusal():
            print(f"no full disks: {reason}")
            return
        os.execvp(NAMESPACE[0], [*NAMESPACE, sys.executable, "-m", "tests.faults.full_disk", INSIDE, *names])
    names.remove(INSIDE)
    count = wrong = 0
    with TemporaryDirectory() as folder:
        names = names or list(LINES)
        place = prepare(Path(folder), names)
        for name in names:
            new = expected(place, name)
            for where in (place.folder / "work", place.temporary):
                for room in ROOM:
                    count += 1
                    for said in try_out(place, name, new, where, room):
                        wrong += 1
                        print(f"{name}, {where.name} with room for {room}: {said}", flush=True)
        place.warm.close()
    print(f"{count} full disks, {wrong} faults")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
