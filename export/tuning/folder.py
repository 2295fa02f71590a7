"""The folder in which a search works: for one search at a time, and for nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rectexport.runtime.base.files import locked
from rectexport.runtime.errors import BadInput
from rectexport.runtime.tuning.state import State, open_state

#: The state, and the file that a running search locks.
STATE, BUSY = "state.json", "busy"


@contextmanager
def working_folder(folder: Path, task: str) -> Iterator[State]:
    """The state of this task in the folder, which no other search uses meanwhile.

    What a search for another task left in it is removed first. Raises BadInput for a folder that another search uses,
    that holds other files, or that cannot be made.
    """
    _check(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written here: {error.strerror}") from None
    with locked(folder / BUSY, f"{folder}: another search is running here; wait for it, or choose another output"):
        state = open_state(folder / STATE, task)
        if not state.found:
            _clear(folder)
            state.save()
        yield state


def _check(folder: Path) -> None:
    """Refuse to work in, and in the end to remove, what no search made."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise BadInput(f"{folder}: is no folder, and the search needs one of this name; choose another output")
    if folder.is_dir() and not (folder / STATE).is_file():
        others = [path.name for path in folder.iterdir() if path.name != BUSY and STATE not in path.name]
        if others:
            raise BadInput(f"{folder}: holds other files ({others[0]}); move them, or choose another output")


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != BUSY:
            path.unlink()
