"""Making, stepping and replaying environments, and the dynamics of the probes."""

import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.checks import EnvError, NonFiniteError, UserError
from rlsuite.common.envs import Envs, Episode, episode_stats, evaluate, make_env, random_return, replay
from rlsuite.common.seeding import TEST_EPISODES, episode_seed

torch.set_num_threads(1)


class Counter(gym.Env):
    """Observes 100 at the start and then the time; ends after `length` steps; remembers its seeds and actions."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def __init__(self, length=3, act_space=None, truncates=False, rew=1.0, bad_obs=None, bad_rew=None):
        self.action_space = act_space or spaces.Discrete(2)
        self.length, self.truncates, self.rew = length, truncates, rew
        self.bad_obs, self.bad_rew = bad_obs or {}, bad_rew or {}
        self.seeds, self.actions = [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.time = 0
        return np.array([self.bad_obs.get(0, 100)], np.float32), {}

    def step(self, action):
        self.actions.append(action)
        self.time += 1
        end = self.time == self.length
        obs = np.array([self.bad_obs.get(self.time, self.time)], np.float32)
        return obs, self.bad_rew.get(self.time, self.rew), end and not self.truncates, end and self.truncates, {}


def envs_of(*counters, seed=5, rank=0):
    rest = iter(counters)
    envs = Envs(lambda: next(rest), len(counters), seed, rank)
    envs.reset()
    return envs


def steps(envs, count, act=0):
    return [envs.step(np.full(len(envs.envs), act)) for _ in range(count)]


def test_every_episode_is_reset_with_its_own_seed():
    counters = [Counter(2), Counter(3)]
    envs = envs_of(*counters, seed=5, rank=3)
    steps(envs, 7)
    envs.end_epoch()
    steps(envs, 5)
    for n, (counter, episodes) in enumerate(zip(counters, (7, 5), strict=True)):
        assert counter.seeds == [episode_seed(5, 3, n, i) for i in range(episodes)]
    assert len(set(counters[0].seeds + counters[1].seeds)) == 12


def test_next_obs_is_the_final_observation_where_obs_is_the_new_one():
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


def test_observations_handed_out_do_not_change_later():
    envs = envs_of(Counter(2))
    handed = [envs.obs] + [x for _ in range(5) for x in (envs.step(np.zeros(1, int))[0], envs.obs)]
    assert [float(obs[0, 0]) for obs in handed] == [100, 1, 1, 2, 100, 1, 1, 2, 100, 1, 1]


def test_episodes_live_on_over_epoch_borders():
    envs = envs_of(Counter(3), Counter(5))
    steps(envs, 4)
    stats, _ = envs.end_epoch()
    assert (stats["AverageEpRet"], stats["EpLen"]) == (3, 3)
    steps(envs, 2)
    stats, _ = envs.end_epoch()  # both finish here, the second one begun in the last epoch
    assert (stats["MinEpRet"], stats["MaxEpRet"], stats["EpLen"]) == (3, 5, 4)
    assert envs.total_steps == 12


def test_statistics_are_nan_without_a_finished_episode():
    envs = envs_of(Counter(10))
    steps(envs, 9)
    stats, episodes = envs.end_epoch()
    assert all(math.isnan(value) for value in stats.values())
    assert len(stats) == 5
    assert episodes == {}
    steps(envs, 1)
    assert envs.end_epoch()[0]["AverageEpRet"] == 10


def test_episode_stats():
    stats = episode_stats([1.0, 3.0], [10, 20], prefix="Test")
    assert stats == {
        "AverageTestEpRet": 2,
        "StdTestEpRet": 1,
        "MaxTestEpRet": 3,
        "MinTestEpRet": 1,
        "TestEpLen": 15,
    }


UNEVEN = spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))


def test_actions_are_clipped_to_the_bounds_of_each_dimension():
    counters = Counter(9, UNEVEN), Counter(9, UNEVEN)
    envs = envs_of(*counters)
    envs.step(np.array([[-4, -1], [-2.5, 5]], np.float32))
    envs.step(np.array([[2, 11], [1, 10]], np.float32))
    assert [a.tolist() for a in counters[0].actions] == [[-3, 0], [1, 10]]
    assert [a.tolist() for a in counters[1].actions] == [[-2.5, 5], [1, 10]]
    assert envs.end_epoch()[0]["ClippedActions"] == 4 / 8
    envs.step(np.array([[0, 1], [0, 11]], np.float32))
    assert envs.end_epoch()[0]["ClippedActions"] == 1 / 4


def test_clipping_leaves_the_callers_actions_alone():
    act = np.array([[9, 9]], np.float32)
    envs_of(Counter(9, UNEVEN)).step(act)
    assert act.tolist() == [[9, 9]]


def test_box_actions_arrive_in_shape_and_type():
    space = spaces.Box(-1, 1, (2, 3), np.float64)
    counter = Counter(9, space)
    envs_of(counter).step(np.arange(6, dtype=np.float32)[None] / 10)
    assert space.contains(counter.actions[0])
    np.testing.assert_allclose(counter.actions[0], np.arange(6).reshape(2, 3) / 10, rtol=1e-6)


def test_box_actions_of_another_type_are_cast():
    counter = Counter(9, UNEVEN)
    envs_of(counter).step(np.array([[0.5, 0.5]], np.float64))
    assert counter.actions[0].dtype == np.float32


@pytest.mark.parametrize("start", [0, 5, -2])
def test_discrete_actions_are_shifted_to_the_start_of_their_space(start):
    counter = Counter(9, spaces.Discrete(3, start=start))
    envs = envs_of(counter)
    act = np.array([2])
    envs.step(act)
    assert counter.actions == [start + 2]
    assert type(counter.actions[0]) is int
    assert act == 2
    assert "ClippedActions" not in envs.end_epoch()[0]


def test_best_and_worst_episode_hold_their_own_actions():
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
def test_best_and_worst_episodes_replay_to_exactly_the_same_return(env_id, num_envs, count):
    if env_id == "InvertedPendulum-v5":
        pytest.importorskip("mujoco")
    envs = Envs(lambda: make_env(env_id), num_envs, seed=1)
    envs.reset()
    rng, recorded, fresh = np.random.default_rng(0), [], make_env(env_id)
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
        assert replay(fresh, episode) == episode.ret


class InPlace(Counter):
    """Scales the action that it is given, in place, as some environments do."""

    def step(self, action):
        action *= 2
        obs, _, *ends = super().step(action)
        return obs, float(action[0]), *ends


def test_an_environment_that_changes_its_actions_in_place_replays_too():
    envs = envs_of(InPlace(2, UNEVEN))
    for _ in range(2):
        envs.step(np.array([[0.25, 1]], np.float32))
    best = envs.end_epoch()[1]["best"]
    assert best.actions.tolist() == [[0.25, 1]] * 2
    assert replay(InPlace(2, UNEVEN), best) == best.ret == 1
    assert best.actions.tolist() == [[0.25, 1]] * 2


def test_recorded_actions_do_not_follow_the_callers_array():
    envs, act = envs_of(Counter(2)), np.array([0])
    for value in (0, 1):
        act[:] = value
        envs.step(act)
    assert envs.end_epoch()[1]["best"].actions.tolist() == [0, 1]


def test_actions_of_finished_episodes_are_forgotten():
    envs = envs_of(Counter(3), Counter(50))
    for _ in range(40):
        steps(envs, 5)
        envs.end_epoch()
    assert len(envs.actions) <= 50


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("what", ["observation", "reward"])
def test_a_non_finite_observation_or_reward_is_named_with_environment_and_step(what, value):
    bad = {"bad_obs" if what == "observation" else "bad_rew": {2: value}}
    envs = envs_of(Counter(3), Counter(4, **bad))
    steps(envs, 1)
    with pytest.raises(NonFiniteError, match=rf"{what} of environment 1 .* step 2 of .* env step 4;") as error:
        steps(envs, 1)
    assert str(episode_seed(5, 0, 1, 0)) in str(error.value)


def test_a_non_finite_first_observation_is_an_error_too():
    with pytest.raises(NonFiniteError, match=r"observation of environment 0 .* reset"):
        envs_of(Counter(bad_obs={0: math.nan}))


def test_a_non_finite_observation_after_a_restart_names_the_env_steps_taken():
    counter = Counter(2)
    envs = envs_of(counter)
    steps(envs, 1)
    counter.bad_obs = {0: math.nan}
    with pytest.raises(NonFiniteError, match=r"at reset of .* env step 2;"):
        steps(envs, 1)


def test_large_finite_numbers_are_no_error():
    envs = envs_of(Counter(9, bad_obs={1: 3e38}, bad_rew={1: 3e38, 2: -3e38}), Counter(9))
    assert envs.step(np.zeros(2, int))[0][0, 0] == np.float32(3e38)
    steps(envs, 1)


def test_a_reward_too_large_for_float32_is_an_error():
    with pytest.raises(NonFiniteError, match="reward of environment 0"):
        steps(envs_of(Counter(bad_rew={1: 1e39})), 1)


def test_an_environment_that_is_handed_out_twice_is_refused():
    env = Counter()
    with pytest.raises(UserError, match="env_fn returns the same environment again"):
        Envs(lambda: env, 2, seed=0)
    assert len(Envs(lambda: env, 1, seed=0).envs) == 1


def test_a_non_finite_action_is_blamed_on_the_policy():
    envs = Envs(lambda: gym.make("Pendulum-v1"), 2, seed=0)
    envs.reset()
    with pytest.raises(NonFiniteError, match=r"the policy's action is not finite at env step 2.*learning rate"):
        envs.step(np.array([[0.5], [np.nan]], np.float32))


def test_environments_of_different_spaces_are_refused():
    with pytest.raises(UserError, match="spaces differ"):
        envs_of(Counter(), Counter(act_space=spaces.Discrete(3)))


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
    ],
)
def test_make_env_explains_what_is_wrong_in_one_line(env_id, kwargs, message):
    with pytest.raises(UserError, match=message) as error:
        make_env(env_id, kwargs)
    assert "\n" not in str(error.value)


def test_make_env_passes_arguments_on():
    assert make_env("FrozenLake-v1", '{"map_name": "8x8"}').observation_space.n == 64


def policy_for(env, output):
    """An actor-critic whose policy network returns `output` whatever it sees."""
    ac = ActorCritic(env.observation_space, env.action_space, (4,))
    last = next(m for m in reversed(list(ac.pi.modules())) if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(output))
    return ac


@pytest.mark.parametrize(
    ("env_id", "output", "ret", "length"),
    [
        ("rlsuite/OneStep-v0", [0.0, 0], 1, 1),
        ("rlsuite/ConstantReward-v0", [0.0, 0], 20, 20),
        ("rlsuite/DelayedReward-v0", [0.0, 0], 1, 2),
        ("rlsuite/Chain-v0", [0.0, 1], 1, 5),
        ("rlsuite/Chain-v0", [1.0, 0], 0, 50),
        ("rlsuite/Target-v0", [-0.5], 0, 1),  # μ = mid + width · output = -1 - 2 / 2
        ("rlsuite/Target-v0", [9.0], -9, 1),  # clipped to 1
    ],
)
def test_evaluate_gives_the_known_return_of_a_probe(env_id, output, ret, length):
    env = make_env(env_id)
    assert evaluate(policy_for(env, output), env, 3, seed=0) == ([ret] * 3, [length] * 3)


def test_evaluate_samples_where_it_is_told_to():
    env = make_env("rlsuite/Target-v0")
    torch.manual_seed(0)
    returns, _ = evaluate(policy_for(env, [-0.5]), env, 50, seed=0, deterministic=False)
    assert len(set(returns)) > 30
    assert max(returns) < 0


def test_evaluate_resets_with_other_seeds_than_training():
    env = Counter(2)
    returns, lengths = evaluate(policy_for(env, [0.0, 0]), env, 10, seed=5)
    assert (returns, lengths) == ([2] * 10, [2] * 10)
    assert env.seeds[:10] == [episode_seed(5, TEST_EPISODES, 0, i) for i in range(10)]
    training = {episode_seed(5, *place) for place in itertools.product(range(4), range(8), range(100))}
    assert len(training) == 3200
    assert not training & set(env.seeds)


def test_evaluate_repeats_itself_for_equal_seeds_only():
    env = make_env("CartPole-v1")
    ac = policy_for(env, [0.0, 1])
    assert evaluate(ac, env, 20, seed=1) == evaluate(ac, env, 20, seed=1) != evaluate(ac, env, 20, seed=2)


def test_evaluate_gives_up_on_an_episode_that_does_not_end(monkeypatch):
    env, reset = Counter(length=10**9), Envs.reset

    def late_reset(envs):
        obs = reset(envs)
        envs.ep_len[:] = 100_000 - 7
        return obs

    monkeypatch.setattr(Envs, "reset", late_reset)
    assert evaluate(policy_for(env, [0.0, 0]), env, 2, seed=0) == ([], [])
    assert env.time == 7


def play(env_id, actions, seed=0):
    env = make_env(env_id)
    seen = [env.reset(seed=seed)[0]]
    for action in actions:
        seen.append(env.step(action)[:4])
    return seen


def test_one_step_pays_1_and_ends():
    assert play("rlsuite/OneStep-v0", [0])[1][1:] == (1, True, False)


def test_constant_reward_pays_1_for_ever_and_is_cut_by_its_time_limit():
    seen = play("rlsuite/ConstantReward-v0", [0] * 20)
    assert [step[1:] for step in seen[1:]] == [(1, False, False)] * 19 + [(1, False, True)]
    assert all(step[0] == 1 for step in seen[1:])


def test_delayed_reward_pays_at_the_second_step():
    seen = play("rlsuite/DelayedReward-v0", [0, 1])
    assert seen == [0, (1, 0, False, False), (1, 1, True, False)]


def test_context_pays_for_the_action_equal_to_the_observation():
    contexts = set()
    for seed in range(20):
        for action in (0, 1):
            obs, step = play("rlsuite/Context-v0", [action], seed)
            contexts.add(obs)
            assert step[1:] == (1 if action == obs else -1, True, False)
    assert contexts == {0, 1}


def test_chain_ends_on_the_right():
    seen = play("rlsuite/Chain-v0", [0, 1, 1, 0, 1, 1, 1, 1])
    assert [step[0] for step in seen[1:]] == [0, 1, 2, 1, 2, 3, 4, 4]
    assert [step[1:] for step in seen[1:]] == [(0, False, False)] * 7 + [(1, True, False)]
    assert play("rlsuite/Chain-v0", [0] * 50)[-1] == (0, 0, False, True)


def test_target_pays_the_negative_squared_distance_from_minus_2():
    for action, expected in ((-2.0, 0), (-3.0, -1), (1.0, -9), (0.5, -6.25)):
        assert play("rlsuite/Target-v0", [np.array([action])])[1][1:] == (expected, True, False)


def test_replay_takes_the_actions_after_a_reset_with_the_seed():
    env = Counter(3, UNEVEN, rew=0.25)
    actions = np.array([[0, 1], [1, 2], [-3, 10]], np.float32)
    assert replay(env, Episode(17, actions, 0.75)) == 0.75
    assert env.seeds == [17]
    np.testing.assert_array_equal(env.actions, actions)


def test_random_return_of_probes():
    assert random_return(make_env("rlsuite/OneStep-v0"), episodes=3) == 1.0
    assert random_return(make_env("rlsuite/ConstantReward-v0"), episodes=3) == 20.0
    assert -1 < random_return(make_env("rlsuite/Context-v0"), episodes=50) < 1


@pytest.mark.parametrize("num_envs", [1, 2, 3, 7])
@pytest.mark.parametrize("every", [1, 2, 5, 20])
def test_what_is_due_after_every_so_many_env_steps_does_not_depend_on_num_envs(num_envs, every):
    envs, due = envs_of(*[Counter(9) for _ in range(num_envs)]), 0
    for step in range(1, 31):
        steps(envs, 1)
        due += envs.passed(every)
        assert due == step * num_envs // every


class Wrong(gym.Env):
    """Does one thing wrong at its third step, or at its reset."""

    observation_space = gym.spaces.Box(-1, 1, (4,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, fault):
        self.fault, self.t = fault, 0

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return {"reset_raises": 1 / (self.fault != "reset_raises"), "reset_shape": np.zeros(3)}.get(
            self.fault, np.zeros(4, np.float32)
        ), {}

    def step(self, action):
        self.t += 1
        obs, rew, rest = np.zeros(4, np.float32), 1.0, (False, False, {})
        if self.t == 3:
            if self.fault == "raises":
                raise RuntimeError("the simulation\nhas exploded")
            obs = {"short": obs[:1], "long": np.zeros(5), "scalar": np.float32(0), "text": "four", "none": None}.get(
                self.fault, obs
            )
            rew = {"rew_text": "much"}.get(self.fault, rew)
            rest = {"old_api": (False, {})}.get(self.fault, rest)
        return obs, rew, *rest


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "step 3 .*after env step 4: RuntimeError: the simulation has exploded .test_envs.py, line"),
        ("short", r"step 3 .*observation of shape \(1,\)"),
        ("long", r"step 3 .*observation of shape \(5,\)"),
        ("scalar", r"step 3 .*observation of shape \(\)"),
        ("text", "step 3 "),
        ("none", "step 3 "),
        ("rew_text", "step 3 "),
        ("old_api", "step 3 .*unpack"),
        ("reset_raises", "reset .*ZeroDivisionError"),
        ("reset_shape", r"reset .*observation of shape \(3,\)"),
    ],
)
def test_an_environment_that_does_wrong_is_named_with_the_step(fault, said):
    envs = Envs(lambda: Wrong(fault), 2, seed=0)

    def three_steps():
        envs.reset()
        for _ in range(3):
            envs.step(np.zeros(2, np.int64))

    with pytest.raises(EnvError, match=f"environment 0 failed at {said}") as caught:
        three_steps()
    assert "\n" not in str(caught.value)


def test_a_discrete_observation_out_of_its_space_is_refused():
    envs = Envs(lambda: make_env("FrozenLake-v1"), 1, seed=0)
    envs.reset()
    envs.envs[0].unwrapped.step = lambda action: (16, 0.0, False, False, {})
    with pytest.raises(EnvError, match=r"observation \[16\] in Discrete\(16\)"):
        envs.step(np.zeros(1, np.int64))
    envs.envs[0].unwrapped.reset = lambda seed, options: (-1, {})
    with pytest.raises(EnvError, match=r"observation -1 in Discrete\(16\)"):
        envs.reset()
