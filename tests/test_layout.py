"""The layout: small folders, imports in one direction, a test file a module, and documents that name real files."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.places import ROOT

#: Rooms (folders or single modules) of each part, from those that anyone may import to those that import the others.
ROOMS = {
    "runtime": (
        "errors",
        "layouts",
        "base",
        "package",
        "arrays",
        "engines",
        "tiling",
        "streaming",
        "batching",
        "session",
        "verify",
        "api",
        "parity",
        "evaluation",
        "timing",
        "profiling",
        "tuning",
        "report",
        "serving",
    ),
    "export": (
        "base",
        "graph",
        "engine_facts",
        "frontend",
        "preprocess",
        "tracing",
        "passes",
        "writing",
        "checking",
        "quantize",
        "tools",
        "targets",
        "int8",
        "pipeline",
        "tuning",
        "optimize",
        "api",
        "compare",
        "ensemble",
    ),
    "models": ("layers", "catalog", "registry", "networks", "rectify", "loading", "checkpoint", "tools", "digits"),
    "rectexport/cli": (
        "streams",
        "options",
        "failure",
        "command",
        "batch",
        "display",
        "engine",
        "int8",
        "bench",
        "profile",
        "tune",
        "parity",
        "ensemble",
        "commands",
        "group",
        "main",
    ),
}
PREFIXES = {
    "runtime": "rectexport.runtime",
    "export": "rectexport.exporter",
    "models": "rectexport.models",
    "rectexport/cli": "rectexport.cli",
}
#: Modules without a test file of their own, by module or folder, and the test files that run them.
TESTED_THROUGH = {
    "export/checking/against.py": "tests/cli/commands/test_parity.py",
    "export/checking/layers.py": "tests/cli/commands/test_parity.py",
    "export/engine_facts/": "tests/export/engine_facts/test_facts.py",
    "export/frontend/adapters.py": "tests/export/frontend/test_adapt.py",
    "export/preprocess/image.py": "tests/export/preprocess/test_wrap.py",
    "export/preprocess/picture.py": "tests/export/preprocess/test_wrap.py",
    "export/frontend/model_file.py": "tests/cli/test_fast_start.py",
    "export/frontend/untrusted_archive.py": "tests/export/frontend/test_program_archive.py",
    "export/graph/names.py": "tests/export/graph/test_surgeon.py",
    "export/graph/random_numbers.py": "tests/export/graph/test_guard.py",
    "export/graph/widened.py": "tests/export/graph/test_guard.py",
    "export/writing/work.py": "tests/export/writing/test_origins.py",
    "export/quantize/ran_in_int8.py": "tests/export/quantize/test_insert.py",
    "export/passes/masks/": "tests/export/passes/masks/test_masks.py",
    "export/passes/lowering/machinery/blocked.py": "tests/export/passes/lowering/test_rectify_blocked.py",
    "export/passes/lowering/machinery/rectify_site.py": "tests/export/passes/lowering/test_rectify.py",
    "export/passes/order.py": "tests/export/passes/test_passes.py",
    "export/passes/raising/behind.py": "tests/export/passes/raising/test_rectification.py",
    "export/passes/raising/together.py": "tests/export/passes/raising/test_own_exports.py",
    "export/passes/selection.py": "tests/export/passes/test_passes.py",
    "export/tools/unrectify.py": "tests/export/tools/test_plain_twin.py",
    "models/catalog.py": "tests/models/test_registry.py",
    "models/layers/": "tests/models/layers/test_layers.py",
    "models/networks/": "tests/models/networks/test_blocks.py",
    "models/networks/crelu_nets.py": "tests/models/networks/test_zoo.py",
    "models/networks/vgg.py": "tests/models/networks/test_zoo.py",
    "rectexport/cli/group.py": "tests/cli/test_main.py",
    "rectexport/cli/bench/": "tests/cli/commands/test_bench.py",
    "rectexport/cli/command.py": "tests/cli/test_main.py",
    "rectexport/cli/commands/doctor.py": "tests/export/tools/test_doctor.py",
    "rectexport/cli/commands/signing/": "tests/cli/commands/test_verify.py",
    "rectexport/cli/commands/ray_config.py": "tests/cli/commands/test_serving.py",
    "rectexport/cli/commands/serve.py": "tests/cli/commands/test_serving.py",
    "rectexport/cli/commands/triton.py": "tests/cli/commands/test_serving.py",
    "rectexport/cli/ensemble.py": "tests/export/test_ensemble.py",
    "rectexport/cli/engine.py": "tests/cli/commands/test_verify.py",
    "rectexport/cli/tune/": "tests/cli/commands/measuring/test_tune.py",
    "export/base/tuning.py": "tests/export/tuning/test_tune.py",
    "export/tuning/": "tests/export/tuning/test_tune.py",
    "runtime/tuning/": "tests/runtime/tuning/test_search.py",
    "rectexport/cli/profile/": "tests/cli/commands/measuring/test_profile.py",
    "rectexport/cli/parity/": "tests/cli/commands/test_parity.py",
    "runtime/arrays/": "tests/runtime/arrays/test_arrays.py",
    "runtime/base/documents.py": "tests/runtime/base/test_tolerance.py",
    "runtime/engines/cuda/": "tests/runtime/engines/cuda/test_runner.py",
    "runtime/engines/tensorrt/building/": "tests/runtime/engines/tensorrt/building/test_building.py",
    "runtime/engines/tensorrt/running/": "tests/runtime/engines/tensorrt/running/test_runner.py",
    "runtime/package/folder.py": "tests/runtime/package/test_package.py",
    "runtime/base/pictures.py": "tests/runtime/report/test_evaluation_page.py",
    "runtime/evaluation/differences.py": "tests/runtime/evaluation/test_evaluate.py",
    "export/compare.py": "tests/test_testing.py",
    "runtime/parity/": "tests/runtime/parity/test_run.py",
    "runtime/profiling/": "tests/runtime/profiling/test_profile.py",
    "runtime/report/": "tests/runtime/report/test_page.py",
    "runtime/report/rewrites/drawing.py": "tests/runtime/report/test_page.py",
    "runtime/report/rewrites/graph.py": "tests/runtime/report/test_page.py",
    "runtime/report/sections/card.py": "tests/runtime/report/test_page.py",
    "runtime/report/plots/pareto.py": "tests/runtime/report/plots/test_icicle.py",
    "runtime/report/plots/violin.py": "tests/runtime/report/test_page.py",
    "runtime/serving/": "tests/runtime/serving/http/test_http.py",
    "runtime/serving/http/": "tests/runtime/serving/http/test_http.py",
    "runtime/serving/grpc/": "tests/runtime/serving/grpc/test_grpc.py",
    "runtime/serving/ray/": "tests/runtime/serving/ray/test_ray.py",
    "runtime/serving/shadow/child.py": "tests/runtime/serving/shadow/test_shadow.py",
    "runtime/serving/triton/": "tests/runtime/serving/triton/test_triton.py",
    "runtime/serving/workers/": "tests/runtime/serving/workers/test_workers.py",
    "runtime/timing/entrants.py": "tests/runtime/timing/test_bench.py",
    "runtime/timing/process.py": "tests/runtime/timing/test_worker.py",
}
#: Protocols and values without behaviour of their own.
DECLARATIONS = {
    "export/graph/results.py",
    "export/passes/lowering/machinery/form.py",
    "runtime/base/runner.py",
    "runtime/layouts.py",
}
LARGEST_FOLDER = 16
TOP_LEVEL = 24
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])]
PATH_IN_TEXT = re.compile(
    r"(?<![\w/.])((?:benchmarks|docs|export|models|plugins|rectexport|runtime|tests)/[\w./-]*\w(?:\.\w+|/))(?![\w*])"
)


def modules(part: str) -> list[Path]:
    return sorted((ROOT / part).rglob("*.py"))


def room(part: str, path: Path) -> str:
    return path.relative_to(ROOT / part).with_suffix("").parts[0]


def imported_rooms(part: str, path: Path) -> set[str]:
    """Rooms of the same part that a module imports, also inside functions and for types alone."""
    prefix, found = PREFIXES[part] + ".", set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}
    return found & set(ROOMS[part])


@pytest.mark.parametrize("part", ROOMS)
def test_every_module_is_in_a_known_room(part: str) -> None:
    assert {room(part, path) for path in modules(part)} == {*ROOMS[part], "__init__"}


@pytest.mark.parametrize("part", ROOMS)
def test_rooms_import_in_one_direction(part: str) -> None:
    order = ROOMS[part]
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in modules(part)
        if (mine := room(part, path)) != "__init__"
        for other in imported_rooms(part, path)
        if order.index(other) > order.index(mine)
    ]
    assert not wrong, "\n".join(wrong)


def own_test(path: Path) -> Path:
    """Where the tests of a module are expected: export/passes/cleanup.py -> tests/export/passes/test_cleanup.py."""
    folder = path.parent.relative_to(ROOT).as_posix().removeprefix("rectexport/")
    return ROOT / "tests" / folder / f"test_{path.name}"


@pytest.mark.parametrize("part", ROOMS)
def test_tests_mirror_the_tree(part: str) -> None:
    missing = [
        name
        for path in modules(part)
        if path.name != "__init__.py" and not own_test(path).exists()
        if (name := path.relative_to(ROOT).as_posix()) not in DECLARATIONS
        if name not in TESTED_THROUGH and f"{Path(name).parent.as_posix()}/" not in TESTED_THROUGH
    ]
    assert not missing, f"write {own_test(ROOT / missing[0]).relative_to(ROOT)}, or name the tests in TESTED_THROUGH"


def test_what_stands_for_a_test_of_its_own_exists() -> None:
    named = [*TESTED_THROUGH, *TESTED_THROUGH.values(), *DECLARATIONS]
    assert not [name for name in named if not (ROOT / name).exists()]
    needless = [name for name in (*TESTED_THROUGH, *DECLARATIONS) if own_test(ROOT / name).exists()]
    assert not needless, f"these have tests of their own: {needless}"


@pytest.mark.parametrize("part", ["docs", "export", "models", "runtime", "rectexport"])
def test_no_folder_is_crowded(part: str) -> None:
    sizes = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules(part))
    assert {folder: size for folder, size in sizes.items() if size > LARGEST_FOLDER} == {}


def test_few_modules_stand_at_the_top() -> None:
    top = [path for part in ("export", "runtime") for path in (ROOT / part).glob("*.py")]
    assert len(top) <= TOP_LEVEL


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_files_that_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = [name for name in PATH_IN_TEXT.findall(text) if not re.search(r"/[A-Z]+\b", name)]  # export/passes/NAME.py
    missing = {name for name in named if not (ROOT / name).exists()}
    assert not missing
