"""The entry point: which command runs, the overview, and that every error becomes one line and an exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import typer

import rectexport
from rectexport.cli import group, main
from rectexport.cli.command import EXIT_CODES, Command

Runs = Any
VERDICT = r"FAILED after \d+\.\d s · again: rectexport net\.pt"
PANELS = {
    "Make a package": ["export", "optimize", "tune", "build", "sign", "keygen", "models"],
    "Check": ["verify", "parity", "eval", "doctor"],
    "Serve": ["run", "serve", "triton", "ray-config"],
    "Look": ["report", "bench", "profile"],
}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Commands do not run; their module, words and flags are recorded."""
    calls: list[Any] = []

    def load(module: str) -> SimpleNamespace:
        app = typer.Typer(add_completion=False)

        @app.command(cls=Command, name=module.rpartition(".")[2].replace("_", "-"))
        def stand_in(
            context: typer.Context,
            words: Annotated[list[str], typer.Argument()],
            fp16: Annotated[bool, typer.Option("--fp16")] = False,
            out: Annotated[str, typer.Option("-o")] = "",
        ) -> None:
            calls.append((module, context.obj, words, fp16, out))

        return SimpleNamespace(app=app)

    monkeypatch.setattr(group, "import_module", load)
    return calls


def run(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    "words",
    [["net.pt", "-o", "out", "--fp16"], ["--fp16", "-o", "out", "net.pt"], ["--fp16", "net.pt", "-oout"]],
)
@pytest.mark.parametrize("long", [[], ["export"]])
def test_a_model_is_exported_with_or_without_the_command(called: list[Any], words: list[str], long: list[str]) -> None:
    assert run([*long, *words]) == 0
    assert called == [("rectexport.cli.commands.export", words, ["net.pt"], True, "out")]


def test_a_command_gets_its_own_words(called: list[Any]) -> None:
    assert run(["ray-config", "out", "export"]) == 0
    assert called == [("rectexport.cli.commands.ray_config", ["out", "export"], ["out", "export"], False, "")]


def test_words_come_from_the_command_line(called: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/rectexport", "net.pt", "--fp16"])
    with pytest.raises(SystemExit):
        main.main()
    assert called[0][1] == ["net.pt", "--fp16"]


@pytest.mark.parametrize("words", [["verfy", "out/net"], ["optimise", "net.onnx", "-o", "fast.onnx", "--json"]])
def test_a_misspelled_command_is_suggested(
    called: list[Any], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2 and not called
    printed = capsys.readouterr()
    assert f"{words[0]}: neither a command nor a file; did you mean rectexport " in printed.err
    assert ("--json" in words) == bool(printed.out)
    if printed.out:
        assert json.loads(printed.out)["kind"] == "UsageError"


def test_a_model_may_have_a_name_like_a_command(
    called: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("exports").touch()
    for word in ("exports", "report.pt", "model.onnx"):
        assert run([word]) == 0
    assert len(called) == 3


# The overview.


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_overview_shows_every_command_in_its_panel(command: Runs, words: list[str]) -> None:
    ran = command(*words)
    assert (ran.code, ran.err) == (0, "")
    panels = dict(re.findall(r"╭─ ([\w ]+?) ─+╮\n(.*?)╰", ran.out, re.DOTALL))
    shown = {name: re.findall(r"^│ ([\w-]+) ", panels[name], re.MULTILINE) for name in PANELS}
    assert shown == PANELS and list(panels) == ["Options", *PANELS]
    assert {name for names in PANELS.values() for name in names} == main.COMMANDS.keys()
    assert max(map(len, ran.out.splitlines())) == 80 and "<bool>" not in ran.out


def test_the_overview_loads_no_command(command: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "import_module", lambda module: pytest.fail(f"{module} was imported"))
    assert command("--help").code == 0


def test_the_overview_lists_all_exit_codes(command: Runs) -> None:
    text = " ".join(command("--help").out.split())
    assert text.endswith(EXIT_CODES.replace("*", ""))
    assert [int(code) for code in re.findall(r"(?:·|:) (\d) ", text)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help(command: Runs, name: str, flag: str) -> None:
    ran = command(name, flag)
    assert (ran.code, ran.err) == (0, "") and f"rectexport {name}" in ran.out


@pytest.mark.parametrize("name", sorted(main.COMMANDS.keys() - {"models"}))
def test_every_page_ends_with_the_exit_codes_and_is_not_cut(command: Runs, name: str) -> None:
    page = command(name, "--help").out
    assert " ".join(page.split()).endswith(EXIT_CODES.replace("*", ""))
    assert "…" not in page and max(map(len, page.splitlines())) == 80


# Errors.


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyError("x"), 1, "error: internal error, please report it: KeyError: 'x' (RECTEXPORT_DEBUG=1 shows"),
        (KeyboardInterrupt(), 130, "error: interrupted; nothing was written"),
        (rectexport.RectexportError("bad"), 1, "error: bad"),
    ],
)
def test_an_error_while_a_command_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    def fail(module: str) -> None:
        raise error

    monkeypatch.delenv("RECTEXPORT_DEBUG", raising=False)
    monkeypatch.setattr(group, "import_module", fail)
    assert run(["net.pt"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    line, verdict = printed.err.splitlines()
    assert line.startswith(text) and re.fullmatch(VERDICT, verdict)


BUG = """
import sys
from rectexport.cli import main
from rectexport.cli.commands import export
def bug(progress, *_):
    progress.started("load")
    return len(None)
export._run = bug
main.main(["net.pt"])
"""


@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_bug_shows_its_traceback_only_with_debug(tmp_path: Path, debug: str) -> None:
    """In a process of its own: typer's handling of exceptions ends the interpreter."""
    ran = subprocess.run(
        [sys.executable, "-c", BUG],
        cwd=tmp_path,
        env={**os.environ, "RECTEXPORT_DEBUG": debug, "COLUMNS": "80", "TERM": "dumb"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert ran.stdout == ""
    text = "object of type 'NoneType' has no len()"
    if debug == "1":
        assert ran.stderr.startswith("Traceback (most recent call last)")
        assert ran.stderr.splitlines()[-1] == f"TypeError: {text}"
    else:
        line, verdict = ran.stderr.splitlines()
        hint = "(RECTEXPORT_DEBUG=1 shows the traceback)"
        assert line == f"error: internal error, please report it: TypeError: {text} {hint}"
        assert re.fullmatch(VERDICT, verdict)


INSTALLED = [[sys.executable, "-m", "rectexport"], [f"{Path(sys.executable).parent}/rectexport"]]


@pytest.mark.parametrize("program", INSTALLED, ids=["module", "script"])
def test_the_installed_command_answers_and_sets_the_exit_code(tmp_path: Path, program: list[str]) -> None:
    ran = subprocess.run([*program, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"rectexport {rectexport.__version__}\n", "")
    ran = subprocess.run([*program, "verfy"], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "") and "did you mean rectexport verify?" in ran.stderr


# Completion in a shell.


def completed(words: str, folder: Path) -> list[str]:
    """The completions of the last word in bash."""
    environment = {
        **os.environ,
        "_RECTEXPORT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    ran = subprocess.run(INSTALLED[1], cwd=folder, env=environment, capture_output=True, text=True)
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("rectexport ver", {"verify"}),
        ("rectexport verify --ba", {"--backend"}),
        ("rectexport net.pt --rectify", {"--rectify", "--rectify-model"}),
    ],
)
def test_a_shell_completes_commands_and_flags(tmp_path: Path, words: str, expected: set[str]) -> None:
    assert set(completed(words, tmp_path)) == expected


def test_completion_can_be_installed(command: Runs) -> None:
    page = command("--help").out
    assert "--install-completion" in page and "--show-completion" in page
