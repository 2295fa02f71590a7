"""Make a model's variants, search among them, and write the package of the best."""
