"""Test episodes: who plays which, with what seeds, and what happens to one that does not end."""

import itertools
import math
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

import rlsuite
from rlsuite import mpi
from rlsuite.envs import evaluation
from rlsuite.envs.episodes import TEST_EPISODES, episode_seed
from rlsuite.envs.evaluation import evaluate
from rlsuite.envs.making import make_env


@pytest.fixture(autouse=True)
def unsaid() -> Iterator[None]:
    yield
    evaluation._say_once.cache_clear()


def always(act: Any) -> evaluation.Choose:
    """The policy of one action."""
    return lambda obs: np.array([act], np.int64 if isinstance(act, int) else np.float32)


class Counter(gym.Env):
    """Observes the time; episode i of this instance ends after lengths[i] steps, the last number for all others."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, *lengths: float) -> None:
        self.lengths, self.seeds = lengths, list[int | None]()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.length = self.lengths[min(len(self.seeds), len(self.lengths) - 1)]
        self.seeds.append(seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return np.array([self.time], np.float32), 1.0, self.time == self.length, False, {}


@pytest.mark.parametrize(
    ("env_id", "act", "ret", "length"),
    [
        ("rlsuite/OneStep-v0", 0, 1, 1),
        ("rlsuite/ConstantReward-v0", 0, 20, 20),
        ("rlsuite/DelayedReward-v0", 0, 1, 2),
        ("rlsuite/Chain-v0", 1, 1, 5),
        ("rlsuite/Chain-v0", 0, 0, 50),
        ("rlsuite/Target-v0", [-2.0], 0, 1),
        ("rlsuite/Target-v0", [9.0], -9, 1),  # clipped to 1
    ],
)
def test_evaluate_gives_the_known_return_of_a_probe(env_id: str, act: Any, ret: float, length: int) -> None:
    assert evaluate(always(act), make_env(env_id), 3, seed=0) == ([ret] * 3, [length] * 3)


def test_the_policy_sees_one_observation_at_a_time() -> None:
    seen = []

    def choose(obs: NDArray[Any]) -> NDArray[Any]:
        seen.append(obs)
        return np.array([0])

    evaluate(choose, Counter(2), 2, seed=0)
    assert [obs.tolist() for obs in seen] == [[[0]], [[1]], [[0]], [[1]]]
    assert {obs.dtype for obs in seen} == {np.dtype(np.float32)}


def test_evaluate_resets_with_other_seeds_than_training() -> None:
    env = Counter(2)
    assert evaluate(always(0), env, 10, seed=5) == ([2] * 10, [2] * 10)
    assert env.seeds[:10] == [episode_seed(5, TEST_EPISODES, 0, i) for i in range(10)]
    training = {episode_seed(5, *place) for place in itertools.product(range(4), range(8), range(100))}
    assert len(training) == 3200
    assert not training & set(env.seeds)


def test_evaluate_repeats_itself_for_equal_seeds_only() -> None:
    env, choose = make_env("CartPole-v1"), always(1)
    assert evaluate(choose, env, 20, seed=1) == evaluate(choose, env, 20, seed=1) != evaluate(choose, env, 20, seed=2)


@pytest.mark.parametrize(("episodes", "stride"), [(7, 1), (7, 2), (7, 3), (2, 3), (0, 2)])
def test_shares_of_the_episodes_are_the_episodes(episodes: int, stride: int) -> None:
    env, choose = make_env("CartPole-v1"), always(1)
    returns, lengths = evaluate(choose, env, episodes, seed=1)
    assert len(returns) == episodes
    for first in range(stride):
        share = evaluate(choose, env, episodes, seed=1, first=first, stride=stride)
        assert share == (returns[first::stride], lengths[first::stride])


def test_no_episode_is_no_reset() -> None:
    env = Counter(2)
    assert evaluate(always(0), env, 0, seed=0) == evaluate(always(0), env, 2, seed=0, first=2) == ([], [])
    assert env.seeds == []


def test_an_episode_that_does_not_end_is_cut_and_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    env = Counter(3, 10_000, math.inf, 3)
    assert evaluate(always(0), env, 5, seed=0) == ([3, 10_000, 10_000], [3, 10_000, 10_000])
    assert len(env.seeds) == 3
    assert env.time == 10_000
    stats = evaluation.test_episodes(always(0), Counter(math.inf), 5, seed=0)
    assert stats == {
        "AverageTestEpRet": 10_000,
        "StdTestEpRet": 0,
        "MaxTestEpRet": 10_000,
        "MinTestEpRet": 10_000,
        "TestEpLen": 10_000,
    }
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rlsuite: a test episode of Counter did not end within 10,000 env steps; it was cut there")
    assert err.endswith("gymnasium.wrappers.TimeLimit(env, 1000)\n")
    assert err.count("\n") == 1


def test_the_flag_that_ends_episodes_is_named_and_works(capsys: pytest.CaptureFixture[str]) -> None:
    gym.register("rlsuite-tests/NoEnd-v0", "rlsuite.envs.probes:ConstantReward")
    assert evaluate(always(0), make_env("rlsuite-tests/NoEnd-v0"), 3, seed=0) == ([10_000], [10_000])
    said = capsys.readouterr().err
    assert "a test episode of rlsuite-tests/NoEnd-v0 did not end" in said
    flag, _, value = said.strip().partition(" a time limit helps: ")[2].partition(" ")
    assert flag == "--env-kwargs"
    assert evaluate(always(0), make_env("rlsuite-tests/NoEnd-v0", value.strip("'")), 3, seed=0)[1] == [1000] * 3
    assert capsys.readouterr().err == ""


def test_a_longer_time_limit_of_the_environment_is_respected(capsys: pytest.CaptureFixture[str]) -> None:
    env = make_env("rlsuite/ConstantReward-v0", '{"max_episode_steps": 10005}')
    assert evaluate(always(0), env, 2, seed=0) == ([10_005] * 2, [10_005] * 2)
    assert capsys.readouterr().err == ""


def test_test_episodes_are_the_statistics_of_evaluate() -> None:
    env, choose = make_env("CartPole-v1"), always(1)
    returns, lengths = evaluate(choose, env, 5, seed=1)
    assert evaluation.test_episodes(choose, env, 5, seed=1) == {
        "AverageTestEpRet": np.mean(returns),
        "StdTestEpRet": np.std(returns),
        "MaxTestEpRet": max(returns),
        "MinTestEpRet": min(returns),
        "TestEpLen": np.mean(lengths),
    }


def test_no_test_episode_is_nan() -> None:
    stats = evaluation.test_episodes(always(0), Counter(2), 0, seed=1)
    assert list(stats) == ["AverageTestEpRet", "StdTestEpRet", "MaxTestEpRet", "MinTestEpRet", "TestEpLen"]
    assert all(math.isnan(value) for value in stats.values())


MPIEXEC = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec") or "mpiexec"
SHARED = """
import json, sys
import numpy as np
from rlsuite import mpi
from rlsuite.envs import evaluation
from rlsuite.envs.making import make_env
from rlsuite.envs.probes import ConstantReward

assert mpi.size == 2
env = make_env("CartPole-v1")
seeds, reset = [], env.unwrapped.reset

def recorded(*, seed=None, options=None):
    seeds.append(seed)
    return reset(seed=seed, options=options)

env.unwrapped.reset = recorded
result = {"stats": [], "seeds": []}
for episodes in (5, 1):
    result["stats"].append(evaluation.test_episodes(lambda obs: np.ones(1, int), env, episodes, seed=1))
    result["seeds"].append(seeds.copy())
    seeds.clear()
# Only rank 1 has an episode that does not end: all the same, rank 0 says so.
env = make_env("rlsuite/ConstantReward-v0") if mpi.rank == 0 else ConstantReward()
result["uneven"] = evaluation.test_episodes(lambda obs: np.zeros(1, int), env, 4, seed=1)
json.dump(result, open(f"rank{mpi.rank}.json", "w"))
"""


def test_ranks_share_the_test_episodes(tmp_path: Path) -> None:
    import json

    words = [MPIEXEC, "-n", "2", sys.executable, "-c", textwrap.dedent(SHARED)]
    environment = {**os.environ, "PYTHONPATH": str(Path(rlsuite.__file__).parents[1])}
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    zero, one = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert zero["stats"] == one["stats"]
    assert mpi.size == 1
    env = make_env("CartPole-v1")
    assert zero["stats"] == [evaluation.test_episodes(always(1), env, episodes, seed=1) for episodes in (5, 1)]
    numbers = [episode_seed(1, TEST_EPISODES, 0, i) for i in range(5)]
    assert (zero["seeds"][0][:3], one["seeds"][0][:2]) == (numbers[::2], numbers[1::2])
    assert one["seeds"][1] == []

    assert zero["uneven"] == one["uneven"]
    assert zero["uneven"]["TestEpLen"] == pytest.approx((20 + 20 + 10_000) / 3)
    assert done.stderr.count("did not end within 10,000 env steps") == 1
