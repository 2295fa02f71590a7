"""An ONNX file computes the outputs for a package's inputs, under the package's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import Manifest, TensorEntry
from rectexport.runtime.parity.stored_reference import StoredReference


@pytest.fixture
def opened(exported: Path) -> Package:
    return Package.open(exported)


def renamed(package: Package, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Package:
    """The package with these names in its manifest."""
    entries = [tuple(TensorEntry(name, "float32", (1,)) for name in names) for names in (inputs, outputs)]
    return Package(package.path, Manifest(entries[0], entries[1], {}, {}, {}))


def test_the_reference_reproduces_the_goldens(opened: Package) -> None:
    feeds, answers = opened.goldens()
    reference = StoredReference(opened.model_file, opened, "the model")
    assert reference.description == "the model in ONNX Runtime on the CPU, without graph optimizations"
    for name, answer in reference.outputs(feeds).items():
        np.testing.assert_allclose(answer, answers[name], rtol=1e-3, atol=1e-4)
    reference.close()


def test_other_names_are_paired_in_order_and_other_types_cast(opened: Package) -> None:
    feeds, answers = opened.goldens()
    (feed,), (answer,) = feeds.values(), answers.values()
    reference = StoredReference(opened.model_file, renamed(opened, ("image",), ("classes",)), "the model")
    found = reference.outputs({"image": feed.astype(np.float64)})
    np.testing.assert_allclose(found["classes"], answer, rtol=1e-3, atol=1e-4)


def test_accepts_tells_which_sizes_the_model_takes(opened: Package) -> None:
    (name,), (shape,) = opened.goldens()[0], [array.shape for array in opened.goldens()[0].values()]
    reference = StoredReference(opened.model_file, opened, "the model")
    assert reference.accepts({name: shape})
    assert not reference.accepts({name: (*shape[:1], shape[1] + 1, *shape[2:])})  # channels are always fixed
    assert not reference.accepts({name: shape[1:]})


@pytest.mark.parametrize(("inputs", "outputs"), [(("a", "b"), ("c",)), (("a",), ("c", "d"))])
def test_another_number_of_tensors_is_refused(opened: Package, inputs: Any, outputs: Any) -> None:
    with pytest.raises(BadInput, match=r"model\.onnx: has (inputs|outputs) \w+, where the package has \w, \w$"):
        StoredReference(opened.model_file, renamed(opened, inputs, outputs), "the model")
