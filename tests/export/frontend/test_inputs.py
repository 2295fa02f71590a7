"""Which inputs a model takes, with which example and which range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rectexport.exporter.frontend.inputs import (
    InputPlan,
    ModelInputs,
    ShapeOptions,
    fit_example,
    forward_names,
    plan_inputs,
    random_input,
)
from rectexport.exporter.frontend.source import Source
from rectexport.runtime.errors import BadInput, UsageError
from tests.export.helper import Array, normal


class One(nn.Module):
    def forward(self, picture: Tensor) -> Tensor:
        return picture


class Two(nn.Module):
    def forward(self, a: Tensor, b: Tensor, *, flag: bool = False) -> Tensor:
        return a


class Any_(nn.Module):
    def forward(self, *values: Tensor) -> Tensor:
        return values[0]


def module(model: nn.Module, *examples: Array, **changed: Any) -> Source:
    return Source("module", model, type(model).__name__, Path("net.pt"), example_inputs=examples or None, **changed)


def plan(source: Source, **flags: Any) -> dict[str, InputPlan]:
    return {entry.name: entry for entry in plan_inputs(source, ShapeOptions(**flags)).inputs}


def test_the_example_decides() -> None:
    example = normal(2, 3, 4, 5)
    (entry,) = plan(module(One(), example)).values()
    assert entry.name == "picture"
    np.testing.assert_array_equal(entry.example, example)
    assert entry.range.min == entry.range.opt == entry.range.max == (2, 3, 4, 5)


def test_a_shape_alone_makes_random_numbers() -> None:
    (entry,) = plan(module(One()), input=["picture:2x3x8x8"]).values()
    assert (entry.example.shape, entry.example.dtype) == ((2, 3, 8, 8), np.float32)
    assert 0.5 < entry.example.std() < 1.5
    again = plan(module(One()), input=["picture:2x3x8x8"])["picture"]
    np.testing.assert_array_equal(entry.example, again.example)


def test_two_random_inputs_differ() -> None:
    entries = plan(module(Two()), input=["a:1x8,b:1x8"])
    assert not np.array_equal(entries["a"].example, entries["b"].example)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "int32", "uint8", "bool"])
def test_the_flag_gives_the_type(dtype: str) -> None:
    (entry,) = plan(module(One()), input=[f"picture:2x3:{dtype}"]).values()
    assert entry.example.dtype == dtype


def test_ranges() -> None:
    flags = {"min": ["1x3x4x5"], "opt": ["2x3x6x5"], "max": ["8x3x16x5"]}
    entry = plan(module(One()), **flags)["picture"]
    assert (entry.range.min, entry.range.opt, entry.range.max) == ((1, 3, 4, 5), (2, 3, 6, 5), (8, 3, 16, 5))
    assert entry.example.shape == (2, 3, 6, 5)
    assert entry.range.dynamic_axes == (0, 2)


@pytest.mark.parametrize(
    ("flags", "opt"),
    [
        ({"input": ["1x4"], "max": ["9x4"]}, (1, 4)),
        ({"input": ["1x4"], "opt": ["2x4"], "max": ["9x4"]}, (2, 4)),
        ({"max": ["9x4"]}, (9, 4)),
        ({"min": ["2x4"]}, (2, 4)),
        ({"min": ["2x4"], "max": ["9x4"]}, (9, 4)),
    ],
)
def test_the_default_of_opt(flags: dict[str, Any], opt: tuple[int, ...]) -> None:
    assert plan(module(One()), **flags)["picture"].range.opt == opt


def test_opt_defaults_to_the_example() -> None:
    entry = plan(module(One(), normal(2, 4)), min=["1x4"], max=["9x4"])["picture"]
    assert (entry.range.min, entry.range.opt, entry.range.max) == ((1, 4), (2, 4), (9, 4))


def test_the_source_knows_a_shape() -> None:
    assert plan(module(One(), default_shape=(1, 3, 8, 8)))["picture"].example.shape == (1, 3, 8, 8)
    assert plan(module(One(), default_shape=(1, 3, 8, 8)), opt=["2x3x4x4"])["picture"].example.shape == (2, 3, 4, 4)


def test_the_example_is_fitted_to_the_shape() -> None:
    example = normal(1, 2, 3, 3)
    entry = plan(module(One(), example), input=["2x2x2x5"])["picture"]
    np.testing.assert_array_equal(entry.example[1, :, :, :3], example[0, :, :2])
    np.testing.assert_array_equal(entry.example[0, :, :, 3:], example[0, :, :2, :2])


def test_names() -> None:
    assert list(plan(module(Two(), normal(1, 2), normal(1, 3)))) == ["a", "b"]
    assert list(plan(module(Any_(), normal(1, 2), normal(1, 3)))) == ["input_0", "input_1"]
    assert list(plan(module(One(), normal(1, 2), input_names=["mine"]))) == ["mine"]
    assert list(plan(module(Two()), input=["b:1x2"], min=["a:1x3"])) == ["a", "b"]
    assert forward_names(Two(), 3) == ["a", "b", "input_2"]
    assert forward_names(object(), 1) == ["input_0"]


def test_plan_knows_whether_it_is_dynamic() -> None:
    still = plan_inputs(module(One(), normal(2, 4)), ShapeOptions())
    assert not still.dynamic
    assert list(still.examples) == ["picture"]
    assert plan_inputs(module(One(), normal(2, 4)), ShapeOptions(max=["4x4"])).dynamic
    assert not ModelInputs(()).dynamic


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, r"net\.pt: the shape of its input is not known; give it with --input picture:1x3x224x224"),
        (
            {"min": ["4x4"], "opt": ["2x4"], "max": ["8x4"]},
            r"input picture, axis 0: expected min <= opt",
        ),
        ({"min": ["4x4x1"], "opt": ["4x4"]}, "differ in rank"),
        ({"input": ["picture:ax4"]}, "--input"),
        ({"max": ["picture:0x4"]}, "--max-shapes"),
    ],
)
def test_flags_that_do_not_fit(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(module(One()), **flags)


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"--input: no input 'y'; the model has x"):
        plan(module(One(), normal(1, 2), input_names=["x"]), input=["y:1x2"])


@pytest.mark.parametrize("flag", ["input", "min", "opt", "max"])
def test_a_name_that_forward_lacks(flag: str) -> None:
    spelled = "--input" if flag == "input" else f"--{flag}-shapes"
    with pytest.raises(UsageError, match=rf"{spelled}: no input 'photo'; forward of net\.pt takes picture"):
        plan(module(One()), **{flag: ["photo:1x2"]})
    with pytest.raises(UsageError, match=r"net\.pt: forward also takes b; give its shape with --input b:"):
        plan(module(Two()), input=["a:1x2"])


def test_a_loaded_name_that_forward_lacks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--inputs: no input 'photo'; forward of net\.pt takes picture"):
        plan(module(One()), load=saved(tmp_path, photo=normal(1, 2)))


def test_the_files_own_types() -> None:
    source = module(One(), input_names=["picture"], input_dtypes={"picture": "uint8"})
    assert plan(source, input=["1x4x4x3"])["picture"].example.dtype == np.uint8
    with pytest.raises(UsageError, match=r"picture: float32 is asked for, but net\.pt has uint8; leave the type out"):
        plan(source, input=["1x4x4x3:float32"])
    with pytest.raises(UsageError, match="picture: uint8 is asked for, but its example has float32"):
        plan(module(One(), normal(1, 2)), input=["1x2:uint8"])


def test_a_loaded_type_that_the_file_does_not_take(tmp_path: Path) -> None:
    source = module(One(), input_names=["picture"], input_dtypes={"picture": "uint8"})
    with pytest.raises(BadInput, match=r"input picture: net\.pt takes uint8, its example is float32; cast the array"):
        plan(source, load=saved(tmp_path, picture=normal(1, 2)))


def test_one_shape_for_two_inputs() -> None:
    with pytest.raises(UsageError, match=r"--opt-shapes: the model has inputs a, b; say which"):
        plan(module(Two(), normal(1, 2), normal(1, 2)), opt=["1x2"])


def test_another_rank_than_the_example() -> None:
    with pytest.raises(UsageError, match=r"input picture: 1x2x3 has rank 3, its example \[1, 2\] has rank 2"):
        plan(module(One(), normal(1, 2)), input=["1x2x3"])


def test_an_empty_example() -> None:
    with pytest.raises(BadInput, match=r"input picture: its example is empty, shape \[0, 3\]"):
        plan(module(One(), normal(0, 3)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_example_that_is_not_finite(value: float) -> None:
    """NaN in, NaN out on both sides: nothing would be compared."""
    example = normal(2, 3)
    example[1, 2] = value
    with pytest.raises(BadInput, match="input picture: its example holds NaN or infinite values"):
        plan(module(One(), example))


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "inputs.npz", **arrays)
    return folder / "inputs.npz"


def test_loaded_inputs(tmp_path: Path) -> None:
    path = saved(tmp_path, picture=np.arange(6, dtype=np.int64).reshape(2, 3))
    entry = plan(module(One(), normal(1, 9), input_names=["picture"]), load=path)["picture"]
    assert entry.example.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert list(plan(module(Two()), load=saved(tmp_path, b=normal(1, 2), a=normal(1, 2)))) == ["a", "b"]


def test_loaded_inputs_lack_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--inputs: no array named 'x'; the file has y, z"):
        plan(module(One(), input_names=["x"]), load=saved(tmp_path, y=normal(1), z=normal(1)))


def test_loaded_inputs_are_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.npz: no such file \(--inputs\)"):
        plan(module(One()), load=tmp_path / "none.npz")


@pytest.mark.parametrize("damage", ["text", "cut", "object", "npy"])
def test_loaded_inputs_are_damaged(damage: str, tmp_path: Path) -> None:
    path = saved(tmp_path, x=normal(40))
    if damage == "text":
        path.write_text("x: 1, 2, 3")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:150])
    elif damage == "object":
        saved(tmp_path, x=np.array([{}], object))
    else:
        np.save(tmp_path / "plain", normal(3))
        path = tmp_path / "plain.npy"
    with pytest.raises(BadInput, match=r"not a readable \.npz of arrays: .* \(--inputs\)"):
        plan(module(One()), load=path)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool", "uint8"])
def test_random_input(dtype: str) -> None:
    value = random_input((200,), dtype)
    assert (value.shape, value.dtype) == ((200,), dtype)
    np.testing.assert_array_equal(value, random_input((200,), dtype))
    assert len(np.unique(value)) > 1
    if dtype == "uint8":
        assert value.min() < 20 < 235 < value.max()
    elif value.dtype.kind != "f":
        assert set(np.unique(value).tolist()) <= {0, 1}
    assert not np.array_equal(value, random_input((200,), dtype, seed=1))


sizes = st.lists(st.integers(1, 7), min_size=1, max_size=4)


@given(data=st.data(), shape=sizes)
def test_fit_example(data: st.DataObject, shape: list[int]) -> None:
    """Element i of the result is element i modulo the example's size, along every axis."""
    target = data.draw(st.lists(st.integers(1, 9), min_size=len(shape), max_size=len(shape)))
    example = np.arange(np.prod(shape)).reshape(shape)
    fitted = fit_example(example, tuple(target))
    index = np.ix_(*(np.arange(size) % own for size, own in zip(target, shape, strict=True)))
    np.testing.assert_array_equal(fitted, example[index])
    assert fitted.flags.c_contiguous


def test_fit_a_single_number() -> None:
    assert fit_example(np.array(3.0), ()).shape == ()


def test_multiples_of() -> None:
    flags = {"min": ["1x3x32x32"], "opt": ["1x3x64x32"], "max": ["1x3x96x32"], "multiple": ["1x1x32x32"]}
    assert plan(module(One()), **flags)["picture"].range.step == (1, 1, 32, 1)
    with pytest.raises(UsageError, match=r"max is 90, which is no multiple of 32 .--multiple-of.; give 64, 96"):
        plan(module(One()), **{**flags, "max": ["1x3x90x32"]})
