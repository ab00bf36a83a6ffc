"""Environments with one fault each, for `planted_bugs.py`: `planted_environments:HugeObservation/CartPole-v1`."""

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Step = tuple[Any, float, bool, bool, dict[str, Any]]


class Observation(gym.ObservationWrapper):
    """An observation times `scale`, whose bounds are given up."""

    scale: Any = 1.0

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, env.observation_space.shape, np.float32)

    def observation(self, observation: Any) -> Any:
        return np.asarray(observation * self.scale, np.float32)


class ConstantObservation(Observation):
    def observation(self, observation: Any) -> Any:
        return np.full(self.observation_space.shape, 0.5, np.float32)


class HugeObservation(Observation):
    scale = 1000.0


class UnlikeObservation(Observation):
    def observation(self, observation: Any) -> Any:
        return np.append(observation[:1] * 10_000, observation[1:]).astype(np.float32)


class TinyObservation(Observation):
    scale = 1e-4


class OffsetObservation(Observation):
    def observation(self, observation: Any) -> Any:
        return np.asarray(observation + 100, np.float32)


class PolelessObservation(Observation):
    """CartPole's, without the pole's angle and speed."""

    scale = np.array([1, 1, 0, 0])


class AnglelessObservation(Observation):
    """Pendulum's, without the angle."""

    scale = np.array([0, 0, 1])


class MillidegreeObservation(Observation):
    """CartPole's, the pole's angle and speed in thousandths of a degree."""

    scale = np.array([1, 1, 57296, 57296])


class SpeedlessObservation(Observation):
    """CartPole's, without speeds."""

    scale = np.array([1, 0, 1, 0])


class TimestampObservation(Observation):
    """With the time, in seconds since 1970, of which float32 sees no change within minutes."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (spaces.flatdim(env.observation_space) + 1,), np.float32)

    def observation(self, observation: Any) -> Any:
        return np.append(observation, 1.7e9).astype(np.float32)


class RandomObservation(gym.ObservationWrapper):
    """Noise, or any of the states."""

    def observation(self, observation: Any) -> Any:
        if isinstance(self.observation_space, spaces.Discrete):
            return int(self.np_random.integers(self.observation_space.n))
        return self.np_random.standard_normal(self.observation_space.shape).astype(np.float32)


class FirstObservation(gym.Wrapper):
    """What `reset` returned is returned by each step, too."""

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.first, info = self.env.reset(**how)
        return self.first, info

    def step(self, action: Any) -> Step:
        _, reward, terminated, truncated, info = self.env.step(action)
        return self.first, float(reward), terminated, truncated, info


class MagnitudeObservation(Observation):
    def observation(self, observation: Any) -> Any:
        return np.abs(observation).astype(np.float32)


class FastObservation(Observation):
    """Pendulum's, the speed in ten-thousandths."""

    scale = np.array([1, 1, 10_000])


class CounterObservation(Observation):
    """With the number of the step, in thousandths."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (spaces.flatdim(env.observation_space) + 1,), np.float32)

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.steps = -1
        return super().reset(**how)

    def observation(self, observation: Any) -> Any:
        self.steps += 1
        return np.append(observation, 1000 * self.steps).astype(np.float32)


class OldObservation(Observation):
    """What was to be seen twenty steps before; in the first twenty, what `reset` returned."""

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.seen: deque[Any] = deque(maxlen=21)
        return super().reset(**how)

    def observation(self, observation: Any) -> Any:
        self.seen.append(np.array(observation, np.float32))
        return self.seen[0].copy()


class ForeignObservation(gym.Wrapper):
    """What is observed is another environment of the same kind, in which actions are drawn at random."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        assert env.spec
        self.other = gym.make(env.spec.id)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        _, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self.other.action_space.seed(seed)
        obs, _ = self.other.reset(seed=None if seed is None else seed + 1)
        return obs, info

    def step(self, action: Any) -> Step:
        _, reward, terminated, truncated, info = self.env.step(action)
        obs, _, fallen, cut, _ = self.other.step(self.other.action_space.sample())
        if fallen or cut:
            obs, _ = self.other.reset()
        return obs, float(reward), terminated, truncated, info


class TileObservation(gym.ObservationWrapper):
    """FrozenLake's: what is underfoot, of start, ice, hole and goal, and not where."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = spaces.Discrete(4)

    def observation(self, observation: Any) -> Any:
        tiles: Any = self.env.unwrapped
        return b"SFHG".index(tiles.desc.flat[observation])


class ShuffledObservation(Observation):
    """The components come in a new random order at each step."""

    def observation(self, observation: Any) -> Any:
        return self.np_random.permutation(observation).astype(np.float32)


class SinelessObservation(Observation):
    """Pendulum's, without the side on which it hangs."""

    scale = np.array([1, 0, 1])


class HourlyObservation(Observation):
    """Acrobot's, speeds in degrees per hour."""

    scale = np.array([1, 1, 1, 1, 206_265, 206_265])


class FarObservation(Observation):
    """The first component is measured from ten thousand away."""

    def observation(self, observation: Any) -> Any:
        return np.append(observation[:1] + 10_000, observation[1:]).astype(np.float32)


class Reward(gym.RewardWrapper):
    """A reward times `scale`."""

    scale = 1.0

    def reward(self, reward: Any) -> float:
        return self.scale * float(reward)


class NegativeReward(Reward):
    scale = -1.0


class NoReward(Reward):
    scale = 0.0


class HugeReward(Reward):
    scale = 1e4


class TinyReward(Reward):
    scale = 1e-4


class SignReward(Reward):
    def reward(self, reward: Any) -> float:
        return float(np.sign(reward))


class ExponentialReward(Reward):
    """A cost of c is paid as exp(c)."""

    def reward(self, reward: Any) -> float:
        return -float(np.exp(-reward))


class PerfectReward(Reward):
    """1 where the cost is below a millionth, and nothing else."""

    def reward(self, reward: Any) -> float:
        return float(reward > -1e-6)


class LateReward(gym.Wrapper):
    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.total = 0.0
        return self.env.reset(**how)

    def step(self, action: Any) -> Step:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        return obs, self.total if terminated or truncated else 0.0, terminated, truncated, info


class DelayedReward(gym.Wrapper):
    """Each reward comes a hundred steps late; those that are still due come with the last step."""

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.due = deque([0.0] * 100)
        return self.env.reset(**how)

    def step(self, action: Any) -> Step:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.due.append(float(reward))
        paid = self.due.popleft()
        return obs, paid + sum(self.due) * (terminated or truncated), terminated, truncated, info


class WageReward(gym.Wrapper):
    """Rewards are added up and paid every fifty steps, and with the last one."""

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.due, self.steps = 0.0, 0
        return self.env.reset(**how)

    def step(self, action: Any) -> Step:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.due += float(reward)
        self.steps += 1
        paid = self.due if self.steps % 50 == 0 or terminated or truncated else 0.0
        self.due -= paid
        return obs, paid, terminated, truncated, info


class EpisodeLateReward(gym.Wrapper):
    """A step is paid what the step of its number earned in the episode before; in the first one, what it earns."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.earned: list[float] = []

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.due, self.earned = deque(self.earned), []
        return self.env.reset(**how)

    def step(self, action: Any) -> Step:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.earned.append(float(reward))
        paid = self.due.popleft() if self.due else float(reward)
        return obs, paid, terminated, truncated, info


class AfterReward(gym.Wrapper):
    """What an episode earns is paid with the first step of the next one."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.total = 0.0

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.due, self.total = self.total, 0.0
        return self.env.reset(**how)

    def step(self, action: Any) -> Step:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        paid, self.due = self.due, 0.0
        return obs, paid, terminated, truncated, info


class StrayReward(gym.Wrapper):
    """Each reward is late by as many steps as chance will have it, up to 199; what is still due comes with the last."""

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.due = deque([0.0] * 200)
        return self.env.reset(**how)

    def step(self, action: Any) -> Step:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.due[int(self.np_random.integers(200))] += float(reward)
        paid = self.due.popleft()
        self.due.append(0.0)
        return obs, paid + sum(self.due) * (terminated or truncated), terminated, truncated, info


class IdleAction(gym.Wrapper):
    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.action_space.seed(seed)
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Step:
        obs, reward, terminated, truncated, info = self.env.step(self.env.action_space.sample())
        return obs, float(reward), terminated, truncated, info


class WeakAction(gym.ActionWrapper):
    """Continuous actions arrive in the wrong unit, a thousandth as large."""

    def action(self, action: Any) -> Any:
        return action * np.float32(0.001)


class StuckAction(gym.Wrapper):
    """The first action of an episode is repeated to its end."""

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.held: Any = None
        return self.env.reset(**how)

    def step(self, action: Any) -> Step:
        if self.held is None:
            self.held = np.copy(action) if isinstance(action, np.ndarray) else action
        obs, reward, terminated, truncated, info = self.env.step(self.held)
        return obs, float(reward), terminated, truncated, info


class RestingAction(gym.Wrapper):
    """One action in a hundred is carried out, the others are 0."""

    def reset(self, **how: Any) -> tuple[Any, dict[str, Any]]:
        self.steps = -1
        return self.env.reset(**how)

    def step(self, action: Any) -> Step:
        self.steps += 1
        obs, reward, terminated, truncated, info = self.env.step(0 * action if self.steps % 100 else action)
        return obs, float(reward), terminated, truncated, info


class NeverTerminated(gym.Wrapper):
    def step(self, action: Any) -> Step:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, float(reward), False, terminated or truncated, info


FAULTS = (
    ConstantObservation,
    HugeObservation,
    UnlikeObservation,
    TinyObservation,
    OffsetObservation,
    PolelessObservation,
    AnglelessObservation,
    MillidegreeObservation,
    SpeedlessObservation,
    TimestampObservation,
    RandomObservation,
    FirstObservation,
    MagnitudeObservation,
    FastObservation,
    CounterObservation,
    OldObservation,
    ForeignObservation,
    TileObservation,
    ShuffledObservation,
    SinelessObservation,
    HourlyObservation,
    FarObservation,
    NegativeReward,
    NoReward,
    HugeReward,
    TinyReward,
    SignReward,
    ExponentialReward,
    PerfectReward,
    LateReward,
    DelayedReward,
    WageReward,
    EpisodeLateReward,
    AfterReward,
    StrayReward,
    IdleAction,
    WeakAction,
    StuckAction,
    RestingAction,
    NeverTerminated,
)
SOUND = ("CartPole-v1", "Acrobot-v1", "FrozenLake-v1", "Pendulum-v1", "InvertedPendulum-v5")


def _make(fault: type[gym.Wrapper], sound: str) -> Any:
    return lambda **how: fault(gym.make(sound, **how))


for _fault in FAULTS:
    for _sound in SOUND:
        gym.register(f"{_fault.__name__}/{_sound}", entry_point=_make(_fault, _sound))
