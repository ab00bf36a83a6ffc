"""rlsuite: deep reinforcement learning algorithms to read, run and diagnose."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlsuite.loading import Policy

# Numpy decides at its import. For networks this small a second thread only takes a core from another process.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Torch's threads wait for work by spinning. Those of two trainings on the same cores would keep each other from it.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def load(run_dir: Any, env: Any = None, actor_critic: Any = None, best: bool = False) -> "Policy":
    """The policy of a run, a function from observations to actions; see `rlsuite.loading.load`."""
    from rlsuite import loading  # late: reading a log must not wait for torch

    return loading.load(run_dir, env, actor_critic, best)


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module 'rlsuite' has no attribute {name!r}")
    from rlsuite.rundir.versions import version  # the installed package knows it; setup.py is where it is written

    return version("rlsuite")
