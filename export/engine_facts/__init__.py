"""What inference engines refuse or compute otherwise than ONNX: facts.json, and how its rows are read."""
