"""Log lines are JSON objects without the content of messages."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from rectexport.runtime.serving.log import LibraryLines, Log


def test_an_event_is_one_line_of_json_with_the_time_in_utc() -> None:
    stream = io.StringIO()
    Log(stream).event("loaded", model="net\n", seconds=1.5)
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"event": "loaded", "model": "net\n", "seconds": 1.5}


def test_library_warnings_show_the_template_and_the_kind_of_error_but_no_content() -> None:
    stream = io.StringIO()
    handler = LibraryLines(Log(stream))
    try:
        raise ValueError("secret")
    except ValueError:
        error = sys.exc_info()
    handler.handle(logging.LogRecord("uvicorn", logging.ERROR, "", 1, "failed for %s", ("secret",), error))
    found = json.loads(stream.getvalue())
    assert (found["source"], found["level"]) == ("uvicorn", "ERROR")
    assert (found["text"], found["error"]) == ("failed for %s", "ValueError")
    assert "secret" not in stream.getvalue()


def test_a_line_that_cannot_be_written_is_counted_and_told_with_the_next(tmp_path: Path) -> None:
    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    stream = Full()
    log = Log(stream)
    log.event("one")
    log.event("two")
    stream.full = False
    log.event("three")
    log.event("four")
    three, four = map(json.loads, stream.getvalue().splitlines())
    assert log.dropped == 2 and three["dropped"] == 2 and "dropped" not in four


def test_nothing_raises_or_waits_whatever_stderr_is(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        log = Log(full)
        log.event("lost")
        assert log.dropped == 1
    log.event("closed")
    assert log.dropped == 2
    for reader_stays in (True, False):  # one that does not read, and one that has left
        reader, writer = os.pipe()
        with open(writer, "w") as stream:
            log = Log(stream)
            if not reader_stays:
                os.close(reader)
            for _ in range(300):
                log.event("request", text="x" * 700)
            assert log.dropped > 100
        if reader_stays:
            os.close(reader)


def test_a_line_cut_by_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    program = (
        "import resource, sys; from rectexport.runtime.serving.log import Log; log = Log(open(sys.argv[1], 'a'));"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY)); log.event('one'); log.event('two');"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2); log.event('three')"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)
    one, cut, three = path.read_text().splitlines()
    assert json.loads(one)["event"] == "one" and not cut.endswith("}") and json.loads(three)["dropped"] == 1


def test_long_fields_are_cut() -> None:
    stream = io.StringIO()
    for sign, length in (("x", 800), ("é", 80)):  # é is six bytes in JSON
        Log(stream).event("worker", text=sign * 10_000)
        assert json.loads(stream.getvalue().splitlines()[-1])["text"] == sign * length


def test_a_terminal_gets_short_lines() -> None:
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal:
        Log(terminal).event("loaded", model="net\x1b[2J", max_batch=8, seconds=0.12345, remark="")
    line = os.read(ours, 1000).decode()
    os.close(ours)
    assert re.fullmatch(r"\d\d:\d\d:\d\d  loaded    model net\\x1b\[2J, max_batch 8, seconds 0.123\r\n", line)
