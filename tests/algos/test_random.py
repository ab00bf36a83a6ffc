"""The random baseline: uniform actions, and the entropy that they have."""

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.algos import random
from rlsuite.algos.random import UniformPolicy
from rlsuite.common.logger import Logger
from rlsuite.envs.episodes import random_return
from rlsuite.loading import load
from rlsuite.play import main as play
from rlsuite.rundir.runs import find_runs, read_progress

OBS = spaces.Box(-1, 1, (3,), np.float32)
UNEVEN = spaces.Box(np.array([-3, 0], np.float32), np.array([1, 0.5], np.float32))
HALVES = spaces.Box(np.array([-np.inf, 2, -np.inf], np.float32), np.array([np.inf, np.inf, 5], np.float32))


def drawn(act_space: spaces.Space[Any], count: int = 40_000) -> np.ndarray:
    torch.manual_seed(0)
    return UniformPolicy(OBS, act_space, None).act(np.zeros((count, 3), np.float32))


def test_discrete_actions_are_equally_frequent() -> None:
    act = drawn(spaces.Discrete(5, start=2))  # counted from 0: the border to the environment adds the start
    assert (act.shape, act.dtype) == ((40_000,), np.int64)
    np.testing.assert_allclose(np.bincount(act, minlength=5) / 40_000, 0.2, atol=0.01)


def test_box_actions_fill_their_bounds_evenly() -> None:
    act = drawn(UNEVEN)
    assert (act.shape, act.dtype) == ((40_000, 2), np.float32)
    assert UNEVEN.contains(act.min(0))
    assert UNEVEN.contains(act.max(0))
    for column, low, high in zip(act.T, UNEVEN.low, UNEVEN.high, strict=True):
        counts, _ = np.histogram(column, 8, (low, high))
        np.testing.assert_allclose(counts / 40_000, 1 / 8, atol=0.01)


def test_without_bounds_actions_are_drawn_as_gymnasium_draws_them() -> None:
    act = drawn(HALVES)
    HALVES.seed(0)
    theirs = np.stack([HALVES.sample() for _ in range(10_000)])
    assert act[:, 1].min() >= 2
    assert act[:, 2].max() <= 5
    np.testing.assert_allclose(act.mean(0), theirs.mean(0), atol=0.05)
    np.testing.assert_allclose(act.std(0), theirs.std(0), atol=0.05)


def test_the_entropy_is_that_of_the_uniform_distribution() -> None:
    def entropy(act_space: spaces.Space[Any]) -> float:
        return UniformPolicy(OBS, act_space, None).entropy()

    assert entropy(spaces.Discrete(5)) == pytest.approx(np.log(5))
    assert entropy(UNEVEN) == pytest.approx(np.log(4) + np.log(0.5))
    assert np.isnan(entropy(HALVES))
    assert np.isnan(entropy(spaces.Box(np.zeros(2, np.float32), np.array([0, 1], np.float32))))


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_its_return_and_entropies_are_those_of_random_actions(env: str, tmp_path: Path) -> None:
    config = random.Config(env, total_steps=20_000, steps_per_epoch=20_000)
    random.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    (run,) = find_runs([tmp_path])
    table = read_progress(run)
    assert table["AverageEpRet"][0] == pytest.approx(random_return(gym.make(env), 200), rel=0.1)
    volume, most = {"CartPole-v1": (2, 2), "Pendulum-v1": (4, 16)}[env]
    assert table["Entropy"][0] == pytest.approx(np.log(volume), rel=1e-6)
    assert table["ActionEntropy"][0] == pytest.approx(np.log(most), abs=0.01)
    assert table["KL"].tolist() == [0]
    assert table["GradSteps"].tolist() == [0]


def test_a_loaded_policy_samples_either_way(tmp_path: Path) -> None:
    random.train(random.Config("CartPole-v1", total_steps=64), logger=Logger(data_dir=tmp_path, quiet=True))
    (run,) = find_runs([tmp_path])
    policy, obs = load(run), np.zeros((100, 4), np.float32)
    for sample in (False, True):
        assert set(policy(obs, sample=sample)) == {0, 1}


def test_nobody_calls_its_test_episodes_deterministic(
    tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, "random", stop_at=5, test_episodes=3)
    assert play([str(run)]) == 0
    out = capsys.readouterr().out
    assert "deterministic" not in out
    assert re.search(r"stopped early, .* and 20 sampled test episodes \d", out)
    assert re.search(r"final return .*; 3 sampled test episodes\)\n", out)
    assert re.search(r"\n10 sampled episodes: return ", out)
