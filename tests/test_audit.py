"""An audit that could not look anything up fails."""

from __future__ import annotations

from tests.audit import verdict

FINE = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


def test_verdicts_of_an_audit() -> None:
    assert verdict([FINE, SKIPPED]) == (
        ["not looked up: c: not found", "PASSED: 1 packages looked up, 0 vulnerabilities, 1 not looked up"],
        True,
    )
    assert verdict([FINE, BAD])[0][0] == "b 2: CVE-1, fixed in 3"
    assert not verdict([FINE, BAD])[1]
    assert not verdict([SKIPPED])[1] and "nothing could be looked up" in verdict([SKIPPED])[0][-1]
    assert not verdict([])[1]
