"""The allowed imports between parts of the package, and from other libraries.

    cli -> exporter -> models, plugins -> runtime

The runtime works where only NumPy and one inference engine are installed. So its modules import only NumPy
at module level and engines on first use, and never the libraries of the exporter (PyTorch, ONNX and
others). The cli imports the exporter and the models inside functions, so that a deployment machine can
run the commands that need neither; only the exporter's options, which import no library, are imported at
module level.
"""

import ast
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

import pytest

import rectexport
from tests.places import ROOT

# Folder of each part of the package.
FOLDERS = {
    "cli": ROOT / "rectexport/cli",
    "exporter": ROOT / "export",
    "models": ROOT / "models",
    "plugins": ROOT / "plugins",
    "runtime": ROOT / "runtime",
}
MAY_IMPORT = {
    "cli": {"exporter", "models", "plugins", "runtime"},
    "exporter": {"models", "plugins", "runtime"},
    "models": {"plugins", "runtime"},
    "plugins": {"runtime"},
    "runtime": set(),
}
# Libraries that a part may import at module level; parts not listed may import anything.
AT_ONCE = {"runtime": {"numpy"}, "cli": {"numpy", "rich", "typer"}}
LATE_IN_CLI = {"exporter", "models"}
# The exporter's options and their defaults: tests/export/base/test_options.py holds that it imports no heavy library.
EARLY_IN_CLI = {
    "rectexport.exporter.base.options",
    "rectexport.exporter.base.processing",
    "rectexport.exporter.base.tuning",
}
EXPORTING = {"onnx", "onnx_graphsurgeon", "onnx_ir", "onnxscript", "onnxslim", "safetensors", "torch"}
ENGINES = {"onnxruntime", "openvino", "polygraphy", "tensorrt"}
AT_THE_ROOT = {"benchmarks", "cli", "export", "models", "plugins", "runtime", "tests"}

IMPORTERS = {"import_module", "__import__"}


@dataclass(frozen=True)
class Import:
    """An import: the module's full name, the line, and whether importing the file executes it."""

    name: str
    line: int
    at_once: bool


class Imports(ast.NodeVisitor):
    """Collects every import in a file, in any form."""

    def __init__(self, package: str):
        self.package = package
        self.late = 0
        self.found: list[Import] = []

    def add(self, node, name):
        self.found.append(Import(name, node.lineno, not self.late))

    def add_from(self, node, module, name):
        """`from module import name`: a name exported by the package is resolved to its module."""
        if module == "rectexport":
            if not name.startswith("__"):
                self.add(node, rectexport._HOME.get(name, f"rectexport.{name}"))
        else:
            self.add(node, module)

    def visit_Import(self, node):
        for alias in node.names:
            self.add(node, alias.name)

    def visit_ImportFrom(self, node):
        module = resolve_name("." * node.level + (node.module or ""), self.package)
        for alias in node.names:
            self.add_from(node, module, alias.name)

    def visit_Attribute(self, node):
        if isinstance(node.value, ast.Name) and node.value.id == "rectexport":
            self.add_from(node, "rectexport", node.attr)
        self.generic_visit(node)

    def visit_Call(self, node):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        first = node.args[0] if node.args else None
        if called in IMPORTERS and isinstance(first, ast.Constant) and isinstance(first.value, str):
            self.add(node, first.value)
        self.generic_visit(node)

    def visit_If(self, node):
        self.visit(node.test)
        typing_only = ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        self.late += typing_only
        for statement in node.body:
            self.visit(statement)
        self.late -= typing_only
        for statement in node.orelse:
            self.visit(statement)

    def visit_FunctionDef(self, node):
        # Decorators and defaults are evaluated when the function is defined; the body is not.
        for part in (*node.decorator_list, node.args):
            self.visit(part)
        self.late += 1
        for statement in node.body:
            self.visit(statement)
        self.late -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node):
        self.visit(node.args)
        self.late += 1
        self.visit(node.body)
        self.late -= 1


def faults(part: str, source: str, package: str | None = None) -> list[str]:
    """The forbidden imports in a file of that part, a line each."""
    imports = Imports(package or f"rectexport.{part}")
    imports.visit(ast.parse(source))
    said = [(found, _fault(part, found)) for found in imports.found]
    return [f"line {found.line}, {found.name}: {why}" for found, why in said if why]


def _fault(part: str, found: Import) -> str | None:
    top, _, rest = found.name.partition(".")
    if top == "rectexport":
        other = rest.partition(".")[0]
        if other in ("", part):
            return None
        if other not in MAY_IMPORT:
            return "the package has no such part"
        if other not in MAY_IMPORT[part]:
            return f"{part} may not import {other}"
        if part == "cli" and other in LATE_IN_CLI and found.at_once and found.name not in EARLY_IN_CLI:
            return f"the cli imports {other} inside a function"
        return None
    if top in AT_THE_ROOT:
        return "a folder of the repository: import it as a part of rectexport"
    if part == "runtime" and top in EXPORTING:
        return "the runtime runs where this is not installed"
    if part in AT_ONCE and found.at_once and top not in AT_ONCE[part] | sys.stdlib_module_names:
        return f"{part} imports this inside a function"
    return None


def files(part: str) -> list[Path]:
    return sorted(FOLDERS[part].rglob("*.py"))


def dotted(part: str, path: Path) -> str:
    """The name under which a file is imported."""
    below = path.relative_to(FOLDERS[part]).with_suffix("").parts
    return ".".join(["rectexport", part, *(below[:-1] if below[-1] == "__init__" else below)])


def test_every_part_has_a_rule():
    assert set(FOLDERS) == set(MAY_IMPORT)
    assert all(files(part) for part in FOLDERS)


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_follow_the_direction(part):
    found = []
    for path in files(part):
        name = dotted(part, path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        where = path.relative_to(ROOT)
        found += [f"{where}, {fault}" for fault in faults(part, path.read_text(encoding="utf-8"), package)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("runtime", "import rectexport.models.networks.resnet"),
        ("runtime", "from rectexport.exporter import api"),
        ("runtime", "from rectexport import export"),
        ("runtime", "from rectexport import exporter"),
        ("runtime", "import rectexport\nrectexport.export('model.pt')"),
        ("runtime", "from ..plugins import reference"),
        ("runtime", "import importlib\ndef f():\n    importlib.import_module('rectexport.cli.main')"),
        ("runtime", "import torch"),
        ("runtime", "def f():\n    import torch.nn"),
        ("runtime", "def f():\n    __import__('onnx')"),
        ("runtime", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("runtime", "import onnxruntime as ort"),
        ("runtime", "try:\n    import tensorrt\nexcept ImportError:\n    tensorrt = None"),
        ("runtime", "class C:\n    import rich"),
        ("runtime", "def f(x=__import__('onnxruntime')):\n    pass"),
        ("runtime", "runners = {'torch': lambda: __import__('torch')}"),
        ("plugins", "from rectexport.models import ops"),
        ("models", "from rectexport.exporter.api import export"),
        ("models", "def f():\n    import rectexport.cli.main"),
        ("exporter", "from rectexport.cli import main"),
        ("exporter", "from rectexport.export.api import export"),
        ("exporter", "from models.resnet import resnet"),
        ("cli", "from rectexport.exporter.api import export"),
        ("cli", "import rectexport.models"),
        ("cli", "import onnxruntime"),
        ("cli", "import yaml"),
    ],
)
def test_forbidden_imports_are_found(part, source):
    assert len(faults(part, source)) == 1


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("runtime", "import json\nimport numpy as np\nfrom rectexport.runtime.errors import RectexportError"),
        ("runtime", "from . import errors\nfrom rectexport import RectexportError, __version__"),
        ("runtime", "def f():\n    import onnxruntime\n    from rectexport.runtime import session"),
        ("runtime", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tensorrt"),
        ("runtime", "runners = {'trt': lambda: __import__('tensorrt')}"),
        ("plugins", "import tensorrt\nfrom rectexport.runtime.errors import RectexportError"),
        ("models", "import torch\nfrom rectexport.plugins import reference\nfrom rectexport import load"),
        ("exporter", "import onnx\nfrom rectexport.models import ops\nfrom ..runtime import package"),
        ("cli", "import typer\nfrom rectexport import RectexportError, load"),
        ("cli", "def f():\n    from rectexport import export\n    import torch"),
    ],
)
def test_allowed_imports_are_not_reported(part, source):
    assert faults(part, source) == []


WITHOUT = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2:]:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Absent())
importlib.import_module(sys.argv[1])
"""


def import_without(module: str, absent: set[str], folder: Path) -> subprocess.CompletedProcess:
    """Imports a module in a new interpreter where the others are not installed."""
    command = [sys.executable, "-c", WITHOUT, module, *sorted(absent)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("module", [dotted("runtime", path) for path in files("runtime")])
def test_the_runtime_imports_with_numpy_only(module, tmp_path):
    ran = import_without(module, EXPORTING | ENGINES | {"rich", "scipy", "typer"}, tmp_path)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("module", ["rectexport", "rectexport.__main__", "rectexport.cli.main"])
def test_the_command_imports_without_engines_and_exporters(module, tmp_path):
    ran = import_without(module, EXPORTING | ENGINES, tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_a_blocked_module_cannot_be_imported(tmp_path):
    ran = import_without("onnxruntime", {"onnxruntime"}, tmp_path)
    assert "onnxruntime is not installed here" in ran.stderr
