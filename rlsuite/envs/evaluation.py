"""Test episodes: a policy acts and does not learn."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from numpy.typing import NDArray

from rlsuite import mpi
from rlsuite.envs.episodes import TEST_EPISODES, episode_seed, episode_stats
from rlsuite.envs.stepping import Envs

Choose = Callable[[NDArray[Any]], NDArray[Any]]
"""observations (1, *obs_shape) -> actions (1,) int64, (1, k) int64 or (1, d) float32"""

MAX_TEST_STEPS = 10_000
"""env steps after which a test episode is cut, unless the environment's own time limit is longer"""


def evaluate(
    choose: Choose, env: gym.Env, episodes: int, seed: int, first: int = 0, stride: int = 1
) -> tuple[list[float], list[int]]:
    """Play the test episodes first, first + stride, first + 2 · stride, ... of `episodes`.

    The seed of each follows from `seed` and its number alone, whoever plays it. An episode that does not end is cut
    after `MAX_TEST_STEPS`, counts as it is, and is the last; a sentence on stderr says so, once per process.

    Args:
        choose: the policy, from observations (1, *obs_shape) to actions (1,) int64, (1, k) int64 or (1, d) float32.
        env: one environment, not closed here.
        episodes: how many there are.
        seed: of the test episodes; those of training have other seeds.
        first: number of the first episode to play, from 0.
        stride: distance to the next.

    Returns:
        Undiscounted returns and lengths in env steps, one per episode.

    Raises:
        NonFiniteError: an observation, reward or action is NaN or infinite.
        EnvError: the environment raised, or returned what does not fit its spaces.
    """
    returns, lengths, endless = _play(choose, env, episodes, seed, first, stride)
    if endless:
        _say_once(_advice(env))
    return returns, lengths


def test_episodes(choose: Choose, env: gym.Env, episodes: int, seed: int) -> dict[str, float]:
    """Play test episodes, each rank its share, and return their statistics, equal on every rank.

    Args:
        choose: as in `evaluate`.
        env: this rank's environment.
        episodes: of all ranks together.
        seed: the run's.

    Returns:
        The columns AverageTestEpRet, StdTestEpRet, MaxTestEpRet, MinTestEpRet and TestEpLen; NaN if `episodes` is 0.

    Raises:
        NonFiniteError: an observation, reward or action is NaN or infinite.
        EnvError: the environment raised, or returned what does not fit its spaces.
    """
    shares = mpi.gather_objects(_play(choose, env, episodes, seed, mpi.rank, mpi.size))
    if any(endless for _, _, endless in shares):
        _say_once(_advice(env))
    # In the order of their numbers: then the statistics do not depend on the number of ranks, not even by rounding.
    played = [
        (number, ret, length)
        for rank, (returns, lengths, _) in enumerate(shares)
        for number, ret, length in zip(range(rank, episodes, mpi.size), returns, lengths, strict=False)
    ]
    played.sort()
    return episode_stats([ret for _, ret, _ in played], [length for _, _, length in played], prefix="Test")


def _play(
    choose: Choose, env: gym.Env, episodes: int, seed: int, first: int, stride: int
) -> tuple[list[float], list[int], bool]:
    """What `evaluate` returns, and whether the last episode was cut because it did not end."""
    count = len(range(first, episodes, stride))
    if not count:
        return [], [], False
    limit = _max_steps(env)
    envs = Envs(lambda: env, 1, seed)
    envs.seed_of = lambda _, i: episode_seed(seed, TEST_EPISODES, 0, first + stride * i)
    envs.reset()
    while len(envs.returns) < count:
        if envs.ep_len[0] == limit:
            return [*envs.returns, float(envs.ep_ret[0])], [*envs.lengths, limit], True
        envs.step(choose(envs.obs))
    return envs.returns, envs.lengths, False


def _max_steps(env: gym.Env) -> int:
    return max(MAX_TEST_STEPS, (env.spec and env.spec.max_episode_steps) or 0)


def _advice(env: gym.Env) -> str:
    if env.spec:
        name, way_out = env.spec.id, """--env-kwargs '{"max_episode_steps": 1000}'"""
    else:
        name, way_out = type(env.unwrapped).__name__, "gymnasium.wrappers.TimeLimit(env, 1000)"
    return (
        f"a test episode of {name} did not end within {_max_steps(env):,} env steps; it was cut there, counts with its "
        f"return so far, and was the last one; a time limit helps: {way_out}"
    )


@functools.cache
def _say_once(sentence: str) -> None:
    if mpi.rank == 0:
        print(f"rlsuite: {sentence}", file=sys.stderr, flush=True)
