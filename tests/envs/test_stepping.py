"""Stepping environments: episodes, clipping, what is kept of them, and what they may not do."""

import math
import pickle
import random
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from rlsuite.envs import stepping
from rlsuite.envs.episodes import MAX_REPLAYABLE, RANDOM_STEPS, TEST_EPISODES, Episode, episode_seed, repeat_episode
from rlsuite.envs.making import make_env
from rlsuite.envs.stepping import Envs
from rlsuite.errors import EnvError, NonFiniteError, UserError

Step = tuple[Any, Any, bool, bool, dict[str, Any]]


class Counter(gym.Env):
    """Observes 100 at the start and then the time; ends after `length` steps; remembers its seeds and actions."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def __init__(
        self,
        length: float = 3,
        act_space: spaces.Space[Any] | None = None,
        truncates: bool = False,
        rew: float = 1.0,
        bad_obs: dict[int, float] | None = None,
        bad_rew: dict[int, float] | None = None,
    ) -> None:
        self.action_space = spaces.Discrete(2) if act_space is None else act_space
        self.length, self.truncates, self.rew = length, truncates, rew
        self.bad_obs, self.bad_rew = bad_obs or {}, bad_rew or {}
        self.seeds: list[int] = []
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        assert seed is not None
        self.seeds.append(seed)
        self.time = 0
        return np.array([self.bad_obs.get(0, 100)], np.float32), {}

    def step(self, action: Any) -> Step:
        self.actions.append(action)
        self.time += 1
        end = self.time == self.length
        obs = np.array([self.bad_obs.get(self.time, self.time)], np.float32)
        return obs, self.bad_rew.get(self.time, self.rew), end and not self.truncates, end and self.truncates, {}


def envs_of(*counters: gym.Env, seed: int = 5, rank: int = 0) -> Envs:
    rest = iter(counters)
    envs = Envs(lambda: next(rest), len(counters), seed, rank)
    envs.reset()
    return envs


def steps(envs: Envs, count: int, act: int = 0) -> list[Any]:
    return [envs.step(np.full(envs.num_envs, act)) for _ in range(count)]


def test_every_episode_is_reset_with_its_own_seed() -> None:
    counters = [Counter(2), Counter(3)]
    envs = envs_of(*counters, seed=5, rank=3)
    steps(envs, 7)
    envs.end_epoch()
    steps(envs, 5)
    for n, (counter, episodes) in enumerate(zip(counters, (7, 5), strict=True)):
        assert counter.seeds == [episode_seed(5, 3, n, i) for i in range(episodes)]
    assert len(set(counters[0].seeds + counters[1].seeds)) == 12


def test_next_obs_is_the_final_observation_where_obs_is_the_new_one() -> None:
    envs = envs_of(Counter(2), Counter(3, truncates=True))
    assert envs.obs.tolist() == [[100], [100]]
    seen = []
    for _ in range(3):
        next_obs, rew, terminated, truncated = envs.step(np.zeros(2, int))
        seen.append([next_obs[:, 0].tolist(), envs.obs[:, 0].tolist(), terminated.tolist(), truncated.tolist()])
        assert rew.tolist() == [1, 1]
    assert seen == [
        [[1, 1], [1, 1], [False, False], [False, False]],
        [[2, 2], [100, 2], [True, False], [False, False]],
        [[1, 3], [1, 100], [False, False], [False, True]],
    ]


def test_observations_handed_out_do_not_change_later() -> None:
    envs = envs_of(Counter(2))
    handed = [envs.obs] + [x for _ in range(5) for x in (envs.step(np.zeros(1, int))[0], envs.obs)]
    assert [float(obs[0, 0]) for obs in handed] == [100, 1, 1, 2, 100, 1, 1, 2, 100, 1, 1]


def test_episodes_live_on_over_epoch_borders() -> None:
    envs = envs_of(Counter(3), Counter(5))
    steps(envs, 4)
    stats, _ = envs.end_epoch()
    assert (stats["AverageEpRet"], stats["EpLen"]) == (3, 3)
    steps(envs, 2)
    stats, _ = envs.end_epoch()  # both finish here, the second one begun in the last epoch
    assert (stats["MinEpRet"], stats["MaxEpRet"], stats["EpLen"]) == (3, 5, 4)
    assert envs.total_steps == 12


class Paid(Counter):
    """Pays what a list says, and ends where it says so: "t" terminated, "c" cut, "b" both at once."""

    def __init__(self, script: list[tuple[float, str]]) -> None:
        super().__init__(10**6)
        self.script = iter(script)

    def step(self, action: Any) -> Any:
        obs, _, _, _, info = super().step(action)
        rew, end = next(self.script)
        return obs, rew, end in ("t", "b"), end in ("c", "b"), info


def test_rewards_and_ends_of_an_epoch() -> None:
    script = [(1.0, ""), (5.0, "t"), (-2.0, "c"), (0.0, ""), (8.0, "b"), (7.0, "c"), (1.0, "c"), (3.0, "")]
    envs = envs_of(Paid(script[0::2]), Paid(script[1::2]))
    steps(envs, 3)
    stats, _ = envs.end_epoch()
    rew = np.array([1, 5, -2, 0, 8, 7])
    expected = {"RewMin": -2, "RewMax": 8, "RewMean": rew.mean(), "RewStd": rew.std(), "RewTerminal": (5 + 8) / 2}
    assert {name: stats[name] for name in expected} == pytest.approx(expected)
    assert stats["TruncatedShare"] == 2 / 4  # a step that does both terminates
    steps(envs, 1)
    stats, _ = envs.end_epoch()  # begins anew
    assert (stats["RewMin"], stats["RewMax"], stats["RewStd"], stats["TruncatedShare"]) == (1, 3, 1, 1)
    assert math.isnan(stats["RewTerminal"])


def test_statistics_are_nan_without_a_finished_episode() -> None:
    envs = envs_of(Counter(10))
    steps(envs, 9)
    stats, episodes = envs.end_epoch()
    finite = {name: value for name, value in stats.items() if not math.isnan(value)}
    assert finite == {"RewMin": 1, "RewMax": 1, "RewMean": 1, "RewStd": 0}  # of steps there are some
    assert len(stats) == 5 + len(finite) + 2
    assert episodes == {}
    steps(envs, 1)
    assert envs.end_epoch()[0]["AverageEpRet"] == 10


UNEVEN = spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))


def test_actions_are_clipped_to_the_bounds_of_each_dimension() -> None:
    counters = Counter(9, UNEVEN), Counter(9, UNEVEN)
    envs = envs_of(*counters)
    envs.step(np.array([[-4, -1], [-2.5, 5]], np.float32))
    envs.step(np.array([[2, 11], [1, 10]], np.float32))
    assert [a.tolist() for a in counters[0].actions] == [[-3, 0], [1, 10]]
    assert [a.tolist() for a in counters[1].actions] == [[-2.5, 5], [1, 10]]
    assert envs.end_epoch()[0]["ClippedActions"] == 4 / 8
    envs.step(np.array([[0, 1], [0, 11]], np.float32))
    assert envs.end_epoch()[0]["ClippedActions"] == 1 / 4


def test_clipping_leaves_the_callers_actions_alone() -> None:
    act = np.array([[9, 9]], np.float32)
    envs_of(Counter(9, UNEVEN)).step(act)
    assert act.tolist() == [[9, 9]]


def test_box_actions_arrive_in_shape_and_type() -> None:
    space = spaces.Box(-1, 1, (2, 3), np.float64)
    counter = Counter(9, space)
    envs_of(counter).step(np.arange(6, dtype=np.float32)[None] / 10)
    assert space.contains(counter.actions[0])
    np.testing.assert_allclose(counter.actions[0], np.arange(6).reshape(2, 3) / 10, rtol=1e-6)


def test_box_actions_of_another_type_are_cast() -> None:
    counter = Counter(9, UNEVEN)
    envs_of(counter).step(np.array([[0.5, 0.5]], np.float64))
    assert counter.actions[0].dtype == np.float32


@pytest.mark.parametrize("start", [0, 5, -2])
def test_discrete_actions_are_shifted_to_the_start_of_their_space(start: int) -> None:
    counter = Counter(9, spaces.Discrete(3, start=start))
    envs = envs_of(counter)
    act = np.array([2])
    envs.step(act)
    assert counter.actions == [start + 2]
    assert type(counter.actions[0]) is int
    assert act == 2
    assert "ClippedActions" not in envs.end_epoch()[0]


def test_best_and_worst_episode_hold_their_own_actions() -> None:
    lengths, counters = (2, 4, 3), [Counter(length, rew=0.5) for length in (2, 4, 3)]
    envs = envs_of(*counters)
    steps(envs, 1, act=0)
    envs.end_epoch()
    steps(envs, 3, act=1)
    _, episodes = envs.end_epoch()
    best, worst = episodes["best"], episodes["worst"]
    assert (best.ret, worst.ret) == (2, 1)
    assert best.actions.tolist() == [0, 1, 1, 1]
    assert worst.actions.tolist() == [0, 1]
    assert best.seed == counters[lengths.index(4)].seeds[0]
    assert worst.seed == counters[0].seeds[0]


@pytest.mark.parametrize(
    ("env_id", "num_envs", "count"), [("CartPole-v1", 3, 300), ("Pendulum-v1", 2, 450), ("InvertedPendulum-v5", 2, 120)]
)
def test_best_and_worst_episodes_replay_to_exactly_the_same_return(env_id: str, num_envs: int, count: int) -> None:
    if env_id == "InvertedPendulum-v5":
        pytest.importorskip("mujoco")
    envs = Envs(lambda: make_env(env_id), num_envs, seed=1)
    envs.reset()
    recorded: list[Episode] = []
    rng, fresh = np.random.default_rng(0), make_env(env_id)
    for step in range(1, count + 1):
        act = rng.integers(0, 2, num_envs) if envs.discrete else rng.normal(0, 2, (num_envs, 1)).astype(np.float32)
        envs.step(act)
        if step % 37 == 0 or step == count:
            returns, lengths = envs.returns, envs.lengths
            _, episodes = envs.end_epoch()
            assert set(episodes) == ({"best", "worst"} if returns else set())
            if returns:
                assert (episodes["best"].ret, episodes["worst"].ret) == (max(returns), min(returns))
                assert len(episodes["best"].actions) == lengths[returns.index(max(returns))]
            recorded += episodes.values()
    assert len(recorded) >= 4
    assert max(len(episode.actions) for episode in recorded) > 10
    for episode in recorded:
        assert repeat_episode(fresh, episode) == episode.ret


class InPlace(Counter):
    """Scales the action that it is given, in place, as some environments do."""

    def step(self, action: Any) -> Step:
        action *= 2
        obs, _, *ends = super().step(action)
        return obs, float(action[0]), *ends


def test_an_environment_that_changes_its_actions_in_place_replays_too() -> None:
    envs = envs_of(InPlace(2, UNEVEN))
    for _ in range(2):
        envs.step(np.array([[0.25, 1]], np.float32))
    best = envs.end_epoch()[1]["best"]
    assert best.actions.tolist() == [[0.25, 1]] * 2
    assert repeat_episode(InPlace(2, UNEVEN), best) == best.ret == 1
    assert best.actions.tolist() == [[0.25, 1]] * 2


def test_recorded_actions_do_not_follow_the_callers_array() -> None:
    envs, act = envs_of(Counter(2)), np.array([0])
    for value in (0, 1):
        act[:] = value
        envs.step(act)
    assert envs.end_epoch()[1]["best"].actions.tolist() == [0, 1]


def test_actions_of_finished_episodes_are_forgotten() -> None:
    envs = envs_of(Counter(3), Counter(50))
    for _ in range(40):
        steps(envs, 5)
        envs.end_epoch()
    assert len(envs.actions) <= 50


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("what", ["observation", "reward"])
def test_a_non_finite_observation_or_reward_is_named_with_environment_and_step(what: str, value: float) -> None:
    bad = {2: value}
    envs = envs_of(Counter(3), Counter(4, bad_obs=bad) if what == "observation" else Counter(4, bad_rew=bad))
    steps(envs, 1)
    with pytest.raises(NonFiniteError, match=rf"{what} of environment 1 .* step 2 of .* env step 4;") as error:
        steps(envs, 1)
    assert str(episode_seed(5, 0, 1, 0)) in str(error.value)


def test_a_non_finite_first_observation_is_an_error_too() -> None:
    with pytest.raises(NonFiniteError, match=r"observation of environment 0 .* reset"):
        envs_of(Counter(bad_obs={0: math.nan}))


def test_a_non_finite_observation_after_a_restart_names_the_env_steps_taken() -> None:
    counter = Counter(2)
    envs = envs_of(counter)
    steps(envs, 1)
    counter.bad_obs = {0: math.nan}
    with pytest.raises(NonFiniteError, match=r"at reset of .* env step 2;"):
        steps(envs, 1)


def test_large_finite_numbers_are_no_error() -> None:
    envs = envs_of(Counter(9, bad_obs={1: 3e38}, bad_rew={1: 3e38, 2: -3e38}), Counter(9))
    assert envs.step(np.zeros(2, int))[0][0, 0] == np.float32(3e38)
    steps(envs, 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rew", [1e39, -1e300])
def test_a_reward_too_large_for_float32_is_an_error(rew: float) -> None:
    with pytest.raises(EnvError, match=rf"environment 1 .* its reward {rew} is too large".replace("+", r"\+")):
        steps(envs_of(Counter(), Counter(bad_rew={1: rew})), 1)


def test_an_environment_that_is_handed_out_twice_is_refused() -> None:
    env = Counter()
    with pytest.raises(UserError, match="env_fn returns the same environment again"):
        Envs(lambda: env, 2, seed=0)
    assert len(Envs(lambda: env, 1, seed=0).envs) == 1


def test_a_non_finite_action_is_blamed_on_the_policy() -> None:
    envs = Envs(lambda: gym.make("Pendulum-v1"), 2, seed=0)
    envs.reset()
    with pytest.raises(NonFiniteError, match=r"the policy's action is not finite at env step 2.*learning rate"):
        envs.step(np.array([[0.5], [np.nan]], np.float32))


def test_environments_of_different_spaces_are_refused() -> None:
    with pytest.raises(UserError, match="spaces differ"):
        envs_of(Counter(), Counter(act_space=spaces.Discrete(3)))


@pytest.mark.parametrize("num_envs", [1, 2, 3, 7])
@pytest.mark.parametrize("every", [1, 2, 5, 20])
def test_what_is_due_after_every_so_many_env_steps_does_not_depend_on_num_envs(num_envs: int, every: int) -> None:
    envs, due = envs_of(*[Counter(9) for _ in range(num_envs)]), 0
    for step in range(1, 31):
        steps(envs, 1)
        due += envs.passed(every)
        assert due == step * num_envs // every


class Wrong(gym.Env):
    """Does one thing wrong at its third step, or at its reset."""

    observation_space = gym.spaces.Box(-1, 1, (4,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, fault: str) -> None:
        self.fault, self.t = fault, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        return {"reset_raises": 1 / (self.fault != "reset_raises"), "reset_shape": np.zeros(3)}.get(
            self.fault, np.zeros(4, np.float32)
        ), {}

    def step(self, action: int) -> Any:
        self.t += 1
        obs: Any = np.zeros(4, np.float32)
        rew: Any = 1.0
        rest: Any = (False, False, {})
        if self.t == 3:
            if self.fault == "raises":
                raise RuntimeError("the simulation\nhas exploded")
            obs = {"short": obs[:1], "long": np.zeros(5), "scalar": np.float32(0), "text": "four"}.get(self.fault, obs)
            obs = None if self.fault == "none" else obs
            rew = {"rew_text": "much", "rew_none": None, "rew_array": np.ones(1)}.get(self.fault, rew)
            rest = {"old_api": (False, {})}.get(self.fault, rest)
        return obs, rew, *rest


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "step 3 .*after env step 4: RuntimeError: the simulation has exploded .test_stepping.py, line"),
        ("short", r"step 3 .*after env step 4: it returned an observation of shape \(1,\), and its space is Box\(-1"),
        ("long", r"step 3 .*observation of shape \(5,\)"),
        ("scalar", r"step 3 .*observation of shape \(\)"),
        ("text", "step 3 .*observation 'four'"),
        ("none", "step 3 .*observation None"),
        ("rew_text", "step 3 .*the reward 'much', which is not a number"),
        ("rew_none", "step 3 .*the reward None, which is not a number"),
        ("rew_array", r"step 3 .*a reward of shape \(1,\), which should be one number"),
        ("old_api", "step 3 .*unpack"),
        ("reset_raises", "reset .*ZeroDivisionError"),
        ("reset_shape", r"reset .*observation of shape \(3,\)"),
    ],
)
def test_an_environment_that_does_wrong_is_named_with_the_step(fault: str, said: str) -> None:
    envs = Envs(lambda: Wrong(fault), 2, seed=0)

    def three_steps() -> None:
        envs.reset()
        steps(envs, 3)

    with pytest.raises(EnvError, match=f"environment 0 failed at {said}") as caught:
        three_steps()
    assert "\n" not in str(caught.value)


def test_a_discrete_observation_out_of_its_space_is_refused() -> None:
    envs = Envs(lambda: make_env("FrozenLake-v1"), 1, seed=0)
    envs.reset()
    inner: Any = envs.envs[0].unwrapped
    inner.step = lambda action: (16, 0.0, False, False, {})
    with pytest.raises(EnvError, match=r"at step 1 .*its observation 16 is not in Discrete\(16\)"):
        steps(envs, 1)
    inner.reset = lambda seed, options: (-1, {})
    with pytest.raises(EnvError, match=r"at reset .*its observation -1 is not in Discrete\(16\)"):
        envs.reset()


class Given(gym.Env):
    """Returns `obs` at each step, and `first` at a reset; never ends."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any], obs: Any, first: Any = None, rew: Any = 1.0) -> None:
        self.observation_space, self.obs, self.rew = space, obs, rew
        self.first = obs if first is None else first

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.first, {}

    def step(self, action: Any) -> Step:
        return self.obs, self.rew, False, False, {}


BYTES, FLOATS = spaces.Box(0, 255, (2,), np.uint8), spaces.Box(-np.inf, np.inf, (2,), np.float32)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("space", "first", "obs", "said"),
    [
        (BYTES, np.zeros(2, np.uint8), np.array([7, 300]), r"observation holds 300 \(int64\), .* stored as uint8"),
        (
            spaces.Box(-9, 9, (1,), np.int64),
            np.array([2]),
            np.array([0.0213]),
            r"observation holds 0\.0213 \(float64\)",
        ),
        (FLOATS, np.zeros(2), np.array([0, 1e300]), r"observation holds 1e\+300 \(float64\), which is too large for"),
        (
            FLOATS,
            np.zeros(2, np.float32),
            np.array([-1e39, 0]),
            r"observation holds -1e\+39 \(float64\), which is too large for",
        ),
        (spaces.Discrete(3), 0, 1.5, r"observation holds 1\.5 \(float64\), .* stored as int64"),
    ],
)
def test_an_observation_that_storing_would_change_is_refused(
    space: spaces.Space[Any], first: Any, obs: Any, said: str
) -> None:
    envs = envs_of(Given(space, first), Given(space, obs, first))
    with pytest.raises(EnvError, match=f"environment 1 failed at step 1 .*after env step 0: its {said}") as caught:
        steps(envs, 1)
    assert "not finite" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(EnvError, match=f"environment 1 failed at reset .*: its {said}"):
        envs_of(Given(space, first), Given(space, first, obs))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("first", [np.zeros(2), np.zeros(2, np.float32)])
def test_float64_is_rounded_and_checked_at_every_step(first: NDArray[Any]) -> None:
    env = Given(FLOATS, np.array([0.1, 3e38]), first)
    envs = envs_of(env, Given(FLOATS, np.array([1, 2], np.float32)))
    for _ in range(3):
        next_obs, *_ = envs.step(np.zeros(2, int))
        assert next_obs.dtype == envs.obs.dtype == np.float32
        np.testing.assert_array_equal(next_obs, np.array([[0.1, 3e38], [1, 2]], np.float32))
    env.obs = np.array([0, np.nan])
    with pytest.raises(NonFiniteError, match=r"observation of environment 0 is not finite \(1 of 2 entries\)"):
        steps(envs, 1)
    env.obs = np.array([0, 1e39])
    with pytest.raises(EnvError, match=r"environment 0 failed at step 4 .*1e\+39 \(float64\), which is too large"):
        steps(envs, 1)


@pytest.mark.parametrize(
    ("space", "obs", "stored"),
    [
        (FLOATS, [1, 2], np.array([1, 2], np.float32)),
        (BYTES, np.array([1, 255]), np.array([1, 255], np.uint8)),
        (spaces.Box(0, 9, (2,), np.int32), np.array([1, 2], np.int32), np.array([1, 2])),
        (spaces.Discrete(3, start=5), np.int32(7), np.array(7)),
        (spaces.Discrete(3, start=5), np.array(7), np.array(7)),
    ],
)
def test_observations_that_keep_their_values_are_stored(
    space: spaces.Space[Any], obs: Any, stored: NDArray[Any]
) -> None:
    envs = envs_of(Given(space, obs), Given(space, obs))
    next_obs, *_ = envs.step(np.zeros(2, int))
    assert next_obs.dtype == envs.obs.dtype == stored.dtype
    np.testing.assert_array_equal(next_obs, np.array([stored, stored]))


@pytest.mark.parametrize("rew", [2, True, np.float32(2), np.int8(2), np.array(2.0)])
def test_rewards_of_any_type_of_number(rew: Any) -> None:
    _, stored, _, _ = envs_of(Given(FLOATS, np.zeros(2, np.float32), rew=rew)).step(np.zeros(1, int))
    assert stored.tolist() == [float(rew)]


class Bare(gym.Env):
    """Has the spaces that it is given, and no others."""

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"action_space": spaces.Discrete(2)}, "the environment Bare has no observation_space; set self.observation"),
        (
            {"observation_space": FLOATS},
            "the environment Bare has no action_space; set self.action_space in its __init",
        ),
        ({"observation_space": None, "action_space": spaces.Discrete(2)}, "Bare has no observation_space"),
        (
            {"observation_space": FLOATS, "action_space": 3},
            "Bare has as its action_space 3, which is no Gymnasium space",
        ),
    ],
)
def test_an_environment_without_spaces_is_refused(given: dict[str, Any], said: str, wrapped: bool) -> None:
    with pytest.raises(UserError, match=said):
        Envs(lambda: gym.wrappers.TimeLimit(Bare(**given), 5) if wrapped else Bare(**given), 1, seed=0)


def test_what_is_no_environment_is_refused() -> None:
    nothing: Any = None
    with pytest.raises(UserError, match="the environment NoneType has no observation_space"):
        Envs(lambda: nothing, 1, seed=0)


def test_one_environment_in_new_wrappers_is_refused() -> None:
    env = Counter()
    with pytest.raises(UserError, match="env_fn returns the same environment again"):
        Envs(lambda: gym.wrappers.TimeLimit(env, 5), 2, seed=0)


@dataclass(frozen=True)
class Config:
    env: str = "FrozenLake-v1"
    env_kwargs: str = '{"map_name": "8x8"}'
    frame_skip: int = 1
    num_envs: int = 3
    seed: int = 7


def test_envs_of_settings() -> None:
    envs = Envs.of(Config())
    assert (envs.num_envs, len(envs.envs), envs.seed, envs.rank) == (3, 3, 7, 0)
    assert envs.obs_space == spaces.Discrete(64)
    own = Envs.of(Config(), Counter)
    assert [type(env) for env in own.envs] == [Counter] * 3


def test_every_environment_of_a_run_repeats_each_action() -> None:
    constant = Config("rlsuite/ConstantReward-v0", "{}", frame_skip=3)
    for env_fn in (None, lambda: make_env("rlsuite/ConstantReward-v0")):
        envs = Envs.of(constant, env_fn)
        envs.reset()
        assert envs.step(np.zeros(3, np.int64))[1].tolist() == [3, 3, 3]
        assert (envs.ep_len.tolist(), envs.total_steps) == ([1] * 3, 3)
        other = envs.another()
        other.reset(seed=0)
        assert other.step(0)[1] == 3


class Closing(Counter):
    """Counts how often it is closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_another_environment_does_not_step_with_the_others_and_is_closed_with_them() -> None:
    made = []

    def env_fn() -> gym.Env:
        made.append(Closing())
        return made[-1]

    envs = Envs(env_fn, 2, seed=0)
    other = envs.another()
    assert len(made) == 3
    assert other is made[2]
    envs.reset()
    steps(envs, 2)
    assert [len(env.actions) for env in made] == [2, 2, 0]
    envs.close()
    assert [env.closed for env in made] == [1, 1, 1]


def test_another_environment_must_be_another() -> None:
    env = Counter()
    with pytest.raises(UserError, match="env_fn returns the same environment again"):
        Envs(lambda: env, 1, seed=0).another()


ENDLESS = 20 * 2000


def size_of(envs: Envs) -> int:
    """Bytes of the checkpoint, and of the actions in memory."""
    return len(pickle.dumps(envs.state_dict())) + len(pickle.dumps(envs.actions))


def test_an_episode_that_never_ends_grows_neither_memory_nor_checkpoint() -> None:
    envs, sizes = envs_of(Counter(math.inf)), []
    for _ in range(20):
        steps(envs, 2000)
        _, episodes = envs.end_epoch()
        sizes.append(size_of(envs))
        assert episodes == {}
    assert max(sizes) < 2 * sizes[4]  # after 10,000 steps, the most that can be played again
    assert max(sizes[5:]) < 5000
    assert len(envs.state_dict()["actions"]) == len(envs.actions) == 0


def test_an_episode_that_never_ends_next_to_some_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "MAX_REPLAYABLE", 100)
    envs, most = envs_of(Counter(math.inf), Counter(60), Counter(100), Counter(101)), 0
    for _ in range(20):
        steps(envs, 199)
        _, episodes = envs.end_epoch()
        most = max(most, len(envs.state_dict()["actions"]))
        assert (episodes["best"].ret, len(episodes["best"].actions)) == (100, 100)  # never the one of 101
        assert (episodes["worst"].ret, len(episodes["worst"].actions)) == (60, 60)
        assert len(envs.actions) <= 100
    assert 50 < most <= 100


def test_episodes_too_long_to_be_kept_still_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "MAX_REPLAYABLE", 100)
    envs = envs_of(Counter(101))
    steps(envs, 202)
    stats, episodes = envs.end_epoch()
    assert (stats["AverageEpRet"], stats["EpLen"], episodes) == (101, 101, {})


def test_actions_are_forgotten_within_an_epoch_too() -> None:
    for length in (10, math.inf):
        envs, most = envs_of(Counter(length)), 0
        for _ in range(40):
            steps(envs, 1000)
            most = max(most, len(envs.actions))
        assert most <= 1100 if length == 10 else most <= 2 * MAX_REPLAYABLE


def test_actions_that_are_still_needed_are_not_forgotten() -> None:
    envs, rng = envs_of(Counter(3), Counter(9000)), np.random.default_rng(0)
    acts = rng.integers(0, 2, (9000, 2))
    for act in acts:
        envs.step(act)
    best = envs.end_epoch()[1]["best"]
    assert best.actions.tolist() == acts[:, 1].tolist()


def resumed(envs: Envs, *counters: gym.Env) -> Envs:
    """Other environments, put where these are."""
    again = envs_of(*counters)
    again.load_state_dict(pickle.loads(pickle.dumps(envs.state_dict())))
    return again


def test_resuming_plays_the_episodes_in_progress_again() -> None:
    envs = Envs(lambda: make_env("CartPole-v1"), 3, seed=1)
    envs.reset()
    rng = np.random.default_rng(0)
    for _ in range(55):
        envs.step(rng.integers(0, 2, 3))
    envs.end_epoch()
    again = resumed(envs, *(make_env("CartPole-v1") for _ in range(3)))
    again.seed_of = envs.seed_of
    assert (again.restarted, again.warnings, again.total_steps) == ([], [], 165)
    for _ in range(100):
        act = rng.integers(0, 2, 3)
        for ours, theirs in zip(envs.step(act), again.step(act), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(envs.obs, again.obs)
    (stats, episodes), (their_stats, their_episodes) = envs.end_epoch(), again.end_epoch()
    assert stats == their_stats
    for name, episode in episodes.items():
        assert their_episodes[name][::2] == episode[::2]
        assert their_episodes[name].actions.tolist() == episode.actions.tolist()


def test_resuming_an_episode_too_long_to_be_kept_begins_a_new_one_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "MAX_REPLAYABLE", 100)
    envs = envs_of(Counter(70), Counter(math.inf), rank=3)
    steps(envs, 101)
    counters = Counter(70), Counter(math.inf)
    again = resumed(envs, *counters)
    assert again.restarted == [1]
    (warning,) = again.warnings
    assert warning == (
        f"environment 1 of rank 0 had taken 101 steps of its episode with seed {envs.ep_seed[1]}, and no more than 100 "
        "can be played again; a new episode begins there"
    )
    assert again.obs.tolist() == [[31], [100]]
    assert (again.ep_len.tolist(), again.ep_ret.tolist(), again.ep_index.tolist()) == ([31, 0], [31, 0], [2, 2])
    assert len(counters[1].actions) == 0
    steps(again, 100)
    assert len(again.state_dict()["actions"]) == 100  # the new episode can be played again
    assert resumed(again, Counter(70), Counter(math.inf)).restarted == []


def test_an_episode_of_just_the_longest_length_is_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "MAX_REPLAYABLE", 100)
    envs = envs_of(Counter(math.inf))
    steps(envs, 100)
    again = resumed(envs, Counter(math.inf))
    assert (again.restarted, again.ep_len[0], again.obs[0, 0]) == ([], 100, 100)


class Fickle(Counter):
    """Does not repeat itself: observes how many steps it has ever taken."""

    def step(self, action: Any) -> Step:
        obs, *rest = super().step(action)
        return obs + len(self.actions), *rest


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (Fickle(math.inf), ""),
        (Counter(math.inf), "was in another state when"),
        (Counter(2), "ended early when"),
        (InPlace(9), "raised TypeError when"),
    ],
)
def test_an_environment_that_does_not_repeat_itself_is_named_and_starts_a_new_episode(
    after: Counter, said: str
) -> None:
    envs = envs_of(Fickle(math.inf))
    steps(envs, 5)
    again = resumed(envs, after)
    if not said:
        assert again.restarted == []
        return
    assert again.restarted == [0]
    assert again.warnings[0].startswith(f"environment 0 of rank 0 {said} its episode with seed {envs.ep_seed[0]} was")
    assert again.warnings[0].endswith(
        "again for 5 steps: it is not deterministic, or carries state over its resets; a new episode begins there"
    )
    assert (again.obs.tolist(), again.ep_len[0]) == ([[100]], 0)


class Tiring(Counter):
    """Carries something over its resets: each episode pays or observes less than the one before."""

    def __init__(self, shown: str) -> None:
        super().__init__(4)
        self.shown = shown

    def step(self, action: Any) -> Step:
        obs, rew, *rest = super().step(action)
        episode = len(self.seeds)
        return obs - episode * (self.shown == "state"), rew - 0.1 * episode * (self.shown == "return"), *rest


@pytest.mark.parametrize(("shown", "said"), [("state", "was in another state"), ("return", "had another return")])
def test_an_environment_that_carries_state_over_its_resets_is_named(shown: str, said: str) -> None:
    def again(envs: Envs) -> Envs:
        others = Envs(lambda: Tiring(shown), 1, seed=5)
        others.load_state_dict(envs.state_dict())
        return others

    envs = envs_of(Tiring(shown))
    steps(envs, 3)
    assert again(envs).restarted == []  # in its first episode it is still like a new one
    steps(envs, 3)
    others = again(envs)
    assert others.restarted == [0]
    assert others.warnings[0].startswith(f"environment 0 of rank 0 {said} when its episode with seed {envs.ep_seed[0]}")
    assert "or carries state over its resets; a new episode begins there" in others.warnings[0]


def test_a_state_of_other_environments_is_refused() -> None:
    state = envs_of(Counter(), Counter()).state_dict()
    with pytest.raises(ValueError, match="obs is float32"):
        envs_of(Counter()).load_state_dict(state)


def everything(envs: Envs) -> str:
    """All that training can see of environments, except for the observations and the episodes themselves."""
    names = "obs ep_ret ep_len ep_index ep_seed ep_start actions total_steps returns lengths best worst clipped acted"
    return str([getattr(envs, name) for name in (*names.split(), "restarted", "warnings")])


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
def test_random_steps_leave_the_training_as_it_is(env_id: str) -> None:
    plain, envs = (Envs(lambda: make_env(env_id), 3, seed=1) for _ in range(2))

    def untouched() -> tuple[Any, ...]:
        state: Any = np.random.get_state()  # noqa: NPY002
        return everything(envs), random.getstate(), state[1].tobytes(), envs.act_space.np_random.bit_generator.state

    before = untouched()
    obs = envs.random_observations(100)
    assert untouched() == before
    assert obs.shape == (102, *envs.obs_shape)
    assert obs.dtype == envs.obs_dtype
    assert len(np.unique(obs.reshape(102, -1), axis=0)) > (5 if env_id == "FrozenLake-v1" else 90)
    np.testing.assert_array_equal(plain.reset(), envs.reset())
    rng = np.random.default_rng(0)
    for _ in range(100):
        act = rng.integers(0, 2, 3) if envs.discrete else rng.normal(0, 3, (3, 1)).astype(np.float32)
        for ours, theirs in zip(plain.step(act), envs.step(act), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert everything(plain) == everything(envs)


def test_random_steps_repeat_themselves_for_equal_seeds_and_ranks_only() -> None:
    def observations(seed: int, rank: int) -> bytes:
        return Envs(lambda: make_env("CartPole-v1"), 2, seed, rank).random_observations(20).tobytes()

    assert observations(1, 0) == observations(1, 0)
    assert len({observations(1, 0), observations(1, 1), observations(2, 0), observations(1, 2)}) == 4


def test_random_steps_have_seeds_of_their_own() -> None:
    seeds: list[int] = []
    for rank in range(3):
        counters = [Counter(2), Counter(2)]
        Envs(iter(counters).__next__, 2, 5, rank).random_observations(40)
        seeds += [seed for counter in counters for seed in counter.seeds]
    assert len(set(seeds)) == len(seeds) == 3 * 2 * 11
    assert seeds[0] == episode_seed(5, RANDOM_STEPS, 0, 0)
    assert not set(seeds) & {
        episode_seed(5, rank, n, i) for rank in (0, 1, 2, TEST_EPISODES) for n in (0, 1) for i in range(99)
    }


def test_random_steps_return_what_was_acted_on() -> None:
    envs = Envs(lambda: Counter(3), 2, seed=0)
    assert envs.random_observations(9)[:, 0].tolist() == [100, 100, 1, 1, 2, 2, 100, 100, 1, 1]
    assert envs.random_observations(0).shape == (0, 1)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-1),
        UNEVEN,
        spaces.MultiDiscrete([[2, 3], [1, 4]], start=[[0, -1], [5, 0]]),
        spaces.Box(-1, 1, (2, 2), np.float64),
        spaces.Box(0, 3, (1,), np.int64),
        spaces.Box(np.array([-np.inf, 0], np.float32), np.array([np.inf, np.inf], np.float32)),
    ],
)
def test_random_actions_fill_the_action_space(space: spaces.Space[Any]) -> None:
    env = Counter(9, space)
    Envs(lambda: env, 1, seed=0).random_observations(400)
    assert len(env.actions) == 400
    assert all(space.contains(action) for action in env.actions)
    actions = np.array(env.actions, np.float64).reshape(400, -1)
    if isinstance(space, spaces.Discrete):
        assert {value: (actions == value).sum() > 100 for value in (-1, 0, 1)} == {-1: True, 0: True, 1: True}
    elif isinstance(space, spaces.MultiDiscrete):
        assert [sorted(set(column)) for column in actions.T] == [[0, 1], [-1, 0, 1], [5], [0, 1, 2, 3]]
    elif isinstance(space, spaces.Box) and space.is_bounded() and space.dtype != np.int64:
        low, high = space.low.reshape(-1), space.high.reshape(-1)
        np.testing.assert_allclose(actions.mean(0), (low + high) / 2, atol=0.1 * (high - low).max())
        np.testing.assert_allclose(actions.std(0), (high - low) / math.sqrt(12), rtol=0.1)
    elif isinstance(space, spaces.Box) and space.dtype == np.int64:
        assert set(actions.ravel()) == {0, 1, 2, 3}
    else:
        assert abs(actions[:, 0].mean()) < 0.15
        assert abs(actions[:, 0].std() - 1) < 0.1


def test_random_steps_come_before_the_episodes_of_the_training() -> None:
    with pytest.raises(AssertionError, match="random steps would break into the episodes"):
        envs_of(Counter()).random_observations(1)
