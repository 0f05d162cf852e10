"""Poisoning attacks: a small method is a file, a larger one a folder. Importing this package imports no method."""
