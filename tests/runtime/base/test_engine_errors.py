"""Wording shared by the engines' errors."""

from __future__ import annotations

import numpy as np

from rectexport.runtime.base.engine_errors import first_line, shown


def test_only_the_first_line_of_a_message_is_shown() -> None:
    assert first_line(ValueError("\n  bad shape\nin node 7\n")) == "bad shape"
    assert len(first_line(ValueError("x" * 9999))) == 500
    assert first_line(ValueError("")) == "ValueError"


def test_feeds_are_shown_by_name_dtype_and_shape() -> None:
    feeds = {"x": np.zeros((1, 3, 8, 8), np.float32), "n": np.zeros((), np.int64)}
    assert shown(feeds) == "x float32[1, 3, 8, 8], n int64[]"
