"""The layers under torch.compile and torch.export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor_config
from torch.export import Dim, ExportedProgram

from rectexport.models import CReLU, RectifiedConv2d, ScaledCReLU, SymmetricConv2d, create_model

SHAPES = ((2, 4, 9, 9), (1, 4, 5, 12), (3, 4, 31, 8))


class Everything(nn.Module):
    """One of each layer that leaves torch.export as an operator of the dialect."""

    def __init__(self) -> None:
        super().__init__()
        self.rectified = RectifiedConv2d(4, 6, 3, 1, (1, 2, 0, 1))
        self.average = RectifiedConv2d(6, 6, 3, 2, 1, bias=False, mode="average")
        self.crelu = CReLU()
        self.symmetric = SymmetricConv2d(12, 4)
        self.scaled = ScaledCReLU(4)
        self.leaky = CReLU(nn.LeakyReLU(0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.crelu(self.average(self.rectified(x)))
        return self.leaky(self.scaled(self.symmetric(x)))


def export(model: nn.Module, x: Tensor, *, smallest: int = 5) -> ExportedProgram:
    dynamic = {0: Dim("batch"), 2: Dim("height", min=smallest), 3: Dim("width", min=smallest)}
    return torch.export.export(model, (x,), dynamic_shapes=(dynamic,))


def dialect(program: ExportedProgram) -> list[str]:
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    return [name.split(".")[1] for name in names if name.startswith("rectexport.")]


def test_export_writes_one_operator_per_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Everything().eval()
    program = export(model, torch.randn(*SHAPES[0]))
    assert dialect(program) == ["rectify", "rectify", "crelu", "symmetric_pad", "neg_concat", "neg_concat"]
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2")
    for shape in SHAPES:
        x = torch.randn(*shape)
        for exported in (program, loaded):
            torch.testing.assert_close(exported.module()(x), model(x))


def test_exported_half_precision() -> None:
    model = Everything().eval().to(torch.bfloat16)
    x = torch.randn(*SHAPES[0]).to(torch.bfloat16)
    torch.testing.assert_close(export(model, x).module()(x), model(x))


@pytest.mark.parametrize("name", ["digits", "resnet50"])
def test_export_of_a_network(name: str) -> None:
    torch.manual_seed(0)
    options = {"blocks": (1, 1, 1, 1)} if name == "resnet50" else {}
    model = create_model(name, width=0.25, **options).eval()
    channels = 1 if name == "digits" else 3
    smallest = 5 if name == "digits" else 33  # below, a plane of one pixel inside specializes the size
    program = export(model, torch.randn(2, channels, 40, 48), smallest=smallest)
    assert dialect(program).count("rectify") == sum(isinstance(m, RectifiedConv2d) for m in model.modules())
    x = torch.randn(1, channels, 33, 57)
    torch.testing.assert_close(program.module()(x), model(x))


def test_export_of_a_training_model_is_traced_in_its_own_mode() -> None:
    model = Everything().train()
    x = torch.randn(*SHAPES[0])
    torch.testing.assert_close(export(model, x).module()(x), model(x))


def test_compile_without_code_generation() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(RectifiedConv2d(4, 6, 3, 2, 1), CReLU(), SymmetricConv2d(12, 4))
    compiled = torch.compile(model, dynamic=True, fullgraph=True, backend="aot_eager")
    for shape in SHAPES[:2]:
        x = torch.randn(*shape, requires_grad=True)
        expected, actual = model(x), compiled(x)
        torch.testing.assert_close(actual, expected)
        (gradient,) = torch.autograd.grad(expected.square().sum(), x)
        (compiled_gradient,) = torch.autograd.grad(actual.square().sum(), x)
        torch.testing.assert_close(compiled_gradient, gradient)


def test_compile_of_every_layer_at_every_size() -> None:
    """Down to the operations that torch.compile generates code for, which the next test does for one layer."""
    torch.manual_seed(0)
    model = Everything()
    compiled = torch.compile(model, dynamic=True, fullgraph=True, backend="aot_eager_decomp_partition")
    with torch.no_grad():
        for shape in SHAPES:
            x = torch.randn(*shape)
            torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.slow
def test_compile_with_code_generation() -> None:
    """The layer that computes with its sizes, in C++ without optimization: a tenth of the compilation time."""
    torch.manual_seed(0)
    layer = RectifiedConv2d(4, 6, 3, 2, (1, 2, 0, 1))
    quick = {"aot_inductor.debug_compile": True, "cpp.simdlen": 1, "compile_threads": 1}
    with inductor_config.patch(quick), torch.no_grad():
        compiled = torch.compile(layer, dynamic=True, fullgraph=True)
        for shape in SHAPES[::2]:
            x = torch.randn(*shape)
            torch.testing.assert_close(compiled(x), layer(x))
