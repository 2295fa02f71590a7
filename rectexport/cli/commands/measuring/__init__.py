"""Commands that measure a package by layer, or search by measuring."""
