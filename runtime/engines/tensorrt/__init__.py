"""TensorRT: builds plans for this machine, stores them in a package, runs them."""
