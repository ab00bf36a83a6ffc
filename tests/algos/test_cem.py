"""CEM: its equations against numbers worked out by hand, and who plays what and is credited with it."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.algos import cem
from rlsuite.algos.cem import Generation, elite_of, extra_variance, fit, search, search_health
from rlsuite.common.health import Averages
from rlsuite.common.logger import Logger
from rlsuite.envs.stepping import Envs
from rlsuite.loading import load_snapshots
from rlsuite.rundir.runs import find_runs, read_progress


def settings(**changes: Any) -> cem.Config:
    return cem.Config("-", **{"num_test_episodes": 0, "seed": 3, **changes})


def test_the_elite_are_those_with_the_largest_returns() -> None:
    ret = np.array([3.0, -5, 9, 0, 7, 1, 2, -8, 4, 5])
    assert elite_of(ret, 0.3).tolist() == [2, 4, 9]
    assert elite_of(ret, 0.0).tolist() == [2]
    assert sorted(elite_of(ret, 1.0).tolist()) == list(range(10))


def test_fit_is_the_mean_and_variance_of_the_elite() -> None:
    mean, var = fit(np.array([[1, 0], [2, 0], [6, 3]], np.float32))
    assert mean.tolist() == [3, 1]
    np.testing.assert_allclose(var, [(4 + 1 + 9) / 3, (1 + 1 + 4) / 3], rtol=1e-6)


def test_extra_variance_falls_in_a_line_to_zero() -> None:
    """Szita and Lőrincz: Z_t = max(5 - t/10, 0)."""
    assert [extra_variance(t, 5, 0.1) for t in (0, 10, 49, 50, 60)] == pytest.approx([5, 4, 0.1, 0, 0])
    assert extra_variance(1000, 0.5, 0) == 0.5


def test_update_equals_the_equations() -> None:
    theta = np.array([[0, 0], [1, 4], [3, 2], [100, 100]], np.float32)
    mean, std, stats = np.zeros(2, np.float32), np.ones(2, np.float32), Averages()
    config = settings(elite_share=0.5, noise_init=1.0, noise_fall=0.25)
    cem.update(mean, std, theta, np.array([-9.0, 4, 8, -9]), 2, config, stats)
    assert mean.tolist() == [2, 3]
    np.testing.assert_allclose(std, [(1 + 0.5) ** 0.5] * 2, rtol=1e-6)
    assert stats.means() == {"EliteRet": 6}
    cem.update(mean, std, theta, np.array([1.0, 0, 0, 0]), 4, settings(elite_share=0.25), stats)
    assert mean.tolist() == [0, 0]
    np.testing.assert_allclose(std, [cem.MIN_STD] * 2)


def test_the_updates_alone_find_the_maximum_of_a_quadratic() -> None:
    rng, best = np.random.default_rng(0), np.array([3, -2, 0.5], np.float32)
    mean, std, config = np.zeros(3, np.float32), np.full(3, 2, np.float32), settings(noise_init=0.5, noise_fall=0.05)
    widths = []
    for t in range(40):
        theta = mean + std * rng.standard_normal((50, 3), np.float32)
        cem.update(mean, std, theta, -np.square(theta - best).sum(1).astype(np.float64), t, config, Averages())
        widths.append(std.max())
    np.testing.assert_allclose(mean, best, atol=1e-3)
    assert widths[-1] < 1e-3
    assert widths[5] > 0.5  # the noise of that generation, √0.25, and more


def test_kl_entropy_and_ratio_are_those_of_the_gaussian_over_parameters() -> None:
    mean, std = np.array([3, 4], np.float32), np.array([1, 2], np.float32)
    before, after = search(mean, std), search(np.array([3, 6], np.float32), np.array([2, 2], np.float32))
    assert float(before.entropy()) == pytest.approx(2 * 0.5 * np.log(2 * np.pi * np.e) + np.log(2))
    # Σ [ ln(σ'/σ) + (σ² + Δ²)/(2σ'²) - ½ ], by hand, over two parameters
    kl = (np.log(2) + 1 / 8 - 0.5) + (0 + (4 + 4) / 8 - 0.5)
    health = search_health(before, after)
    assert health == pytest.approx({"KL": kl / 2, "UpdateRatioPi": 2 / 5, "ParamStd": 2})
    mean[:] = 0
    assert before.mu.tolist() == [3, 4]  # a copy


class Echo(gym.Env):
    """Reward is the action. The episodes of environment n last 2 + n steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def __init__(self, length: int) -> None:
        self.length, self.resets = length, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.time = 0
        self.resets += 1
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        return np.zeros(1, np.float32), float(action[0]), self.time == self.length, False, {}


def made(lengths: list[int]) -> Any:
    again = iter(lengths)
    return lambda: Echo(next(again))


@pytest.mark.parametrize(("lengths", "episodes"), [([3], 1), ([3], 2), ([2, 5], 1), ([2, 5, 3], 2), ([4] * 7, 1)])
def test_each_candidate_is_played_by_its_own_parameters_and_credited_with_its_own_return(
    lengths: list[int], episodes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an observation of 0 a linear policy does its bias, which is the second of its two parameters."""
    update, generations = cem.update, []

    def checked(mean: Any, std: Any, theta: Any, ret: Any, t: int, *rest: Any) -> None:
        generations.append((theta.copy(), ret.copy(), t))
        update(mean, std, theta, ret, t, *rest)

    monkeypatch.setattr(cem, "update", checked)
    n = len(lengths)
    shape = {"num_envs": n, "rollout_len": 4, "total_steps": 400 * n, "steps_per_epoch": 100 * n}
    config = settings(population=5, episodes_per_candidate=episodes, **shape)
    cem.train(config, made([*lengths, 1]), logger=Logger(data_dir=tmp_path, quiet=True))
    assert len(generations) > 5
    assert [t for _, _, t in generations] == list(range(len(generations)))
    for theta, ret, _ in generations:
        assert theta.shape == (5, 2)
        steps = np.round(ret / theta[:, 1])
        assert set(steps) <= set(lengths)  # of one episode: the mean over all that were played
        np.testing.assert_allclose(ret, steps * theta[:, 1], rtol=1e-4)


def test_environments_that_find_no_candidate_play_on_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    pi = cem.DirectPolicy(1, Echo.action_space, (), "tanh")
    generation = Generation(pi, num_envs=2, candidates=3, episodes=1)
    generation.draw(np.zeros(2, np.float32), np.ones(2, np.float32), np.random.default_rng(0))
    envs = Envs(made([2, 7]), 2, seed=0)
    envs.reset()
    x, turns = torch.zeros(2, 1), []
    for _ in range(7):
        assert not generation.ended()
        act = generation.act(x)
        np.testing.assert_array_equal(act[:, 0], generation.playing[:, 1])
        turns.append(generation.turn.tolist())
        _, rew, terminated, truncated = envs.step(act)
        generation.credit(rew, terminated | truncated)
    # The first environment plays candidates 0 and 2 for two steps each, then the last one for three steps more.
    assert turns == [[0, 1]] * 2 + [[2, 1]] * 2 + [[3, 1]] * 3
    assert generation.ended()
    assert generation.over
    theta, ret = generation.results()
    np.testing.assert_allclose(ret, theta[:, 1] * [2, 7, 2], rtol=1e-6)
    np.testing.assert_array_equal(generation.playing, theta[[2, 1]])


def test_every_generation_begins_with_new_episodes(tmp_path: Path) -> None:
    """Else a candidate would be credited with the end of an episode that another one had begun."""
    envs: list[Echo] = []

    def env_fn() -> Echo:
        envs.append(Echo([3, 4, 1][len(envs)]))
        return envs[-1]

    # A generation takes six steps of each environment: two episodes of the first, one and a half of the second.
    config = settings(num_envs=2, population=3, rollout_len=6, total_steps=12 * 10, steps_per_epoch=60)
    cem.train(config, env_fn, logger=Logger(data_dir=tmp_path, quiet=True))
    (run,) = find_runs([tmp_path])
    assert read_progress(run)["Generation"].tolist() == [5, 10]
    # One reset at the start; in each generation one at its beginning, and one for each episode that ended.
    assert [env.resets for env in envs[:2]] == [1 + 10 * (1 + 2), 1 + 10 * (1 + 1)]


def test_features_change_only_between_generations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act, seen = Generation.act, []

    def watched(self: Generation, x: torch.Tensor) -> Any:
        seen.append((self.number, x.numpy().tobytes()))
        return act(self, x)

    monkeypatch.setattr(Generation, "act", watched)
    config = settings(num_envs=1, population=4, rollout_len=5, total_steps=300, steps_per_epoch=60, normalize_obs=True)
    counting: list[int] = []

    class Counting(Echo):
        """Its observations grow, so that any new statistics show; only the first of each generation is looked at."""

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset()
            counting.append(1)
            return np.full(1, 0.5, np.float32), {}

        def step(self, action: Any) -> Any:
            counting.append(1)
            _, rew, *rest = super().step(action)
            obs = 0.5 if self.time % 2 == 0 or self.time == self.length else len(counting)
            return np.full(1, obs, np.float32), rew, *rest

    ac = cem.train(config, lambda: Counting(5), logger=Logger(data_dir=tmp_path, quiet=True))
    numbers = sorted({number for number, _ in seen})
    assert len(numbers) > 5
    # Two of the five observations of an episode are 0.5 and seen as one number in a generation, then as another.
    halves = [{x for number, x in seen[::5] if number == n} for n in numbers]
    assert [len(half) for half in halves] == [1] * len(numbers)
    assert len(set().union(*halves)) == len(numbers)
    assert int(ac.encode.count) == 1000 + 300


def test_the_policy_that_is_saved_is_that_of_the_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update, means = cem.update, []

    def watched(mean: Any, std: Any, *rest: Any) -> None:
        update(mean, std, *rest)
        means.append((mean.copy(), std.copy()))

    monkeypatch.setattr(cem, "update", watched)
    config = cem.Config("CartPole-v1", total_steps=2000, steps_per_epoch=1000, population=8, seed=1)
    ac = cem.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    (run,) = find_runs([tmp_path])
    assert len(means) > 2
    flat = torch.nn.utils.parameters_to_vector(ac.pi.parameters())
    np.testing.assert_array_equal(flat.detach().numpy(), means[-1][0])
    table, kept = read_progress(run), load_snapshots(run, most=2)
    theta = [torch.nn.utils.parameters_to_vector(s.ac.pi.parameters()).double().detach() for s in kept]
    assert table["UpdateRatioPi"][1] == pytest.approx(float((theta[1] - theta[0]).norm() / theta[0].norm()), rel=1e-4)
    assert table["ParamStd"][1] == pytest.approx(means[-1][1].mean(), rel=1e-5)
    assert (table["KL"] > 0).all()


def test_actions_are_the_argmax_or_within_half_widths_of_the_centre() -> None:
    x = torch.randn(5, 3)
    buttons = cem.DirectPolicy(3, spaces.Discrete(4), (), "tanh")
    assert torch.equal(buttons(x), buttons.outputs(x).argmax(1))
    box = spaces.Box(np.array([-3, 0, -np.inf], np.float32), np.array([1, 10, 5], np.float32))
    lever = cem.DirectPolicy(3, box, (8,), "relu")
    expected = torch.tensor([-1.0, 5, 0]) + torch.tensor([2.0, 5, 1]) * lever.outputs(x)
    torch.testing.assert_close(lever(x), expected)


def test_a_state_of_another_population_is_refused() -> None:
    pi = cem.DirectPolicy(1, Echo.action_space, (), "tanh")
    with pytest.raises(ValueError, match="theta"):
        Generation(pi, 2, 3, 1).load_state_dict(Generation(pi, 2, 4, 1).state_dict())


def test_an_environment_that_never_ends_is_no_generation_and_no_error(tmp_path: Path) -> None:
    config = settings(num_envs=2, population=2, total_steps=400, steps_per_epoch=200, std_init=0.5)
    cem.train(config, lambda: Echo(10**9), logger=Logger(data_dir=tmp_path, quiet=True))
    (run,) = find_runs([tmp_path])
    table = read_progress(run)
    assert table["TotalEnvInteracts"].tolist() == [200, 400]
    assert np.isnan(table["EliteRet"]).all()
    assert table["KL"].tolist() == [0, 0]
    np.testing.assert_allclose(table["Entropy"], 0.5 * np.log(2 * np.pi * np.e) + np.log(0.5), rtol=1e-6)
