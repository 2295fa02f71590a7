"""The inference engines that a package can run on, and the choice between them."""
