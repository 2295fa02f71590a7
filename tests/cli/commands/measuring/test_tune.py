"""`rectexport tune` on the command line: tables, the package, exit codes; proofs and races are made up."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest

from rectexport.cli.tune.flags import counts, duration, words
from rectexport.exporter.tuning import tune as library
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.folder import TUNING, Package
from rectexport.runtime.timing.stopwatch import Timing
from rectexport.runtime.tuning.search import Search


@pytest.fixture
def engine(monkeypatch):
    """Seconds of candidates by a part of their names; 10 MB of memory each."""
    seconds = {}

    def stopwatch(contestants, how):
        found = {}
        for entry in contestants:
            value = next((value for part, value in seconds.items() if part in entry.name), 0.01)
            times = [value] * (3 * how.launches)
            found[entry.name] = Timing(tuple(times), tuple(index // 3 for index in range(len(times))), tuple(times))
        return found

    answer = {"snr": 120.0, "memory": 10_000_000, "description": "an engine"}
    fake = partial(Search, asked=lambda program, spec: answer, stopwatch=stopwatch)
    monkeypatch.setattr(library, "Search", fake)
    return seconds


WORDS = ("--input", "x:1x1x8x8", "--backends", "onnxruntime", "--threads", "1,2")


def test_the_answer_is_a_package_a_table_and_a_command(command, tiny, folder, engine):
    engine["2 threads"] = 0.004
    done = command("tune", tiny, *WORDS, "-o", "tuned")
    assert done.code == 0, done.err
    assert "2 candidates: fp32; onnxruntime; threads 1,2; streams 1; batch 1" in done.out
    assert "chosen: fp32, onnxruntime, 2 threads, batch 1: it is the fastest" in done.out
    assert "rectexport.load('tuned', backend='onnxruntime', threads=2)" in done.out
    package = Package.open(folder / "tuned")
    package.verify_files()
    assert command("report", "tuned", "-o", "r.html").code == 0
    page = (folder / "r.html").read_text()
    assert 'class="pareto"' in page and "How it was chosen" in page and "2.50 × the fastest" in page
    document = json.loads((package.path / TUNING).read_text())
    assert document["command"][:2] == ["rectexport", "tune"] and str(tiny) in document["command"]


def test_the_document_has_every_candidate(command, tiny, folder, engine):
    done = command("tune", tiny, *WORDS, "--json", "--goal", "throughput", "--batch", "1,8")
    document = json.loads(done.out)
    assert done.code == 0 and document["passed"] and document["package"] == "out/tiny-tuned"
    assert len(document["candidates"]) == 4 and document["chosen"].endswith("batch 8")


def test_an_interrupted_search_goes_on(command, tiny, folder, engine, monkeypatch):
    asked, fake = [], library.Search

    def interrupting(contestants, how):
        raise KeyboardInterrupt

    def proving(program, spec):
        asked.append(spec["threads"])
        return {"snr": 120.0, "memory": 10_000_000, "description": "an engine"}

    monkeypatch.setattr(library, "Search", partial(fake, asked=proving, stopwatch=interrupting))
    done = command("tune", tiny, *WORDS, "-o", "tuned")
    assert done.code == 130 and "error: interrupted; no package was written, and the same command goes on" in done.err
    assert asked == [1, 2] and [path.name for path in folder.iterdir()] == ["tuned.tuning"]
    monkeypatch.setattr(library, "Search", partial(fake, asked=proving))
    done = command("tune", tiny, *WORDS, "-o", "tuned")
    assert done.code == 0 and asked == [1, 2] and "passes" not in done.out
    assert [path.name for path in folder.iterdir()] == ["tuned"]


def test_bounds_that_nothing_keeps(command, tiny, folder, engine):
    done = command("tune", tiny, *WORDS, "--memory", "5M", "-o", "tuned", "-v")
    assert done.code == 4 and "no candidate keeps the bounds" in done.err + done.out
    assert "10 MB resident, more than 5 MB" in done.out
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--time", "soon"], "--time 'soon': expected a time, as in 5ms, 90s or 10m"),
        (["--threads", "0"], "--threads '0': expected numbers in 1..65536"),
        (["--max-drop", "nan"], "--max-drop nan: expected a finite number, 0 or more"),
        (["--memory", "9" * 400], "expected a size, as in 500M, 1.5G or 300MiB"),
        (["--max-drop", "0.2"], "--max-drop 0.2: needs labelled data; give --data"),
        (["--precisions", "int8"], "--precisions int8: needs data to calibrate on; give --calibrate"),
        (["--backends", "torch"], "--backends torch: expected some of openvino, onnxruntime, cuda, tensorrt"),
        (["--layouts", "nhwc"], "--layouts nhwc: expected some of auto, plain"),
        (["--cuda-graphs", "yes"], "--cuda-graphs yes: expected some of off, on"),
    ],
)
def test_wrong_usage(command, tiny, folder, flags, said):
    done = command("tune", tiny, *flags)
    assert done.code == 2 and said in done.err, done.err
    assert not list(folder.iterdir())


@pytest.mark.parametrize("out", ["/", ".", "..", "kept", "file", "package/inside"])
def test_an_output_that_cannot_be_replaced_is_refused_before_the_search(command, tiny, folder, out):
    (folder / "kept").mkdir()
    (folder / "kept" / "dear").write_text("dear")
    (folder / "file").write_text("dear")
    assert command(tiny, "--input", "x:1x1x8x8", "-o", "package").code == 0
    before = sorted(folder.rglob("*"))
    done = command("tune", tiny, *WORDS, "-o", out)
    assert done.code in (1, 2) and f"{out}: " in done.err and "prove" not in done.out
    assert sorted(folder.rglob("*")) == before


def test_the_layouts_are_named_and_in_the_line_that_loads_the_answer(command, tiny, folder, engine):
    engine["plain layout"] = 0.004
    done = command("tune", tiny, *WORDS, "--layouts", "auto,plain", "-o", "tuned")
    assert done.code == 0, done.err
    assert "4 candidates: fp32; onnxruntime; threads 1,2; streams 1; batch 1; layout auto,plain\n" in done.out
    assert "rectexport.load('tuned', backend='onnxruntime', threads=1, layout='plain')" in done.out


def test_an_engine_that_is_not_here_is_left_out_in_one_line(command, tiny, folder, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    done = command("tune", tiny, "--input", "x:1x1x8x8", "-o", "tuned")
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("tensorrt is left out: ")]
    assert "TensorRT cannot be imported here" in line
    document = json.loads((folder / "tuned" / TUNING).read_text())
    assert document["left_out"]["tensorrt"] in line
    done = command("tune", tiny, *WORDS, "--backends", "tensorrt", "-o", "other")
    assert done.code == 5 and "backend tensorrt: TensorRT cannot be imported here" in done.err


def test_a_missing_model(command, folder):
    done = command("tune", "nothing.pt")
    assert done.code == 1 and "nothing.pt" in done.err
    assert not list(folder.iterdir())
    assert command("tune").code == 2


def test_durations_and_lists():
    assert [duration(text, "--time") for text in ("5ms", "90s", "10m", "1.5h")] == [0.005, 90, 600, 5400]
    assert counts("1,8", "--batch") == (1, 8) and counts(None, "--batch") == ()
    assert words("openvino, onnxruntime") == ("openvino", "onnxruntime")
    for text in ("0s", "9" * 400 + "s"):
        with pytest.raises(UsageError, match=f"--time '{text}'"):
            duration(text, "--time")
