"""Before any test imports torch: threads give way, so that the suite keeps its pace on a busy machine."""

from poisonbench.openmp import yield_when_crowded

yield_when_crowded()
