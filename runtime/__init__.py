"""What runs where a package is deployed: numpy and one inference engine, nothing of torch or onnx."""
