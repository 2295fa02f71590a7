"""The example notebook is as it ran, and a real kernel shows values as HTML and a progress bar.

`make notebook` runs all of it.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from benchmarks.notebook import NOTEBOOK, cleaned
from tests.runtime.tiny import dynamic_package

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("jinja2")
pytest.importorskip("onnxruntime")

BAR = """
from rectexport.runtime.base.notebook import bar
shown = bar()
shown.started("trace")
shown(1, 4, "a part")
"""


def code_cells() -> list[Any]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_cell_ran_in_order_and_without_an_error() -> None:
    cells = code_cells()
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells)
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    for cell in cells:
        ast.parse(cell.source)


@pytest.mark.parametrize("step", ["export(", "compare(", "evaluate(", "Int8(", "tune("])
def test_every_step_is_shown_as_html(step: str) -> None:
    (cell, *_) = [cell for cell in code_cells() if f"rectexport.{step}" in cell.source]
    assert any('<div class="rectexport">' in output.get("data", {}).get("text/html", "") for output in cell.outputs)


def test_it_holds_nothing_of_the_machine_that_ran_it() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert "/tmp/" not in text and "/home/" not in text and "Traceback" not in text


def test_a_kernel_shows_a_package_and_a_progress_bar(tmp_path: Path) -> None:
    path = dynamic_package(tmp_path / "package").path
    cells = [f"import rectexport\nrectexport.load({str(path)!r}, 'onnxruntime')", BAR]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300, startup_timeout=300).execute()
    first, second = cleaned(notebook).cells
    (value,) = first.outputs
    assert value.data["text/plain"].startswith("<Session of ") and "Engine: ONNX Runtime" in value.data["text/html"]
    (shown,) = second.outputs
    assert '<progress value="1" max="4">' in shown.data["text/html"] and "1 of 4 a part" in shown.data["text/html"]
