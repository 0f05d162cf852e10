"""Models: architectures as pure functions of their weights. One file an architecture."""
