"""Environments with one fault each, and the rule that names it. Without its fault, each would be `Point` below."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Point(gym.Env):
    """A point on a line is to stay near 0. Sound: of order 1, seeded, deterministic, truncated after 50 steps."""

    observation_space: spaces.Space[Any] = spaces.Box(-2, 2, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Box(-1, 1, (1,), np.float32)
    last = 50

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place, self.time = self.np_random.uniform(-1, 1), 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.move(action)
        self.time += 1
        return self.observe(), self.reward(), self.terminated(), self.truncated(), {}

    def move(self, action: Any) -> None:
        self.place = float(np.clip(self.place + 0.3 * self.push(action), -1.5, 1.5))

    def push(self, action: Any) -> float:
        return float(np.clip(np.reshape(action, -1)[0], -1, 1))

    def observe(self) -> Any:
        return np.array([self.place, np.sin(3 * self.place)], np.float32)

    def reward(self) -> float:
        return 0.05 * (1 - abs(self.place))

    def terminated(self) -> bool:
        return False

    def truncated(self) -> bool:
        return self.time >= self.last


class Unscaled(Point):
    observation_space = spaces.Box(-2000, 2000, (2,), np.float32)

    def observe(self) -> Any:
        return np.array([self.place, 500 * self.place], np.float32)


class Shifted(Point):
    observation_space = spaces.Box(-200, 200, (2,), np.float32)

    def observe(self) -> Any:
        return np.array([self.place, 100 + self.place], np.float32)


class Tiny(Point):
    def observe(self) -> Any:
        return np.array([self.place, 0.001 * self.place], np.float32)


class ConstantComponent(Point):
    def observe(self) -> Any:
        return np.array([self.place, 0.7], np.float32)


class Nan(Point):
    def observe(self) -> Any:
        return np.array([self.place, np.sqrt(1.4 - self.place) if self.place < 1.4 else np.nan], np.float32)


class NanReward(Point):
    def reward(self) -> float:
        return 0.1 if abs(self.place) < 1.4 else np.inf


class WrongBounds(Point):
    observation_space = spaces.Box(-1, 1, (2,), np.float32)


class Spikes(Point):
    observation_space = spaces.Box(-1e4, 1e4, (2,), np.float32)

    def observe(self) -> Any:
        spike = 1000 if self.np_random.random() < 0.0005 else 1
        return np.array([self.place, spike * self.np_random.normal(0, 0.1)], np.float32)


class NoReward(Point):
    def reward(self) -> float:
        return float(self.place > 100)


class Delayed(Point):
    def reward(self) -> float:
        return float(self.time == self.last) * (1 - abs(self.place))


class FarReward(Delayed):
    last = 400


class Huge(Point):
    def reward(self) -> float:
        return 1000 * (1 - abs(self.place))


class Faint(Point):
    def reward(self) -> float:
        return 1e-5 * (1 - abs(self.place))


class Carried(Point):
    fatigue = 0.0

    def move(self, action: Any) -> None:
        super().move(action)
        self.fatigue += 1e-4  # reset() forgets it

    def observe(self) -> Any:
        return super().observe() + np.float32(self.fatigue % 0.1)


class Random(Point):
    def move(self, action: Any) -> None:
        super().move(action)
        self.place = float(np.clip(self.place + np.random.normal(0, 0.1), -1.5, 1.5))  # noqa: NPY002


class Endless(Point):
    def truncated(self) -> bool:
        return False


class LimitAsEnd(Endless):
    def terminated(self) -> bool:
        return self.time >= self.last


class Deaf(Point):
    def push(self, action: Any) -> float:
        return float(self.np_random.uniform(-1, 1))


class DeafDiscrete(Deaf):
    action_space = spaces.Discrete(3)


class HalfDeaf(Point):
    action_space = spaces.Box(-1, 1, (2,), np.float32)


class Unbounded(Point):
    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class Immense(Point):
    action_space = spaces.Box(-1e6, 1e6, (1,), np.float32)


class Fine(Point):
    def move(self, action: Any) -> None:
        self.place = float(np.clip(self.place + 0.002 * self.push(action), -1.5, 1.5))


WRONG: dict[type[Point], set[str]] = {
    Unscaled: {"unscaled"},
    Shifted: {"unscaled"},
    Tiny: {"unscaled"},
    ConstantComponent: {"constant component"},
    Nan: {"not finite"},
    NanReward: {"not finite"},
    WrongBounds: {"wrong bounds"},
    Spikes: {"outliers"},
    NoReward: {"no reward"},
    Delayed: {"reward delayed"},
    FarReward: {"reward delayed", "short-sighted"},
    Huge: {"values not of order 1"},
    Faint: {"values not of order 1"},
    Carried: {"carries state"},
    Random: {"not deterministic"},
    Endless: {"no time limit"},
    LimitAsEnd: {"limit as end"},
    Deaf: {"action without effect"},
    DeafDiscrete: {"action without effect"},
    HalfDeaf: {"action without effect"},
    Unbounded: {"unbounded actions"},
    Immense: {"unbounded actions"},
    Fine: {"time step too fine"},
}
"""Each environment, and all that the rules are to say about it."""
