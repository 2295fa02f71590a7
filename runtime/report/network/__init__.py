"""The map of a network: its nodes by PyTorch module, with their times and distances."""
