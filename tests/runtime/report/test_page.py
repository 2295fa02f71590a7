"""The page: its structure, its numbers, and that it loads nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.errors import BadInput, MissingDependency, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.report import Documents, page, write_report
from rectexport.runtime.report.measurements import read_latency
from rectexport.runtime.report.reading import read_parity, read_rewrites
from tests.places import ROOT
from tests.runtime.report.conftest import (
    checks_document,
    evaluation_document,
    latency_document,
    manifest_document,
    origins_document,
    parity_document,
    plan_document,
    profile_document,
    rewrites_document,
)
from tests.runtime.report.page_reader import Element, read_page, rows, table

pytest.importorskip("jinja2")

Write = Callable[..., Path]
SECTIONS = ["Use it", "Borders, layer by layer", "Proofs", "Rewrites", "Latency", "Model", "Versions"]
#: Attributes that make a browser fetch something.
FETCHING = {"src", "srcset", "data", "poster", "background", "action", "formaction", "ping", "xlink:href", "manifest"}


def built(folder: Path, documents: Documents | None = None) -> str:
    return page.build_page(Package.open(folder), "net", documents)


def measured(folder: Path) -> Documents:
    """A profile and an evaluation of the package, as files."""
    (folder / "profile.json").write_text(json.dumps(profile_document()))
    (folder / "eval.json").write_text(json.dumps(evaluation_document()))
    return Documents(profile=folder / "profile.json", evaluation=folder / "eval.json")


def test_structure(write: Write) -> None:
    root = read_page(built(write(latency=latency_document())))
    assert [entry.text for entry in root.all("h1")] == ["net"]
    assert [entry.text for entry in root.all("h2")] == SECTIONS
    assert [section.attributes["aria-labelledby"] for section in root.all("section")] == [
        heading.attributes["id"] for heading in root.all("h2")
    ]
    names = [element.attributes["id"] for element in root.all() if "id" in element.attributes]
    assert len(names) == len(set(names))
    assert {link.attributes["href"] for link in root.all("nav")[0].all("a")} == {
        f"#{heading.attributes['id']}" for heading in root.all("h2")
    }
    assert root.all("html")[0].attributes["lang"] == "en"


def test_the_page_is_accessible(write: Write) -> None:
    """Every table has a caption and scoped headings, every drawing a name, every scrolling region a name and focus."""
    root = read_page(built(write(latency=latency_document())))
    assert len(root.all("table")) >= 7
    for entry in root.all("table"):
        assert entry.all("caption")[0].text
        assert all(heading.attributes["scope"] in ("row", "col") for heading in entry.all("th"))
        widths = {sum(int(cell.attributes.get("colspan", 1)) for cell in row) for row in rows(entry)}
        assert widths == {len(entry.all("thead")[0].all("th"))}
    assert len(root.all("svg")) == 2 + 2 + 3  # a rewrite's two sides, two shapes, three violins
    for drawing in root.all("svg"):
        assert drawing.attributes["role"] == "img" and drawing.attributes["aria-label"]
    for region in root.all(cls="scroll"):
        assert region.attributes["aria-label"] and region.attributes["tabindex"] == "0"
    levels = [int(entry.tag[1]) for entry in root.all() if re.fullmatch("h[1-6]", entry.tag)]
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_the_page_loads_nothing(write: Write, tmp_path: Path) -> None:
    text = built(write(latency=latency_document()), documents=measured(tmp_path))
    root = read_page(text)
    assert root.all("img") and not {"script", "link", "iframe", "object", "embed", "base", "image", "use"} & {
        element.tag for element in root.all()
    }
    for element in root.all():
        names = element.attributes.keys()
        assert not FETCHING & names or element.tag == "img"
        assert not [name for name in names if name.startswith("on")]
        assert element.attributes.get("href", "#").startswith("#")
    assert all(entry.attributes["src"].startswith("data:image/png;base64,") for entry in root.all("img"))
    style = "".join(entry.text for entry in root.all("style"))
    inline = "".join(element.attributes.get("style", "") for element in root.all())
    assert not re.search(r"url\(|@import|src:|expression|//[a-z]", style + inline)
    assert "http" not in text.replace("http-equiv", "")
    (policy,) = [entry for entry in root.all("meta") if entry.attributes.get("http-equiv")]
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_the_worst_items_of_each_engine_are_shown(write: Write, tmp_path: Path) -> None:
    (items,) = read_page(built(write(), documents=measured(tmp_path))).all(cls="items")
    (figure,) = items.all("figure")
    assert figure.all("figcaption")[0].text.strip() == "item 9: 1 becomes 2, margin 0.5"
    assert figure.all("img")[0].attributes["src"].startswith("data:image/png;base64,")


def test_dark_and_print(write: Write) -> None:
    text = built(write())
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text


def data(row: list[Element]) -> list[float]:
    return [float(entry.attributes["value"]) for cell in row for entry in cell.all("data")]


def test_outputs_are_those_of_the_document(write: Write) -> None:
    document = parity_document()
    shown = rows(table(read_page(built(write(parity=document))), "Outputs"))
    expected = [(case, name, value) for case in document["cases"] for name, value in case["outputs"].items()]
    assert len(shown) == len(expected) == 4
    for row, (case, name, value) in zip(shown, expected, strict=True):
        shape = "×".join(map(str, case["shapes"]["x"]))
        assert [row[0].text, row[1].text] == [f"{case['case']} {shape}", name]
        known = [value[field] for field in ("max_abs", "relative_l2", "cosine", "top1") if value[field] is not None]
        assert data(row) == known
        assert row[2].text == f"{value['max_abs']:.1e}"


def test_layers_are_those_of_the_document(write: Write) -> None:
    document = parity_document(layers=5, shapes=3)
    shown = rows(table(read_page(built(write(parity=document))), "Relative L2 of each layer"))
    layers = [[case["layers"][index] for case in document["cases"]] for index in range(5)]
    for index, (row, entries) in enumerate(zip(shown, layers, strict=True)):
        assert [row[0].text, row[1].text] == [str(index + 1), entries[0]["layer"]]
        regions = ("corner", "edge", "interior") if index else ("interior",)
        expected = [max(entry["relative_l2"] for entry in entries)]
        expected += [max(entry["regions"][region]["relative_l2"] for entry in entries) for region in regions]
        assert data(row) == [*expected, max(entry["max_abs"] for entry in entries)]


def test_the_worst_is_named_and_marked(write: Write) -> None:
    root = read_page(built(write(parity=parity_document(layers=5, shapes=3))))
    worst = next(entry.text for entry in root.all("p") if entry.text.startswith("Farthest off:"))
    value = 1.125e-7 * (1 + 4 / 5 + 2 / 10) * 3
    assert worst.startswith(f"Farthest off: stage2.4.conv , corner, {value:.1e} at max 3×3×8×10")
    assert len(root.all("rect", "worst")) == len(root.all(cls="mark")) == len(root.all(cls="worst-row")) == 1
    bands = root.all(cls="cells")
    (cell,), (mark,) = bands[2].all("rect", "worst"), bands[2].all(cls="mark")
    assert [cell.attributes[side] for side in ("x", "y")] == ["4", "1"]  # the fifth layer's corner, below the whole
    assert mark.attributes["style"] == "left:90.00%"
    assert root.all("tr", "worst-row")[0].all("th")[0].text == "stage2.4.conv"


def test_passes(write: Write) -> None:
    root = read_page(built(write()))
    (article,) = root.all("article")
    assert article.all("h3")[0].text == "rectify_fold fired 7 refused 3"
    assert "left alone 3 times: H, W dynamic" in article.text
    assert "+7 Mul" in article.text and "one of 7 alike" in article.text and "and 3 more nodes" in article.text
    assert "not drawn: 1" in article.text
    assert "Nothing to do in this model: inline" in root.text
    counts = {row[0].text: (row[1].text, row[2].text) for row in rows(table(root, "Nodes by operator"))}
    assert counts == {"rectexport.Rectify": ("7", "–"), "Conv": ("9", "9"), "Add": ("–", "7"), "Mul": ("–", "7")}
    before, after = (root.all("svg", "graph")[side] for side in (0, 1))
    assert [entry.text for entry in before.all("text", "op")] == ["Rectify"]
    assert sorted(entry.text for entry in after.all("text", "op")) == ["Add", "Mul"]
    assert len(before.all("g", "gone")) == 1 and len(after.all("g", "new")) == 2


def test_card(write: Write) -> None:
    text = read_page(built(write())).text
    for fact in ("checkpoint of net", "25,557,032", "2.5 MB", "ai.onnx 18", "relative_l2 1e-05", "net.pt"):
        assert fact in text
    assert "1×3×8×8 2×3×8×8 4×3×8×8" in text
    assert 'rectexport net.pt -o "${1:-again}"' in text
    assert "np.zeros([2, 3, 8, 8], np.float32)" in text and "rectexport.load('net')" in text
    assert "torch not installed" in text


def test_latency(write: Write) -> None:
    root = read_page(built(write(latency=latency_document())))
    shown = rows(table(root, "Times of one call"))
    assert [row[0].text for row in shown] == ["net", "twin", "net"]
    assert [data(row)[0] for row in shown] == [31.25, 29.5, 250.0]
    assert [entry.text for entry in root.all("figure", "latency")[0].all("h3")] == ["batch 1, 1×3×8×8"]
    comparison, _ = rows(table(root, "Ratio of two"))
    assert [cell.text for cell in comparison] == ["net", "twin", "1", "1.062", "1.031 – 1.094", "slower"]


def test_a_page_that_passed_raises_no_alarm(write: Write) -> None:
    """Colours of failure stand only in the legends."""
    root = read_page(built(write(latency=latency_document(), origins=origins_document())))
    assert not root.all(cls="bad") and not root.all(cls="no")
    assert all("chip" in entry.attributes["class"] for entry in root.all(cls="over"))


def test_the_page_leads_with_what_a_reader_asks_first(write: Write, tmp_path: Path) -> None:
    root = read_page(built(write(latency=latency_document()), measured(tmp_path)))
    shown = {tile.all("dt")[0].text: tile.all("b")[0].text for tile in root.all("dl", "tiles")[0].all("div")}
    assert list(shown) == [
        "speed against PyTorch", "latency", "model size", "accuracy", "farthest from PyTorch", "nodes",
    ]  # fmt: skip
    assert shown["speed against PyTorch"] == "4.00 ×" and shown["accuracy"] == "98.50 %"
    example = root.all("figure", "example")[0]
    assert example.all("img")[0].attributes["alt"] == "The input: item 0 of held-out.npz, label 7"
    assert "ONNX Runtime 7: 4.25, 1: -0.5" in example.text


def test_legends_stand_before_their_drawings(write: Write, tmp_path: Path) -> None:
    text = built(write(latency=latency_document(), origins=origins_document()), measured(tmp_path))
    assert text.index('class="legend"') < text.index('class="tree"')
    borders = text[text.index('id="borders"') :]
    assert borders.index('class="legend"') < borders.index('class="heat"')
    rewrites = text[text.index('id="rewrites"') :]
    assert rewrites.index('class="gone"') < rewrites.index("<svg")


def test_links_of_the_map_lead_to_rewrites(write: Write) -> None:
    root = read_page(built(write(origins=origins_document())))
    (link,) = root.all("div", "tree")[0].all("a")
    assert link.text == "rectify_fold"
    (target,) = [e for e in root.all() if e.attributes.get("id") == link.attributes["href"].removeprefix("#")]
    assert target.tag == "figure" and "rectify_fold in stage2.3.norm" in target.text


def test_machine_and_settings_of_the_latency(write: Write) -> None:
    root = read_page(built(write(latency=latency_document())))
    assert "WARNING other programs were running" in root.all(cls="warned")[0].text
    facts = {entry.all("dt")[0].text: entry.all("dd")[0].text for entry in root.all("details")[-1].all("div")}
    assert facts["load"] == "before 0.5, 1.25" and facts["gpus"] == "none" and facts["threads"] == "2"


def test_checks_without_a_reference(write: Write) -> None:
    page = read_page(built(write(parity={**parity_document(), "metamorphic": checks_document()})))
    shown = [[cell.text for cell in row] for row in rows(table(page, "Checks without"))]
    assert shown == [
        ["row order", "opt", "bit-equal"],
        ["batch size", "opt", "relative L2 4.5e-08"],
        ["second run", "opt", "not checked: one row"],
        ["rebuilt", "opt", "FAILED logits: off"],
    ]


def test_without_latency_the_page_shows_how_to_measure_it(write: Write) -> None:
    text = read_page(built(write())).text
    assert "Not measured yet." in text
    assert "rectexport bench net --vs torch --source MODEL --out latency.json" in text


def test_given_documents_replace_the_packages(write: Write, tmp_path: Path) -> None:
    times, distances = tmp_path / "times.json", tmp_path / "distances.json"
    times.write_text(json.dumps(latency_document()))
    distances.write_text(json.dumps({**parity_document(), "reference": "another model"}))
    text = read_page(built(write(), Documents(latency=times, parity=distances))).text
    assert "31.2 ms" in text and "agrees with another model" in text


def test_a_package_without_rewrites(write: Write) -> None:
    """A package from before rewrites were recorded."""
    text = read_page(built(write(rewrites=None))).text
    assert "This package has no rewrites.json" in text and "rectify_fold fired 7" in text


def test_failures_are_shown(write: Write) -> None:
    document = parity_document()
    document["passed"] = False
    document["cases"][1]["failures"] = ["logits: relative L2 1.0e-01, allowed 1e-05"]
    document["cases"][1]["layers"][2]["regions"]["corner"]["relative_l2"] = "nan"
    document["cases"][0]["layers"][3]["regions"]["edge"]["relative_l2"] = "inf"
    root = read_page(built(write(parity=document)))
    assert [entry.text for entry in root.all(cls="bad")] == [
        "FAILED onnxruntime CPU disagrees with PyTorch, float64",
        "FAILED min: logits: relative L2 1.0e-01, allowed 1e-05",
    ]
    assert "Farthest off: stage1.2.conv , corner, NaN" in root.text
    assert len(root.all("path", "over")) == 2
    row = rows(table(root, "Relative L2 of each layer"))[3]
    assert row[4].text == "∞"


def test_no_inner_layers(write: Write) -> None:
    text = read_page(built(write(parity=parity_document(layers=0)))).text
    assert "Inner layers were not compared" in text


def test_a_net_of_600_layers_makes_a_small_page(write: Write) -> None:
    manifest, parity = manifest_document(), parity_document(layers=600, shapes=5)
    manifest["passes"][0]["fired"] = [f"node_of_a_layer_with_a_long_name_{index}" for index in range(600)]
    text = built(write(manifest=manifest, parity=parity))
    root = read_page(text)
    assert len(rows(table(root, "Relative L2 of each layer"))) == 60
    assert rows(table(root, "Relative L2 of each layer"))[-1][0].text == "600"  # the worst stays
    assert all(len(drawing.children) < 15 for drawing in root.all("svg"))


@pytest.mark.parametrize("count", [2_000, 20_000])
def test_pages_of_large_networks_stay_small(write: Write, count: int) -> None:
    """Such a map lists modules, and of very many only the upper ones."""
    origins = origins_document()
    node = origins["models"]["model.onnx"]["nodes"][0]
    nodes = [
        {
            **node,
            "outputs": [f"t{index}"],
            "name": f"n{index}",
            "module": f"s{index % 5}.b{index // 5 % 99}.m{index // 2}",
        }
        for index in range(count)
    ]
    origins["models"]["model.onnx"]["nodes"] = nodes
    text = built(write(origins=origins, parity=parity_document(layers=1000, shapes=3)))
    assert len(text.encode()) <= page.MOST_BYTES
    assert "It shows fewer details" in text
    assert next(entry.text for entry in read_page(text).all("div", "tree")[0].all("b")) == "s0"


def test_the_report_is_written_atomically(write: Write, tmp_path: Path) -> None:
    folder, out = write(), tmp_path / "new" / "report.html"
    write_report(Package.open(folder), out)
    assert out.read_text(encoding="utf-8") == built(folder)
    assert [entry.name for entry in out.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["parity.json", "manifest.json", "report.html"])
def test_a_report_inside_a_package_is_refused(write: Write, name: str) -> None:
    folder = write()
    with pytest.raises(UsageError, match=rf"{name}: lies in a package"):
        write_report(Package.open(folder), folder / name)
    Package.open(folder).verify_files()


def test_a_missing_jinja2_is_named(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(MissingDependency, match=r"pip install 'rectexport\[report\]'"):
        write_report(Package.open(write()), tmp_path / "report.html")


@pytest.mark.parametrize("kind", ["parity", "rewrites", "latency"])
@pytest.mark.parametrize("broken", [[], 7, {}, {"cases": 1}, {"contestants": [{}]}, {"nodes": {"before": []}}])
def test_malformed_documents_are_refused(write: Write, kind: str, broken: Any) -> None:
    with pytest.raises(BadInput, match=rf"{kind}\.json: expected"):
        built(write(**{kind: broken}))


@pytest.mark.parametrize("field", ["passes", "versions", "seconds", "options"])
@pytest.mark.parametrize("broken", [7, [1], "text"])
def test_malformed_manifests_are_refused(write: Write, field: str, broken: Any) -> None:
    with pytest.raises(BadInput, match=r"manifest\.json: expected"):
        built(write(manifest={**manifest_document(), field: broken}))


def test_documents_that_are_not_json_are_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[" * 100_000)
    for given in (tmp_path / "bad.json", tmp_path / "none.json"):
        with pytest.raises(BadInput, match=given.name):
            built(write(name=given.stem), Documents(parity=given))


def test_rewrites_fit_their_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = ROOT / "runtime" / "package" / "rewrites.schema.json"
    jsonschema.validate(rewrites_document(), json.loads(schema.read_text(encoding="utf-8")))


def test_plans_are_listed_with_their_trtexec_commands(write: Write) -> None:
    """Each plan is named with the command that builds the same; a package without one has no such heading."""
    assert "TensorRT engines" not in built(write())
    root = read_page(built(write("planned", manifest={**manifest_document(), "plans": [plan_document()]})))
    assert "TensorRT engines" in [heading.text for heading in root.all("h3")]
    text = root.all("body")[0].text
    assert "net-a10-fp16.plan: NVIDIA A10, TensorRT 10.13.0, fp16." in text
    assert "trtexec --onnx=model.onnx --fp16" in [block.text for block in root.all("pre")]


@pytest.mark.parametrize("plans", [5, "plan", [5], [{}], {"file": "a.plan"}])
def test_malformed_plan_entries_do_not_break_the_page(write: Write, plans: object) -> None:
    """The page shows the fields that it can read, without an error."""
    assert "<h1>net</h1>" in built(write(manifest={**manifest_document(), "plans": plans}))


def test_a_pipe_in_place_of_a_document_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for read in (read_latency, read_parity, read_rewrites):
        with pytest.raises(BadInput, match=r"pipe\.json: is a pipe"):
            read(tmp_path / "pipe.json")
