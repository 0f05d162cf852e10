"""Cells and parts of stages on Ray's workers: other processes, other machines."""
