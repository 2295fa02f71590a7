"""TensorRT: building engines for the machine at hand, keeping them in a package, running them."""
