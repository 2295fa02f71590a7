"""From a trained model to a verified package: load, trace, passes, parity, package."""
