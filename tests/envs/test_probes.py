"""The dynamics of the probes."""

from typing import Any

import numpy as np

from rlsuite.envs.making import make_env


def play(env_id: str, actions: list[Any], seed: int = 0) -> list[Any]:
    """The first observation, then what each step returned without its info."""
    env = make_env(env_id)
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
