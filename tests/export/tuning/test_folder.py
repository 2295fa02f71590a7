"""The folder of a search is for one search at a time, and holds nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rectexport.exporter.tuning.folder import BUSY, STATE, working_folder
from rectexport.runtime.errors import BadInput

pytest.importorskip("fcntl", reason="no locks on this system")


def test_a_state_is_found_again_for_its_task(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out.tuning"
    with working_folder(folder, "a task") as state:
        assert not state.found
        state.spent = 3.0
        state.save()
        (folder / "calibrate.npz").write_text("data")
        (folder / "fp32").mkdir()
    with working_folder(folder, "a task") as state:
        assert state.found and state.spent == 3.0
        assert (folder / "calibrate.npz").exists() and (folder / "fp32").exists()


def test_what_another_task_left_is_removed(tmp_path: Path) -> None:
    with working_folder(tmp_path, "a task"):
        (tmp_path / "calibrate.npz").write_text("data")
        (tmp_path / "fp32").mkdir()
        (tmp_path / "link").symlink_to(tmp_path.parent)
    with working_folder(tmp_path, "another") as state:
        assert not state.found
        assert sorted(path.name for path in tmp_path.iterdir()) == [BUSY, STATE]
    assert tmp_path.parent.is_dir()


def test_two_searches_at_once_are_refused(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from rectexport.exporter.tuning.folder import working_folder
with working_folder(Path(sys.argv[1]), "a task") as state:
    print("working", flush=True)
    sys.stdin.read()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "working\n"
    with pytest.raises(BadInput, match="another search is running here"), working_folder(tmp_path, "a task"):
        pass
    assert (tmp_path / STATE).is_file()
    other.communicate()
    with working_folder(tmp_path, "a task") as state:
        assert state.found


@pytest.mark.parametrize("kind", ["files", "file", "link"])
def test_a_folder_with_something_else_is_refused(tmp_path: Path, kind: str) -> None:
    folder, kept = tmp_path / "out.tuning", tmp_path / "kept"
    kept.mkdir()
    (kept / "dear").write_text("dear")
    if kind == "files":
        kept.rename(folder)
    elif kind == "file":
        folder.write_text("dear")
    else:
        folder.symlink_to(kept)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match="choose another output"), working_folder(folder, "a task"):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_one_that_was_killed_before_its_first_state_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / BUSY).touch()
    (tmp_path / f".{STATE}-abcdefgh.partial").touch()
    with working_folder(tmp_path, "a task") as state:
        assert not state.found
