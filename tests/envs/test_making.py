"""Making environments from ids and keyword arguments."""

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rlsuite.envs.making import (
    Flattened,
    FrameSkip,
    check_module,
    configured_env,
    json_object,
    make_env,
    raw_obs_space,
)
from rlsuite.envs.spaces import MisfitError
from rlsuite.envs.stepping import Envs
from rlsuite.errors import EnvError, UserError
from rlsuite.loading import SavedEnv


@pytest.mark.parametrize(
    ("env_id", "kwargs", "message"),
    [
        ("CartPole-v999", "{}", "CartPole-v999"),
        ("NoSuchThing-v0", "{}", "NoSuchThing"),
        ("no_such_module:Thing-v0", "{}", "no_such_module"),
        ("not an id!", "{}", "not an id!"),
        ("CartPole-v1", '{"wheels": 4}', "wheels"),
        ("CartPole-v1", "{wheels: 4}", "JSON object"),
        ("CartPole-v1", "[4]", "JSON object"),
        ("CartPole-v1", '{"max_episode_steps": "a"}', "CartPole-v1.*max_episode_steps"),
    ],
)
def test_make_env_explains_what_is_wrong_in_one_line(env_id: str, kwargs: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        make_env(env_id, kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('Box2D is not installed, run `pip install "gymnasium[box2d]"`', 'pip install "rlsuite[box2d]"'),
        ("pip install something\nsecond line", "pip install something"),
    ],
)
def test_a_missing_package_is_named(text: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*args: Any, **options: Any) -> None:
        raise gym.error.DependencyNotInstalled(text)

    monkeypatch.setattr("gymnasium.make", make)
    with pytest.raises(UserError, match="environment LunarLander-v3 needs a package") as error:
        make_env("LunarLander-v3")
    assert str(error.value).endswith(hint)


def test_make_env_passes_arguments_on() -> None:
    space: Any = make_env("FrozenLake-v1", '{"map_name": "8x8"}').observation_space
    assert space.n == 64
    assert make_env("CartPole-v1", render_mode="rgb_array").render_mode == "rgb_array"
    assert make_env("CartPole-v1").render_mode is None


@pytest.mark.parametrize("limit", [3, 30])  # shorter and longer than the 20 steps that are registered
def test_a_time_limit_is_a_keyword_argument(limit: int) -> None:
    env = make_env("rlsuite/ConstantReward-v0", json.dumps({"max_episode_steps": limit}))
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(limit)] == [(False, False)] * (limit - 1) + [(False, True)]
    assert env.spec is not None
    assert env.spec.max_episode_steps == limit


def test_a_time_limit_for_an_environment_that_is_registered_without_one() -> None:
    gym.register("rlsuite-tests/Endless-v0", "rlsuite.envs.probes:ConstantReward")
    env = make_env("rlsuite-tests/Endless-v0", '{"max_episode_steps": 1000}')
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(1000)] == [False] * 999 + [True]


def test_a_module_out_of_a_file_is_imported_only_if_the_user_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign_envs.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"--import-env foreign_envs$"):
        check_module("foreign_envs:Thing-v0", "")
    with pytest.raises(UserError, match=r"--import-env foreign_envs$"):
        check_module("foreign_envs:Thing-v0", "json")
    assert "foreign_envs" not in sys.modules
    check_module("foreign_envs:Thing-v0", "foreign_envs")
    assert sys.modules.pop("foreign_envs")
    check_module("CartPole-v1", "")


def test_a_module_that_can_not_be_imported_is_named() -> None:
    with pytest.raises(UserError, match="--import-env no_such_module: No module named"):
        check_module("CartPole-v1", "no_such_module")


def test_json_object() -> None:
    assert json_object('{"a": [1, null]}', "--flag") == {"a": [1, None]}
    for text in ("", "{", "[]", "3", "null", '"text"', "[" * 100_000):
        with pytest.raises(UserError, match="--flag must be a JSON object such as"):
            json_object(text, "--flag")


class Counting(gym.Env):
    """Reward 1, 2, 3, ... and the number of steps as the observation; ends after `last` steps."""

    observation_space = spaces.Box(0, 100, (1,))
    action_space = spaces.Box(-1, 1, (2,))
    metadata = {"render_fps": 30}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, last: int, terminates: bool = True) -> None:
        self.last, self.terminates = last, terminates

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.time, self.taken = 0, []
        return np.zeros(1), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        assert self.time <= self.last, "stepped after the end"
        self.taken.append(action.tolist())
        action *= 0
        end = self.time == self.last
        return np.full(1, self.time), self.time, end and self.terminates, end and not self.terminates, {"n": self.time}


@pytest.mark.parametrize("terminates", [True, False])
def test_frame_skip_repeats_the_action_adds_up_rewards_and_stops_where_the_episode_ends(terminates: bool) -> None:
    inner = Counting(5, terminates)
    env = FrameSkip(inner, 3)
    env.reset()
    act = np.array([0.5, -1])
    obs, rew, terminated, truncated, info = env.step(act)
    assert (obs.tolist(), rew, terminated, truncated, info) == ([3], 1 + 2 + 3, False, False, {"n": 3})
    assert inner.taken == [[0.5, -1]] * 3
    assert act.tolist() == [0.5, -1]  # though the environment has changed what it was given
    obs, rew, terminated, truncated, info = env.step(act)
    assert (obs.tolist(), rew, terminated, truncated, info) == ([5], 4 + 5, terminates, not terminates, {"n": 5})


def test_frame_skip_refuses_a_reward_that_is_no_number_and_slows_films_down() -> None:
    class Odd(Counting):
        def step(self, action: Any) -> Any:
            return np.zeros(1), "one", False, False, {}

    env = FrameSkip(Odd(5), 3)
    assert (env.metadata, Odd.metadata) == ({"render_fps": 10}, {"render_fps": 30})
    env.reset()
    with pytest.raises(MisfitError, match="the reward 'one', which is not a number"):
        env.step(np.zeros(2))


def test_without_frame_skip_nothing_is_wrapped() -> None:
    env = Counting(5)
    assert configured_env(SavedEnv("mine"), lambda: env) is env
    skipping = configured_env(SavedEnv("mine", frame_skip=2), lambda: env)
    assert (type(skipping), skipping.unwrapped) == (FrameSkip, env)


def test_frame_skip_of_something_that_is_no_gymnasium_environment_is_one_sentence() -> None:
    nothing: Any = "CartPole"
    with pytest.raises(UserError, match=r"^--frame-skip needs a gymnasium\.Env, which str is not: derive it [^\n]*$"):
        configured_env(SavedEnv("mine", frame_skip=2), lambda: nothing)


class Parts(gym.Env):
    """A Dict of a number and the time; after five steps the time is out of its space."""

    observation_space = spaces.Dict(speed=spaces.Box(-1, 1, (1,)), time=spaces.Discrete(5))
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.time = 0
        return {"time": 0, "speed": np.array([0.5])}, {}

    def step(self, action: Any) -> Any:
        self.time += 1
        return {"time": self.time, "speed": np.array([-0.5])}, 1.0, False, False, {}


def test_observations_in_parts_are_flattened_after_the_last_repetition() -> None:
    env = configured_env(SavedEnv("mine", frame_skip=2), Parts)
    assert (type(env), type(env.env)) == (Flattened, FrameSkip)
    assert raw_obs_space(env) is Parts.observation_space
    assert env.observation_space == spaces.flatten_space(Parts.observation_space)
    assert env.reset(seed=0)[0].tolist() == [0.5, 1, 0, 0, 0, 0]
    assert env.step(0)[0].tolist() == [-0.5, 0, 0, 1, 0, 0]


def test_an_environment_of_observations_in_parts_steps_with_others() -> None:
    envs = Envs(lambda: configured_env(SavedEnv("mine"), Parts), 2, seed=0)
    assert (envs.reset().dtype, envs.obs.tolist()) == (np.float32, [[0.5, 1, 0, 0, 0, 0]] * 2)
    assert envs.step(np.zeros(2, np.int64))[0].tolist() == [[-0.5, 0, 1, 0, 0, 0]] * 2
    for _ in range(3):
        envs.step(np.zeros(2, np.int64))
    with pytest.raises(
        EnvError, match=r"^environment 0 failed at step 5 .*: its observation 5 is not in Discrete\(5\)"
    ):
        envs.step(np.zeros(2, np.int64))


def test_parts_of_something_that_is_no_gymnasium_environment_are_one_sentence() -> None:
    class Duck:
        observation_space, action_space = Parts.observation_space, Parts.action_space

    duck: Any = Duck
    with pytest.raises(
        UserError, match=r"^Dict observations need a gymnasium\.Env, which Duck is not: derive it [^\n]*$"
    ):
        configured_env(SavedEnv("mine"), duck)
