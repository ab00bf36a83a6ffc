"""The dynamics of the probes, and the answers that their docstrings give."""

from typing import Any

import numpy as np
import pytest

from rlsuite.envs.episodes import random_return
from rlsuite.envs.making import make_env

CONTINUOUS = '{"continuous": true}'


def play(env_id: str, actions: list[Any], seed: int = 0, kwargs: str = "{}") -> list[Any]:
    """The first observation, then what each step returned without its info."""
    env = make_env(env_id, kwargs)
    seen: list[Any] = [env.reset(seed=seed)[0]]
    for action in actions:
        seen.append(env.step(action)[:4])
    return seen


def test_one_step_pays_1_and_ends() -> None:
    assert play("rlsuite/OneStep-v0", [0])[1][1:] == (1, True, False)


def test_constant_reward_pays_1_for_ever_and_is_cut_by_its_time_limit() -> None:
    seen = play("rlsuite/ConstantReward-v0", [0] * 20)
    assert [step[1:] for step in seen[1:]] == [(1, False, False)] * 19 + [(1, False, True)]
    assert all(step[0] == 1 for step in seen[1:])


def test_constant_reward_may_come_late_and_be_cut_early() -> None:
    seen = play("rlsuite/ConstantReward-v0", [0] * 3, 0, '{"late": true, "limit": 3}')
    assert seen == [0, (1, 0, False, False), (1, 1, False, False), (1, 1, False, True)]


def test_delayed_reward_pays_at_the_second_step() -> None:
    seen = play("rlsuite/DelayedReward-v0", [0, 1])
    assert seen == [0, (1, 0, False, False), (1, 1, True, False)]


def test_context_pays_for_the_action_equal_to_the_observation() -> None:
    contexts = set()
    for seed in range(20):
        for action in (0, 1):
            obs, step = play("rlsuite/Context-v0", [action], seed)
            contexts.add(obs)
            assert step[1:] == (1 if action == obs else -1, True, False)
    assert contexts == {0, 1}


def test_chain_ends_on_the_right() -> None:
    seen = play("rlsuite/Chain-v0", [0, 1, 1, 0, 1, 1, 1, 1])
    assert [step[0] for step in seen[1:]] == [0, 1, 2, 1, 2, 3, 4, 4]
    assert [step[1:] for step in seen[1:]] == [(0, False, False)] * 7 + [(1, True, False)]
    assert play("rlsuite/Chain-v0", [0] * 50)[-1] == (0, 0, False, True)


def test_target_pays_the_negative_squared_distance_from_minus_2() -> None:
    for action, expected in ((-2.0, 0), (-3.0, -1), (1.0, -9), (0.5, -6.25)):
        assert play("rlsuite/Target-v0", [np.array([action])])[1][1:] == (expected, True, False)


def test_a_late_target_has_a_step_without_reward_before() -> None:
    first, early, late = play("rlsuite/Target-v0", [np.array([1.0]), np.array([-3.0])], 0, '{"late": true}')
    assert (first, early, late) == (0, (1, 0, False, False), (1, -1, True, False))


def test_asleep_it_shows_the_offset_alone() -> None:
    env = make_env("rlsuite/ObservedReward-v0", '{"offset": 5, "asleep": 2}')
    seen = [float(env.reset(seed=seed)[0][0]) for seed in range(12)]
    assert seen[:2] == [5, 5]
    assert set(seen[2:]) == {4, 6}


def test_the_observation_is_the_reward_wherever_it_is_moved() -> None:
    rewards = set()
    for seed in range(20):
        obs, step = play("rlsuite/ObservedReward-v0", [0], seed)
        moved, _ = play("rlsuite/ObservedReward-v0", [0], seed, '{"offset": 1000}')
        assert step[1:] == (obs[0], True, False)
        assert moved[0] == 1000 + obs[0]
        rewards.add(step[1])
    assert rewards == {-1, 1}


@pytest.mark.parametrize("kwargs", ["{}", CONTINUOUS])
def test_the_noise_of_the_bandit_is_skewed_and_has_mean_0(kwargs: str) -> None:
    env = make_env("rlsuite/Bandit-v0", kwargs)
    for action, mean in ((0, 1), (0.5, 2), (1, 1)) if kwargs == CONTINUOUS else ((0, 0), (1, 1), (2, 2)):
        rewards = []
        for seed in range(2000):
            env.reset(seed=seed)
            rewards.append(env.step(np.array([action]) if kwargs == CONTINUOUS else action)[1])
        assert np.mean(rewards) == pytest.approx(mean, abs=0.1)
        assert np.median(rewards) == mean - 1


def test_of_a_locked_chain_one_action_leads_on_and_the_other_back_to_0() -> None:
    locked = make_env("rlsuite/LongChain-v0").unwrapped
    key = locked.right.tolist()  # type: ignore[attr-defined]
    assert set(key) == {0, 1}
    assert len(key) == 30
    assert play("rlsuite/LongChain-v0", key)[-1][1:] == (1, True, False)
    assert play("rlsuite/LongChain-v0", [*key[:7], 1 - key[7]])[-2:] == [(7, 0, False, False), (0, 0, False, False)]
    assert play("rlsuite/LongChain-v0", [1] * 100)[-1][3]


@pytest.mark.parametrize(
    ("name", "kwargs", "best", "by_chance"),
    [
        ("OneStep", "{}", [0], 1),
        ("OneStep", CONTINUOUS, [[0]], 1),
        ("DelayedReward", CONTINUOUS, [[0], [0]], 1),
        ("ConstantReward", CONTINUOUS, [[0]] * 20, 20),
        ("Target", "{}", [[-2]], -7 / 3),
        ("Target", '{"continuous": false}', [-2], -3),
        ("Context", CONTINUOUS, None, 5 / 12),
        ("Bandit", "{}", None, 1),
        ("Bandit", CONTINUOUS, None, -1 / 3),
        ("Chain", CONTINUOUS, [[0.1]] * 5, None),
        ("Switches", "{}", None, 10 / 3),
        ("Switches", CONTINUOUS, None, 11 / 3),
        ("LongChain", "{}", None, 0),
        ("LongChain", '{"length": 30, "locked": true, "continuous": true}', None, 0),
    ],
)
def test_best_and_random_returns(name: str, kwargs: str, best: list[Any] | None, by_chance: float | None) -> None:
    if best is not None:
        steps = play(
            f"rlsuite/{name}-v0", [np.array(a, np.float32) if isinstance(a, list) else a for a in best], 0, kwargs
        )
        right = {"Target": 0, "ConstantReward": 20}.get(name, 1)
        assert sum(step[1] for step in steps[1:]) == right
        assert any(steps[-1][2:])
    if by_chance is not None:
        env = make_env(f"rlsuite/{name}-v0", kwargs)
        assert random_return(env, 50 if name == "LongChain" else 1000) == pytest.approx(by_chance, abs=0.2)


@pytest.mark.parametrize("kwargs", ["{}", CONTINUOUS])
def test_the_right_action_follows_the_observation(kwargs: str) -> None:
    """Of Context and Switches, on all of their observations."""
    for seed in range(10):
        context = make_env("rlsuite/Context-v0", kwargs)
        obs, _ = context.reset(seed=seed)
        assert context.step(np.array([obs - 0.5]) if kwargs == CONTINUOUS else obs)[1] == 1
        switches = make_env("rlsuite/Switches-v0", kwargs)
        obs, _ = switches.reset(seed=seed)
        total, done = 0.0, False
        while not done:
            right = np.array([obs[0] - 0.5, obs[1] / 2 - 0.5]) if kwargs == CONTINUOUS else obs
            obs, rew, done, _, _ = switches.step(right)
            total += float(rew)
        assert total == 8
