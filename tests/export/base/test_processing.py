"""The texts of --image-input and --output."""

from __future__ import annotations

import json

import pytest

from rectexport.exporter.base.processing import Answer, ImageInput, parse_answer, parse_image_input
from rectexport.runtime.errors import UsageError

FULL = "photo:uint8,nchw,bgr,resize=240x320,crop=224,interpolation=bicubic,mean=0.5,0.25,1e-1,std=0.5"


def test_all_options() -> None:
    image = parse_image_input(FULL)
    wanted = ImageInput("photo", "nchw", "bgr", (240, 320), (224, 224), "bicubic", 255, (0.5, 0.25, 0.1), (0.5,))
    assert image == wanted
    assert (image.depth, image.shape(2, 5, 6)) == (3, (2, 3, 5, 6))


def test_defaults() -> None:
    image = parse_image_input("x:uint8")
    assert image == ImageInput("x")
    assert image.shape(2, 5, 6) == (2, 5, 6, 3)
    assert parse_image_input("x:gray,raw,mean=-3") == ImageInput("x", channels="gray", scale=1, mean=(-3.0,))


def test_a_manifest_keeps_them() -> None:
    image = parse_image_input(FULL)
    assert ImageInput.of(json.loads(json.dumps(image.recorded()))) == image
    for text in ("softmax", "topk=5", "aux.logits:argmax"):
        answer = parse_answer(text)
        assert Answer.of(json.loads(json.dumps(answer.recorded()))) == answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uint8,nhwc", "expected NAME:uint8"),
        (":uint8", "expected NAME:uint8"),
        ("x:float32", "unknown 'float32'; expected uint8, raw, nhwc"),
        ("x:nhwc,nchw", "nhwc and nchw contradict"),
        ("x:resize=0", "resize: expected a side"),
        ("x:resize=1x2x3", "resize: expected a side"),
        ("x:resize=99999", "up to 16384"),
        ("x:resize=3,4", "resize: expected a side"),
        ("x:mean=1,2", "mean: expected one number, or 3 for rgb"),
        ("x:gray,mean=1,2,3", "or 1 for gray"),
        ("x:std=0", "std: expected one positive number"),
        ("x:std=nan", "std: expected one positive number"),
        ("x:mean=1,mean=2", "mean is given twice"),
        ("x:size=3", "unknown 'size'; expected resize, crop"),
        ("x:interpolation=area", "interpolation: expected bilinear or bicubic"),
    ],
)
def test_images_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match="image_input=.*: .*" + message):
        parse_image_input(text)


@pytest.mark.parametrize("text", ["", "top", "topk", "topk=0", "softmax=2", ":softmax", "topk=1e3"])
def test_answers_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"output=.*expected softmax, sigmoid, argmax or topk=5, or NAME:softmax"):
        parse_answer(text)
