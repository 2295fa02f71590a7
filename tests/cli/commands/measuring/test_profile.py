"""`rectexport profile` on the command line: tables, documents, limits and exit codes; with a made-up engine."""

from __future__ import annotations

import json
from functools import partial

import pytest

from rectexport.cli.commands.measuring import profile as command_module
from rectexport.cli.profile.limit import memory_limit, size_of
from rectexport.runtime.errors import UsageError
from rectexport.runtime.profiling import profile as library
from rectexport.runtime.profiling.roofline import Peaks
from rectexport.runtime.profiling.sampled import EngineLayer, Sampled


@pytest.fixture(scope="module")
def package(command, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("package") / "net"
    assert command(tiny, "-o", folder, "--input", "x:2x1x8x8").code == 0
    return folder


@pytest.fixture
def engine(monkeypatch):
    """A made-up engine: milliseconds of its layers by package, and bytes in its phases."""
    times = {"net": (4.0, 1.0)}
    memory = {"net": 100_000_000}

    def asked(program, spec):
        name = spec["package"].rpartition("/")[2]
        if spec.get("phases"):
            return {"phases": {"load": memory[name] // 2, "run": memory[name]}, "description": "an engine"}
        layers = [
            EngineLayer(node, kind, (node,), value / 1e3, inputs=(128,), outputs=(512,), traffic=3000)
            for node, kind, value in zip(("conv", "pool"), ("Conv", "GlobalAveragePool"), times[name], strict=True)
        ]
        return Sampled("an engine", 3, 6e-3, layers, {}, 1000).as_dict()

    monkeypatch.setattr(command_module, "profile", partial(library.profile, asked=asked))
    monkeypatch.setattr(library, "host_peaks", lambda threads: Peaks(1e9, 1e9))
    return times, memory


def test_tables_and_shares(command, package, engine):
    done = command("profile", package)
    assert done.code == 0, done.err
    assert (
        "83.3% of the time is tied to ONNX nodes, 0.0% in reorders, 0.0% between layers; the rest: framework 16.7%"
        in done.out
    )
    assert "conv" in done.out and "66.7%" in done.out and "overhead" in done.out
    assert "load 50.0 MB, run 100.0 MB" in done.out


def test_the_document_the_trace_and_the_icicle(command, package, engine, folder):
    done = command("profile", package, "--json", "-o", "p.json", "--trace", "t.json")
    document = json.loads(done.out)
    assert done.code == 0 and document["passed"]
    assert json.loads((folder / "p.json").read_text())["layers"] == document["layers"]
    assert {layer["name"]: layer["ms"] for layer in document["layers"]} == pytest.approx({"conv": 4.0, "pool": 1.0})
    assert any(event["name"] == "conv" for event in json.loads((folder / "t.json").read_text())["traceEvents"])
    assert command("report", package, "--layer-times", "p.json", "-o", "r.html").code == 0
    page = (folder / "r.html").read_text()
    assert 'class="icicle"' in page and "conv: 4.00 ms" in page and "Where the time goes" in page


def test_against_another_package_and_its_memory(command, package, engine, folder):
    times, memory = engine
    other = folder / "other"
    (folder / "other").symlink_to(package)
    times["other"], memory["other"] = (1.0, 1.0), 80_000_000
    done = command("profile", package, "--against", other, "--fail-if-more", "30%")
    assert done.code == 0 and "+3" in done.out
    done = command("profile", package, "--against", other, "--fail-if-more", "20%", "--json")
    assert done.code == 4 and not json.loads(done.out)["passed"]
    assert "more memory than allowed: run: 100.0 MB resident, +25.0% of" in done.err
    done = command("profile", package, "--fail-if-more", "90M")
    assert done.code == 4 and "run: 100.0 MB resident, more than 90M" in done.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--fail-if-more", "5%"], "--fail-if-more 5%: a share needs a package to compare with; add --against"),
        (["--fail-if-more", "much"], "--fail-if-more 'much': expected a size, as in 500M, 1.5G or 300MiB"),
        (["--backend", "cuda"], "--backend cuda: it reports no times of layers"),
        (["--trace", "a.json", "-o", "a.json"], "are one file; give two"),
    ],
)
def test_wrong_usage(command, package, words, expected, folder):
    done = command("profile", package, *words)
    assert done.code == 2 and expected in done.err, done.err
    assert not list(folder.iterdir())


def test_files_do_not_go_into_the_package(command, package):
    done = command("profile", package, "--trace", package / "t.json")
    assert done.code == 2 and "lies in a package" in done.err and not (package / "t.json").exists()


def test_sizes():
    assert [size_of(text, "--memory") for text in ("500M", "1.5GB", "2MiB", "7")] == [5 * 10**8, 15 * 10**8, 2 << 20, 7]
    assert memory_limit("5%", True).share == 0.05
    with pytest.raises(UsageError, match="--memory"):
        size_of("-1", "--memory")
