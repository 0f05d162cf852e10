"""Models: architectures as pure functions of their weights. `base.py` and one file an architecture."""
