"""What the fork server imports: all that workers need, with Python's collector at rest.

None of it is garbage. To look for some takes a sixth of the import; and each fork that looked would touch, and so copy,
what it shares with the server.
"""

import gc
import importlib

from poisonbench.process.gc_pause import gc_paused

with gc_paused():
    importlib.import_module("poisonbench.sweeps.workers.processes")  # named: this package imports nothing above it
gc.freeze()
