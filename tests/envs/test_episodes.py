"""Seeds, statistics and repetition of episodes."""

import itertools
import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlsuite.envs.episodes import (
    RANDOM_STEPS,
    TEST_EPISODES,
    Episode,
    episode_seed,
    episode_stats,
    random_return,
    repeat_episode,
    reward_stats,
)
from rlsuite.envs.making import make_env


def test_every_place_has_an_episode_seed_of_its_own() -> None:
    ranks = (*range(4), TEST_EPISODES, RANDOM_STEPS)
    places = list(itertools.product((0, 5), ranks, range(8), range(50)))
    seeds = {episode_seed(*place) for place in places}
    assert len(seeds) == len(places)
    assert min(seeds) >= 0
    assert max(seeds) < 2**32


def test_episode_seeds_stay_what_they_are() -> None:  # else the episodes of old runs could not be played again
    assert episode_seed(0, 0, 0, 0) == 2968811710
    assert episode_seed(5, TEST_EPISODES, 0, 7) == 1130160092


def test_episode_stats() -> None:
    stats = episode_stats([1.0, 3.0], [10, 20], prefix="Test")
    assert stats == {
        "AverageTestEpRet": 2,
        "StdTestEpRet": 1,
        "MaxTestEpRet": 3,
        "MinTestEpRet": 1,
        "TestEpLen": 15,
    }


def test_episode_stats_without_an_episode() -> None:
    stats = episode_stats([], [])
    assert list(stats) == ["AverageEpRet", "StdEpRet", "MaxEpRet", "MinEpRet", "EpLen"]
    assert all(math.isnan(value) for value in stats.values())


def test_reward_stats_without_a_step() -> None:
    stats = reward_stats(np.array([]), np.array([]), 0, 0)
    assert list(stats) == ["RewMin", "RewMax", "RewMean", "RewStd", "RewTerminal", "TruncatedShare"]
    assert all(math.isnan(value) for value in stats.values())


class Recorder(gym.Env):
    """Remembers its seeds and actions, and doubles each action in place."""

    observation_space = spaces.Box(-1, 1, (1,))

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space = action_space
        self.seeds: list[int | None] = []
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.seeds.append(seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.actions.append(action.copy() if isinstance(action, np.ndarray) else action)
        action *= 2
        return np.zeros(1, np.float32), 0.25, False, False, {}


def test_repeat_episode_takes_the_actions_after_a_reset_with_the_seed() -> None:
    env = Recorder(spaces.Box(-3, 10, (2,)))
    actions = np.array([[0, 1], [1, 2], [-3, 10]], np.float32)
    before = actions.copy()
    assert repeat_episode(env, Episode(17, actions, 0.75)) == 0.75
    assert env.seeds == [17]
    np.testing.assert_array_equal(env.actions, before)
    np.testing.assert_array_equal(actions, before)


def test_repeat_episode_gives_discrete_actions_as_numbers() -> None:
    env = Recorder(spaces.Discrete(3))
    repeat_episode(env, Episode(17, np.array([2, 0]), 0.5))
    assert env.actions == [2, 0]
    assert {type(action) for action in env.actions} == {int}


def test_random_return_of_probes() -> None:
    assert random_return(make_env("rlsuite/OneStep-v0"), episodes=3) == 1.0
    assert random_return(make_env("rlsuite/ConstantReward-v0"), episodes=3) == 20.0
    assert -1 < random_return(make_env("rlsuite/Context-v0"), episodes=50) < 1
