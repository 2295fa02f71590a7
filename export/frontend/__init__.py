"""Read the model: check and load its file, plan its inputs, replace third-party layers."""
