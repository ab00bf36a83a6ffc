"""Episodes: how they are seeded, counted, and played again."""

import math
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

TEST_EPISODES = 2**32 - 1
"""takes the place of the rank in the seeds of test episodes, so that training never plays one of them"""
RANDOM_STEPS = 2**32 - 2
"""takes the place of the rank in the seeds of the random steps before training"""
MAX_REPLAYABLE = 10_000
"""env steps of the longest episode whose actions are kept; without a limit, an endless one would fill the memory"""


class Episode(NamedTuple):
    """A whole episode: reset with the seed, take the actions, and it happens again."""

    seed: int
    actions: NDArray[Any]
    """(length,) or (length, *act_shape), as the environment got them"""
    ret: float
    """undiscounted return"""


def episode_seed(seed: int, rank: int, env_index: int, episode_index: int) -> int:
    """The seed that an environment is reset with for one episode.

    Every episode has its own, so (environment id, episode seed, actions) is the whole episode. It can be played again
    without the episodes before it.

    Returns:
        A whole number in [0, 2^32).
    """
    return int(np.random.SeedSequence([seed, rank, env_index, episode_index]).generate_state(1)[0])


def episode_stats(returns: list[float], lengths: list[int], prefix: str = "") -> dict[str, float]:
    """Mean, standard deviation, maximum and minimum of returns, and the mean length in env steps; NaN of no episode."""
    ret = np.array(returns or [math.nan])
    return {
        f"Average{prefix}EpRet": float(ret.mean()),
        f"Std{prefix}EpRet": float(ret.std()),
        f"Max{prefix}EpRet": float(ret.max()),
        f"Min{prefix}EpRet": float(ret.min()),
        f"{prefix}EpLen": float(np.mean(lengths)) if lengths else math.nan,
    }


def reward_stats(
    rew: NDArray[np.float64], terminal: NDArray[np.float64], episodes: int, truncations: int
) -> dict[str, float]:
    """Minimum, maximum, mean and standard deviation of rewards, those at an end, and how episodes ended.

    Args:
        rew: of every step (K,).
        terminal: of the steps that terminated an episode (E,), 0 ≤ E ≤ K.
        episodes: that finished.
        truncations: how many of them were truncated, and not terminated by the same step.
    """
    rew = rew if len(rew) else np.array([math.nan])
    return {
        "RewMin": float(rew.min()),
        "RewMax": float(rew.max()),
        "RewMean": float(rew.mean()),
        "RewStd": float(rew.std()),
        "RewTerminal": float(terminal.mean()) if len(terminal) else math.nan,
        "TruncatedShare": truncations / episodes if episodes else math.nan,
    }


def repeat_episode(env: gym.Env, episode: Episode) -> float:
    """Play a recorded episode again; returns what it returns now, `episode.ret` if the environment is deterministic."""
    env.reset(seed=episode.seed)
    total = 0.0
    for action in episode.actions:
        _, rew, _, _, _ = env.step(action.item() if isinstance(env.action_space, spaces.Discrete) else action.copy())
        total += float(rew)
    return total


def random_return(env: gym.Env, episodes: int = 100) -> float:
    """Mean undiscounted return of uniformly random actions: what any learning has to beat."""
    env.action_space.seed(0)
    total = 0.0
    for episode in range(episodes):
        env.reset(seed=episode)
        done = False
        while not done:
            _, rew, terminated, truncated, _ = env.step(env.action_space.sample())
            total += float(rew)
            done = terminated or truncated
    return total / episodes
