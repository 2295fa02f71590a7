"""Runs the ONNX file of a version in Triton's Python backend, in place of its onnxruntime backend.

Triton puts the requests of a batch together; they are one run here, as in that backend.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """The class that the backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session; args holds the model's configuration and place."""
        config = json.loads(args["model_config"])
        file = config["parameters"]["stand_in_for"]["string_value"]
        path = Path(args["model_repository"]) / args["model_version"] / file
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(config["parameters"]["threads"]["string_value"])
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_inputs()]
        self.batched = config["max_batch_size"] > 0
        self.single = [not value.shape for value in self.session.get_outputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run a batch; one response for each request."""
        feeds = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.names}
            for request in requests
        ]
        if not self.batched:
            return [self.answer(self.session.run(None, feed)) for feed in feeds]
        rows = [len(feed[self.names[0]]) for feed in feeds]
        together = self.session.run(None, {name: np.concatenate([f[name] for f in feeds]) for name in self.names})
        ends = np.cumsum(rows)
        return [self.answer([out[end - n : end] for out in together]) for n, end in zip(rows, ends, strict=True)]

    def answer(self, outputs: list[Any]) -> Any:
        """The response with these arrays."""
        names = [value.name for value in self.session.get_outputs()]
        arrays = [np.reshape(out, (1,)) if one else out for out, one in zip(outputs, self.single, strict=True)]
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(out)) for name, out in zip(names, arrays, strict=True)]
        return pb_utils.InferenceResponse(tensors)
