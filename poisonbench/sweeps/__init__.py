"""Many cells: grids, plans, estimates, the paper's studies, workers."""
