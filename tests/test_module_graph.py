"""docs/modules.svg shows the real imports, and its script draws cycles in red."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.module_graph import PARTS, PICTURE, Graph, draw, read_graph

SVG = "{http://www.w3.org/2000/svg}"


def metadata(picture: str) -> dict:
    return json.loads(ElementTree.fromstring(picture).find(f"{SVG}metadata").text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package whose rooms export/a and export/b import each other."""
    files = {
        "rectexport/cli/main.py": "def run():\n    from rectexport.exporter.a import one\n",
        "export/a/one.py": "from rectexport.exporter.b import two\nimport rectexport.runtime.base.files\n",
        "export/b/__init__.py": "",
        "export/b/two.py": "import numpy\nfrom rectexport.exporter.a.one import name\n",
        "models/layers.py": "",
        "plugins/reference.py": "",
        "runtime/base/files.py": "from rectexport.exporter import a\n",
        "export/a/__init__.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder, _ in PARTS.values():
        (tmp_path / folder / "__init__.py").touch()
    return tmp_path


def test_the_committed_picture_shows_the_imports_of_the_code() -> None:
    shown, real = metadata(PICTURE.read_text(encoding="utf-8")), read_graph().as_dict()
    arrows = [{(first, last) for first, last, _ in graph["imports"]} for graph in (shown, real)]
    assert arrows[0] == arrows[1], "run make modules"
    assert shown["modules"].keys() == real["modules"].keys(), "run make modules"
    for room, count in real["modules"].items():  # one more module does not make the picture wrong
        assert abs(shown["modules"][room] - count) <= max(2, count // 10), f"{room}: run make modules"


def test_every_import_between_rooms_is_found(tree: Path) -> None:
    found = read_graph(tree)
    assert found.imports == {
        ("cli/main", "export/a"): 1,
        ("export/a", "export/b"): 1,
        ("export/a", "runtime/base"): 1,
        ("export/b", "export/a"): 1,
        ("runtime/base", "export/a"): 1,
    }
    assert found.modules["export/a"] == 2 and "export" not in found.modules
    assert found.between_parts == {("cli", "export"): 1, ("export", "runtime"): 1, ("runtime", "export"): 1}


def test_cycles_and_imports_against_the_order_of_parts_are_red(tree: Path) -> None:
    picture = ElementTree.fromstring(draw(read_graph(tree)))
    red = [path for path in picture.iter(f"{SVG}path") if path.get("marker-end") == "url(#red)"]
    titles = [path.findtext(f"{SVG}title") for path in red]
    assert "export/a imports export/b 1 times" in titles and "export/b imports export/a 1 times" in titles
    assert titles.count(None) == 1  # runtime imports export


def test_an_arrow_that_repeats_a_chain_is_light() -> None:
    rooms = {f"{part}/x": 1 for part in PARTS} | {"export/y": 1, "export/z": 1}
    pairs = (("export/x", "export/y"), ("export/y", "export/z"), ("export/x", "export/z"))
    picture = ElementTree.fromstring(draw(Graph(rooms, dict.fromkeys(pairs, 1), {})))
    light = [path for path in picture.iter(f"{SVG}path") if path.get("marker-end") == "url(#light)"]
    assert [path.findtext(f"{SVG}title") for path in light] == ["export/x imports export/z 1 times"]
    assert not [path for path in picture.iter(f"{SVG}path") if path.get("marker-end") == "url(#red)"]
