"""What `rectexport tune` and `rectexport profile` are given: packages, data, flags, and places to write to.

Those that pass run one launch of one engine, so that each case takes seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile import packages
from tests.hostile.case import Case, Write, data
from tests.hostile.files import endless, kind_of
from tests.hostile.graphs import ESCAPES
from tests.hostile.packages import tiny
from tests.hostile.pickles import TOUCH, Calls
from tests.hostile.words import PLACES

Arrays = Mapping[str, Any]
SEARCH = ("--backends", "onnxruntime", "--threads", "1", "--time", "1s")
TUNE = ("tune", "{file}", "-o", "out", *SEARCH)
SHORT = ("--threads", "1", "--launches", "1", "--duration", "0")
PROFILE = ("profile", "{file}", *SHORT)
REFUSED, WRONG, EITHER = (1,), (2,), (1, 2)
#: What no number, time or size is.
NO_NUMBERS = ("nan", "inf", "-1", "1e999", "x", "", "1,,2", "9" * 5000, "0x1", "\x1b[2J")


def cases(package: Path, digits: Path) -> Iterator[Case]:
    """All of them. package: an honest one of tiny.onnx; digits: one that has an answer for each image."""
    yield from _packages(package)
    yield from _data(digits)
    yield from _calibration()
    yield from _tune_flags(digits)
    yield from _profile_flags(package)
    yield from _outputs(package)
    yield Case("tuned.onnx", tiny, TUNE, (0,))
    yield Case("profiled", packages.copied(package, lambda folder: None), PROFILE, (0,))


def _packages(package: Path) -> Iterator[Case]:
    manifests, folders, models = packages._manifests(), packages._folders(), packages._models()
    spoiled: dict[str, Write] = {
        **{f"manifest-{name}": packages._changed(package, change) for name, change in manifests.items()},
        **{f"folder-{name}": packages.copied(package, spoil) for name, spoil in folders.items()},
        **{f"model-{name}": packages.copied(package, packages._with_model(model)) for name, model in models.items()},
    }
    for name, write in spoiled.items():
        codes = (0, 1) if name == "model-weights-parity.json" else REFUSED  # a file of the package, as any other
        none_left = (4,) if name.startswith("model-") else ()  # hashes are right, but no engine takes the model
        yield Case(f"tune-{name}", write, TUNE, (*codes, *none_left))
        yield Case(f"profile-{name}", write, PROFILE, codes)
    for name, text in {"null": "null", "deep": "[" * 100_000, "words": '{"nodes": [[]]}', "nan": "NaN"}.items():
        write = _with_origins(package, text)
        yield Case(f"profile-origins-{name}", write, PROFILE, (0, 1))
    yield Case("against", packages._changed(package, manifests["hash"]), _against(package))
    yield Case("against-nothing", lambda path: None, _against(package))


def _against(package: Path) -> tuple[str, ...]:
    return ("profile", str(package), "--against", "{file}", *SHORT)


def _with_origins(package: Path, text: str) -> Write:
    """origins.json of whoever wrote the manifest too."""

    def spoil(folder: Path) -> None:
        (folder / "origins.json").write_text(text)
        document = json.loads((folder / "manifest.json").read_text())
        document["files"]["origins.json"] = hashlib.sha256(text.encode()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(document))

    return packages.copied(package, spoil)


def _data(digits: Path) -> Iterator[Case]:
    """Labelled data that the digits network cannot be judged on."""
    words = ("tune", str(digits), "-o", "out", *SEARCH, "--data", "{file}", "--metric", "top1", "--max-drop", "1")
    for name, write in _files().items():
        codes = (3,) if name == "infinite" else EITHER  # the answers are not finite either
        yield Case(f"data-{name}.npz", write, words, codes)
    for kind, make in endless().items():
        yield Case(f"data-{kind}.npz", make, words, says=(kind_of(kind),))
    yield Case("data-gone.npz", lambda path: None, words, EITHER)
    yield Case("data-folder", Path.mkdir, words, EITHER)


def _files() -> dict[str, Write]:
    images, labels = np.zeros((4, 1, 8, 8), np.float32), np.arange(4)
    arrays: dict[str, Arrays] = {
        "nothing": {},
        "no-labels": {"x": images},
        "no-images": {"labels": labels},
        "other-name": {"y": images, "labels": labels},
        "other-size": {"x": np.zeros((4, 1, 9, 9), np.float32), "labels": labels},
        "other-type": {"x": images.astype(np.int64), "labels": labels},
        "none": {"x": images[:0], "labels": labels[:0]},
        "fewer-labels": {"x": images, "labels": labels[:2]},
        "far-label": {"x": images, "labels": labels + (1 << 40)},
        "negative-label": {"x": images, "labels": labels - 4},
        "label-nan": {"x": images, "labels": np.full(4, np.nan)},
        "label-text": {"x": images, "labels": np.array(list("abcd"))},
        "nan": {"x": np.full_like(images, np.nan), "labels": labels},
        "infinite": {"x": np.full_like(images, np.inf), "labels": labels},
    }
    found: dict[str, Write] = {name: _saved(content) for name, content in arrays.items()}
    found["garbage"] = data(b"\xff" * 100)
    found["empty"] = data(b"")
    found["pickle"] = data(pickle.dumps(Calls(os.system, TOUCH)))
    found["pickled"] = _saved({"x": images, "labels": np.array([Calls(os.system, TOUCH)] * 4, dtype=object)})
    return found


def _saved(arrays: Arrays) -> Write:
    def write(path: Path) -> None:
        np.savez(path, **arrays)

    return write


def _calibration() -> Iterator[Case]:
    """Data that int8 cannot be calibrated on: float32 is left, or nothing is."""
    words = ("tune", "{here}/tiny.onnx", "-o", "out", *SEARCH, "--precisions", "fp32,int8", "--calibrate", "{file}")
    for name, write in _files().items():
        yield Case(f"calibrate-{name}.npz", write, words, (0, 1, 2))
    yield Case("calibrate-gone.npz", lambda path: None, words, (0, 1, 2))


def _tune_flags(digits: Path) -> Iterator[Case]:
    for flag in ("--time", "--max-latency", "--memory", "--threads", "--streams", "--batch", "--max-drop", "--seed"):
        for index, value in enumerate(NO_NUMBERS):
            yield Case(f"tune{flag}-{index}.onnx", tiny, (*TUNE, f"{flag}={value}"), EITHER)
    wrong: dict[str, tuple[str, ...]] = {
        "zero-time": ("--time", "0s"),
        "zero-latency": ("--max-latency", "0.0ms"),
        "zero-memory": ("--memory", "0"),
        "zero-batch": ("--batch", "0"),
        "many-threads": ("--threads", "65537"),
        "engine": ("--backends", "webgpu"),
        "no-engine": ("--backends", ","),
        "precision": ("--precisions", "fp4"),
        "form": ("--forms", "best"),
        "placement": ("--placements", "here"),
        "goal": ("--goal", "glory"),
        "drop-without-data": ("--max-drop", "0.2"),
        "int8-without-data": ("--precisions", "int8"),
        "mean": ("--mean", "nan"),
        "std": ("--std", "0"),
        "shape": ("--input", "x:99999999999999999999"),
        "other-input": ("--input", "y:1"),
        "far-batch": ("--batch", "65536", "--input", "x:1x1x8x8"),
        "arch": ("--arch", "digits"),
    }
    for name, words in wrong.items():
        codes = (0, 1, 2) if name in ("far-batch", "arch") else EITHER  # a network of the zoo is not needed, but known
        yield Case(f"tune-{name}.onnx", tiny, (*TUNE, *words), codes)
    for name, bound in {"latency": ("--max-latency", "1us"), "size": ("--memory", "1k")}.items():
        yield Case(f"tune-bound-{name}.onnx", tiny, (*TUNE, *bound), (4,))
    metric = ("tune", str(digits), "-o", "out", *SEARCH, "--data", "{file}", "--metric", "luck")
    yield Case("metric.npz", _files()["nan"], metric, EITHER)
    for index, text in enumerate(ESCAPES.values()):
        if text and len(text) < 200:
            yield Case(f"tune-escape-{index}.onnx", tiny, (*TUNE, "--backends", text), EITHER)
            yield Case(f"tune-gone-{index}", lambda path: None, ("tune", text, "-o", "out"), EITHER)
    yield Case("tune-nothing", lambda path: None, ("tune",), WRONG)
    yield Case("tune-itself", packages.copied(digits, lambda folder: None), ("tune", "{file}", "-o", "{file}"), WRONG)


def _profile_flags(package: Path) -> Iterator[Case]:
    copied = packages.copied(package, lambda folder: None)
    for flag in ("--batch", "--threads", "--duration", "--launches", "--fail-if-more"):
        for index, value in enumerate(NO_NUMBERS):
            yield Case(f"profile{flag}-{index}", copied, (*PROFILE, f"{flag}={value}"), EITHER)
    wrong: dict[str, tuple[str, ...]] = {
        "no-launch": ("--launches", "0"),
        "zero-batch": ("--batch", "0"),
        "far-batch": ("--batch", "1048576"),
        "engine": ("--backend", "webgpu"),
        "torch": ("--backend", "torch"),
        "escape": ("--backend", "\x1b[2J"),
        "many-threads": ("--threads", "1000000000"),
        "other-input": ("--input", "y:1"),
        "shape": ("--input", "x:65536x65536x65536x65536"),
        "share-of-nothing": ("--fail-if-more", "5%"),
        "negative-share": ("--against", str(package), "--fail-if-more", "-5%"),
        "one-file": ("-o", "out", "--trace", "out"),
    }
    for name, words in wrong.items():
        yield Case(f"profile-{name}", copied, (*PROFILE, *words), EITHER)
    yield Case("profile-memory", copied, (*PROFILE, "--fail-if-more", "1k"), (4,))


def _outputs(package: Path) -> Iterator[Case]:
    """Things at the output's path; the case's folder holds a link to a folder, and a file."""
    copied = packages.copied(package, lambda folder: None)
    for name, out in {**PLACES, "inside": "{file}/out"}.items():
        yield Case(f"tune-to-{name}", copied, ("tune", "{file}", "-o", out, *SEARCH), EITHER)
        for flag in ("-o", "--trace"):
            allowed = (0, 1) if name in ("link", "file") else EITHER
            yield Case(f"profile-{flag[-1]}-to-{name}", copied, (*PROFILE, flag, out), allowed)
