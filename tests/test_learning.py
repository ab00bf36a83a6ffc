"""The algorithms learn what is known to be learnable, and values that are known come out right."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rlsuite.algos import a2c, cem, ddpg, dqn, ppo, sac, td3, trpo, vpg
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.logger import Logger
from rlsuite.envs.episodes import random_return
from rlsuite.envs.evaluation import evaluate
from rlsuite.envs.making import configured_env, make_env
from rlsuite.loading import SavedEnv
from rlsuite.presets import PRESETS
from rlsuite.rundir.runs import find_runs, read_progress

ALGOS = [vpg, a2c, ppo, trpo]
# Small rollouts and many of them, so that a probe takes seconds.
QUICK: dict[ModuleType, dict[str, Any]] = {
    vpg: {"rollout_len": 25, "steps_per_epoch": 2000, "train_v_iters": 20, "pi_lr": 1e-2, "vf_lr": 1e-2},
    a2c: {"rollout_len": 5, "steps_per_epoch": 2000, "pi_lr": 3e-3, "vf_lr": 3e-3},
    ppo: {"rollout_len": 25, "steps_per_epoch": 2000, "minibatch_size": 50, "train_iters": 4}
    | {"pi_lr": 3e-3, "vf_lr": 3e-3},
    trpo: {"rollout_len": 25, "steps_per_epoch": 2000, "minibatch_size": 50, "train_v_iters": 5, "vf_lr": 3e-3},
    dqn: {"hidden_sizes": (32, 32), "update_every": 2, "target_every": 100, "lr_schedule": "linear"}
    | {"epsilon_share": 0.5, "epsilon_end": 0.2, "num_test_episodes": 0},
    ddpg: {"hidden_sizes": (32, 32), "start_steps": 1000, "update_every": 2, "polyak": 0.98, "lr_schedule": "linear"}
    | {"batch_size": 64, "act_noise": 0.2, "num_test_episodes": 0},
    cem: {"num_test_episodes": 0},
}
QUICK[td3] = {**QUICK[ddpg], "pi_lr": 2e-3, "polyak": 0.96}  # what is delayed moves half as often
QUICK[sac] = {"hidden_sizes": (32, 32), "start_steps": 1000, "update_every": 2, "polyak": 0.98, "batch_size": 64}
QUICK[sac] |= {"lr_schedule": "linear", "pi_lr": 1e-3, "q_lr": 1e-3, "alpha_lr": 1e-3, "num_test_episodes": 0}
CLIMBERS = [ddpg, td3, sac]
each_climber = pytest.mark.parametrize("algo", CLIMBERS, ids=lambda algo: algo.__name__.split(".")[-1])
each_algo = pytest.mark.parametrize("algo", ALGOS, ids=lambda algo: algo.__name__.split(".")[-1])


def train(algo: ModuleType, tmp_path: Path, env: str, total_steps: int, **settings: Any) -> ActorCritic:
    config = algo.Config(env, total_steps=total_steps, **{**QUICK[algo], **settings})
    return algo.train(config, logger=Logger(data_dir=tmp_path, quiet=True))


def value(ac: ActorCritic, obs: Any) -> float:
    return float(ac.value(np.array([obs]))[0])


def mean_return(ac: ActorCritic, env_id: str, env_kwargs: str = "{}", episodes: int = 20) -> float:
    env = configured_env(SavedEnv(env_id, env_kwargs))
    return float(np.mean(evaluate(ac.mode, env, episodes, seed=0)[0]))


@each_algo
def test_one_step_value_is_its_reward(algo: ModuleType, tmp_path: Path) -> None:
    ac = train(algo, tmp_path, "rlsuite/OneStep-v0", 8_000)
    assert value(ac, np.ones(1, np.float32)) == pytest.approx(1, abs=0.05)


@each_algo
def test_constant_reward_value_is_the_geometric_series_in_spite_of_time_limits(
    algo: ModuleType, tmp_path: Path
) -> None:
    # Unclipped: a clipped squared error has its minimum near the median of the targets, which hides a wrong fifth.
    settings = {"rollout_len": 20, "steps_per_epoch": 1600, "max_grad_norm": float("inf"), "lr_schedule": "linear"}
    settings |= {"minibatch_size": 80} if algo in (ppo, trpo) else {}
    ac = train(algo, tmp_path, "rlsuite/ConstantReward-v0", 48_000, gamma=0.9, **settings)
    assert value(ac, np.ones(1, np.float32)) == pytest.approx(1 / (1 - 0.9), rel=0.03)


@each_algo
def test_delayed_reward_travels_back_one_step(algo: ModuleType, tmp_path: Path) -> None:
    ac = train(algo, tmp_path, "rlsuite/DelayedReward-v0", 20_000, gamma=0.5, lr_schedule="linear")
    assert value(ac, np.zeros(1, np.float32)) == pytest.approx(0.5, abs=0.05)
    assert value(ac, np.ones(1, np.float32)) == pytest.approx(1.0, abs=0.05)


@each_algo
def test_policy_follows_the_context(algo: ModuleType, tmp_path: Path) -> None:
    ac = train(algo, tmp_path, "rlsuite/Context-v0", 8_000)
    assert mean_return(ac, "rlsuite/Context-v0") == 1.0
    assert abs(random_return(make_env("rlsuite/Context-v0"))) < 0.3


@each_algo
def test_chain_values_are_powers_of_gamma(algo: ModuleType, tmp_path: Path) -> None:
    ac = train(algo, tmp_path, "rlsuite/Chain-v0", 40_000, gamma=0.9, lr_schedule="linear")
    assert mean_return(ac, "rlsuite/Chain-v0", episodes=1) == 1.0
    assert [value(ac, s) for s in range(5)] == pytest.approx([0.9 ** (4 - s) for s in range(5)], abs=0.06)


@each_algo
def test_mean_action_goes_to_a_target_within_unequal_bounds(algo: ModuleType, tmp_path: Path) -> None:
    ac = train(algo, tmp_path, "rlsuite/Target-v0", 40_000, lr_schedule="linear")
    assert ac.mode(np.ones((1, 1), np.float32)).item() == pytest.approx(-2, abs=0.15)


@each_algo
def test_each_component_of_an_action_finds_its_right_answer(algo: ModuleType, tmp_path: Path) -> None:
    ac = train(algo, tmp_path, "rlsuite/Switches-v0", 20_000, gamma=0.5)
    assert mean_return(ac, "rlsuite/Switches-v0") == 8.0
    assert random_return(make_env("rlsuite/Switches-v0")) == pytest.approx(10 / 3, abs=0.5)


CONTINUOUS = '{"continuous": true}'
TRUNCATED = '{"continuous": true, "max_episode_steps": 1}'


@pytest.mark.parametrize(
    ("algo", "kwargs"),
    [
        (dqn, "{}"),
        (dqn, '{"max_episode_steps": 1}'),
        (ddpg, CONTINUOUS),
        pytest.param(ddpg, TRUNCATED, marks=pytest.mark.slow),
        pytest.param(td3, TRUNCATED, marks=pytest.mark.slow),
    ],
    ids=["dqn", "dqn-every-step", "ddpg", "ddpg-every-step", "td3-every-step"],
)
def test_q_of_a_constant_reward_is_the_geometric_series_in_spite_of_time_limits(
    algo: ModuleType, kwargs: str, tmp_path: Path
) -> None:
    ac = train(algo, tmp_path, "rlsuite/ConstantReward-v0", 8_000, gamma=0.9, env_kwargs=kwargs)
    assert value(ac, np.ones(1, np.float32)) == pytest.approx(1 / (1 - 0.9), rel=0.02)
    if algo is not dqn:  # the action does nothing: Q is the same everywhere
        q = ac.action_value(np.ones((21, 1), np.float32), np.linspace(-1, 1, 21, dtype=np.float32)[:, None])
        assert q.tolist() == pytest.approx([10.0] * 21, rel=0.02)


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"double_q": True, "dueling": True}, marks=pytest.mark.slow)],
    ids=["plain", "double-dueling"],
)
def test_dqn_reaches_the_q_values_of_the_chain(options: dict[str, Any], tmp_path: Path) -> None:
    ac = train(dqn, tmp_path, "rlsuite/Chain-v0", 16_000, gamma=0.9, epsilon_end=0.5, **options)
    q = ac.values(np.arange(5)).tolist()
    right = [0.9 ** (4 - s) for s in range(5)]
    left = [0.9 * right[max(s - 1, 0)] for s in range(5)]
    assert [row[1] for row in q] == pytest.approx(right, rel=0.02)
    assert [row[0] for row in q] == pytest.approx(left, rel=0.02)
    assert mean_return(ac, "rlsuite/Chain-v0", episodes=1) == 1.0


def test_dqn_follows_the_context(tmp_path: Path) -> None:
    ac = train(dqn, tmp_path, "rlsuite/Context-v0", 3_000)
    assert mean_return(ac, "rlsuite/Context-v0") == 1.0


def test_soft_q_of_a_constant_reward_holds_the_entropy_that_follows(tmp_path: Path) -> None:
    """The action does nothing, so the policy becomes uniform over half widths -1 to 1: ln 2 nats in each step."""
    settings = {"env_kwargs": CONTINUOUS, "gamma": 0.9, "alpha": 0.5, "alpha_lr": 0.0}
    ac = train(sac, tmp_path, "rlsuite/ConstantReward-v0", 8_000, **settings)
    q = ac.action_value(np.ones((21, 1), np.float32), np.linspace(-1, 1, 21, dtype=np.float32)[:, None])
    assert q.tolist() == pytest.approx([(1 + 0.9 * 0.5 * np.log(2)) / (1 - 0.9)] * 21, rel=0.02)
    act = np.concatenate([ac.act(np.ones((100, 1), np.float32)) for _ in range(20)])
    assert abs(act.mean()) < 0.1
    assert act.std() == pytest.approx(2 / 12**0.5, abs=0.05)


def test_sac_learns_the_temperature_at_which_the_entropy_is_its_target(tmp_path: Path) -> None:
    settings = {"target_entropy": -0.5, "alpha_lr": 0.01, "steps_per_epoch": 2000}
    train(sac, tmp_path, "rlsuite/Target-v0", 8_000, **settings)
    (run,) = find_runs([tmp_path])
    table = read_progress(run)
    assert table["Entropy"][-1] == pytest.approx(-0.5, abs=0.1)
    assert table["Entropy"][0] > 0


@each_climber
def test_a_policy_that_climbs_q_goes_to_a_target_within_unequal_bounds(algo: ModuleType, tmp_path: Path) -> None:
    ac = train(algo, tmp_path, "rlsuite/Target-v0", 6_000)
    assert ac.mode(np.ones((1, 1), np.float32)).item() == pytest.approx(-2, abs=0.1)


@each_algo
def test_frozen_lake_is_solved(algo: ModuleType, tmp_path: Path) -> None:
    kwargs = '{"is_slippery": false}'
    settings = {"env_kwargs": kwargs, "gamma": 0.95} | ({} if algo is trpo else {"ent_coef": 0.01})
    ac = train(algo, tmp_path, "FrozenLake-v1", 60_000, **settings)
    assert random_return(make_env("FrozenLake-v1", kwargs)) < 0.1
    assert mean_return(ac, "FrozenLake-v1", kwargs, episodes=1) == 1.0


def test_ppo_learns_cartpole_in_forty_thousand_steps(tmp_path: Path) -> None:
    preset = {**PRESETS["ppo"]["CartPole-v1"], "total_steps": 40_960}
    ac = ppo.train(ppo.Config("CartPole-v1", **preset), logger=Logger(data_dir=tmp_path, quiet=True))
    assert random_return(make_env("CartPole-v1")) < 40
    assert mean_return(ac, "CartPole-v1") > 200


def test_the_adaptive_penalty_of_ppo_holds_the_kl_of_each_update_near_its_target(tmp_path: Path) -> None:
    """Without the clip, from a first weight that is far too small; an epoch is one update."""
    settings = {
        "num_envs": 8,
        "rollout_len": 64,
        "steps_per_epoch": 512,
        "total_steps": 40 * 512,
        "minibatch_size": 128,
    }
    settings |= {"clip_ratio": 1e9, "pi_lr": 3e-3, "vf_lr": 1e-3}
    tables = []
    for how in ({"kl_coef": 0.01, "target_kl": 0.01}, {"target_kl": float("inf")}):
        folder = tmp_path / str(len(tables))
        ppo.train(ppo.Config("CartPole-v1", **settings, **how), logger=Logger(data_dir=folder, quiet=True))
        tables.append(read_progress(find_runs([folder])[0]))
    held, free = (np.median(table["KL"][10:]) for table in tables)
    assert 0.01 / 2 < held < 0.01 * 2
    assert free > 0.01 * 10
    assert tables[0]["KLCoef"][0] == 0.01
    assert 0.1 < np.median(tables[0]["KLCoef"][10:]) < 10
    assert (tables[0]["StopIter"] == 10).all()


def test_dqn_learns_cartpole_in_fifteen_thousand_steps(tmp_path: Path) -> None:
    settings = {"double_q": True, "hidden_sizes": (128, 128), "lr_schedule": "linear"}
    ac = train(dqn, tmp_path, "CartPole-v1", 15_000, **{**QUICK[dqn], **settings, "epsilon_end": 0.05})
    assert random_return(make_env("CartPole-v1")) < 40
    assert mean_return(ac, "CartPole-v1") > 120


@each_climber
def test_pendulum_is_learned_in_six_thousand_steps(algo: ModuleType, tmp_path: Path) -> None:
    settings = {"pi_lr": 3e-3, "q_lr": 3e-3, "gamma": 0.98} if algo is sac else {"act_noise": 0.1}
    ac = train(algo, tmp_path, "Pendulum-v1", 6_000, hidden_sizes=(64, 64), update_every=1, **settings)
    assert random_return(make_env("Pendulum-v1")) < -900
    assert mean_return(ac, "Pendulum-v1") > -400


def test_cem_follows_the_context(tmp_path: Path) -> None:
    ac = train(cem, tmp_path, "rlsuite/Context-v0", 8_000, episodes_per_candidate=5, rollout_len=5)
    assert mean_return(ac, "rlsuite/Context-v0") == 1.0


def test_cem_goes_to_a_target_within_unequal_bounds(tmp_path: Path) -> None:
    ac = train(cem, tmp_path, "rlsuite/Target-v0", 8_000, rollout_len=1)
    assert ac.mode(np.ones((1, 1), np.float32)).item() == pytest.approx(-2, abs=0.05)


def test_cem_learns_cartpole_in_twenty_thousand_steps(tmp_path: Path) -> None:
    ac = train(cem, tmp_path, "CartPole-v1", 20_000)
    assert random_return(make_env("CartPole-v1")) < 40
    assert mean_return(ac, "CartPole-v1") > 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algo", "env", "random_at_most", "at_least"),
    [
        (ppo, "CartPole-v1", 40, 475),
        (a2c, "CartPole-v1", 40, 400),
        (vpg, "CartPole-v1", 40, 400),
        (trpo, "CartPole-v1", 40, 475),
        (ppo, "Pendulum-v1", -900, -250),
        (trpo, "Pendulum-v1", -900, -250),
        (dqn, "CartPole-v1", 40, 400),
        (ddpg, "Pendulum-v1", -900, -200),
        (td3, "Pendulum-v1", -900, -200),
        (sac, "Pendulum-v1", -900, -200),
        (cem, "CartPole-v1", 40, 400),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).split(".")[-1],
)
def test_presets_learn(algo: ModuleType, env: str, random_at_most: float, at_least: float, tmp_path: Path) -> None:
    preset = PRESETS[algo.__name__.split(".")[-1]][env]
    ac = algo.train(algo.Config(env, **preset), logger=Logger(data_dir=tmp_path, quiet=True))
    assert random_return(make_env(env)) < random_at_most
    assert mean_return(ac, env) >= at_least
