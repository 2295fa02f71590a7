"""Accuracy of a package on the user's own labelled data, on each engine and against a reference."""
