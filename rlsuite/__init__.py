"""rlsuite: deep reinforcement learning algorithms to read, run and diagnose."""

import os

__version__ = "0.1.0"

# Numpy decides at its import. For networks this small a second thread only takes a core from another process.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
