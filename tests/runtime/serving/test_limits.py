"""Admission counts requests in progress and refuses more than its limit."""

from __future__ import annotations

import pytest

from rectexport.runtime.serving.limits import Admission
from rectexport.runtime.serving.request_error import RequestError


def test_requests_above_the_limit_are_refused_until_one_leaves() -> None:
    admission = Admission(2)
    admission.enter()
    admission.enter()
    with pytest.raises(RequestError, match="2 requests are being worked on") as refused:
        admission.enter()
    assert refused.value.status == 429 and admission.inside == 2
    admission.leave()
    admission.enter()
    assert admission.inside == 2
