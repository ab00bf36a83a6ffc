"""The rungs: what they know is what the probes do, and what they say of what was measured."""

import json
import math

import numpy as np
import pytest

from rlsuite.analysis.ladder import SETTINGS, Measured, Rung, faults, settings_of, shown
from rlsuite.analysis.rungs import MOST_RANDOM, RUNGS, SCALE
from rlsuite.envs.making import make_env

ONE_STEP = ("OneStep", "ObservedReward", "Target", "Context", "Bandit")
RUNG = Rung("Made-up", "nothing", "everything", "OneStep", obs=[[1.0]], val=[1], act=(0, 1), q=[[1, 1]], least=1)


def measured(ret: float = 1, val: float = 1, q: float = 1, **columns: float) -> Measured:
    return Measured(ret, np.array([val]), np.array([[1, q]]), columns)


def named(name: str) -> Rung:
    return next(rung for rung in RUNGS if rung.name == name)


SINGLE = [rung for rung in RUNGS if rung.env in ONE_STEP and rung.q and "late" not in rung.kwargs]


@pytest.mark.parametrize("rung", SINGLE, ids=lambda rung: rung.name)
def test_q_of_a_single_step_is_the_mean_reward(rung: Rung) -> None:
    env = make_env(f"rlsuite/{rung.env}-v0", json.dumps({k: v for k, v in rung.kwargs.items() if k != "asleep"}))
    start = getattr(env.action_space, "start", 0)
    seen: dict[tuple[int, int], list[float]] = {}
    for seed in range(1200 if rung.env == "Bandit" else 20):
        for a, act in enumerate(rung.act):
            obs, _ = env.reset(seed=seed)
            s = next(i for i, each in enumerate(rung.obs) if np.array_equal(each, obs))
            action = np.array([act], np.float32) if env.action_space.shape else act + start
            seen.setdefault((s, a), []).append(float(env.step(action)[1]))
    assert len(seen) == np.size(rung.q)
    for (s, a), rewards in seen.items():
        assert np.mean(rewards) == pytest.approx(rung.q[s][a], abs=0.1)


def test_values_of_several_steps_satisfy_bellman() -> None:
    chain, delayed, constant = named("Chain"), named("DelayedReward"), named("ConstantReward")
    right = [0.9 * v for v in chain.val[1:]] + [1]
    left = [0.9 * chain.val[max(s - 1, 0)] for s in range(5)]
    assert np.allclose(chain.q, np.transpose([left, right]))
    assert list(chain.val) == pytest.approx(right)
    assert list(delayed.val) == [0.5 * 1, 1]
    assert constant.val == [pytest.approx(1 + 0.9 * constant.val[0])]
    assert list(named("Limit").val) == [pytest.approx(0.9 * constant.val[0]), pytest.approx(constant.val[0])]


def test_the_scale_of_a_constant_reward_is_the_deviation_of_its_discounted_sums() -> None:
    running, sums = 0.0, []
    for _ in range(20):
        running = 1 + 0.9 * running
        sums.append(running)
    assert pytest.approx(np.std(sums)) == SCALE
    assert named("Scaled").val == [pytest.approx(10 / np.std(sums))]


def test_the_smoothed_value_is_the_mean_of_what_noisy_actions_are_worth() -> None:
    rung = named("Smoothed")
    noise = np.random.default_rng(0).normal(0, rung.settings["target_noise"], 100_000)
    act = np.clip(-2 + 2 * np.clip(noise, -rung.settings["noise_clip"], rung.settings["noise_clip"]), -3, 1)
    assert rung.q == [[pytest.approx(0.9 * np.mean(-((act + 2) ** 2)), abs=0.01)] * 2]


def test_no_squashed_gaussian_is_more_random() -> None:
    noise = np.linspace(-8, 8, 20_001)
    weights = np.exp(-(noise**2) / 2) / np.exp(-(noise**2) / 2).sum()

    def entropy(std: float) -> float:  # of tanh(u): that of u, and the mean of ln(1 - tanh²(u))
        log_slope = 2 * (math.log(2) - std * noise - np.logaddexp(0, -2 * std * noise))
        return float(0.5 * math.log(2 * math.pi * math.e) + math.log(std) + weights @ log_slope)

    entropies = [entropy(std) for std in np.arange(0.5, 1.5, 0.01)]
    assert max(entropies) == pytest.approx(MOST_RANDOM, abs=1e-4)
    assert named("Soft").val == [pytest.approx((1 + MOST_RANDOM) / (1 - 0.5))]
    assert named("Soft").q == [[pytest.approx(1 + 0.5 * named("Soft").val[0])] * 2]


def test_updates_that_are_due_are_counted_from_update_after_on() -> None:
    rung = named("Updates")
    due = [t for t in range(1, rung.steps + 1) if t >= rung.settings["update_after"] and t % 50 == 0]
    assert rung.columns["GradSteps"] == (rung.settings["gradient_steps"] * len(due),) * 2


def test_what_is_right_has_no_faults() -> None:
    assert faults(RUNG, measured(Ratio1=1e-7)) == []
    assert shown(RUNG, measured(val=1.04)) == "V ±0.04, Q ±0.00, return 1"
    assert faults(RUNG, Measured(1, None, None, {})) == []  # neither a critic nor a log
    assert shown(RUNG, Measured(1, None, None, {})) == "return 1"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (measured(ret=0.9), "return 0.9"),
        (measured(val=1.2), "V is off by 0.2"),
        (measured(q=0.5), "Q is off by 0.5"),
        (measured(val=np.nan), "V is not finite"),
        (measured(Ratio1=0.5), "Ratio1 0.5"),
        (measured(ret=np.nan), "return nan"),
    ],
)
def test_each_fault_is_named(wrong: Measured, said: str) -> None:
    assert faults(RUNG, wrong) == [said]


def test_a_column_is_asked_for_where_it_is_logged() -> None:
    rung = RUNG._replace(columns={"mean KL": (0.1, 0.2)}, most=1)
    assert faults(rung, measured(**{"mean KL": 0.15})) == []
    assert faults(rung, measured(**{"mean KL": 0.3, "KL": 0.15})) == ["mean KL 0.3"]
    assert faults(rung, measured(KL=9)) == []
    assert faults(rung, measured(ret=1.5)) == ["return 1.5"]


def test_what_is_known_are_the_columns_that_are_logged() -> None:
    rung = RUNG._replace(columns={"QLR": (0, 1), "KL": (0, 2)})
    assert rung.known(["KL", "Entropy"]) == "V 1, KL 0 to 2, return ≥ 1"
    assert rung.known() == "V 1, return ≥ 1"


def test_what_cannot_be_learned_must_not_be() -> None:
    never = named("LongChain")
    assert faults(never, Measured(0, np.zeros(2), np.zeros((2, 2)), {})) == []
    assert faults(never, Measured(0.1, np.zeros(2), np.zeros((2, 2)), {})) == ["return 0.1"]


def test_settings_are_those_that_an_algorithm_has() -> None:
    rung = RUNG._replace(steps=7, settings={"gamma": 0.5, "pi_lr": 0.1})
    assert settings_of(rung, ["env", "total_steps", "gamma", "pi_lr", "rollout_len"]) == {
        "total_steps": 7,
        "gamma": 0.5,
        "pi_lr": 0.1,
        "rollout_len": SETTINGS["rollout_len"],
    }


def test_names_of_rungs_are_unique_but_for_those_that_stand_for_each_other() -> None:
    names = [rung.name for rung in RUNGS if not rung.instead]
    assert len(names) == len(set(names))
    assert all(rung.instead == rung.name for rung in RUNGS if rung.instead)
