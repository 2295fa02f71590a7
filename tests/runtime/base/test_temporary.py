"""Temporaries of a killed process are removed; those of a running one are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rectexport.runtime.base.temporary import remove_abandoned, scratch_folder, temporary_file, temporary_folder

if sys.platform == "win32":
    pytest.skip("nothing is removed where there is no flock", allow_module_level=True)

HOLD = """
import sys, time
from pathlib import Path
from rectexport.runtime.base.temporary import temporary_file, temporary_folder

with temporary_folder(Path(sys.argv[1]), "out") as folder, temporary_file(Path(sys.argv[1]), "out") as file:
    (folder / "half").write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_temporaries_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert len(names(tmp_path)) == 2
        remove_abandoned(tmp_path, ".out.")
        assert len(names(tmp_path)) == 2, "it is still alive"
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 2
    with temporary_folder(tmp_path, "out") as folder:
        assert names(tmp_path) == [folder.name]
    assert not names(tmp_path)


def test_other_files_are_kept(tmp_path: Path) -> None:
    kept = [".out.partial", ".out.abc.partial", ".out.other.abcd1234.partial", "out.abcd1234.partial", ".out.abcd1234"]
    for name in kept:
        (tmp_path / name).write_text("dear")
    (tmp_path / "dear").mkdir()
    (tmp_path / ".out.abcd1234.partial").symlink_to(tmp_path / "dear")
    os.mkfifo(tmp_path / ".out.abcd1235.partial")
    with temporary_file(tmp_path, "out"):
        pass
    assert names(tmp_path) == sorted([*kept, "dear", ".out.abcd1234.partial", ".out.abcd1235.partial"])


def test_two_temporaries_of_one_name_coexist(tmp_path: Path) -> None:
    with temporary_folder(tmp_path, "out") as first, temporary_folder(tmp_path, "out") as second:
        assert names(tmp_path) == sorted([first.name, second.name])


def test_a_scratch_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "rectexport-scratch.abcd1234.partial").mkdir()
    with scratch_folder() as folder:
        assert names(tmp_path) == [folder.name]
    assert not names(tmp_path)


def test_a_temporary_removed_before_it_is_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    flock = fcntl.flock

    def removed_first(handle: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        for path in tmp_path.iterdir():
            path.rmdir()
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with temporary_folder(tmp_path, "out") as folder:
        assert names(tmp_path) == [folder.name]


def test_scratch_is_private_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = os.umask(0)
    try:
        with scratch_folder() as folder:
            assert folder.parent == tmp_path
            assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)
