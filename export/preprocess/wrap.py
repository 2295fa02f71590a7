"""Put a model between what comes before it and what comes after it, as one module that is traced as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from rectexport.exporter.base.options import ShapeOptions
from rectexport.exporter.base.processing import DTYPE, Answer, ImageInput
from rectexport.exporter.frontend.arguments import (
    Wrapper,
    arranged,
    forward_names,
    layout_of,
    parameters_of,
    program_module,
    with_parameters,
)
from rectexport.exporter.frontend.inputs import input_names
from rectexport.exporter.frontend.source import KINDS, Source
from rectexport.exporter.preprocess.answer import AnswerModule
from rectexport.exporter.preprocess.image import ImagePreprocess, OnInput
from rectexport.exporter.preprocess.picture import draw
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.errors import Option, UsageError


@dataclass(frozen=True)
class Processing:
    """What stands around a model; None for nothing. A module in place of options is not recorded in full."""

    image: ImageInput | None = None
    answer: Answer | None = None
    preprocess: nn.Module | None = None
    postprocess: nn.Module | None = None

    def __bool__(self) -> bool:
        return any(entry is not None for entry in (self.image, self.answer, self.preprocess, self.postprocess))

    def recorded(self) -> dict[str, Any]:
        """The entries `preprocessing` and `postprocessing` of a manifest."""
        before = _recorded(self.image, self.preprocess)
        after = _recorded(self.answer, self.postprocess)
        return {key: value for key, value in (("preprocessing", before), ("postprocessing", after)) if value}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Processing:
        """From a manifest's document. Raises UsageError for modules, which it does not hold."""
        before, after = data.get("preprocessing"), data.get("postprocessing")
        for entry in (before, after):
            if entry and "module" in entry:
                raise UsageError(
                    f"the package was made with {entry['module']} around the model, which it does not hold"
                )
        return cls(ImageInput.of(before) if before else None, Answer.of(after) if after else None)


class Processed(Wrapper):
    """A model with a module before it and one behind it.

    What `preprocess` returns is what forward takes: a tensor, a tuple of arguments, or a dict of keywords.
    """

    def __init__(self, preprocess: nn.Module | None, model: nn.Module, postprocess: nn.Module | None) -> None:
        super().__init__()
        self.preprocess, self.model, self.postprocess = preprocess, model, postprocess

    def forward(self, *tensors: Tensor) -> Any:
        taken = tensors if self.preprocess is None else self.preprocess(*tensors)
        if isinstance(taken, Mapping):
            result = self.model(**taken)
        else:
            result = self.model(*taken) if isinstance(taken, list | tuple) else self.model(taken)
        return result if self.postprocess is None else self.postprocess(result)


def processed(model: nn.Module, processing: Processing, names: Sequence[str], index: int = 0) -> nn.Module:
    """The model in its wrapper, with parameters of these names; input `index` is the image, if there is one."""
    image, answer = processing.image, processing.answer
    before = processing.preprocess if image is None else OnInput(index, ImagePreprocess(image))
    after = processing.postprocess if answer is None else AnswerModule(answer)
    return with_parameters(Processed(before, model, after).eval(), names)


def prepare(source: Source, shapes: ShapeOptions, processing: Processing) -> Source:
    """The source as it is traced: with its inputs in the order of their names, and inside its processing.

    Raises UsageError for an input that forward lacks, and for processing around an ONNX file or TorchScript.
    """
    if not processing:
        return _in_order(source, shapes)
    if source.kind in ("onnx", "torchscript"):
        options = ("image_input", "answer", "preprocess", "postprocess")
        given = (processing.image, processing.answer, processing.preprocess, processing.postprocess)
        name = next(name for name, value in zip(options, given, strict=True) if value is not None)
        needed = "what stands around a model is traced with it: give a module, a checkpoint or a .pt2"
        raise UsageError(
            Option("output" if name == "answer" else name), f": {source.name} is {source.description}; {needed}"
        )
    names = _model_names(source, shapes, processing.image)
    image = processing.image
    index = 0 if image is None else _image_index(source, image, names)
    outer = [image.name if image is not None and place == index else name for place, name in enumerate(names)]
    inner = program_module(source.model) if source.kind == "program" else source.model
    if source.kind == "module" and processing.preprocess is None:
        inner = arranged(inner, layout_of(inner, names))
    wrapped = replace(
        source,
        kind="module",
        container=KINDS[source.kind],
        model=processed(inner, processing, outer, index),
        input_names=outer,
        axes={} if image is None else {image.name: image.axes},
    )
    return wrapped if image is None else _with_image(wrapped, source, image, index)


def _recorded(options: ImageInput | Answer | None, module: nn.Module | None) -> dict[str, Any] | None:
    if options is not None:
        return options.recorded()
    return None if module is None else {"module": f"{type(module).__module__}.{type(module).__qualname__}"}


def _in_order(source: Source, shapes: ShapeOptions) -> Source:
    """The source of a module whose inputs the flags choose, where they are not simply the first ones."""
    if source.kind != "module" or source.input_names or source.example_inputs:
        return source
    names = input_names(source, shapes)
    layout = layout_of(source.model, names)
    return source if layout.plain else replace(source, model=arranged(source.model, layout), input_names=names)


def _model_names(source: Source, shapes: ShapeOptions, image: ImageInput | None) -> list[str]:
    """The model's own names of its inputs; the image may have another one if it is the only input."""
    if source.input_names:
        return source.input_names
    if source.example_inputs:
        return forward_names(source.model, len(source.example_inputs))
    needed = [entry.name for entry in parameters_of(source.model) or () if entry.default is entry.empty]
    if image is not None and len(needed) == 1 and image.name not in needed:
        return needed
    return input_names(source, shapes)


def _image_index(source: Source, image: ImageInput, names: Sequence[str]) -> int:
    if image.name in names:
        return names.index(image.name)
    if len(names) == 1:
        return 0
    raise UsageError(Option("image_input"), f": no input {image.name!r}; {source.name} takes {', '.join(names)}")


def _with_image(wrapped: Source, source: Source, image: ImageInput, index: int) -> Source:
    """The wrapped source with a drawn picture as the image's example, of a size made from what the model takes."""
    shape = _taken(source, index)
    examples: list[Array | None] = list(source.example_inputs or [None] * len(wrapped.input_names or ()))
    if (given := examples[index]) is not None and given.dtype == DTYPE:
        return wrapped
    if shape is not None and len(shape) == 4 and shape[1] != image.depth:
        channels = f"{image.channels} images have {image.depth} channels, {source.name} takes {shape[1]}"
        raise UsageError(Option("image_input"), f": {channels}")
    examples[index] = None
    sizes = _image_size(image, shape)
    rows = shape[0] if shape else 1
    return replace(
        wrapped,
        example_inputs=tuple(examples),
        default_shape=None,
        default_shapes={} if sizes is None else {image.name: image.shape(rows, *sizes)},
        input_dtypes={**_others(source, index), image.name: DTYPE},
        drawn={image.name: _drawn(image)},
    )


def _drawn(image: ImageInput) -> Callable[[Shape], Array]:
    return lambda shape: np.asarray(draw(image, shape))


def _others(source: Source, index: int) -> dict[str, str]:
    names = source.input_names or []
    return {name: dtype for name, dtype in source.input_dtypes.items() if name not in names[index : index + 1]}


def _taken(source: Source, index: int) -> Shape | None:
    """The shape that the model itself takes, if it is known."""
    examples = source.example_inputs
    example = examples[index] if examples is not None and index < len(examples) else None
    return source.default_shape if example is None else example.shape


def _image_size(image: ImageInput, shape: Shape | None) -> tuple[int, int] | None:
    """A size of images where none is given: larger than what they are resized to, so that resizing does something."""
    if image.resize:
        height, width = image.resize * (2 // len(image.resize))
        return height + height // 4, width + width // 2
    if image.crop:
        return image.crop[0] + image.crop[0] // 4, image.crop[1] + image.crop[1] // 2
    return (shape[2], shape[3]) if shape is not None and len(shape) == 4 else None
