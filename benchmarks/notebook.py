"""Runs the example notebook from top to bottom and writes it back with what its cells showed.

python -m benchmarks.notebook
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT

NOTEBOOK = ROOT / "examples" / "tour.ipynb"
#: Longest time of a cell, in seconds.
TIMEOUT = 600


def executed(notebook: Any, folder: Path) -> Any:
    """The notebook with the outputs of a run in `folder`. Raises CellExecutionError where a cell fails."""
    from nbclient import NotebookClient

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    shutil.copy(ROOT / "models/checkpoints/digits.pt", folder / "net.pt")
    client = NotebookClient(notebook, timeout=TIMEOUT, resources={"metadata": {"path": str(folder)}})
    return client.execute()


def cleaned(notebook: Any) -> Any:
    """The notebook without what differs from run to run: times of execution, progress bars that are over."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("data", {}).get("text/html") != ""]
    return notebook


def main() -> None:
    """Run the notebook and write it."""
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        done = cleaned(executed(notebook, Path(folder)))
    nbformat.write(done, NOTEBOOK)
    print(NOTEBOOK)


if __name__ == "__main__":
    main()
