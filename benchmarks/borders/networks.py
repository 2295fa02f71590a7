"""The networks: from which repository, and how each is built there, with random weights at a small size."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

#: Stands in for a module that is imported and not used.
EMPTY: Any = MagicMock()
#: What the weather models' own files import for data and plots.
_TRAINING = (
    *("h5py", "matplotlib", "matplotlib.pyplot", "ruamel", "ruamel.yaml", "wandb"),
    *("torchvision", "torchvision.transforms", "torchvision.transforms.functional"),
)


@dataclass(frozen=True)
class Network:
    """One network of a public repository.

    build imports the repository's own modules, whose folder is first on the path, and returns the network and its
    inputs.
    """

    repository: str
    use: str
    border: str
    folder: str
    build: Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]

    @property
    def clone(self) -> str:
        """The folder that a clone of the repository has."""
        return self.repository.rpartition("/")[2]


def _image(channels: int = 3, height: int = 64, width: int = 64) -> tuple[Tensor, ...]:
    return (torch.randn(1, channels, height, width),)


def _of(module: str, name: str, *arguments: Any, **options: Any) -> Any:
    return getattr(importlib.import_module(module), name)(*arguments, **options)


class Panorama(nn.Module):
    """HorizonNet's encoder with its own circular columns; the whole network takes 512×1024 alone."""

    def __init__(self) -> None:
        super().__init__()
        module: Any = importlib.import_module("model")
        module.is_old_version, module.is_new_version = True, False
        self.encoder = module.Resnet("resnet18", pretrained=False)
        module.wrap_lr_pad(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)[-1]


class Depth(nn.Module):
    """monodepth2: encoder and decoder, the finest scale."""

    def __init__(self) -> None:
        super().__init__()
        networks = importlib.import_module("networks")
        self.encoder = networks.ResnetEncoder(18, False)
        self.decoder = networks.DepthDecoder(self.encoder.num_ch_enc, scales=range(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))[("disp", 0)]


class Weather(nn.Module):
    """A block of TSIT_ERA5's generator: circular longitude, zeros in latitude."""

    def __init__(self) -> None:
        super().__init__()
        _without(*_TRAINING)
        params = SimpleNamespace(use_periodic_padding=True, norm_G="spectralfadebatch3x3")
        self.block = _of("models.networks.architecture_periodic", "FADEResnetBlockPeriodic", 16, 8, params)

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        return self.block(x, feature)


def _weather() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Weather(), (torch.randn(1, 16, 24, 48), torch.randn(1, 16, 24, 48))


def _without(*names: str) -> None:
    """Let these modules be imported, empty: a repository's files import them for other things than the network."""
    for name in names:
        sys.modules.setdefault(name, EMPTY)


def forget_empty() -> None:
    """Take the empty modules away again: other packages look for them too."""
    for name in [name for name, module in sys.modules.items() if module is EMPTY]:
        del sys.modules[name]


def _rain() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """FourCastNet's head for precipitation; the modules that its loader alone needs are left out."""
    _without(*_TRAINING)
    pad = _of("utils.img_utils", "PeriodicPad2d", 1)
    return nn.Sequential(pad, nn.Conv2d(4, 4, 3), nn.ReLU()), _image(4, 24, 48)


def _encodec(part: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    _without("torchaudio")
    made = _of("encodec.modules.seanet", part, n_filters=8, norm="none", lstm=0)
    return made, (torch.randn(1, 1, 3200) if part == "SEANetEncoder" else torch.randn(1, 128, 10),)


NETWORKS: dict[str, Network] = {
    "circular-resnet18": Network(
        "achaman2/truly_shift_invariant_cnns", "classification", "circular", "",
        lambda: (_of("models.lpf_models.resnet", "resnet18", filter_size=3), _image()),
    ),
    "circular-unet": Network(
        "achaman2/truly_shift_invariant_cnns", "MRI and CT reconstruction", "circular", "",
        lambda: (
            _of("models.baseline_models.baseline_unet.unet_model", "UNet_3down", 1, 1, [8, 16, 32, 64],
                padding_mode="circular"),
            _image(1),
        ),
    ),
    "antialiased-resnet18": Network(
        "adobe/antialiased-cnns", "classification", "reflect", "",
        lambda: (_of("antialiased_cnns.resnet", "resnet18", pretrained=False), _image()),
    ),
    "antialiased-mobilenet": Network(
        "adobe/antialiased-cnns", "classification", "reflect", "",
        lambda: (_of("antialiased_cnns.mobilenet", "mobilenet_v2", pretrained=False), _image()),
    ),
    "edge-connect-inpaint": Network(
        "knazeri/edge-connect", "inpainting", "reflect", "",
        lambda: (_of("src.networks", "InpaintGenerator", 2), _image(4)),
    ),
    "edge-connect-edges": Network(
        "knazeri/edge-connect", "inpainting", "reflect", "",
        lambda: (_of("src.networks", "EdgeGenerator", 2, use_spectral_norm=False), _image(3)),
    ),
    "style-v2": Network(
        "rrmina/fast-neural-style-pytorch", "texture", "reflect", "",
        lambda: (_of("experimental", "TransformerNetworkV2"), _image()),
    ),
    "style-densenet": Network(
        "rrmina/fast-neural-style-pytorch", "texture", "reflect", "",
        lambda: (_of("experimental", "TransformerNetworkDenseNet"), _image()),
    ),
    "adain-decoder": Network(
        "naoto0804/pytorch-AdaIN", "texture", "reflect", "",
        lambda: (importlib.import_module("net").decoder, _image(512, 8, 8)),
    ),
    "cyclegan": Network(
        "eriklindernoren/PyTorch-GAN", "image translation", "reflect", "implementations/cyclegan",
        lambda: (_of("models", "GeneratorResNet", (3, 64, 64), 2), _image()),
    ),
    "munit-content": Network(
        "eriklindernoren/PyTorch-GAN", "image translation", "reflect", "implementations/munit",
        lambda: (_of("models", "ContentEncoder", dim=16), _image()),
    ),
    "encodec-encoder": Network(
        "facebookresearch/encodec", "audio", "reflect", "", lambda: _encodec("SEANetEncoder")
    ),
    "encodec-decoder": Network(
        "facebookresearch/encodec", "audio", "reflect", "", lambda: _encodec("SEANetDecoder")
    ),
    "monodepth2": Network(
        "nianticlabs/monodepth2", "depth", "reflect", "", lambda: (Depth(), _image(3, 64, 96))
    ),
    "horizonnet-encoder": Network(
        "sunset1995/HorizonNet", "panoramas", "circular columns", "", lambda: (Panorama(), _image(3, 64, 128))
    ),
    "tsit-era5-block": Network(
        "pzharrington/TSIT_ERA5", "weather", "circular longitude", "", _weather
    ),
    "fourcastnet-precipitation": Network(
        "NVlabs/FourCastNet", "weather", "circular longitude", "", _rain
    ),
}  # fmt: skip
