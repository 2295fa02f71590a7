"""Log lines are JSON objects without the content of messages."""

from __future__ import annotations

import io
import json
import logging
import re
import sys

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
