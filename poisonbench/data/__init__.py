"""Datasets: verified bytes from a cache or a source, as tensors in [0, 1] with stable sample ids."""
