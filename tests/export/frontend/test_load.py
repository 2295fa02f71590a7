"""What a model file may be, and what becomes of one that is not."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file
from torch import Tensor, nn

from rectexport.exporter.frontend.inputs import ShapeOptions, plan_inputs
from rectexport.exporter.frontend.load import LoadOptions, load_source
from rectexport.exporter.frontend.source import KINDS, Source
from rectexport.models import RectifiedConv2d, create_model
from rectexport.models.checkpoint import save_checkpoint
from rectexport.runtime.errors import BadInput, RectexportError, UsageError
from tests.export.helper import build
from tests.export.nets import Small, image, seeded

PLAIN = LoadOptions()
DIGITS = LoadOptions(arch="digits")
TRUSTED = LoadOptions(trust_pickle=True)
pytestmark = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore:Detected pickle protocol:UserWarning"
)


def digits(**options: Any) -> nn.Module:
    return seeded(create_model("digits", **options))


def weights() -> dict[str, Tensor]:
    return digits().state_dict()


def checkpoint(path: Path, **changed: Any) -> None:
    save_checkpoint(path, "digits", {"width": 0.25}, digits(width=0.25), image(2, 1, 8, 8))
    if changed:
        torch.save({**torch.load(path, weights_only=True), **changed}, path)


def program(path: Path) -> None:
    shapes = ({0: torch.export.Dim("n", max=8)},)
    torch.export.save(torch.export.export(seeded(Small()), (image(2, 2, 8, 8),), dynamic_shapes=shapes), path)


def torchscript(path: Path) -> None:
    torch.jit.trace(seeded(Small()), image(2, 2, 8, 8)).save(str(path))


def onnx_file(path: Path) -> None:
    onnx.save(build("(float[3,2] x) => (float[3,2] y)", "y = Add(x, w)", w=np.ones((3, 2), np.float32)), path)


#: How to write a file of each kind, and the options that read it.
FILES: dict[str, tuple[Callable[[Path], None], LoadOptions]] = {
    "checkpoint.pt": (checkpoint, PLAIN),
    "weights.pt": (lambda path: torch.save(weights(), path), DIGITS),
    "weights.safetensors": (lambda path: save_file(weights(), path), DIGITS),
    "program.pt2": (program, PLAIN),
    "script.pt": (torchscript, PLAIN),
    "module.pt": (lambda path: torch.save(seeded(RectifiedConv2d(1, 2, 3, padding=1)), path), TRUSTED),
    "model.onnx": (onnx_file, PLAIN),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, (write, _) in FILES.items():
        write(folder / name)
    return folder


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Source]:
    """Save a value as a .pt file and load it."""

    def save_and_load(value: Any, options: LoadOptions = DIGITS) -> Source:
        torch.save(value, tmp_path / "value.pt")
        return load_source(tmp_path / "value.pt", options)

    return save_and_load


def forward(source: Source, x: Tensor) -> Tensor:
    with torch.no_grad():
        return source.model(x)


def test_our_checkpoint(files: Path) -> None:
    source = load_source(files / "checkpoint.pt")
    assert (source.kind, source.description) == ("module", "checkpoint of digits")
    assert source.name == str(files / "checkpoint.pt")
    assert not source.model.training
    np.testing.assert_array_equal(source.example_inputs[0], image(2, 1, 8, 8).numpy())
    assert source.tolerances == {"relative_l2": 1e-5}
    x = image(3, 1, 8, 8)
    assert torch.equal(forward(source, x), digits(width=0.25)(x))
    assert load_source(files / "checkpoint.pt", DIGITS).description == source.description


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_weights_with_an_arch(name: str, files: Path) -> None:
    source = load_source(files / name, DIGITS)
    assert (source.kind, source.description, source.default_shape) == ("module", "weights of digits", (1, 1, 8, 8))
    x = image(2, 1, 8, 8)
    assert torch.equal(forward(source, x), digits()(x))
    assert plan_inputs(source, ShapeOptions()).inputs[0].example.shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
        lambda state: {"epoch": 3, "state_dict": state, "optimizer": {}},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
        lambda state: {key: value.double() if value.is_floating_point() else value for key, value in state.items()},
    ],
    ids=["module", "compiled", "nested", "both", "no counters", "float64"],
)
def test_state_dicts_as_people_save_them(wrap: Callable[[Any], Any], load: Callable[..., Source]) -> None:
    x = image(2, 1, 8, 8)
    source = load(wrap(weights()))
    assert torch.equal(forward(source, x), digits()(x))


def test_a_head_of_another_size(load: Callable[..., Source]) -> None:
    tuned = digits(num_classes=7)
    source = load(tuned.state_dict())
    x = image(2, 1, 8, 8)
    assert torch.equal(forward(source, x), tuned(x))
    assert forward(source, x).shape == (2, 7)


def test_program(files: Path) -> None:
    source = load_source(files / "program.pt2")
    assert (source.kind, source.input_names) == ("program", ["x"])
    np.testing.assert_array_equal(source.example_inputs[0], image(2, 2, 8, 8).numpy())
    with torch.no_grad():
        assert torch.equal(source.model.module()(image(3, 2, 8, 8)), seeded(Small())(image(3, 2, 8, 8)))


def test_script(files: Path) -> None:
    source = load_source(files / "script.pt")
    assert (source.kind, source.input_names, source.example_inputs) == ("torchscript", ["x"], None)
    assert torch.equal(forward(source, image(3, 2, 8, 8)), seeded(Small())(image(3, 2, 8, 8)))


def test_pickled_module_only_when_trusted(files: Path) -> None:
    source = load_source(files / "module.pt", TRUSTED)
    assert (source.kind, source.description) == ("module", "pickled RectifiedConv2d")
    with pytest.raises(
        BadInput, match=r"module\.pt: is a pickle that runs code when loaded \(.*RectifiedConv2d\)"
    ) as e:
        load_source(files / "module.pt")
    assert "trust_pickle=True" in str(e.value)


def test_pickled_module_becomes_float32_and_eval(load: Callable[..., Source]) -> None:
    source = load(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).half().train(), TRUSTED)
    assert {value.dtype for value in source.model.parameters()} == {torch.float32}
    assert not source.model.training


def test_onnx(files: Path) -> None:
    source = load_source(files / "model.onnx")
    assert (source.kind, source.input_names) == ("onnx", ["x"])
    assert source.example_inputs[0].shape == (3, 2)
    assert source.example_inputs[0].dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "dtype"), [("float16", "float16"), ("int64", "int64"), ("bool", "bool"), ("double", "float64")]
)
def test_onnx_input_types(kind: str, dtype: str, tmp_path: Path) -> None:
    onnx.save(build(f"({kind}[3] x) => ({kind}[3] y)", "y = Identity(x)"), tmp_path / "m.onnx")
    assert load_source(tmp_path / "m.onnx").example_inputs[0].dtype == dtype


def test_onnx_of_unknown_size_has_no_example(tmp_path: Path) -> None:
    onnx.save(build("(float[N,2] x) => (float[N,2] y)", "y = Relu(x)"), tmp_path / "m.onnx")
    assert load_source(tmp_path / "m.onnx").example_inputs is None


def test_onnx_initializers_are_no_inputs(tmp_path: Path) -> None:
    model = build("(float[2] x, float[2] w) => (float[2] y)", "y = Add(x, w)", w=np.ones(2, np.float32))
    onnx.save(model, tmp_path / "m.onnx")
    assert load_source(tmp_path / "m.onnx").input_names == ["x"]


def test_onnx_with_weights_beside_it(tmp_path: Path) -> None:
    model = build("(float[2] x) => (float[2] y)", "y = Add(x, w)", w=np.ones(2, np.float32))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert load_source(tmp_path / "m.onnx").kind == "onnx"
    (tmp_path / "m.data").unlink()
    with pytest.raises(BadInput, match=r"m\.onnx: weights of w are stored in .m\.data., which is not a file"):
        load_source(tmp_path / "m.onnx")


def test_every_kind_has_a_name(files: Path) -> None:
    kinds = {load_source(files / name, options).kind for name, (_, options) in FILES.items()}
    assert kinds == set(KINDS)


def refuses(path: Path, message: str, options: LoadOptions = PLAIN, error: type[Exception] = BadInput) -> str:
    with pytest.raises(error, match=message) as caught:
        load_source(path, options)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_such_file(tmp_path: Path, files: Path) -> None:
    refuses(tmp_path / "none.pt", r"none\.pt: no such file$")
    refuses(files / "chekpoint.pt", r"chekpoint\.pt: no such file; did you mean .*checkpoint\.pt\?")
    refuses(tmp_path / "folder" / "none.pt", r"no such file, nor a folder .*folder")


def test_pipes_and_sparse_giants(tmp_path: Path) -> None:
    for suffix in (".pt", ".pt2", ".onnx", ".safetensors"):
        os.mkfifo(tmp_path / f"pipe{suffix}")
        refuses(tmp_path / f"pipe{suffix}", "is a pipe, expected a regular file")
        with (tmp_path / f"giant{suffix}").open("wb") as stream:
            stream.truncate(1 << 40)
        refuses(tmp_path / f"giant{suffix}", "a sparse file is not read")


def test_a_safetensors_header_is_bounded_before_it_is_parsed(tmp_path: Path) -> None:
    entry = b'"k%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    many = b"{" + b",".join(entry % index for index in range(100_001)) + b"}"
    for name, header, said in (
        ("many", many, "100001 tensors, expected at most 100000"),
        ("long", b"{" + b" " * (16 << 20) + b"}", "its header has 16777218 bytes, expected at most 16777216"),
    ):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        refuses(path, said, DIGITS)


def test_folder(tmp_path: Path) -> None:
    refuses(tmp_path, r"is a folder, expected a model file \(\.pt, ")


@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".onnx", ".safetensors", ".bin"])
def test_empty_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"empty{suffix}"
    path.touch()
    refuses(path, "the file is empty")


@pytest.mark.parametrize("options", [PLAIN, TRUSTED], ids=["plain", "trusted"])
@pytest.mark.parametrize("suffix", [".pt", ".pt2", ".onnx", ".safetensors", ".jpg"])
def test_random_bytes(suffix: str, options: LoadOptions, tmp_path: Path) -> None:
    """Only a file that is a pickle is refused with the advice to trust it."""
    generator = random.Random(1)
    for size in (1, 2, 60, 5000):
        path = tmp_path / f"noise{suffix}"
        path.write_bytes(b"\x1f" + generator.randbytes(size - 1))
        message = refuses(path, "not a", options)
        assert "--trust-pickle" not in message


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "notes.pt"
    path.write_text("learning rate 0.1\n")
    assert "--trust-pickle" not in refuses(path, "not a file that torch.load reads, or a damaged one")


TRIES = 25


def problem(path: Path, options: LoadOptions) -> str | None:
    """What load_source has against a file; any other exception than ours passes through."""
    try:
        load_source(path, options)
    except RectexportError as error:
        return str(error)
    return None


def cut(data: bytes, generator: random.Random) -> bytes:
    return data[: generator.choice([generator.randrange(1, 20), generator.randrange(1, len(data)), len(data) - 1])]


def flip(data: bytes, generator: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(generator.choice([1, 1, 3, 20])):
        broken[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return bytes(broken)


def blank(data: bytes, generator: random.Random) -> bytes:
    start = generator.randrange(len(data) - 64)
    return data[:start] + bytes(64) + data[start + 64 :]


@pytest.mark.parametrize("damage", [cut, flip, blank])
@pytest.mark.parametrize("name", FILES)
def test_damaged_files(name: str, damage: Callable[[bytes, random.Random], bytes], files: Path, tmp_path: Path) -> None:
    """Whatever a damaged file makes the libraries raise: one error of ours that names the file."""
    generator = random.Random(name)
    path = tmp_path / f"damaged{Path(name).suffix}"
    problems = []
    for _ in range(TRIES):
        path.write_bytes(damage((files / name).read_bytes(), generator))
        problems.append(problem(path, FILES[name][1]))
    found = [message for message in problems if message is not None]
    assert all(path.name in message and "\n" not in message for message in found)
    assert len(found) == TRIES if damage is cut else damage is blank or found


class Dangerous:
    """What an attacker would put into a checkpoint."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.canary}'",)


@pytest.mark.parametrize("arch", [None, "digits"])
@pytest.mark.parametrize("how", ["torch", "legacy", "pickle 0", "pickle 5", "nested", "module"])
def test_a_pickle_does_not_run(how: str, arch: str | None, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "model.pt"
    value: Any = Dangerous(canary)
    if how == "nested":
        value = {"state_dict": {**weights(), "extra": value}}
    if how.startswith("pickle"):
        path.write_bytes(pickle.dumps(value, protocol=int(how[-1])))
    elif how == "module":
        module = nn.Linear(1, 1)
        module.extra = value  # type: ignore[assignment]
        torch.save(module, path)
    else:
        torch.save(value, path, _use_new_zipfile_serialization=how != "legacy")
    assert "trust_pickle=True" in refuses(path, "is a pickle that runs code when loaded", LoadOptions(arch))
    assert not canary.exists()


def test_the_pickle_would_have_run(tmp_path: Path) -> None:
    """The canary sings: the test above can fail."""
    torch.save(Dangerous(tmp_path / "canary"), tmp_path / "model.pt")
    refuses(tmp_path / "model.pt", "holds a int, expected a checkpoint", TRUSTED)
    assert (tmp_path / "canary").exists()


def test_code_that_is_not_here(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"cnowhere_to_be_found\nNet\n.")
    refuses(path, r"could not be unpickled: .*; the module's own code must be importable here", TRUSTED)


@pytest.mark.parametrize("value", [[torch.zeros(1)], torch.zeros(2), 3, "text", None])
def test_other_values(value: Any, load: Callable[..., Source]) -> None:
    with pytest.raises(BadInput, match=rf"value\.pt: holds a {type(value).__name__}, expected a checkpoint"):
        load(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem.0.weight": None}, "1 missing keys: stem.0.weight"),
        ({"surplus.weight": torch.zeros(3)}, "1 surplus keys: surplus.weight"),
        ({"down.0.weight": torch.zeros(4, 4, 3, 3)}, r"1 wrong shapes: down\.0\.weight is \[4, 4, 3, 3\], expected"),
        ({"down.0.weight": torch.full((48, 32, 3, 3), float("nan"))}, "1 tensors with NaN or infinite values: down"),
        ({"head.fc.bias": torch.full((10,), float("inf"))}, "1 tensors with NaN or infinite values: head.fc.bias"),
        ({"head.fc.weight": torch.zeros(7, 48)}, "1 wrong shapes: head.fc.bias"),
        ({"stem.0.weight": torch.zeros(16, 1, 5, 5).to_sparse()}, "sparse or quantized tensor, expected a plain one"),
        ({"stem.0.weight": 3}, r"not a state dict: stem\.0\.weight \(int\)"),
    ],
)
def test_weights_that_do_not_fit(change: dict[str, Any], message: str, load: Callable[..., Source]) -> None:
    state = {key: value for key, value in {**weights(), **change}.items() if value is not None}
    with pytest.raises(BadInput, match=message) as caught:
        load(state)
    assert "value.pt" in str(caught.value)


@pytest.mark.parametrize("value", [{}, {3: torch.zeros(1)}, {"state_dict": {}}, {"epoch": 3, "model": {}}])
def test_dicts_that_are_no_weights(value: Any, load: Callable[..., Source]) -> None:
    with pytest.raises(BadInput, match=r"value\.pt"):
        load(value)


def test_weights_alone_need_an_arch(load: Callable[..., Source]) -> None:
    with pytest.raises(UsageError, match=r"value\.pt: holds weights only; .* its keys look like arch=.digits.$"):
        load(weights(), PLAIN)
    with pytest.raises(UsageError, match=r"say which network they belong to with arch=.NAME.; known: resnet50, "):
        load({"a": torch.zeros(1)}, PLAIN)


def test_an_unknown_arch(files: Path) -> None:
    with pytest.raises(BadInput, match=r"arch=.resnet5.: unknown; nearest: resnet50"):
        load_source(files / "weights.pt", LoadOptions("resnet5"))
    with pytest.raises(BadInput, match=r"arch=.\?.: unknown; known: resnet50, "):
        load_source(files / "weights.pt", LoadOptions("?"))


def test_another_arch_than_the_checkpoint_says(files: Path) -> None:
    refuses(files / "checkpoint.pt", "is a checkpoint of digits; leave it out", LoadOptions("resnet50"), UsageError)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2, this release reads 1"),
        ({"arch": "digit"}, "unknown model 'digit': did you mean 'digits'"),
        ({"arguments": {"depth": 3}}, "digits has no option 'depth'"),
        ({"arguments": {"width": float("inf")}}, "cannot convert float infinity to integer"),
        ({"state_dict": {}}, "not a state dict: it is empty"),
        ({"example_input": torch.zeros(2, 1, 8, 8).double()}, "example_input: expected float32"),
        ({"tolerances": {"relative_l2": "1e-5"}}, "tolerances: relative_l2: expected a finite number >= 0, got '1e-5'"),
        ({"tolerances": {"relative_l2": float("nan")}}, "expected a finite number >= 0, got nan"),
        ({"tolerances": {"relative_l2": float("inf")}}, "expected a finite number >= 0, got inf"),
        ({"tolerances": {"relative_l2": -1}}, "expected a finite number >= 0, got -1"),
        ({"tolerances": {"relative_l2": True}}, "expected a finite number >= 0, got True"),
    ],
)
def test_checkpoints_that_do_not_fit(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    checkpoint(tmp_path / "c.pt", **change)
    refuses(tmp_path / "c.pt", message)


class Lists(nn.Module):
    def forward(self, x: list[Tensor]) -> Tensor:
        return x[0] + x[1]


def test_a_program_that_takes_more_than_tensors(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(Lists(), ([image(2), image(2)],)), tmp_path / "p.pt2")
    source = load_source(tmp_path / "p.pt2")
    assert source.input_names is not None and len(source.input_names) == 2
    assert all(name.endswith(f".{index}") for index, name in enumerate(source.input_names))
    assert list(source.input_dtypes.values()) == ["float32", "float32"]


def test_a_program_in_bfloat16(tmp_path: Path) -> None:
    made = torch.export.export(nn.Linear(2, 2).bfloat16(), (image(1, 2).bfloat16(),))
    torch.export.save(made, tmp_path / "p.pt2")
    refuses(tmp_path / "p.pt2", "damaged, or of a kind that is not supported: TypeError: .*BFloat16")


class Mute(nn.Module):
    @torch.jit.export
    def other(self, x: Tensor) -> Tensor:
        return x


def test_a_script_without_forward(tmp_path: Path) -> None:
    made: Any = torch.jit.script(Mute())
    made.save(str(tmp_path / "s.pt"))
    refuses(tmp_path / "s.pt", "'forward' is not defined")


@pytest.mark.parametrize(
    ("signature", "body", "message"),
    [
        ("() => (float[1] y)", "y = Constant<value_floats=[1.0]>()", "the model has no input"),
        ("(string[2] x) => (string[2] y)", "y = Identity(x)", "input x is not a tensor of numbers"),
        (
            "(seq(float[2]) x) => (float[2] y)",
            "i = Constant<value_int=0>()\n y = SequenceAt(x, i)",
            "input x is not a tensor",
        ),
    ],
)
def test_onnx_that_is_no_network(signature: str, body: str, message: str, tmp_path: Path) -> None:
    onnx.save(build(signature, body), tmp_path / "m.onnx")
    refuses(tmp_path / "m.onnx", message)


def test_onnx_that_is_not_valid(tmp_path: Path) -> None:
    model = build("(float[2] x) => (float[2] y)", "y = Relu(x)")
    model.graph.node.append(helper.make_node("Relu", ["nowhere"], ["z"]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    refuses(tmp_path / "m.onnx", "not a valid ONNX model: .*nowhere")


def test_rectifying_a_plain_network(files: Path, load: Callable[..., Source]) -> None:
    plain = create_model("digits", conv="plain", width=0.25)
    source = load(plain, LoadOptions(trust_pickle=True, rectify_model=True))
    assert source.description == "pickled DigitsNet, 4 convolutions rectified"
    assert sum(isinstance(module, RectifiedConv2d) for module in source.model.modules()) == 4
    with pytest.raises(UsageError, match=r"rectify_model: .*model\.onnx is ONNX file, whose convolutions cannot"):
        load_source(files / "model.onnx", LoadOptions(rectify_model=True))
    with pytest.raises(BadInput, match=r"rectify_model: .*value\.pt has no zero-padded convolution to rectify"):
        load(nn.Linear(2, 2), LoadOptions(trust_pickle=True, rectify_model=True))
