"""Runs the commands and programs of a document as they are written, from top to bottom, in one folder.

- A `python` block that begins with a comment `# name.py` is saved under that name; any other is run.
- A `sh` block is run command by command; a command may go over several lines. One that ends with ` &` goes on in the
  background until the page ends; `kill %1` ends it before that.
- A block marked `sh fails` holds commands that must fail with an error of ours, not a traceback.
- A `text` block is output or a form to fill in. Any other language is refused.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.places import ROOT

_BLOCK = re.compile(r"^```([\w-]*)( fails)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = {"text", "json", "yaml"}
#: Longest that one command may take, in seconds.
LONGEST = 900


@dataclass(frozen=True)
class Step:
    """A command, a program, or a file to save, with the line of the document that it stands on."""

    kind: str
    text: str
    line: int
    fails: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.text.strip()}"


def steps(document: str) -> list[Step]:
    """What a document has its reader type."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found: list[Step] = []
    for match in _BLOCK.finditer(text):
        line = text[: match.start()].count("\n") + 2
        language, fails, body = match[1], bool(match[2]), match[3]
        if language == "python":
            found.append(Step("file" if re.match(r"# \w+\.py\n", body) else "python", body, line))
        elif language == "sh":
            found += [Step("sh", command, line + offset, fails) for offset, command in commands(body)]
        elif language not in SHOWN:
            raise AssertionError(
                f"{document}:{line - 1}: a block of {language or 'no language'}: say sh, python or text"
            )
    return found


def commands(block: str) -> Iterator[tuple[int, str]]:
    """The commands of a shell block and their lines in it; quotes and backslashes carry one over several lines."""
    begun, first = "", 0
    for number, line in enumerate(block.splitlines()):
        first = first if begun else number
        line = re.sub(r"(^|\s)\s*# .*$", "", line)
        begun += line + "\n"
        if line.endswith("\\") or _open(begun):
            continue
        command = begun.strip()
        begun = ""
        if command:
            yield first, command
    assert not begun, f"a command does not end: {begun}"


def _open(text: str) -> bool:
    """Whether a quotation in a command is not closed yet."""
    try:
        shlex.split(text)
    except ValueError:
        return True
    return False


class Reader:
    """Someone who types what a document says into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
        self._environment = {
            **os.environ,
            "PATH": f"{self._tools()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "COLUMNS": "120",
        }
        self._background: list[subprocess.Popen[bytes]] = []

    def _tools(self) -> Path:
        """A folder with `rectexport` and `python` of this environment, running the code under test."""
        tools = self._folder / ".tools"
        tools.mkdir(exist_ok=True)
        for name, words in (("python", ""), ("rectexport", "-m rectexport ")):
            path = tools / name
            path.write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n', encoding="utf-8")
            path.chmod(0o755)
        return tools

    def follow(self, step: Step) -> None:
        """Do one step, and fail if it does not do what the document says."""
        if step.kind == "file":
            name = step.text.partition("\n")[0].removeprefix("# ")
            (self._folder / name).write_text(step.text, encoding="utf-8")
        elif step.text.endswith(" &"):
            self._begin(step)
        elif step.text.startswith("kill %"):
            self.end()
        else:
            self._run(step)

    def _run(self, step: Step) -> None:
        program = ["sh", "-ec", step.text] if step.kind == "sh" else [sys.executable, "-c", step.text]
        done = subprocess.run(
            program,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        said = f"{step}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        if step.fails:
            assert done.returncode in (1, 2, 3, 4, 5) and "error: " in done.stderr, f"did not fail as it should: {said}"
        else:
            assert done.returncode == 0, said

    def _begin(self, step: Step) -> None:
        # A group of its own, so that a server ends with its workers.
        program = ["sh", "-ec", step.text.removesuffix("&")]
        log = (self._folder / ".background.log").open("ab")
        self._background.append(
            subprocess.Popen(
                program, cwd=self._folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        )

    def end(self) -> None:
        """End what runs in the background, which must still run."""
        ended = [process.args for process in self._background if process.poll() is not None]
        for process in self._background:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(60)
        self._background.clear()
        log = self._folder / ".background.log"
        assert not ended, f"{ended} ended too early:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}"
