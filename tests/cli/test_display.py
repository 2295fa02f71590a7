"""Progress with a spinner, and the tables of an export."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from rectexport.cli.display import Progress, show_parity
from rectexport.exporter.checking.parity import CaseReport, LayerReport, ParityReport
from rectexport.exporter.checking.tolerance import Tolerance
from rectexport.runtime.base.metrics import Difference

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    shown = Console(file=stream, width=80, highlight=False, force_terminal=terminal, color_system=None, _environ={})
    return shown, stream


def test_a_step_is_shown_with_its_time_and_its_lines() -> None:
    shown, stream = console()
    progress = Progress(shown)
    for step, seconds in (("load", 0.014), ("trace", 123.4)):
        progress.started(step)
        progress.said(f"{step} one")
        progress.said(f"{step} two")
        progress.finished(step, seconds)
    assert stream.getvalue().splitlines() == [
        "load         0.01 s",
        "  load one",
        "  load two",
        "trace      123.40 s",
        "  trace one",
        "  trace two",
    ]


@pytest.mark.parametrize(("verbose", "lines"), [(False, []), (True, ["  batch_norm: fired 1"])])
def test_details_are_shown_with_verbose_only(verbose: bool, lines: list[str]) -> None:
    shown, stream = console()
    progress = Progress(shown, verbose)
    progress.started("passes")
    progress.detailed("batch_norm: fired 1")
    progress.said("12 passes")
    progress.finished("passes", 1.0)
    assert stream.getvalue().splitlines() == ["passes       1.00 s", *lines, "  12 passes"]


def written_within(stream: io.StringIO, text: str, seconds: float = 10.0) -> bool:
    """The spinner turns in a thread of its own."""
    deadline = time.monotonic() + seconds
    while text not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    return text in stream.getvalue()


def test_a_terminal_gets_a_spinner_that_names_the_current_work() -> None:
    shown, stream = console(terminal=True)
    with Progress(shown) as progress:
        progress.started("trace")
        assert written_within(stream, "trace …")
        progress.said("converting")
        assert written_within(stream, "converting")
        assert SHOW not in stream.getvalue()
        progress.finished("trace", 1.0)
        assert stream.getvalue().rpartition(HIDE)[2].count(SHOW) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_cursor_is_shown_again_after_an_error(error: type[BaseException]) -> None:
    shown, stream = console(terminal=True)

    def fail() -> None:
        with Progress(shown) as progress:
            progress.started("trace")
            progress.said("half")
            raise error

    with pytest.raises(error):
        fail()
    written = stream.getvalue()
    assert 0 <= written.rfind(HIDE) < written.rfind(SHOW)


@pytest.mark.parametrize("text", ["[/x].pt: checkpoint", "[bold]a[/bold]", "a[", ":smile:", "x" * 200, "a b " * 50])
@pytest.mark.parametrize("terminal", [True, False])
def test_lines_are_shown_as_they_are(text: str, terminal: bool) -> None:
    """No markup, and not broken over lines: they hold paths."""
    shown, stream = console(terminal)
    with Progress(shown) as progress:
        progress.started(text)
        progress.said(text)
        progress.finished("load", 1.0)
    assert f"  {text.rstrip()}" in [line.rstrip() for line in stream.getvalue().splitlines()]


def difference(relative: float, top1: float | None = None) -> Difference:
    return Difference(relative * 10, relative, 1 - relative, top1)


def layer(name: str, **regions: float) -> LayerReport:
    return LayerReport(f"{name}_out", name, difference(0.5), {key: difference(at) for key, at in regions.items()})


def report(*cases: CaseReport) -> ParityReport:
    return ParityReport("PyTorch, float64", Tolerance(1e-5), list(cases))


def rows(stream: io.StringIO) -> list[list[str]]:
    """The tables' cells, a list a row; other lines are a single cell."""
    return [[cell.strip() for cell in line.strip("│┃").split("│")] for line in stream.getvalue().splitlines()]


def test_outputs_are_shown_by_case() -> None:
    shown, stream = console()
    one = CaseReport("opt", {"x": (2, 1, 8, 8)}, {"logits": difference(1e-7, 0.9983), "boxes": difference(2e-7)})
    two = CaseReport("odd", {"x": (3, 1, 9, 7), "scale": (3,)}, {"logits": difference(0.0, 1.0)})
    show_parity(shown, report(one, two))
    found = rows(stream)
    assert found[0] == ["Parity with PyTorch, float64"]
    assert ["opt 2x1x8x8", "logits", "1.0e-06", "1.0e-07", "0.999999900", "99.83%"] in found
    assert ["opt 2x1x8x8", "boxes", "2.0e-06", "2.0e-07", "0.999999800", ""] in found
    assert ["odd 3x1x9x7, 3", "logits", "0.0e+00", "0.0e+00", "1.000000000", "100.00%"] in found
    assert all(len(line) <= 80 for line in stream.getvalue().splitlines())


def test_the_worst_layer_of_each_region_is_named() -> None:
    shown, stream = console()
    first = CaseReport("opt", {}, {}, [layer("a", corner=1e-7, edge=3e-7, interior=1e-7), layer("b", corner=9e-7)])
    second = CaseReport("max", {}, {}, [layer("c[0]", edge=4e-7), layer("d", corner=2e-7)])
    show_parity(shown, report(first, second))
    found = rows(stream)
    assert ["By region, worst of 4 inner tensors"] in found
    assert found[-4:-1] == [
        ["corner", "9.0e-06", "9.0e-07", "b"],
        ["edge", "4.0e-06", "4.0e-07", "c[0]"],
        ["interior", "1.0e-06", "1.0e-07", "a"],
    ]


def test_long_names_are_not_cut() -> None:
    shown, stream = console()
    name = "".join(f"block{number}." for number in range(20))
    case = CaseReport("opt", {"x": (2, 1, 8, 8)}, {name: difference(1e-7)}, [layer(name, corner=1e-7)])
    show_parity(shown, report(case))
    for column, width in ((1, 6), (3, 4)):
        assert name in "".join(row[column] for row in rows(stream) if len(row) == width)
    assert all(len(line) <= 80 for line in stream.getvalue().splitlines())


def test_absent_regions_are_left_out() -> None:
    shown, stream = console()
    show_parity(shown, report(CaseReport("opt", {}, {}, [layer("a", corner=1e-7)])))
    shown_regions: list[Any] = [row[0] for row in rows(stream) if len(row) == 4]
    assert shown_regions == ["corner"]


def test_a_model_without_inner_layers_says_so() -> None:
    shown, stream = console()
    show_parity(shown, report(CaseReport("opt", {"x": (1,)}, {"y": difference(0.0)})))
    assert "Inner layers were not compared: this kind of model does not name them." in stream.getvalue()
    assert "By region" not in stream.getvalue()
