"""Probe the engines with the corpus of operators, and hold what is found against export/engine_facts/facts.json.

`python -m tests.differential.probe [GROUP …]`, `make engine-probe`: every operator on ONNX Runtime, with and without
its own rewrites, on OpenVINO, and where they disagree on onnx.reference, which says who is wrong. Prints every finding
with the row of the table that names it, findings that no row names, and rows that no case shows any more. Ends with 1
for a finding without a row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rectexport.exporter.engine_facts.facts import Fact, facts
from rectexport.exporter.engine_facts.view import View
from tests.differential.case import Array, Case
from tests.differential.engines import (
    attempt,
    difference,
    onnxruntime_optimized,
    onnxruntime_plain,
    openvino_cpu,
    reference,
)
from tests.differential.operators import corpus

PROBED = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class Finding:
    """What one engine does with one case that it should not."""

    case: Case
    engine: str
    verdict: str
    said: str

    @property
    def row(self) -> Fact | None:
        """The row of the table that names it."""
        view = View(self.case.model)
        rows = [fact for fact in facts() if fact.engine == self.engine and self.verdict in (fact.verdict, "differs")]
        return next((row for row in rows for node in self.case.model.graph.node if row.matches(node, view)), None)


def examine(case: Case) -> list[Finding]:
    """Every finding of one case; none where both engines refuse it, as they do what ONNX does not have."""
    first = attempt(onnxruntime_plain, case.model, case.feeds)
    second = attempt(openvino_cpu, case.model, case.feeds)
    if isinstance(first, str) and isinstance(second, str):
        return []
    if isinstance(first, str):
        return [Finding(case, "onnxruntime", "refused", first)]
    found = []
    optimized = attempt(onnxruntime_optimized, case.model, case.feeds)
    said = optimized if isinstance(optimized, str) else difference(first, optimized, case.compare)
    if said:
        found.append(Finding(case, "onnxruntime", "wrong", f"its own rewrites: {said}"))
    if isinstance(second, str):
        return [*found, Finding(case, "openvino", "refused", second)]
    said = difference(first, second, case.compare)
    return [*found, *(_blamed(case, first, second, said) if said else [])]


def _blamed(case: Case, first: list[Array], second: list[Array], said: str) -> Iterator[Finding]:
    """Who differs from the specification; "differs" for both where it has no opinion."""
    expected = attempt(reference, case.model, case.feeds)
    if isinstance(expected, str):
        wrong = (True, True)
    else:
        wrong = (bool(difference(expected, first)), bool(difference(expected, second)))
    verdict = "differs" if all(wrong) or not any(wrong) else "wrong"
    for engine, blame in zip(PROBED, wrong, strict=True):
        if blame or verdict == "differs":
            yield Finding(case, engine, verdict, said)


def unnamed(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that no row names; where both engines may be wrong, a row for either is enough."""
    findings = list(findings)
    named = {finding.case.name for finding in findings if finding.row is not None}
    return [
        entry
        for entry in findings
        if entry.row is None and not (entry.verdict == "differs" and entry.case.name in named)
    ]


def unseen(findings: Iterable[Finding]) -> list[Fact]:
    """Rows about the probed engines that no finding shows."""
    rows = [finding.row for finding in findings]
    return [fact for fact in facts() if fact.engine in PROBED and fact.verdict != "unknown" and fact not in rows]


def main(groups: list[str]) -> int:
    """Run the corpus, or these groups of it, and print what was found."""
    cases = [case for case in corpus() if not groups or case.group in groups]
    findings = [finding for case in cases for finding in examine(case)]
    new = unnamed(findings)
    for finding in findings:
        mark = "NEW" if finding in new else "known"
        reason = finding.row.reason if finding.row is not None else ""
        print(f"{mark:5} {finding.engine:11} {finding.verdict:7} {finding.case.name}: {finding.said} [{reason}]")
    for fact in unseen(findings) if not groups else []:
        print(f"not seen: {fact.engine} {' '.join(fact.operators)[:60]}: {fact.reason}")
    print(f"{len(cases)} cases, {len(findings)} findings, {len(new)} of them in no row of the table")
    return int(bool(new))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
