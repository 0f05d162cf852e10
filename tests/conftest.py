"""Before any test imports torch: threads give way, and test processes side by side share out the cores, so that the
suite keeps its pace on a busy machine."""

import os

from poisonbench.openmp import yield_when_crowded

yield_when_crowded()
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))
