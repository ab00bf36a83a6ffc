"""Preflight: every planted fault is named, sound environments get no advice beyond what is true, and the formulas."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rlsuite.algos.random import Config
from rlsuite.analysis.preflight import RULES, Measurements, Play, advise, discounted_returns, facts, fitting, measure
from rlsuite.envs.making import configured_env, make_env
from rlsuite.envs.recording import record
from tests.analysis.wrong_environments import WRONG, Fine, HalfDeaf, Nan, Point, Unscaled, WrongBounds

STEPS = 1200
SOUND: dict[str, set[str]] = {
    "CartPole-v1": {"values not of order 1"},
    "Acrobot-v1": {"no reward", "values not of order 1"},  # nor does it ever swing up in so few steps
    "MountainCar-v0": {"no reward", "unscaled", "values not of order 1"},  # nor reach the top; its speed is below 0.07
    "MountainCarContinuous-v0": set(),
    "Pendulum-v1": {"values not of order 1"},
    "FrozenLake-v1": set(),
    "Taxi-v4": {"values not of order 1"},
    "Blackjack-v1": set(),
    "rlsuite/Chain-v0": set(),
    "rlsuite/Context-v0": set(),
    "rlsuite/Target-v0": {"constant component"},  # it has only one
    "rlsuite/Switches-v0": set(),
    "HalfCheetah-v5": {"values not of order 1"},
    "InvertedPendulum-v5": {"values not of order 1"},
}
"""What is true of each: of those with values not of order 1, |value| exceeds 10 under random play."""


def measured(env_fn: Any, steps: int = STEPS, **settings: Any) -> Measurements:
    return measure(record(env_fn, steps, constant_steps=200), **settings)


def rules_of(m: Measurements) -> set[str]:
    return {advice.rule for advice in advise(m)}


def test_there_is_no_advice_where_nothing_is_wrong() -> None:
    assert rules_of(measured(Point)) == set()


@pytest.mark.parametrize("env", WRONG, ids=lambda env: env.__name__)
def test_every_planted_fault_is_named_and_nothing_else(env: type[Point]) -> None:
    assert rules_of(measured(env)) == WRONG[env]


def test_every_rule_has_a_planted_fault_a_threshold_and_a_source() -> None:
    assert {rule.name for rule in RULES} == set().union(*WRONG.values())
    assert all(rule.threshold and rule.source for rule in RULES)


@pytest.mark.parametrize("env", SOUND)
def test_of_sound_environments_only_what_is_true_is_said(env: str) -> None:
    if env.endswith("-v5"):
        pytest.importorskip("mujoco")
    assert rules_of(measured(lambda: configured_env(Config(env=env)))) == SOUND[env]


def test_advice_names_the_component_and_a_flag() -> None:
    (advice,) = advise(measured(Unscaled))
    assert "component 1 has mean" in advice.text
    assert advice.flags == {"normalize_obs": True}
    (advice,) = advise(measured(WrongBounds))
    assert advice.text.startswith("component 0 left the declared bounds: component 0 is declared in [-1, 1] and was in")
    (advice,) = advise(measured(HalfDeaf))
    assert advice.text.startswith("of the action, component 1 changed neither")
    (advice,) = advise(measured(Fine, frame_skip=2))
    assert advice.flags == {"frame_skip": 8}


def test_what_is_not_finite_is_counted_and_left_out_of_the_statistics() -> None:
    recording = record(Nan, STEPS)
    m = measure(recording)
    plays = (recording.random, *recording.constant)
    assert m.bad_obs == sum(np.isnan(play.next_obs).any(1).sum() for play in plays) > 0
    everything = np.concatenate([recording.random.obs, recording.random.next_obs[-1:]])
    np.testing.assert_allclose(m.mean, np.nanmean(everything, 0, dtype=np.float64))
    np.testing.assert_allclose(m.std, np.nanstd(everything.astype(np.float64), 0))


def play(rew: list[float], terminated: Sequence[int] = (), truncated: Sequence[int] = ()) -> Play:
    ends = [np.isin(np.arange(len(rew)), steps) for steps in (terminated, truncated)]
    obs = np.zeros((len(rew), 1))
    return Play("random", obs, obs, np.array(rew, np.float64), *ends)


def test_a_value_ends_at_a_termination_and_goes_on_beyond_a_time_limit() -> None:
    got = discounted_returns(play([1, 3, 2, 2], terminated=[1], truncated=[3]), gamma=0.5)
    beyond = 2 / (1 - 0.5)
    np.testing.assert_allclose(got, [1 + 0.5 * 3, 3, 2 + 0.5 * (2 + 0.5 * beyond), 2 + 0.5 * beyond])


def test_returns_lengths_and_delays_are_those_of_the_episodes() -> None:
    recording = record(Point, 10)._replace(random=play([0, 0, 5, 0, 0, 0, 7, 0], [2], [6]), constant=())
    m = measure(recording._replace(numeric=np.zeros(1, np.bool_)))
    assert (m.returns.tolist(), m.lengths.tolist(), m.truncated, m.unfinished) == ([5, 7], [3, 4], 1, 1)
    assert (m.usual, m.delay, m.at_end_only, m.longest) == (0, 3.5, True, 4)


def test_thresholds_of_values_delays_and_limits() -> None:
    sound = measured(Point)
    assert rules_of(replace(sound, value_high=10.0, value_low=-10.0)) == set()
    assert rules_of(replace(sound, value_low=-10.1)) == {"values not of order 1"}
    assert rules_of(replace(sound, value_high=0.009, value_low=0.0)) == {"values not of order 1"}
    late = replace(sound, usual=0.0, at_end_only=True, delay=20.0)
    assert rules_of(late) == {"reward delayed"}
    assert rules_of(replace(late, delay=19.0)) == set()
    assert rules_of(replace(late, at_end_only=False, delay=229.0)) == set()  # 0.99^229 = 0.1001
    (advice,) = advise(replace(late, at_end_only=False, delay=400.0))
    assert (advice.rule, advice.flags) == ("short-sighted", {"gamma": 0.9975})
    endless = replace(sound, any_truncated=False, unfinished=1000)
    assert rules_of(endless) == {"no time limit"}
    assert rules_of(replace(endless, limit=5000)) == set()
    assert rules_of(replace(endless, unfinished=999)) == set()


def test_the_upper_bound_is_checked_as_the_lower_one() -> None:
    sound = measured(Point)
    assert rules_of(replace(sound, high=sound.seen_high)) == rules_of(replace(sound, low=sound.seen_low)) == set()
    assert rules_of(replace(sound, high=sound.seen_high - 0.01)) == {"wrong bounds"}
    assert rules_of(replace(sound, low=sound.seen_low + 0.01)) == {"wrong bounds"}


def test_three_equal_ends_make_a_time_limit() -> None:
    ended = replace(measured(Point), any_truncated=False, equal_ends=3, terminated=30, longest=10)
    assert rules_of(ended) == {"limit as end"}
    fewer, more = {"equal_ends": 2, "terminated": 20}, {"terminated": 31}
    changes: list[dict[str, Any]] = [fewer, more, {"longest": 9}, {"any_truncated": True}]
    assert [rules_of(replace(ended, **change)) for change in changes] == [set()] * 4


def test_what_is_one_hot_or_bytes_is_no_number() -> None:
    parts = {
        "a": spaces.Box(0, 1, (2,)),
        "b": spaces.Discrete(3),
        "c": spaces.MultiDiscrete([2, 3]),
        "d": spaces.MultiBinary(2),
        "e": spaces.Box(0, 255, (2,), np.uint8),
    }

    class Mixed(Point):
        observation_space = spaces.Dict(parts)

        def observe(self) -> Any:
            return {name: part.sample() for name, part in parts.items()}

    recording = record(lambda: configured_env(Config(env="mixed"), Mixed), 50, constant_steps=50)
    assert recording.numeric.tolist() == [True] * 2 + [False] * (3 + 5 + 2 + 2)


@pytest.mark.parametrize(
    ("env", "first", "never"),
    [
        ("CartPole-v1", ("ppo", "dqn"), "sac"),
        ("Pendulum-v1", ("ppo", "sac"), "dqn"),
        ("rlsuite/Switches-v0", ("ppo", "trpo"), "dqn"),
    ],
)
def test_the_algorithms_that_fit(env: str, first: tuple[str, ...], never: str) -> None:
    found = fitting(measured(lambda: configured_env(Config(env=env)), 50))
    assert found[:2] == first
    assert never not in found


def test_facts_say_the_horizon_in_steps_and_seconds() -> None:
    m = measured(lambda: make_env("CartPole-v1"), 100, gamma=0.98)
    assert "horizon      1/(1-gamma) = 50 steps = 1 s" in facts(m, 1000)


def test_equal_seeds_give_equal_recordings() -> None:
    first, second, other = (record(lambda: gym.make("CartPole-v1"), 200, seed).random for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.obs, second.obs)
    assert not np.array_equal(first.obs, other.obs)
