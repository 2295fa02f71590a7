"""Third-party layers of masked partial convolution, recognized by their answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rectexport import export, load
from rectexport.exporter.frontend.adapt import adapt
from rectexport.exporter.frontend.masked import FeaturesOnly
from rectexport.models import MaskedConv2d
from tests.export.engines import ENGINES
from tests.export.masked_layers import Nvidia, ScaledBias, TwoConvs

X = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(0))


class Forgetful(Nvidia):
    """Another layer of that name: it never closes a hole."""

    def forward(self, input: Tensor, mask_in: Tensor | None = None) -> Any:
        output, _ = super().forward(input, mask_in)
        return output, mask_in


class Around(nn.Module):
    """One layer that gets the mask, by position or by name, and gives what it gives."""

    def __init__(self, layer: nn.Module, channels: int = 1, named: bool = False) -> None:
        super().__init__()
        self.layer, self.channels, self.named = layer, channels, named

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        mask = mask.expand(-1, self.channels, -1, -1)
        return self.layer(x, mask_in=mask) if self.named else self.layer(x, mask)


def mask() -> Tensor:
    drawn = (torch.rand(2, 1, 9, 8, generator=torch.Generator().manual_seed(1)) > 0.6).float()
    drawn[:, :, 5:, :4] = 0
    return drawn


WINDOWS = [{"kernel_size": 3, "padding": 1}, {"kernel_size": 5, "stride": 2, "padding": 2}]
LAYERS: list[tuple[Any, dict[str, Any], int, dict[str, Any]]] = [
    (Nvidia, {}, 1, {"multi_channel": False, "numerator": "mask", "bias_mode": "after"}),
    (Nvidia, {"multi_channel": True}, 4, {"multi_channel": True, "numerator": "mask", "bias_mode": "after"}),
    (Nvidia, {"bias": False}, 1, {"multi_channel": False, "numerator": "mask"}),
    (TwoConvs, {}, 4, {"multi_channel": True, "numerator": "one", "bias_mode": "after"}),
    (ScaledBias, {}, 1, {"multi_channel": False, "numerator": "mask", "bias_mode": "inside"}),
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("kind", "options", "channels", "expected"), LAYERS)
def test_layers_become_ours(kind: Any, options: Any, channels: int, expected: Any, window: Any) -> None:
    torch.manual_seed(0)
    model = Around(kind(4, 6, **window, **options), channels).eval()
    done = adapt(model, (X, mask()))
    assert isinstance(done.model.layer, MaskedConv2d) and done.reference is model
    assert {name: getattr(done.model.layer, name) for name in expected} == expected
    for given, wanted in zip(done.model(X, mask()), model(X, mask()), strict=True):
        torch.testing.assert_close(given, wanted)
    shared = model.layer.input_conv if kind is TwoConvs else model.layer
    assert torch.equal(done.model.layer.weight, shared.weight)


def test_a_numerator_of_all_channels_over_a_mask_of_one() -> None:
    model = Around(Nvidia(4, 6, 3, padding=1, slide=36)).eval()
    done = adapt(model, (X, mask()))
    assert done.model.layer.numerator == "channels"
    torch.testing.assert_close(done.model(X, mask())[0], model(X, mask())[0])


@pytest.mark.parametrize(("named", "both"), [(False, False), (True, False), (True, True)])
def test_features_alone_and_masks_by_name(named: bool, both: bool) -> None:
    model = Around(Nvidia(4, 6, 3, padding=1, return_mask=both), 1, named).eval()
    done = adapt(model, (X, mask()))
    assert isinstance(done.model.layer, FeaturesOnly)
    torch.testing.assert_close(done.model(X, mask()), model(X, mask()))


@pytest.mark.parametrize("layer", [Forgetful(4, 6, 3, padding=1), Nvidia(4, 6, 3, padding=1, slide=7)])
def test_other_layers_stay(layer: nn.Module) -> None:
    done = adapt(Around(layer).eval(), (X, mask()))
    assert not done.swaps


class Chain(nn.Module):
    """Two layers, BatchNorm between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Nvidia(4, 8, 3, stride=2, padding=1, multi_channel=True, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = Nvidia(8, 4, 3, padding=1, multi_channel=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x, known = self.first(x, mask.expand(-1, 4, -1, -1))
        return self.second(self.norm(x).relu(), known)[0]


def test_an_export_counts_on_one_channel(tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = Chain().eval()
    nn.init.normal_(model.norm.bias)
    package = export(model, (X, mask()), tmp_path / "out")
    fired = {entry["name"] for entry in package.manifest.data["passes"] if entry["fired"]}
    assert {"masked_narrow", "masked_counts", "batch_norm"} <= fired
    for engine in ENGINES:
        with load(tmp_path / "out", backend=engine) as session:
            for known in (mask(), torch.zeros(2, 1, 9, 8), torch.ones(2, 1, 9, 8)):
                answer = session(X.numpy(), known.numpy())
                expected = model(X, known).detach().numpy()
                np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
