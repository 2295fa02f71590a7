"""`rectexport doctor FILE|PACKAGE`: examine an ONNX file, or the models of a package, without running them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from rectexport.cli import options
from rectexport.cli.command import Command, Run, command_app
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.texts import printable
from rectexport.runtime.package.proofs import AGREES, Proof

if TYPE_CHECKING:
    from rectexport.exporter.tools.doctor import Diagnosis, PackageDiagnosis
    from rectexport.exporter.tools.engine_report import Row

app = command_app()
#: Nodes of one finding that are named; the rest are counted.
MOST_NODES = 3
#: How the verdict "ok" of an engine without a finding is not to be read.
NO_PROOF = "ok: no fault that is known here concerns the model, which is no proof"


@app.command(cls=Command)
def doctor(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(metavar="FILE|PACKAGE", help="Any ONNX file, or the folder of a package.", show_default=False),
    ],
    tensorrt_version: options.TensorRTVersion = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Examine an ONNX file, or every model of a package, without running it.

    Lists the rectified convolutions, even kernels and CReLUs in it, however they are written, and nodes that only look
    like them; says whether a simplifier has folded a rectification factor into channels, which changes the outputs
    and leaves the structure intact; and shows opset, dynamic dimensions and validity. It counts what stands beyond the
    border of convolutions and pools: zeros, the opposite side (circular), a mirror (reflect, symmetric), the last pixel
    (replicate), rows across a pole, or nothing.

    A table says for each engine what is known to go wrong there: operators, attributes and opsets that it does not
    take, and faults of its versions. For a package it also shows how each engine compared with the source model.

    It fails on a model that is broken or suspicious, whatever the engines.

    **Examples**

    - `rectexport doctor net.onnx`
    - `rectexport doctor out/net --json` — with every finding and proof
    - `rectexport doctor net.onnx --tensorrt-version 8.6`
    """
    run = Run(context, as_json=as_json, quiet=quiet)
    with run.reported():
        from rectexport.exporter.frontend.model_file import check_model_file

        if not model.is_dir():
            check_model_file(model)
        for library in ("onnx", "onnx_graphsurgeon"):
            require(library)
        from rectexport.exporter.engine_facts.facts import judged_engines
        from rectexport.exporter.tools.doctor import diagnose, diagnose_package, load_model

        names = {engine.title: engine.name for engine in judged_engines(tensorrt_version)}
        found: Diagnosis | PackageDiagnosis
        if model.is_dir():
            found = diagnose_package(model, tensorrt_version)
        else:
            found = diagnose(load_model(model), tensorrt_version)
    _show(run, model, found, names)
    run.end(found.as_dict(), code=0 if found.healthy else 1)


def _show(run: Run, path: Path, found: Diagnosis | PackageDiagnosis, names: Mapping[str, str]) -> None:
    """names: title of an engine -> the name that proofs have."""
    from rectexport.exporter.tools.doctor import Diagnosis

    if isinstance(found, Diagnosis):
        _show_model(run, path, found, None, names)
        return
    for name, diagnosis in found.models.items():
        _show_model(run, path / name, diagnosis, found.proofs, names)
    for proof in found.proofs:
        if proof.verdict != AGREES:
            run.say(f"proof: {proof.describe()}")


def _show_model(
    run: Run, path: Path, found: Diagnosis, proofs: Sequence[Proof] | None, names: Mapping[str, str]
) -> None:
    run.say(f"{path}: opset {found.opset}, IR version {found.ir_version}, {found.nodes} nodes")
    for name, shape in found.inputs.items():
        run.say(f"input {name} {'x'.join(map(str, shape))}")
    run.say(f"dynamic: {', '.join(found.dynamic) or 'nothing'}")
    ours = ", ".join(f"{name} {count}" for name, count in found.operators.items())
    run.say(f"rectexport's operators: {ours or 'none'}")
    beyond = Counter(entry.kind for entry in found.borders)
    told = ", ".join(f"{kind} {count}" for kind, count in beyond.most_common())
    run.say(f"beyond the border: {told or 'no layer has a window'}")
    for entry in found.refusals:
        run.say(f"left alone: {entry.node}: {entry.reason}")
    for fault in found.faults:
        run.fault(fault, "invalid")
    for suspicion in found.suspicions:
        for reason in suspicion.evidence:
            run.fault(f"{suspicion.node}: {reason}", "suspicious")
    if found.suspicions:
        run.say(
            "A simplifier may have mistaken a rectification factor for a scale per channel (OnnxSlim 0.1.98 does where "
            "height or width equals the number of channels): export again and do not simplify, or compare with the "
            "original."
        )
    _show_engines(run, found.engines, proofs, names)


def _show_engines(run: Run, rows: Sequence[Row], proofs: Sequence[Proof] | None, names: Mapping[str, str]) -> None:
    """Each engine's verdict, with the package's proofs beside it; then the findings, those of several nodes once."""
    from rectexport.exporter.tools.engine_report import verdicts

    counts = Counter(row.engine for row in rows if row.verdict != "ok")
    table = Table(
        title="Known faults of engines; nothing was run", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for heading in ("engine", "verdict", "findings", *(() if proofs is None else ("proof",))):
        table.add_column(heading, justify="right" if heading == "findings" else "left", overflow="fold")
    for title, verdict in verdicts(rows).items():
        proven = () if proofs is None else (Text(printable(_proven(names.get(title, ""), proofs))),)
        table.add_row(title, verdict, str(counts[title] or ""), *proven)
    run.console.print(table)
    run.say(NO_PROOF)
    for row, nodes in _grouped(rows):
        run.say(f"{row.engine}, {row.verdict}: {row.reason}")
        more = f" and {len(nodes) - MOST_NODES} more" if len(nodes) > MOST_NODES else ""
        details = {"at": ", ".join(nodes[:MOST_NODES]) + more, "way out": row.way_out, "source": row.source}
        for word, text in details.items():
            if text:
                run.say(f"  {word}: {text}")


def _proven(engine: str, proofs: Sequence[Proof]) -> str:
    found = [proof for proof in proofs if proof.engine == engine]
    told = (f"{proof.version} {proof.verdict}{f', {proof.cases} cases' * bool(proof.cases)}" for proof in found)
    return "; ".join(told) or ("none" if engine else "")


def _grouped(rows: Sequence[Row]) -> list[tuple[Row, list[str]]]:
    """Findings that differ in their node alone, together: the first, and all nodes."""
    groups: dict[tuple[str, ...], tuple[Row, list[str]]] = {}
    for row in rows:
        if row.verdict != "ok":
            key = (row.engine, row.verdict, row.reason, row.way_out, row.source)
            groups.setdefault(key, (row, []))[1].extend([row.node] if row.node else [])
    return list(groups.values())
