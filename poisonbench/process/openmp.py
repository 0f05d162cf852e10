"""OpenMP threads that give way to other processes.

Import nothing here that loads OpenMP: the setting counts only before torch is imported.
"""

from __future__ import annotations

import os

_SPINS = "100"  # sleep at once: two threads, six epochs of MNIST lr took 0.9 s so, 1.5 s with 1,000, 17 s as it comes


def yield_when_crowded() -> None:
    """Let OpenMP's threads sleep after a short spin at a barrier, unless the user has set it otherwise.

    GNU OpenMP, which PyTorch brings on Linux, spins for milliseconds by default. With two threads on two cores that
    makes no difference alone, but one other busy process makes every small step 15 to 90 times slower
    (tests/benchmarks/test_openmp.py).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
