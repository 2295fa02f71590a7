"""Optimize an ONNX model with Olive for the CPU, in Olive's own environment; imports nothing of this project.

python benchmarks/olive_foreign.py MODEL.onnx DATA.npz OUT

What Olive has for a convolutional network on this device: OnnxPeepholeOptimizer, OnnxStaticQuantization calibrated on
DATA (one array for each input), and OrtSessionParamsTuning, which picks the options of ONNX Runtime's session. Olive
searches over these options, for int8 over the parameters of the quantization too, and takes what it measures as
fastest. OUT/float32 and OUT/int8 get a model each. Prints one line of JSON: by precision, either "model", "session"
(options) and "passes", or "failed"; and Olive's "version".
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

#: Olive sends telemetry, and a first message even where that is disabled; with CI set it sends nothing.
os.environ |= {"OLIVE_DISABLE_TELEMETRY": "1", "CI": "1"}
#: Points that a search measures at most.
MOST_POINTS = 16
IMAGES = "arrays_of_file"


def chosen_of(*values: Any) -> dict[str, Any]:
    """A parameter that Olive searches over."""
    return {"olive_parameter_type": "SearchParameter", "type": "Categorical", "support": list(values)}


def passes(precision: str) -> dict[str, Any]:
    """Olive's passes, with what is searched. Execution 0 is sequential and 1 parallel; level 99 is all of them."""
    cores = os.cpu_count() or 1
    tuning = {
        "type": "OrtSessionParamsTuning",
        "data_config": "images",
        "cpu_cores": cores,
        "execution_mode_list": chosen_of(0, 1),
        "opt_level_list": chosen_of(99),
        "intra_thread_num_list": chosen_of(*sorted({1, cores})),
    }
    found: dict[str, Any] = {"peephole": {"type": "OnnxPeepholeOptimizer"}}
    if precision == "int8":
        found["quantization"] = {
            "type": "OnnxStaticQuantization",
            "data_config": "images",
            "per_channel": chosen_of(True, False),
            "activation_type": chosen_of("uint8", "int8"),
            "precision": "int8",
            "quant_format": "QDQ",
            "calibrate_method": "MinMax",
        }
        tuning |= {"execution_mode_list": chosen_of(0), "intra_thread_num_list": chosen_of(cores)}
    return {**found, "tuning": tuning}


def config(model: str, out: Path, precision: str) -> dict[str, Any]:
    """What Olive runs."""
    latency = {"name": "latency", "type": "latency", "sub_types": [{"name": "avg", "priority": 1}]}
    return {
        "input_model": {"type": "OnnxModel", "model_path": model},
        "systems": {
            "here": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "data_configs": [
            {
                "name": "images",
                "load_dataset_config": {"type": IMAGES},
                "dataloader_config": {"batch_size": 1},
            }
        ],
        "evaluators": {"latency": {"type": "OnnxEvaluator", "metrics": [{**latency, "data_config": "images"}]}},
        "passes": passes(precision),
        "search_strategy": {"execution_order": "joint", "sampler": "sequential", "max_iter": MOST_POINTS},
        "evaluator": "latency",
        "host": "here",
        "target": "here",
        "cache_dir": str(out / "cache"),
        "output_dir": str(out / precision),
        "log_severity_level": 3,
    }


def register(path_of_data: str) -> None:
    """Tell Olive of a data set that has one item for each row of the file."""
    from olive.data.registry import Registry
    from torch.utils.data import Dataset

    with np.load(path_of_data) as arrays:
        held = {name: arrays[name] for name in arrays.files}

    class Rows(Dataset):
        def __len__(self) -> int:
            return len(next(iter(held.values())))

        def __getitem__(self, index: int) -> tuple[dict[str, Any], int]:
            if not 0 <= index < len(self):
                raise IndexError(index)
            return {name: array[index] for name, array in held.items()}, 0

    @Registry.register_dataset(IMAGES)
    def rows(**_: Any) -> Rows:
        return Rows()


def optimized(model: str, out: Path, precision: str) -> dict[str, Any]:
    """The model that Olive takes, with the session's options."""
    from olive.workflows import run

    best = run(config(model, out, precision)).get_best_candidate()
    settings = best.get_inference_config() or {}
    return {
        "model": str(Path(best.model_path).resolve()),
        "session": settings.get("session_options") or {},
        "measured_by_olive": best.metrics_value,
    }


def main(model: str, data: str, out: str) -> None:
    """Both precisions; what fails in one does not end the other."""
    register(data)
    found: dict[str, Any] = {"version": version("olive-ai"), "onnxruntime": version("onnxruntime")}
    for precision in ("float32", "int8"):
        try:
            found[precision] = optimized(model, Path(out), precision)
        except Exception as error:
            found[precision] = {"failed": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
