"""Runs the corpus: every case in a fork, with a canary, under limits of time and memory.

`python -m tests.hostile.run [FLIPS] [GROUP …]` builds it in a temporary folder, runs all or the named groups, prints
every fault and a count; `make hostile`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hostile import archives, arrays, damage, files, graphs, measuring, packages, pickles, plans, words
from tests.hostile.case import Case
from tests.warm.client import Ended, Warm

#: Limits of each case; an ordinary export of so small a model takes a tenth.
SECONDS, MEGABYTES = 20, 2048
#: Most bytes of an error message.
LONGEST = 4000


def build(folder: Path, warm: Warm, flips: int = 6) -> Iterator[tuple[str, Iterable[Case]]]:
    """Groups of cases. The valid files that some are made from are written into `folder`."""
    tiny, package = folder / "tiny.onnx", folder / "package"
    packages.tiny(tiny)
    made = warm.run([tiny, "-o", package], folder)
    assert made.code == 0, made.err
    honest = {"pt": pickles.DIGITS, "onnx": tiny, "npz": package / "goldens.npz", **archives.honest(folder)}
    honest["safetensors"] = _safetensors(folder / "honest.safetensors")
    yield "pickles", pickles.cases()
    yield "archives", archives.cases()
    yield "graphs", graphs.cases()
    yield "arrays", arrays.cases()
    yield "packages", packages.cases(package)
    yield "files", files.cases(package)
    planned = folder / "planned"
    for line in ([tiny, "-o", planned], ["build", planned, "--trt"]):
        made = warm.run(line, folder, tensorrt=True)
        assert made.code == 0, made.err
    yield "plans", plans.cases(planned)
    yield "words", words.cases()
    answers = folder / "digits"
    made = warm.run([pickles.DIGITS, "-o", answers, "--input", "x:1x1x8x8"], folder)
    assert made.code == 0, made.err
    yield "measuring", measuring.cases(package, answers)
    yield "damage", damage.cases(honest, package, flips)


def _safetensors(path: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    save_file(torch.load(pickles.DIGITS, weights_only=True)["state_dict"], path)
    return path


def check(case: Case, warm: Warm, folder: Path) -> list[str]:
    """Run one case in a folder of its own; returns what was wrong with its end."""
    here = folder / "case"
    here.mkdir()
    try:
        packages.tiny(here / "tiny.onnx")
        for name in ("others", "kept"):
            (here / name).mkdir()
            (here / name / "dear").write_text("dear")
        (here / "file").write_text("dear")
        (here / "to-folder").symlink_to("kept")
        file = here / case.name
        case.write(file)
        before = _tree(here)
        target = str(file) if case.words[0] == "load" else case.name
        filled = [word.replace("{file}", target).replace("{here}", str(here)) for word in case.words]
        ended = warm.run(filled, here, seconds=SECONDS, megabytes=MEGABYTES, tensorrt=case.tensorrt)
        return [*_ending(case, ended), *_traces(here, before, ended.code == 0), *_escapes(folder)]
    finally:
        shutil.rmtree(here)
        (folder / "secret").unlink(missing_ok=True)


def _ending(case: Case, ended: Ended) -> Iterator[str]:
    said = ended.out + ended.err
    if ended.code is None:
        yield f"took more than {SECONDS} s"
    elif ended.code not in case.codes:
        yield f"ended with {ended.code}, expected {' or '.join(map(str, case.codes))}: {said[-300:]!r}"
    if "Traceback" in said or "internal error" in said:
        yield f"said {said[-600:]!r}"
    if hold := next((sign for sign in said if not sign.isprintable() and sign != "\n"), None):
        yield f"wrote {hold!r} to the terminal"
    if ended.code in (1, 2, 3):
        long = [line for line in ended.err.splitlines() if len(line) > LONGEST and "again: " not in line]
        if long:
            yield f"a line of {len(long[0])} characters"
        if case.words[0] not in ("load", "doctor") and ended.err.count("error: ") + ended.err.count("Error ") < 1:
            yield f"no message: {ended.err[-300:]!r}"
        if missing := [words for words in case.says if words not in ended.err]:
            yield f"did not say {missing}: {ended.err[-300:]!r}"


def _traces(here: Path, before: dict[str, int], passed: bool) -> Iterator[str]:
    after = {name: size for name, size in _tree(here).items() if name not in (".out", ".err")}
    allowed = ("out", "out.onnx", "zoo-", "optimized-", "plan-gone-build-3/model") if passed else ()
    for name in sorted(after.keys() - before.keys()):
        if not name.startswith(allowed or ("\0",)):
            yield f"left {name}"
    for name in before:
        if after.get(name) != before[name] and not passed:
            yield f"changed {name}"


def _escapes(folder: Path) -> Iterator[str]:
    for canary in (folder / "canary", Path("/tmp/canary")):
        if canary.exists():
            canary.unlink()
            yield "the canary: code ran"


def _tree(folder: Path) -> dict[str, int]:
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = os.lstat(path).st_size if name in names else 0
    return found


def main() -> None:
    """Build the corpus, run it, report."""
    flips = next((int(word) for word in sys.argv[1:] if word.isdecimal()), 60)
    named = [word for word in sys.argv[1:] if not word.isdecimal()]
    with TemporaryDirectory() as name:
        folder = Path(name)
        packages.tiny(folder / "warm.onnx")
        warm = Warm(folder, [str(folder / "warm.onnx"), "-o", str(folder / "warm")])
        counts: Counter[str] = Counter()
        faults = 0
        for group, members in build(folder, warm, flips):
            for case in members if not named or group in named else ():
                counts[group] += 1
                for fault in check(case, warm, folder):
                    faults += 1
                    print(f"{group}: {case.label!r:.200}: {fault}", flush=True)
        warm.close()
    print(
        f"{counts.total()} hostile inputs ({', '.join(f'{n} {count}' for n, count in counts.items())}), {faults} faults"
    )
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
