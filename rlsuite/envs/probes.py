"""Probe environments: tasks so small that the right answer is known, each isolating one part of an algorithm.

If an algorithm fails on one of them, the part that it isolates is broken. `python -m rlsuite.probe ALGO` trains it on
all, the easiest first. γ is the discount; returns are not discounted.

| id `rlsuite/...-v0` | what happens | what it asks | what is right |
|---|---|---|---|
| `OneStep` | one step, reward 1 | can the critic fit a constant? | V = Q = 1, every return 1 |
| `ObservedReward` | one step, the reward is the observation, ±1 | does the critic see it? | V(s) = Q(s, a) = s |
| `DelayedReward` | two steps, reward 1 at the second | does value travel back? | V(0) = γ, V(1) = 1, return 1 |
| `ConstantReward` | reward 1 for ever, cut after 20 steps | is a time limit an end? | V = 1/(1-γ), return 20 |
| `Target` | one step, reward -(a + 2)², a in [-3, 1] | which way to go? | a = -2, return 0, random -7/3 |
| `Context` | one step, an action for each observation | is each action its own? | return 1, random 0 |
| `Bandit` | one step, skewed noise on the reward | does it learn the mean? | Q = 0, 1, 2; return 2, random 1 |
| `Chain` | 5 states, reward 1 at the right end | do policy and value lift each other? | V = γ^(steps to go - 1) |
| `Switches` | 4 steps, an action of two components | is each of them trained? | return 8, random 10/3 |
| `LongChain` | 30 states, any wrong step leads back to 0 | nothing can be learned | return 0, the best would be 1 |

`continuous` (a keyword, so `--env-kwargs '{"continuous": true}'`) gives each a number, or two, for its action; the
classes say what is right then. Only `Target` is continuous by itself.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Obs = np.ndarray | int
Act = Any
"""int, or np.ndarray where it is MultiDiscrete or a Box"""
Step = tuple[Obs, float, bool, bool, dict[str, Any]]

ONE = spaces.Box(-1, 1, (1,), np.float32)
"""the action, where there is one number"""


class OneStep(gym.Env):
    """One observation, one step, reward 1. V = Q = 1; every return is 1. The action does nothing."""

    observation_space: spaces.Space[Any] = spaces.Box(0, 1, (1,), np.float32)

    def __init__(self, continuous: bool = False) -> None:
        """For algorithms of either kind of action."""
        self.action_space: spaces.Space[Any] = ONE if continuous else spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """The first observation."""
        super().reset(seed=seed)
        return self.first(), {}

    def first(self) -> Obs:
        """Always [1]."""
        return np.ones(1, np.float32)

    def step(self, action: Act) -> Step:
        """Reward 1 and the end."""
        return np.ones(1, np.float32), 1.0, True, False, {}


class ObservedReward(OneStep):
    """One step; the reward is -1 or 1, and the observation is that, plus `offset`. V = Q = the reward; return 0 ± 1.

    With an offset of 1000, networks can't tell the two apart, unless observations are standardised. The first `asleep`
    episodes show the offset alone, so that their statistics are of no use later.
    """

    def __init__(self, continuous: bool = False, offset: float = 0.0, asleep: int = 0) -> None:
        """For algorithms of either kind of action."""
        super().__init__(continuous)
        self.offset, self.asleep = offset, asleep
        self.observation_space = spaces.Box(offset - 1, offset + 1, (1,), np.float32)

    def first(self) -> Obs:
        """A fair coin."""
        self.reward = float(self.np_random.choice([-1, 1]))
        self.asleep -= 1
        self.seen = np.array([self.offset + self.reward * (self.asleep < 0)], np.float32)
        return self.seen

    def step(self, action: Act) -> Step:
        """Reward ±1 and the end."""
        return self.seen.copy(), self.reward, True, False, {}


class DelayedReward(OneStep):
    """Two steps; the observation is the time, the reward 1 comes at the second. V(0) = Q(0, a) = γ, V(1) = 1."""

    def first(self) -> Obs:
        """The time 0."""
        self.time = 0
        return np.zeros(1, np.float32)

    def step(self, action: Act) -> Step:
        """Reward 0, then 1 and the end."""
        self.time += 1
        return np.ones(1, np.float32), float(self.time == 2), self.time == 2, False, {}


class ConstantReward(OneStep):
    """Reward 1 at every step; never terminated, truncated after 20 steps. V = Q = 1/(1-γ); every return is 20.

    If it is `late`, the first step has reward 0 and the observation 0, where V is γ/(1-γ). A `limit` above 0 truncates
    it sooner.
    """

    def __init__(self, continuous: bool = False, late: bool = False, limit: int = 0) -> None:
        """For algorithms of either kind of action."""
        super().__init__(continuous)
        self.late, self.limit = late, limit

    def first(self) -> Obs:
        """[1], or [0] if it is late."""
        self.time = 0
        return np.full(1, not self.late, np.float32)

    def step(self, action: Act) -> Step:
        """Reward 1, and on it goes."""
        self.time += 1
        rew = float(self.time > 1 or not self.late)
        return np.ones(1, np.float32), rew, False, self.time == self.limit, {}


class Target(OneStep):
    """One step; reward -(a + 2)², a in [-3, 1]: bounds that are not symmetric. Q(a) = -(a + 2)²; best return 0 at -2.

    With `continuous` False there are five actions, which stand for -3, -2, -1, 0, 1: Q = -1, 0, -1, -4, -9. Random
    actions return -7/3 on average, and -3 if discrete. If it is `late`, a step without reward comes before, in which
    the observation is 0 and not 1.
    """

    def __init__(self, continuous: bool = True, late: bool = False) -> None:
        """For algorithms of either kind of action."""
        self.action_space = spaces.Box(-3, 1, (1,), np.float32) if continuous else spaces.Discrete(5, start=-3)
        self.late = late

    def first(self) -> Obs:
        """[1], or [0] if it is a step too early."""
        self.early = self.late
        return np.full(1, not self.early, np.float32)

    def step(self, action: Act) -> Step:
        """The reward is the negative squared distance from -2."""
        if self.early:
            self.early = False
            return np.ones(1, np.float32), 0.0, False, False, {}
        return np.ones(1, np.float32), -float((np.ravel(action)[0] + 2) ** 2), True, False, {}


class Context(OneStep):
    """One step; the observation is 0 or 1. Reward 1 for the action equal to it, else -1. Best return 1, random 0.

    With `continuous` the action is a number in [-1, 1], and the reward 1 - (a ± ½)²: best is -½ for the observation 0
    and ½ for 1, which returns 1; random actions return 5/12.
    """

    observation_space = spaces.Discrete(2)

    def __init__(self, continuous: bool = False) -> None:
        """For algorithms of either kind of action."""
        super().__init__(continuous)
        self.continuous = continuous

    def first(self) -> Obs:
        """A fair coin."""
        self.context = int(self.np_random.integers(2))
        return self.context

    def step(self, action: Act) -> Step:
        """The reward and the end."""
        if self.continuous:
            return self.context, 1 - float((action[0] + 0.5 - self.context) ** 2), True, False, {}
        return self.context, 1.0 if action == self.context else -1.0, True, False, {}


class Bandit(OneStep):
    """One step; three arms of means 0, 1, 2. Q = 0, 1, 2; best return 2, random 1.

    Added to each is noise of mean 0 that is mostly below: 3 with probability ¼, -1 with ¾. So its median, or errors
    that are clipped, say something else than its mean.

    With `continuous` the mean is 2 - 4 (a - ½)²: Q(a) is that, best is ½, which returns 2; random actions return -1/3.
    """

    def __init__(self, continuous: bool = False) -> None:
        """For algorithms of either kind of action."""
        self.continuous = continuous
        self.action_space = ONE if continuous else spaces.Discrete(3)

    def step(self, action: Act) -> Step:
        """The reward of an arm and the end."""
        mean = 2 - 4 * float(action[0] - 0.5) ** 2 if self.continuous else float(action)
        return np.ones(1, np.float32), mean + float(self.np_random.choice([3, -1, -1, -1])), True, False, {}


class Chain(OneStep):
    """States 0 to n - 1 = 4, start at 0; moving right from the last gives reward 1 and ends. A time limit of 50 steps.

        V(s) = Q(s, right) = γ^(n-1-s),   Q(s, left) = γ V(max(s - 1, 0));   best return 1

    Action 1 is right, 0 left; with `continuous`, what is above 0 is right. Where it is `locked`, the action that leads
    on is another one in each state, and the other leads back to 0: to play at random takes 2^n episodes to the end.
    """

    def __init__(self, length: int = 5, locked: bool = False, continuous: bool = False) -> None:
        """Of `length` n states."""
        super().__init__(continuous)
        self.observation_space = spaces.Discrete(length)
        self.length, self.locked = length, locked
        self.right = np.random.default_rng(0).integers(2, size=length) if locked else np.ones(length, np.int64)

    def first(self) -> Obs:
        """State 0."""
        self.state = 0
        return self.state

    def step(self, action: Act) -> Step:
        """One state on, or one back."""
        chosen = int(np.ravel(action)[0] > 0)
        if chosen != self.right[self.state]:
            self.state = 0 if self.locked else max(self.state - 1, 0)
        elif self.state == self.length - 1:
            return self.state, 1.0, True, False, {}
        else:
            self.state += 1
        return self.state, 0.0, False, False, {}


class Switches(OneStep):
    """Four steps, each with a new observation of two components, in {0, 1} and {0, 1, 2}; the action has two, too.

    Reward 1 for each component that equals the observation's. Best return 8, random 10/3. With `continuous` the action
    is two numbers in [-1, 1], and the reward of each 1 - (a - wanted)², wanted -½ or ½ for the first, -½, 0 or ½ for
    the second: best return 8, random 11/3.
    """

    observation_space = spaces.MultiDiscrete([2, 3])

    def __init__(self, continuous: bool = False) -> None:
        """For algorithms of either kind of action."""
        self.continuous = continuous
        self.action_space = spaces.Box(-1, 1, (2,), np.float32) if continuous else spaces.MultiDiscrete([2, 3])

    def first(self) -> Obs:
        """All six observations are equally probable."""
        self.time = 0
        self.wanted = self.np_random.integers([2, 3])
        return self.wanted

    def step(self, action: Act) -> Step:
        """The reward, and another observation."""
        right = 1 - (action + 0.5 - self.wanted / [1, 2]) ** 2 if self.continuous else action == self.wanted
        self.time += 1
        self.wanted = self.np_random.integers([2, 3])
        return self.wanted, float(np.sum(right)), self.time == 4, False, {}


def register() -> None:
    """Make the probes known to `gymnasium.make`, with their time limits in env steps."""
    limits: dict[str, dict[str, Any]] = {
        "ConstantReward": {"max_episode_steps": 20},
        "Chain": {"max_episode_steps": 50},
        "LongChain": {"max_episode_steps": 100, "kwargs": {"length": 30, "locked": True}},
    }
    names = "OneStep ObservedReward DelayedReward ConstantReward Target Context Bandit Chain LongChain Switches"
    for name in names.split():
        entry_point = f"{__name__}:{'Chain' if name == 'LongChain' else name}"
        gym.register(f"rlsuite/{name}-v0", entry_point=entry_point, **limits.get(name, {}))
