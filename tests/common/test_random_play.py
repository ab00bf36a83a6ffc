"""Random play at the start of every training: what is kept of it, what is said, and that the training does not mind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlsuite.algos import ppo
from rlsuite.common import training
from rlsuite.common.logger import Logger
from rlsuite.envs.episodes import TEST_EPISODES, episode_seed
from rlsuite.envs.making import make_env
from rlsuite.envs.recording import LOOK_EPISODES, LOOK_NUMBERS, LOOK_STEPS, look
from rlsuite.launching import at_start
from rlsuite.run import main, preset_for
from rlsuite.rundir.runs import find_runs, read_config
from rlsuite.rundir.summaries import random_return_of
from tests.conftest import small_command

SMALL = {"total_steps": 2000, "steps_per_epoch": 1000, "num_envs": 2, "rollout_len": 100, "minibatch_size": 50}


class Steps(gym.Env):
    """Pays `reward` at each of `length` steps, and remembers seeds and actions; its observations are `scale` large."""

    action_space: gym.spaces.Space[Any] = gym.spaces.Discrete(3, start=2)

    def __init__(
        self, length: float = 3, reward: float = 1.0, scale: float = 1.0, shape: tuple[int, ...] = (2,)
    ) -> None:
        self.length, self.reward, self.scale = length, reward, scale
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.seeds: list[int | None] = []
        self.acts: list[Any] = []
        self.closed = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.seeds.append(seed)
        self.t = 0
        return self.obs(), {}

    def obs(self) -> Any:
        # The global generator is what a user's environment may draw from.
        return (self.scale * np.random.normal(size=self.observation_space.shape)).astype(np.float32)  # noqa: NPY002

    def step(self, action: Any) -> Any:
        self.acts.append(action)
        self.t += 1
        return self.obs(), self.reward, self.t >= self.length, False, {}

    def close(self) -> None:
        self.closed = True


gym.register("rlsuite-test/Steps-v0", Steps)


def run_of(folder: Path, env_fn: Callable[[], gym.Env] = Steps, **how: Any) -> Path:
    config = ppo.Config("steps", **{**SMALL, **how})
    ppo.train(config, env_fn, logger=Logger("x", folder, quiet=True))
    return find_runs([folder])[0]


def without_times(run: Path) -> list[list[str]]:
    lines = [line.split("\t") for line in (run / "progress.txt").read_text().splitlines()]
    keep = [i for i, name in enumerate(lines[0]) if name not in ("Time", "StepsPerSec")]
    return [[line[i] for i in keep] for line in lines]


def test_the_training_is_the_same_as_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run_of(tmp_path / "a", normalize_obs=True)
    monkeypatch.setattr(training, "look", lambda *_: ({}, None))
    other = run_of(tmp_path / "b", normalize_obs=True)
    assert read_config(plain)["random_play"]["steps"] == 60
    assert read_config(other)["random_play"] == {}
    assert without_times(plain) == without_times(other)
    assert (plain / "policy.safetensors").read_bytes() == (other / "policy.safetensors").read_bytes()


def test_what_is_kept() -> None:
    facts, recording = look(lambda: Steps(length=4, reward=-2), 10**9, 0)
    largest = facts.pop("largest_obs")
    assert 2 < largest < 6
    assert facts == {
        **{"return": -8, "return_std": 0, "length": 4, "time_limits": 0, "largest_rew": 2},
        **{"episodes": LOOK_EPISODES, "steps": 4 * LOOK_EPISODES},
    }
    assert recording is not None
    assert len(recording.random.rew) == 4 * LOOK_EPISODES
    facts, _ = look(lambda: gym.wrappers.TimeLimit(Steps(length=4), 3), 100, 0)
    assert (facts["return"], facts["time_limits"], facts["steps"]) == (3, 1, 60)
    facts, _ = look(lambda: Steps(length=4), 11, 0)  # the last one is cut, and does not count
    assert (facts["return"], facts["episodes"], facts["steps"]) == (4, 2, 11)


def test_returns_vary_as_they_do() -> None:
    facts, recording = look(lambda: make_env("CartPole-v1"), 10**9, 0)
    assert recording is not None
    ends = np.flatnonzero(recording.random.terminated)
    lengths = np.diff([-1, *ends])
    assert (facts["return"], facts["return_std"]) == pytest.approx((lengths.mean(), lengths.std()))
    assert 15 < facts["return"] < 35


def test_an_environment_without_end_is_left_after_a_bounded_number_of_steps(tmp_path: Path) -> None:
    made: list[Steps] = []

    def endless() -> Steps:
        made.append(Steps(length=np.inf))
        return made[-1]

    facts, _ = look(endless, 10**9, 0)
    assert len(made[0].acts) == facts["steps"] == LOOK_STEPS
    assert made[0].closed
    assert (facts["return"], facts["why"]) == (None, "no episode ended within 5,000 steps")
    made.clear()
    play = read_config(run_of(tmp_path, endless))["random_play"]
    assert play["steps"] == SMALL["total_steps"] // 10
    assert np.isnan(random_return_of({"random_play": play}))


def fails() -> gym.Env:
    raise RuntimeError("no second simulator")


def test_where_nothing_can_be_played_the_training_goes_on(tmp_path: Path) -> None:
    facts, recording = look(fails, 100, 0)
    assert (recording, facts["return"], facts["why"]) == (None, None, "RuntimeError: no second simulator")
    facts, _ = look(lambda: Steps(reward=np.nan), 100, 0)
    assert (facts["return"], facts["why"]) == (None, "a reward is not finite")
    env = Steps()
    play = read_config(run_of(tmp_path, lambda: env, num_envs=1))["random_play"]
    assert "returns the same environment again" in play["why"]


def test_no_window_is_played_in() -> None:
    env = Steps()
    env.render_mode = "human"
    facts, _ = look(lambda: env, 100, 0)
    assert (facts["why"], env.acts) == ("the environment is shown in a window", [])


def test_episodes_and_actions_have_seeds_of_their_own() -> None:
    first, again, other = Steps(), Steps(), Steps()
    for env, seed in ((first, 3), (again, 3), (other, 4)):
        look(lambda env=env: env, 200, seed)  # type: ignore[misc]
    assert (first.seeds, first.acts) == (again.seeds, again.acts)
    assert first.acts != other.acts
    assert not set(first.seeds) & set(other.seeds)
    assert set(first.acts) == {2, 3, 4}
    taken = {episode_seed(3, rank, n, i) for rank in (0, 1, 2, TEST_EPISODES) for n in range(8) for i in range(50)}
    assert not taken & set(first.seeds)


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Box(-np.inf, np.inf, (2, 2), np.float32),
        gym.spaces.Box(np.array([-5, 0]), np.array([-3, np.inf]), dtype=np.float64),
        gym.spaces.MultiDiscrete([2, 3], start=[1, 5]),
    ],
)
def test_every_action_space_is_sampled(space: gym.spaces.Space[Any]) -> None:
    env = Steps()
    env.action_space = space
    facts, _ = look(lambda: env, 200, 0)
    assert facts["return"] == 3
    assert all(space.contains(action) for action in env.acts)
    assert len({np.asarray(action).tobytes() for action in env.acts}) > 1


def test_large_observations_are_not_recorded() -> None:
    shape = (LOOK_NUMBERS // 50 + 1,)
    facts, recording = look(lambda: Steps(shape=shape), 50, 0)
    assert recording is not None
    assert recording.random.obs.shape == (50, 0)
    assert (facts["return"], facts["largest_obs"]) == (3, None)
    assert at_start(ppo.Config("x"), recording) == []


def test_a_resumed_run_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path)
    config = read_config(run)
    monkeypatch.setattr(training, "look", lambda *_: pytest.fail("it was played again"))
    for saved in (config, {name: value for name, value in config.items() if name != "random_play"}):  # an old run
        (run / "config.json").write_text(json.dumps(saved))
        budget = read_config(run)["total_steps"] + 1000
        more = ppo.Config("steps", **{**SMALL, "total_steps": budget})
        ppo.train(more, Steps, logger=Logger(resume=run, quiet=True))
        config = read_config(run)
        assert config.get("random_play") == saved.get("random_play")


# ---- what is said


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "MountainCar-v0", "Acrobot-v1"])
def test_nothing_is_said_of_common_tasks(env: str) -> None:
    _, recording = look(lambda: make_env(env), LOOK_STEPS, 0)
    assert at_start(ppo.Config(env), recording) == []
    assert at_start(ppo.Config(env, **preset_for("ppo", env, "auto")[1]), recording) == []


def test_what_is_grave_is_said_once_at_the_start_in_two_lines_at_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kwargs = json.dumps({"length": 10**6, "reward": 1e4, "scale": 1e6})
    settings = {"env_kwargs": kwargs, "total_steps": 12_000, "data_dir": tmp_path, "test_episodes": 0, "seed": (0, 1)}
    words = small_command("ppo", env="rlsuite-test/Steps-v0", **settings)
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(words) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rlsuite: ")]
    said = [line for line in lines if "; try first: " not in line]  # those are warnings of the training
    assert len(said) == 2
    assert said[0].startswith("rlsuite: an episode of 1,200 steps had no end, and there is no time limit: --env-kwargs")
    assert '"max_episode_steps": 1000' in said[0]
    assert said[1].endswith("--normalize-obs")


def test_advice_fits_the_settings() -> None:
    _, recording = look(lambda: Steps(reward=1e4, scale=1e6), 100, 0)
    both = at_start(ppo.Config("x"), recording)
    assert [line.rpartition(": ")[2] for line in both] == ["--normalize-obs", "--scale-reward"]
    (one,) = at_start(ppo.Config("x", normalize_obs=True), recording)
    assert one.endswith(": --scale-reward")
    assert at_start(ppo.Config("x", normalize_obs=True, scale_reward=True), recording) == []
    from rlsuite.algos import dqn

    _, values = at_start(dqn.Config("x"), recording)  # which can't scale rewards
    assert values.endswith("should be of order 1 (0.01 to 10)")


def test_the_end_names_what_random_play_returned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(small_command("random", env="rlsuite-test/Steps-v0", data_dir=tmp_path)) == 0
    out = capsys.readouterr().out
    assert (
        "\nfinal return 3.00 ± 0.00 (min 3.00, max 3.00; 1 sampled test episodes)\nrandom play  3.00 ± 0.00 (17 ep"
        in out
    )
