"""The fixture for other projects' tests: it passes a package that agrees, and its failure names layer and region."""

from __future__ import annotations

from pathlib import Path

import pytest

import rectexport
from rectexport.testing import assert_parity

torch = pytest.importorskip("torch")
pytest_plugins = ["pytester"]
NAME = "rectexport.testing"

NETWORK = """
import torch
from torch import nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
"""
TESTS = """
import torch
from networks import network


def test_that_agrees(assert_parity):
    assert assert_parity("package", network(), shapes=["1x1x8x8"]).passed


def test_that_differs(assert_parity):
    other = network()
    with torch.no_grad():
        other[2].weight *= 1.01
    assert_parity("package", other, shapes=["1x1x8x8"], backend="onnxruntime")
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("testing")
    names: dict[str, object] = {}
    exec(NETWORK, names)
    rectexport.export(names["network"](), torch.zeros(1, 1, 8, 8), folder / "package")  # type: ignore[operator]
    return folder / "package"


def test_a_failure_shows_layers_by_region(package: Path, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(networks=NETWORK, test_package=TESTS)
    (pytester.path / "package").symlink_to(package)
    ran = pytester.runpytest_inprocess("-p", NAME)
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(
        [
            "package: its answers differ from the model's",
            "example: output: relative L2 * allowed *",
            "case * output * max abs * rel. L2 * corner * edge * interior",
            "example 1x1x8x8 * output *e-0* *e-0* *e-0* *e-0*",
        ]
    )
    assert "Traceback" not in ran.stdout.str()


def test_without_a_model_the_package_is_compared_with_its_own_file(package: Path) -> None:
    outcome = assert_parity(package, shapes=["1x1x8x8"])
    assert outcome.cases and {layer.tensor for case in outcome.cases for layer in case.layers}


def test_other_models_are_refused(package: Path) -> None:
    with pytest.raises(rectexport.RectexportError, match=r"expected a torch\.nn\.Module or a model file, got int"):
        assert_parity(package, 7)


@pytest.mark.parametrize(
    ("shape", "said"), [("x:a", "shapes 'x:a': expected NAME:"), ("y:1x1x8x8", "shapes: no input")]
)
def test_shapes_that_do_not_fit_are_refused_in_the_words_of_python(package: Path, shape: str, said: str) -> None:
    with pytest.raises(rectexport.RectexportError) as refused:
        rectexport.compare(package, shapes=[shape])
    assert str(refused.value).startswith(said) and "--" not in str(refused.value)
