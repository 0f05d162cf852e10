"""What `import poisonbench` offers besides the types: runs, results, poison sets, names."""

from poisonbench.process.openmp import yield_when_crowded

yield_when_crowded()  # here: it counts only before torch is imported, which the modules beside this do
