"""The entry point: which command runs, and that no error gets past it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rectexport
from rectexport.cli import main
from rectexport.cli.commands import export


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Commands are not run but noted: module, words, name."""
    calls: list[Any] = []

    def load(module: str) -> SimpleNamespace:
        return SimpleNamespace(app=lambda args, prog_name, obj: calls.append((module, args, prog_name, obj)))

    monkeypatch.setattr(main, "import_module", load)
    return calls


@pytest.mark.parametrize("words", [["net.pt", "-o", "out"], ["--help"], [], ["net.pt", "export"]])
def test_anything_but_a_command_is_a_model(called: list[Any], words: list[str]) -> None:
    main.main(words)
    assert called == [("rectexport.cli.commands.export", words, "rectexport", words)]


def test_export_may_be_named(called: list[Any]) -> None:
    main.main(("export", "net.pt"))
    assert called == [("rectexport.cli.commands.export", ["net.pt"], "rectexport", ["net.pt"])]


def test_other_commands_are_named(called: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main.COMMANDS, "verify", "somewhere.verify")
    main.main(["verify", "out"])
    assert called == [("somewhere.verify", ["out"], "rectexport verify", ["out"])]


def test_words_come_from_the_command_line(called: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/rectexport", "net.pt", "--fp16"])
    main.main()
    assert called[0][1] == ["net.pt", "--fp16"]
    main.main([])
    assert called[1][1] == []


@pytest.mark.parametrize("words", [["verfy", "out/net"], ["optimise", "net.onnx", "-o", "fast.onnx", "--json"]])
def test_a_slip_in_a_command_is_said(called: list[Any], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    assert ended.value.code == 2 and not called
    said = capsys.readouterr()
    assert f"{words[0]}: neither a command nor a file; did you mean rectexport " in said.err
    assert ("--json" in words) == bool(said.out)
    if said.out:
        assert json.loads(said.out)["kind"] == "UsageError"


def test_a_model_may_be_called_nearly_as_a_command_is(
    called: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("exports").touch()
    for words in (["exports"], ["report.pt"], ["model.onnx"], ["--verify"]):
        main.main(words)
    assert len(called) == 4


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_has_help(command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([command, "--help"])
    assert not ended.value.code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyError("x"), 1, "error: internal error, please report it: KeyError: 'x' (RECTEXPORT_DEBUG=1 shows"),
        (KeyboardInterrupt(), 130, "error: interrupted; nothing was written"),
        (rectexport.RectexportError("bad"), 1, "error: bad"),
    ],
)
def test_an_error_before_the_command_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    def fail(module: str) -> None:
        raise error

    monkeypatch.delenv("RECTEXPORT_DEBUG", raising=False)
    monkeypatch.setattr(main, "import_module", fail)
    with pytest.raises(SystemExit) as ended:
        main.main(["net.pt"])
    assert ended.value.code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(said) and printed.err.count("\n") == 1
    monkeypatch.setenv("RECTEXPORT_DEBUG", "1")
    with pytest.raises(type(error)):
        main.main(["net.pt"])


BUG = """
import sys
from rectexport.cli import export, main
def bug(progress, *_):
    progress.started("load")
    return len(None)
export._run = bug
main.main(["net.pt"])
"""


@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_bug_shows_its_traceback_only_when_asked(tmp_path: Path, debug: str) -> None:
    """In an interpreter of its own: what typer does with exceptions ends with the interpreter."""
    ran = subprocess.run(
        [sys.executable, "-c", BUG],
        cwd=tmp_path,
        env={**os.environ, "RECTEXPORT_DEBUG": debug, "COLUMNS": "80", "TERM": "dumb"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert ran.stdout == ""
    said = "object of type 'NoneType' has no len()"
    if debug == "1":
        assert ran.stderr.startswith("Traceback (most recent call last)")
        assert ran.stderr.splitlines()[-1] == f"TypeError: {said}"
    else:
        assert ran.stderr.splitlines() == [
            f"error: internal error, please report it: TypeError: {said} (RECTEXPORT_DEBUG=1 shows the traceback)",
            "FAILED after 0.0 s · again: rectexport net.pt",
        ]


@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "rectexport"], [f"{Path(sys.executable).parent}/rectexport"]]
)
def test_the_installed_command_answers(tmp_path: Path, command: list[str]) -> None:
    ran = subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"rectexport {rectexport.__version__}\n", "")


def test_the_command_itself_is_the_exports(called: list[Any]) -> None:
    assert main.COMMANDS["export"] == export.__name__


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["--help"])
    told = capsys.readouterr().out.partition("Other commands")[2].partition("Exit codes")[0]
    assert [command for command in main.COMMANDS if command != "export" and f"{command} " not in told] == []
