"""The networks: how each is built from a package on PyPI, and the sizes it is tried at.

Weights are random (seeded); only the code of the network matters here. Small variants stand for their families.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A network by an expression of its package.

    size   height and width of the example
    step   sizes must be multiples of this
    """

    package: str
    name: str
    expression: str
    size: int = 64
    step: int = 1
    channels: int = 3


def _timm(*names: str, size: int = 64, step: int = 1) -> list[Network]:
    return [Network("timm", name, f"timm.create_model({name!r})", size, step) for name in names]


def _torchvision(*names: str, size: int = 64, more: str = "") -> list[Network]:
    return [
        Network("torchvision", name, f"torchvision.models.get_model({name!r}, weights=None{more})", size)
        for name in names
    ]


def _smp(name: str, encoder: str = "resnet18", size: int = 64, step: int = 32) -> Network:
    code = f"segmentation_models_pytorch.{name}({encoder!r}, encoder_weights=None, classes=3)"
    return Network("segmentation_models_pytorch", f"{name} {encoder}", code, size, step)


def _yolo(config: str) -> Network:
    return Network("ultralytics", config, f"ultralytics.YOLO('{config}.yaml').model", 64, 32)


def _effdet(name: str) -> Network:
    code = f"effdet.create_model({name!r}, pretrained_backbone=False, image_size=(128, 128))"
    return Network("effdet", name, code, 128, 128)


def _monai(name: str, arguments: str, size: int = 64, step: int = 16, channels: int = 1) -> Network:
    return Network("monai", name, f"monai.networks.nets.{name}({arguments})", size, step, channels)


def _kornia(name: str, expression: str, size: int = 64, step: int = 1, channels: int = 3) -> Network:
    return Network("kornia", name, expression, size, step, channels)


def _spandrel(name: str, arguments: str = "", size: int = 32, step: int = 1, channels: int = 3) -> Network:
    module, _, kind = name.rpartition(".")
    code = f"importlib.import_module('spandrel.architectures.{module}').{kind}({arguments})"
    return Network("spandrel", name.partition(".")[0], code, size, step, channels)


NETWORKS: tuple[Network, ...] = (
    *_timm("resnet18", "resnet26d", "resnet50", "resnext50_32x4d", "seresnet33ts", "ecaresnet26t", "wide_resnet50_2"),
    *_timm(
        "resnest14d", "skresnet18", "res2net50_14w_8s", "nf_resnet26", "dm_nfnet_f0", "resnetv2_50x1_bit", "resnetrs50"
    ),
    *_timm(
        "convnext_atto", "convnextv2_atto", "convnext_femto_ols", "convmixer_768_32", "repvgg_a0", "repghostnet_050"
    ),
    *_timm("densenet121", "dpn48b", "vovnet39a", "ese_vovnet19b_dw", "darknet17", "cspresnet50"),
    *_timm("dla34", "hrnet_w18_small", step=32),
    *_timm(
        "mobilenetv2_035", "mobilenetv3_small_050", "mobilenetv4_conv_small_035", "efficientnet_lite0", "mnasnet_small"
    ),
    *_timm("tf_efficientnet_b0", "tf_mobilenetv3_small_075", "tf_efficientnetv2_b0", "tf_mixnet_s", "ghostnet_050"),
    *_timm("regnetx_002", "regnety_002", "lcnet_035", "tinynet_e", "hardcorenas_a", "fbnetc_100", "spnasnet_100"),
    *_timm("vgg11", "vgg11_bn", "xception41", "inception_v4", "inception_next_atto", "starnet_s1", size=96),
    *_timm("rexnet_100", "selecsls42b", "gernet_s", "mobileone_s0", "edgenext_xx_small", "fasternet_t0", "hgnetv2_b0"),
    *_torchvision(
        "resnet18", "squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5"
    ),
    *_torchvision("efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "densenet121", "alexnet", "googlenet", "vgg11"),
    *_torchvision(
        "fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large", more=", weights_backbone=None"
    ),
    *_torchvision("inception_v3", size=96),
    *(_smp(name) for name in ("Unet", "UnetPlusPlus", "Linknet", "FPN", "MAnet", "DeepLabV3", "DeepLabV3Plus")),
    _smp("PSPNet", step=48, size=96),
    _smp("UPerNet"),
    _smp("PAN", size=128),
    _smp("Unet", "mobilenet_v2"),
    _smp("Unet", "efficientnet-b0"),
    _smp("FPN", "timm-regnetx_002"),
    _smp("Unet", "tu-convnext_atto"),
    *(_yolo(config) for config in ("yolov3-tiny", "yolov5n", "yolov8n", "yolov8n-seg", "yolov8n-cls", "yolov8n-pose")),
    *(_yolo(config) for config in ("yolov10n", "yolo11n", "yolo11n-obb", "yolo12n")),
    _effdet("efficientdet_lite0"),
    _effdet("mobiledetv2_110d"),
    _effdet("resdet50"),
    _monai("BasicUNet", "spatial_dims=2, features=(8, 8, 16, 16, 32, 8)"),
    _monai(
        "UNet", "spatial_dims=2, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2), num_res_units=2"
    ),
    _monai("AttentionUnet", "spatial_dims=2, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2)"),
    _monai("SegResNet", "spatial_dims=2, init_filters=8"),
    _monai("DynUNet", "2, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2], filters=[8, 16, 32]"),
    _monai("HighResNet", "spatial_dims=2", step=1),
    _monai("DenseNet121", "spatial_dims=2, in_channels=1, out_channels=2", step=1),
    _monai("EfficientNetBN", "'efficientnet-b0', pretrained=False, spatial_dims=2, in_channels=1", step=1),
    _monai("VNet", "spatial_dims=2"),
    _monai("BasicUNetPlusPlus", "spatial_dims=2, features=(8, 8, 16, 16, 32, 8)"),
    _monai("FlexibleUNet", "1, 2, 'efficientnet-b0', spatial_dims=2", step=32),
    _monai("SENet154", "spatial_dims=2, in_channels=1, num_classes=2, layers=(1, 1, 1, 1)", step=1),
    _kornia("HardNet", "kornia.feature.HardNet(pretrained=False)", 32, channels=1),
    _kornia("HardNet8", "kornia.feature.HardNet8(pretrained=False)", 32, channels=1),
    _kornia("SOSNet", "kornia.feature.SOSNet(pretrained=False)", 32, channels=1),
    _kornia("TFeat", "kornia.feature.TFeat(pretrained=False)", 32, channels=1),
    _kornia("HyNet", "kornia.feature.HyNet(pretrained=False)", 32, channels=1),
    _kornia("DexiNed", "kornia.models.dexined.DexiNed(pretrained=False)", 64, 16),
    _spandrel("ESRGAN.__arch.RRDB.RRDBNet", "num_filters=16, num_blocks=2"),
    _spandrel("Compact.__arch.SRVGG.SRVGGNetCompact", "num_feat=16, num_conv=4"),
    _spandrel("SPAN.__arch.span.SPAN", "num_in_ch=3, num_out_ch=3, feature_channels=16"),
    _spandrel("SAFMN.__arch.safmn.SAFMN", "dim=16, n_blocks=2, ffn_scale=2.0, upscaling_factor=2", 32, 8),
    _spandrel("PLKSR.__arch.PLKSR.PLKSR", "dim=16, n_blocks=2, kernel_size=9"),
    _spandrel("RCAN.__arch.rcan_arch.RCAN", "n_resgroups=1, n_resblocks=2, n_feats=16"),
    _spandrel("DnCNN.__arch.network_dncnn.DnCNN", "in_nc=3, out_nc=3, nc=16, nb=5"),
    _spandrel("DRUNet.__arch.network_unet.DRUNet", "in_nc=3, out_nc=3, nc=[8, 16, 16, 16], nb=1", 32, 8),
    _spandrel(
        "NAFNet.__arch.NAFNet_arch.NAFNet", "width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]", 32, 4
    ),
    Network("resnest", "resnest50_fast_1s1x64d", "importlib.import_module('resnest.torch').resnest50_fast_1s1x64d()"),
    Network("resnest", "resnest50_fast_2s2x40d", "importlib.import_module('resnest.torch').resnest50_fast_2s2x40d()"),
)
