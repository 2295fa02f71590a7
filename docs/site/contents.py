"""The order of the site's pages, and the public names of the Python reference by subject."""

from __future__ import annotations

#: Heading in the sidebar -> title of each page there, and the page without .md.
CONTENTS: dict[str, dict[str, str]] = {
    "Start": {"Start here": "start"},
    "Tutorials": {
        "Your own network": "tutorials/own-network",
        "A U-Net with free sizes": "tutorials/free-sizes",
        "int8, and what it costs": "tutorials/int8",
        "Serving, and Triton": "tutorials/serving",
        "TensorRT on another machine": "tutorials/tensorrt",
        "An ONNX file from elsewhere": "tutorials/onnx-file",
    },
    "How to": {
        "Choose a model file": "model",
        "Put preprocessing into the package": "images",
        "Use borders of any kind": "boundaries",
        "Optimize an ONNX file": "optimize",
        "Run a package": "runtime",
        "Compare with PyTorch": "parity-cli",
        "Measure accuracy": "eval",
        "Quantize to int8": "quantization",
        "Measure latency": "latency",
        "Tune and profile": "tuning",
        "Answer large images in tiles": "tiling",
        "Use TensorRT": "tensorrt",
        "Serve": "serving",
        "Serve on several machines": "scaling",
        "Sign packages, trust files": "security",
    },
    "Reference": {
        "Python": "reference/python",
        "Layers and networks": "reference/layers",
        "Command line": "reference/cli/index",
        "Errors": "reference/errors",
        "The package": "package",
        "The TensorRT plugin": "plugin",
        "Glossary": "glossary",
        "Compatibility": "compatibility",
    },
    "Background": {
        "Architecture": "ARCHITECTURE",
        "Proofs": "proofs",
        "Other exporters": "peers",
        "Contributing": "CONTRIBUTING",
        "Changelog": "CHANGELOG",
        "This site": "site",
    },
    "Figures": {
        "Parity": "parity",
        "Cost": "cost",
        "Forms of operators": "benchmarks",
        "Whole networks": "networks",
        "Networks of others": "models",
        "The zoo": "zoo",
        "Training the ideas": "trainability",
    },
}

#: Public names of `rectexport` by subject; a test compares them with its __all__.
PYTHON = {
    "Make a package": ("export", "Int8", "load_model", "register_adapter", "PassPipeline", "optimize", "tune"),
    "Run a package": ("load", "Session", "Package"),
    "Measure": ("compare", "evaluate", "profile"),
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
    "rectexport.runtime.batching.calls.Joining",
    "rectexport.runtime.engines.backends.Choice",
    "rectexport.runtime.engines.proving.Verdict",
    "rectexport.runtime.evaluation.evaluate.Evaluation",
    "rectexport.runtime.package.manifest.Manifest",
    "rectexport.runtime.package.manifest.TensorEntry",
    "rectexport.runtime.parity.outcome.Exhibit",
    "rectexport.runtime.parity.outcome.ParityOutcome",
    "rectexport.runtime.profiling.profile.LayerTime",
    "rectexport.runtime.profiling.profile.Profile",
    "rectexport.runtime.profiling.profile.ProfileOptions",
    "rectexport.runtime.profiling.roofline.Peaks",
    "rectexport.runtime.tuning.candidate.Candidate",
    "rectexport.runtime.tuning.candidate.Record",
    "rectexport.runtime.tuning.candidate.Space",
    "rectexport.runtime.tuning.choice.Bounds",
    "rectexport.runtime.tuning.search.Found",
    "rectexport.runtime.tuning.search.Goal",
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
    "Rectified and even convolutions": (
        *("RectifiedConv1d", "RectifiedConv2d", "RectifiedConv3d", "SymmetricConv2d", "SymmetricPad2d"),
    ),
    "Convolutions with a mask": ("MaskedConv1d", "MaskedConv2d", "MaskedConv3d"),
    "Borders of any kind": ("BoundaryConv1d", "BoundaryConv2d", "BoundaryConv3d"),
    "Activations": ("CReLU", "ScaledCReLU", "AVR"),
    "Networks": ("create_model", "model_names"),
    "Rectifying a network": ("rectify.rectify", "rectify.plain"),
}
