"""Shared by the end-to-end tests: small settings of each algorithm, and training through the command line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import rlsuite
from rlsuite.run import main
from rlsuite.rundir.runs import find_runs

os.environ.pop("COLUMNS", None)  # readline leaves it to the processes that pytest starts
torch.set_num_threads(1)  # several processes test at once, and the threads of one would wait for those of another

SMALL = {"total_steps": 512, "num_envs": 2, "steps_per_epoch": 256, "test_episodes": 1, "preset": "none"}
ON_POLICY = ["vpg", "a2c", "ppo", "trpo"]
CONTINUOUS = ["ddpg", "td3", "sac"]
OFF_POLICY = ["dqn", *CONTINUOUS]
GRADIENT = ON_POLICY + OFF_POLICY
ALGORITHMS = [*GRADIENT, "cem", "random"]
ENVS = {
    **dict.fromkeys(ON_POLICY, ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "rlsuite/Switches-v0")),
    **dict.fromkeys(["cem", "random"], ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1")),
    "dqn": ("CartPole-v1", "FrozenLake-v1"),
    **dict.fromkeys(CONTINUOUS, ("Pendulum-v1",)),
}
"""Environments of every kind of space that the algorithm can act in; the first one is where it trains by default."""
PAIRS = [(algo, env) for algo in ALGORITHMS for env in ENVS[algo]]
REPLAY = {"start_steps": 64, "update_after": 64, "update_every": 8, "batch_size": 16, "buffer_size": 1000}
REPLAY |= {"hidden_sizes": (16, 16), "num_test_episodes": 1}
PER_ALGORITHM = {
    "vpg": {"rollout_len": 64, "train_v_iters": 3},
    "a2c": {"rollout_len": 8},
    "ppo": {"rollout_len": 64, "minibatch_size": 32, "train_iters": 2},
    "trpo": {"rollout_len": 64, "minibatch_size": 32, "train_v_iters": 2},
    "dqn": {**REPLAY, "target_every": 100},
    "ddpg": REPLAY,
    "td3": REPLAY,
    "sac": {**REPLAY, "alpha": 0.5},
    "cem": {"rollout_len": 2, "population": 4, "num_test_episodes": 1},
    "random": {},
}
NORMALIZED = {algo: {} if algo == "random" else {"normalize_obs": "True"} for algo in ALGORITHMS}
"""Settings of statistics of observations, where an algorithm looks at any."""


def small_command(algo: str, **settings: Any) -> list[str]:
    """A command line that trains in a fraction of a second; None leaves a setting out, a tuple gives several values."""
    words = [algo]
    for name, value in {"env": ENVS[algo][0], **SMALL, **PER_ALGORITHM[algo], **settings}.items():
        if value is not None:
            values = value if isinstance(value, tuple) else (value,)
            words += ["--" + name.replace("_", "-"), *map(str, values)]
    return words


def source_environment() -> dict[str, str]:
    """What a process needs to import the package that is tested here."""
    return {**os.environ, "PYTHONPATH": str(Path(rlsuite.__file__).parents[1])}


@pytest.fixture(scope="session")
def command() -> Callable[..., list[str]]:
    return small_command


@pytest.fixture(scope="session")
def train() -> Callable[..., Path]:
    """Train below a folder, in this process, and return the newest run directory there."""

    def run(folder: Path, algo: str, **settings: Any) -> Path:
        assert main(small_command(algo, data_dir=folder, **settings)) == 0
        return max(find_runs([folder]), key=lambda run: (run / "progress.txt").stat().st_mtime_ns)

    return run


@pytest.fixture(scope="session")
def python() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the interpreter in a folder with arguments such as `-m rlsuite.run ppo`."""

    def call(folder: Path, *argv: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, *argv]
        return subprocess.run(words, cwd=folder, env=source_environment(), capture_output=True, text=True, check=False)

    return call
