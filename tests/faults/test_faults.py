"""A sample of `make faults`: each kind of fault at some moments of some commands, and some full disks."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("forks, limits and locks are Linux's here", allow_module_level=True)

pytest.importorskip("torch")

from tests.faults import full_disk
from tests.faults.run import Place, expected, faults, interrupt, prepare, two_at_once
from tests.warm.client import ROOT

#: Command -> every how many file operations it is interrupted.
STEPS = {"export": 41, "optimize": 31, "build": 61}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = prepare(tmp_path_factory.mktemp("faults"), STEPS)
    yield place
    place.warm.close()


@pytest.mark.parametrize("name", STEPS)
def test_outputs_are_the_old_or_the_new_one(place: Place, name: str) -> None:
    if name == "build":
        pytest.importorskip("polygraphy")
    new = expected(place, name)
    said = []
    for fault, existing in faults(place, name, STEPS[name], 2, random.Random(5)):
        said += [f"{fault}: {line}" for line in interrupt(place, name, fault, new, existing)]
    said += two_at_once(place, name, new)
    assert not said, "\n".join(said)


def test_commands_on_full_disks() -> None:
    if reason := full_disk.refusal():
        pytest.skip(f"no disk can be mounted here: {reason}")
    command = [sys.executable, "-m", "tests.faults.full_disk", "optimize"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    count = 2 * len(full_disk.ROOM)
    assert ended.stdout.splitlines()[-1:] == [f"{count} full disks, 0 faults"], ended.stdout + ended.stderr
