"""What needs a GPU: prepared on any machine (prepare), then tested and measured with the runtime alone."""
