"""Defenses: `base.py` and one file a method. Light: importing this package imports no method."""
