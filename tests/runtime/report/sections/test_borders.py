"""The table of borders: which layer, what stands beyond it, and how far its regions are off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.report import page
from rectexport.runtime.report.network.names import Names
from rectexport.runtime.report.reading import read_parity
from rectexport.runtime.report.sections.borders import border_table
from tests.runtime.report.conftest import manifest_document, parity_document
from tests.runtime.report.page_reader import read_page, rows, table

pytest.importorskip("jinja2")


def entry(kind: str = "reflect", tensors: tuple[str, ...] = ("gone", "tensor_3"), node: str = "conv") -> dict[str, Any]:
    sides = {"borders": [kind, kind], "begins": [1, 2], "ends": [1, 0]}
    return {"node": node, "operator": "Conv", "tensors": list(tensors), "kind": kind, **sides}


def test_the_worst_of_all_shapes_of_the_first_tensor_that_was_compared(tmp_path: Path) -> None:
    (tmp_path / "parity.json").write_text(json.dumps(parity_document()))
    parity = read_parity(tmp_path / "parity.json")
    found = border_table([entry(), entry("zeros", ("unknown",), "other"), entry("nothing")], parity, Names(), 9)
    assert found is not None and found.counts == (("reflect", 1), ("zeros", 1), ("nothing", 1)) and found.more == 0
    first, second = found.rows
    assert (first.layer, first.border, first.amounts) == ("stage2.3.conv", "reflect", "1 × 2+0")
    layers = [layer for case in parity.cases for layer in case.layers if layer.tensor == "tensor_3"]
    assert first.distances[0] == max(layer.regions["corner"].relative_l2 for layer in layers)
    assert (second.layer, second.distances) == ("other", (None, None, None))


def test_a_layer_that_was_not_compared_is_called_after_its_module(tmp_path: Path) -> None:
    (tmp_path / "parity.json").write_text(json.dumps(parity_document()))
    parity = read_parity(tmp_path / "parity.json")
    found = border_table([entry(tensors=("conv2d_6",))], parity, Names({"conv2d_6": "stem.0"}), 9)
    assert found is not None and found.rows[0].layer == "stem.0"


def test_rows_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "parity.json").write_text(json.dumps(parity_document()))
    found = border_table([entry()] * 12, read_parity(tmp_path / "parity.json"), Names(), 9)
    assert found is not None and len(found.rows) == 9 and found.more == 3


def test_the_page_has_the_table(write: Callable[..., Path]) -> None:
    folder = write(manifest={**manifest_document(), "borders": [entry("poles × <circular>")]})
    root = read_page(page.build_page(Package.open(folder), "net"))
    (row,) = rows(table(root, "Values beyond"))
    assert [cell.text for cell in row[1:4]] == ["Conv", "poles × <circular>", "1 × 2+0"]


def test_a_package_without_them_has_no_table(write: Callable[..., Path]) -> None:
    assert "Border by border" not in page.build_page(Package.open(write()), "net")


def test_a_broken_entry_is_named(write: Callable[..., Path]) -> None:
    folder = write(manifest={**manifest_document(), "borders": [{"node": 3}]})
    with pytest.raises(BadInput, match=r"manifest\.json: .*'tensors' is missing"):
        page.build_page(Package.open(folder), "net")
