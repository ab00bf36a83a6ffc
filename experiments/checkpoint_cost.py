"""The share of training time that checkpoints take: `python experiments/checkpoint_cost.py` (extra `mujoco`).

DDPG on HalfCheetah with default settings, a checkpoint after every epoch, without test episodes.
"""

import itertools
import tempfile
import time

from rlsuite.algos import ddpg
from rlsuite.common.logger import Logger
from rlsuite.common.resume import Checkpoint


class Timed(Checkpoint):
    """Notes the seconds spent on the state, and when each epoch ended."""

    def _collect(self) -> None:
        start = time.perf_counter()
        super()._collect()
        spent.append(time.perf_counter() - start)

    def _write(self, together: bool = True) -> None:
        start = time.perf_counter()
        super()._write(together)
        if together:
            spent[-1] += time.perf_counter() - start
            ends.append(time.perf_counter())


spent: list[float] = []
ends: list[float] = []


def main() -> None:
    """Train three epochs and print the share of the second and third; the first has hardly any gradient steps."""
    vars(ddpg)["Checkpoint"] = Timed
    with tempfile.TemporaryDirectory() as folder:
        config = ddpg.Config("HalfCheetah-v5", total_steps=12_000, num_test_episodes=0)
        ddpg.train(config, logger=Logger(data_dir=folder, quiet=True))
    epochs = [after - before for before, after in itertools.pairwise(ends)]
    for checkpoint, epoch in zip(spent[1:], epochs, strict=True):
        print(f"checkpoint {checkpoint:.3f} s of {epoch:.1f} s: {checkpoint / epoch:.2%}")


if __name__ == "__main__":
    main()
