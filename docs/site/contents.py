"""The order of the site's pages, and the public names of the Python reference by subject."""

from __future__ import annotations

#: Heading in the sidebar -> its pages, without .md.
CONTENTS: dict[str, tuple[str, ...]] = {
    "Start": ("start",),
    "Tutorials": (
        "tutorials/own-network",
        "tutorials/free-sizes",
        "tutorials/int8",
        "tutorials/serving",
        "tutorials/tensorrt",
        "tutorials/onnx-file",
    ),
    "How to": (
        "model",
        "images",
        "boundaries",
        "optimize",
        "runtime",
        "parity-cli",
        "eval",
        "quantization",
        "latency",
        "tuning",
        "tiling",
        "tensorrt",
        "serving",
        "scaling",
        "security",
    ),
    "Reference": (
        "reference/python",
        "reference/layers",
        "reference/cli/index",
        "reference/errors",
        "package",
        "plugin",
        "glossary",
        "compatibility",
    ),
    "Background": ("ARCHITECTURE", "proofs", "peers", "CONTRIBUTING", "CHANGELOG", "site"),
    "Figures": ("parity", "cost", "benchmarks", "models", "zoo", "trainability"),
}

#: Public names of `rectexport` by subject; a test compares them with its __all__.
PYTHON = {
    "Make a package": ("export", "Int8", "load_model", "register_adapter", "PassPipeline", "optimize", "tune"),
    "Run a package": ("load", "Session", "Package"),
    "Measure": ("evaluate", "profile"),
    "Errors": ("RectexportError",),
}
#: What these take and return, by module.
VALUES = (
    "rectexport.exporter.base.log.Listener",
    "rectexport.exporter.base.options.LoadOptions",
    "rectexport.exporter.base.options.ShapeOptions",
    "rectexport.exporter.base.processing.Answer",
    "rectexport.exporter.base.processing.ImageInput",
    "rectexport.exporter.base.tuning.TuneOptions",
    "rectexport.exporter.graph.results.Code",
    "rectexport.exporter.graph.results.Pass",
    "rectexport.exporter.graph.results.PassResult",
    "rectexport.exporter.graph.results.Refusal",
    "rectexport.exporter.tuning.tune.Tuned",
    "rectexport.models.rectify.Report",
    "rectexport.runtime.base.runner.Runner",
    "rectexport.runtime.base.runner.TensorSpec",
    "rectexport.runtime.base.shapes.ShapeFlag",
    "rectexport.runtime.base.shapes.ShapeRange",
    "rectexport.runtime.engines.backends.Choice",
    "rectexport.runtime.engines.proving.Verdict",
    "rectexport.runtime.evaluation.evaluate.Evaluation",
    "rectexport.runtime.package.manifest.Manifest",
    "rectexport.runtime.package.manifest.TensorEntry",
    "rectexport.runtime.profiling.profile.LayerTime",
    "rectexport.runtime.profiling.profile.Profile",
    "rectexport.runtime.profiling.profile.ProfileOptions",
    "rectexport.runtime.profiling.roofline.Peaks",
    "rectexport.runtime.tuning.candidate.Candidate",
    "rectexport.runtime.tuning.candidate.Record",
    "rectexport.runtime.tuning.choice.Bounds",
    "rectexport.runtime.tuning.search.Found",
    "rectexport.runtime.tuning.search.Goal",
    "rectexport.runtime.tuning.search.Space",
)
ERRORS = (
    "rectexport.runtime.errors.BadInput",
    "rectexport.runtime.errors.UsageError",
    "rectexport.runtime.errors.ParityError",
    "rectexport.runtime.errors.NotFinite",
    "rectexport.runtime.errors.MissingDependency",
    "rectexport.runtime.errors.DeviceError",
    "rectexport.runtime.errors.Option",
)
#: The same for `rectexport.models`.
LAYERS = {
    "Rectified and even convolutions": ("RectifiedConv2d", "SymmetricConv2d", "SymmetricPad2d"),
    "Borders of any kind": ("BoundaryConv1d", "BoundaryConv2d", "BoundaryConv3d"),
    "Activations": ("CReLU", "ScaledCReLU", "AVR"),
    "Networks": ("create_model", "model_names"),
    "Rectifying a network": ("rectify.rectify", "rectify.plain"),
}
