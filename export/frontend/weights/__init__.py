"""Networks that weights alone are loaded into: the user's own code, or the zoo's."""
