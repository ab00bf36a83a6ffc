"""Probe environments: tasks so small that the right answer is known, each isolating one part of an algorithm.

If an algorithm fails on one of them, the part that it isolates is broken:

    rlsuite/OneStep-v0          one observation, one step, reward 1: can the critic fit a constant?   V = 1
    rlsuite/ConstantReward-v0   reward 1 for ever, cut by a time limit of 20 steps: is a time limit taken for an end?
                                V = 1/(1-γ)
    rlsuite/DelayedReward-v0    two steps, the reward at the second: does value travel back?   V(0) = γ, V(1) = 1
    rlsuite/Context-v0          one step, reward 1 for the action equal to the observation, else -1: is the policy
                                trained on the observation it acted on?   best return 1, random 0
    rlsuite/Chain-v0            5 states; action 1 moves right, 0 left; reward 1 and the end at the right end:
                                a policy and a value that depend on each other.   V = γ^(steps to go - 1)
    rlsuite/Target-v0           one step, continuous action in [-3, 1], reward -(a + 2)²: which way does the mean go,
                                and are unequal bounds respected?   best return 0 at a = -2
    rlsuite/Switches-v0         4 steps, an action of two components that should equal those of the observation, reward
                                1 for each that does: is each component trained?   best return 8, random 10/3
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Obs = np.ndarray | int
Step = tuple[Obs, float, bool, bool, dict[str, Any]]


class OneStep(gym.Env):
    """One observation, one step, reward 1; with `continuous` the action, which does nothing, is a number."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)

    def __init__(self, continuous: bool = False) -> None:
        """For algorithms of either kind of action."""
        self.action_space = spaces.Box(-1, 1, (1,), np.float32) if continuous else spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """Always the observation [1]."""
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action: int | np.ndarray) -> Step:
        """Reward 1 and the end."""
        return np.ones(1, np.float32), 1.0, True, False, {}


class ConstantReward(OneStep):
    """Reward 1 at every step; the episode never terminates, a time limit truncates it."""

    def step(self, action: int | np.ndarray) -> Step:
        """Reward 1, and on it goes."""
        return np.ones(1, np.float32), 1.0, False, False, {}


class DelayedReward(gym.Env):
    """Two steps; the observation is the time, the reward 1 comes at the second."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """The observation [0]."""
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> Step:
        """Reward 0, then 1 and the end."""
        self.time += 1
        return np.ones(1, np.float32), float(self.time == 2), self.time == 2, False, {}


class Context(gym.Env):
    """One step; reward 1 for the action that equals the observation, else -1."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """The observation is a fair coin."""
        super().reset(seed=seed)
        self.context = int(self.np_random.integers(2))
        return self.context, {}

    def step(self, action: int) -> Step:
        """Reward ±1 and the end."""
        return self.context, 1.0 if action == self.context else -1.0, True, False, {}


class Chain(gym.Env):
    """States 0 to 4, start at 0; moving right from state 4 gives reward 1 and ends."""

    observation_space = spaces.Discrete(5)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """State 0."""
        super().reset(seed=seed)
        self.state = 0
        return self.state, {}

    def step(self, action: int) -> Step:
        """One state to the right (1) or left (0)."""
        if action == 1 and self.state == 4:
            return self.state, 1.0, True, False, {}
        self.state = min(self.state + 1, 4) if action == 1 else max(self.state - 1, 0)
        return self.state, 0.0, False, False, {}


class Target(gym.Env):
    """One step; reward -(a + 2)² for a continuous action with bounds that are not symmetric."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Box(-3, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """Always the observation [1]."""
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action: np.ndarray) -> Step:
        """The reward is the negative squared distance from -2."""
        return np.ones(1, np.float32), -float((action[0] + 2) ** 2), True, False, {}


class Switches(gym.Env):
    """Four steps; reward 1 for each of two components of the action that equals its component of the observation."""

    observation_space = spaces.MultiDiscrete([2, 3])
    action_space = spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """All six observations are equally probable."""
        super().reset(seed=seed)
        self.time = 0
        self.wanted = self.np_random.integers([2, 3])
        return self.wanted, {}

    def step(self, action: np.ndarray) -> Step:
        """Reward 0, 1 or 2, and another observation."""
        reward = float((action == self.wanted).sum())
        self.time += 1
        self.wanted = self.np_random.integers([2, 3])
        return self.wanted, reward, self.time == 4, False, {}


def register() -> None:
    """Make the probes known to `gymnasium.make`, with their time limits in env steps."""
    limits = {ConstantReward: 20, Chain: 50}
    for env in (OneStep, ConstantReward, DelayedReward, Context, Chain, Target, Switches):
        entry_point = f"{__name__}:{env.__name__}"
        gym.register(f"rlsuite/{env.__name__}-v0", entry_point=entry_point, max_episode_steps=limits.get(env))
