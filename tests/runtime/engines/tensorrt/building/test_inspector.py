"""Precision in the engine inspector's JSON of different versions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt.building.inspector import Share, check_share, measure_share, read_layers
from rectexport.runtime.errors import DeviceError, ParityError

XMMA = "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize256x64x32_stage3_warpsize4x1x1"
XMMA_TF32 = "sm80_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize256x64x32_stage3"
SCUDNN = "ampere_scudnn_128x64_relu_xregs_large_nn_v1"


def tensor(kind: str) -> dict[str, Any]:
    return {"Name": "t", "Location": "Device", "Dimensions": [1, 8, 8, 8], "Format/Datatype": kind}


def layer(kind: str, before: str, after: str, **more: Any) -> dict[str, Any]:
    return {"Name": "n", "LayerType": kind, "Inputs": [tensor(before)], "Outputs": [tensor(after)], **more}


def cask(before: str, after: str, tactic: str = XMMA) -> dict[str, Any]:
    return layer("CaskConvolution", before, after, ParameterType="Convolution", TacticName=tactic)


def text(*layers: Any) -> str:
    return json.dumps({"Layers": list(layers), "Bindings": ["x", "y"]})


WIDE = "Channel major FP16 format where channel % 8 == 0"


def test_layers_of_tensorrt_8() -> None:
    found = read_layers(
        text(
            layer("Reformat", "Row major linear FP32", "Channel major FP16 format where channel % 4 == 0"),
            cask("Channel major FP16 format where channel % 4 == 0", WIDE),
            cask(WIDE, WIDE),
            cask("Row major linear FP32", "Row major linear FP32", SCUDNN),
            layer("CudaPooling", WIDE, WIDE, ParameterType="Pooling"),
            layer("NoOp", WIDE, WIDE),
        )
    )
    share = measure_share(found, "fp16")
    assert (share.at, share.of, share.others) == (2, 3, (("fp32", 1),))
    assert share.describe() == "2 of 3 convolutions run in fp16 (67%), 1 in fp32"
    check_share(share, "net")


def test_layers_of_tensorrt_10() -> None:
    found = read_layers(
        text(
            cask("Half", "Half"),
            layer("conv", "BFloat16", "BFloat16", Metadata=""),
            layer("kgen", "Half", "Float", Metadata="[ONNX Layer: rectify_scale.z]\x1e[ONNX Layer: node_add]"),
            layer("fusion", "Half", "Half", Metadata="[ONNX Layer: node_Conv_105]\x1e[ONNX Layer: relu]"),
            layer("gemm", "Half", "Half", Metadata="[ONNX Layer: node_linear]"),
            layer("kgen", "Half", "Half", Metadata="[ONNX Layer: node_deconvolve_not]"),
        )
    )
    assert [entry.precision for entry in found] == ["fp16", "bf16", "fp16", "fp16", "fp16", "fp16"]
    assert [entry.convolution for entry in found] == [True, True, False, True, False, False]
    share = measure_share(found, "bf16")
    assert (share.at, share.of, share.others) == (1, 3, (("fp16", 2),))


def test_the_kernels_name_distinguishes_tf32_from_float32() -> None:
    found = read_layers(text(cask("Channel major FP32 format", "Float", XMMA_TF32), cask("Float", "Float", SCUDNN)))
    share = measure_share(found, "tf32")
    assert (share.at, share.of, share.others) == (1, 2, (("fp32", 1),))
    assert measure_share(found, "fp32").others == (("tf32", 1),)


@pytest.mark.parametrize("kind", ["Row major linear BF16", "BFloat16", "Channel major bfloat16 format"])
def test_bfloat16_is_not_read_as_float32(kind: str) -> None:
    assert read_layers(text(cask(kind, kind)))[0].precision == "bf16"


def test_int8() -> None:
    kind = "Thirty-two wide channel vectorized row major Int8 format"
    assert read_layers(text(cask(kind, kind)))[0].precision == "int8"


def test_an_unused_precision_is_an_error() -> None:
    share = measure_share(read_layers(text(cask("Float", "Float"), cask("Float", "Float"))), "bf16")
    with pytest.raises(
        ParityError,
        match=r"out/net: bf16 was asked for, but none of .* 2 convolutions .* \(2 in fp32\): \S+, \S+; build",
    ):
        check_share(share, "out/net")


@pytest.mark.parametrize(
    "share",
    [
        Share("fp32", 0, 3, (("fp16", 3),)),
        Share("tf32", 0, 1, (("fp32", 1),)),
        Share("fp16", 0, 0),
        Share("fp16", 1, 9),
    ],
)
def test_shares_that_are_not_errors(share: Share) -> None:
    check_share(share, "net")


def test_layers_without_details() -> None:
    found = read_layers(text("conv1 + relu1", "pool"))
    assert [entry.name for entry in found] == ["conv1 + relu1", "pool"]
    assert measure_share(found, "fp16").describe() == "the engine lists no layer as a convolution"


@pytest.mark.parametrize("broken", ["", "[]", "{}", '{"Layers": 3}', '{"Layers": [3]}'])
def test_text_that_is_not_a_list_of_layers_is_refused(broken: str) -> None:
    with pytest.raises(DeviceError, match="engine inspector gave no list of layers"):
        read_layers(broken)
