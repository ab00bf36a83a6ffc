"""Where the time of a training goes: a clock around what the study texts call.

Each second belongs to the innermost of the parts that are running, so that they add up to the whole.
"""

import functools
import importlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import gymnasium as gym
import torch

from rlsuite.common import buffer, health, optim, replay, training
from rlsuite.envs.stepping import Envs

PARTS = ("environment", "stepping", "acting", "storing", "learning", "optimiser", "health", "files", "start", "rest")
"""
environment: its own `step` and `reset`, with Gymnasium's wrappers
stepping:    what `Envs` does around them
acting:      observations in, actions out
storing:     buffers, filled, read and sampled; values of a rollout and its advantages
learning:    losses forward and backward
optimiser:   its step
health:      columns that are computed once an epoch
files:       the row, the policy, the checkpoint
start:       random play, the run directory
rest:        the main loop's own lines, and making the networks
"""


class Clock:
    """Seconds of each part."""

    def __init__(self) -> None:
        """Nothing runs."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.running = ["rest"]
        self.since = time.perf_counter()

    def _charge(self) -> None:
        now = time.perf_counter()
        self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time charged to a part."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._charge()
            self.running.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._charge()
                self.running.pop()

        return timed


def timed_parts(module: ModuleType) -> Iterator[tuple[Any, str, str]]:
    """What is timed of an algorithm: where it lies, its name, and the part."""
    networks = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, torch.nn.Module)]
    for kind in networks:
        for name in ("act", "mode", "values", "act_and_logp"):
            if hasattr(kind, name):
                yield kind, name, "acting"
    for wrapper in (gym.Wrapper, gym.wrappers.TimeLimit):
        for name in ("step", "reset"):
            yield wrapper, name, "environment"
    yield Envs, "step", "stepping"
    for name in ("store", "batch"):
        yield buffer.RolloutBuffer, name, "storing"
    for name in ("store", "sample", "newest"):
        yield replay.ReplayBuffer, name, "storing"
    yield optim.FlatOptimizer, "step", "optimiser"
    yield training.Training, "_begin", "start"
    yield training.Training, "end_epoch", "files"
    for name in vars(module):
        if name in ("gae", "evaluate_rollout"):
            yield module, name, "storing"
        elif name == "update":
            yield module, name, "learning"
        elif name.endswith("_health"):
            yield module, name, "health"
    for name in ("keep", "note"):
        yield health.Epoch, name, "health"


@contextmanager
def clocked(algo: str) -> Iterator[Clock]:
    """A clock around the parts of an algorithm, gone afterwards."""
    module = importlib.import_module(f"rlsuite.algos.{algo}")
    clock, before = Clock(), []
    for owner, name, part in list(timed_parts(module)):
        before.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, clock.around(part, getattr(owner, name)))
    clock.since = time.perf_counter()
    try:
        yield clock
    finally:
        clock._charge()
        for owner, name, own in before:
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)


def shares(clock: Clock) -> dict[str, float]:
    """The share of each part in all seconds."""
    total = sum(clock.seconds.values())
    return {part: clock.seconds[part] / total for part in PARTS if clock.seconds[part]}
