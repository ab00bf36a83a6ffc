"""Steps per second beside stable-baselines3, at the same work: `python experiments/speed.py` (extra `bench`).

The same work is the same environment and number of environments, networks, batch, gradient steps per env step, and one
torch thread. What the trainings learn does not matter here, and what they log is part of them. Both sides run in this
one process, in turns, so that a machine that slows down slows both; the figures are medians over the rounds.

CleanRL and Spinning Up can't be installed beside us. Their steps per second were measured once, elsewhere, and in the
same session as stable-baselines3 in three of these rows. How fast this machine is now, compared with that one, is taken
from stable-baselines3 in those rows ("chain"), and their figures are multiplied by it.

The limit of a row is the speed of its environment stepped alone, once for each env step, and of its arithmetic at the
rate of a large matrix product on one core: a program without any overhead.

The table goes to data/speed.csv.
"""

import argparse
import importlib
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from stable_baselines3 import A2C, DDPG, DQN, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from tables import write_table

from rlsuite.common.logger import Logger

SB3 = {"ppo": PPO, "a2c": A2C, "dqn": DQN, "ddpg": DDPG}


class Row(NamedTuple):
    """One piece of work, in the words of both sides."""

    work: str
    algo: str
    env: str
    steps: int
    """env steps of one measurement"""
    ours: dict[str, Any]
    """settings of our `Config`"""
    theirs: dict[str, Any] | None
    """arguments of stable-baselines3's class; none where it can't do this work"""
    forward: float
    """samples that pass forward through a network with gradients, per env step; the backward pass is twice that"""
    acting: float
    """samples that pass through a network without gradients, per env step"""
    widths: tuple[int, ...]
    """of one network's layers"""
    reference: tuple[str, float] | None = None
    """another suite, and the steps/s that were measured of it"""
    sb3_then: float | None = None
    """steps/s of stable-baselines3 in this row, measured with the references of the same family"""


def on_policy(envs: int, length: int, batch: int, passes: int, **more: Any) -> dict[str, Any]:
    """Settings of our PPO; stable-baselines3's makes all its passes, so that ours does not stop early either."""
    size = envs * length
    epoch = size * max(1, 4000 // size)
    shape = {
        "num_envs": envs,
        "rollout_len": length,
        "minibatch_size": batch,
        "train_iters": passes,
        "target_kl": math.inf,
    }
    return {**shape, "steps_per_epoch": epoch, "hidden_sizes": (64, 64), **more}


def sb3_on_policy(envs: int, length: int, batch: int, passes: int, **more: Any) -> dict[str, Any]:
    """The same in stable-baselines3's words; `num_envs` and `normalize` are for the environments."""
    return {"num_envs": envs, "n_steps": length, "batch_size": batch, "n_epochs": passes, **more}


# Widths are those of one network. PPO passes each sample through two of them: `passes` times with gradients, and once
# more without, besides acting.
CARTPOLE, CHEETAH, CHEETAH_Q = (4, 64, 64, 1), (17, 64, 64, 3), (20, 256, 256, 3)
DDPG_OURS: dict[str, Any] = {
    "start_steps": 100,
    "update_after": 100,
    "num_test_episodes": 0,
    "hidden_sizes": (256, 256),
}
DDPG_SB3 = {"learning_starts": 100, "train_freq": 1, "gradient_steps": 1, "tau": 0.005, "learning_rate": 1e-3}
DQN_OURS: dict[str, Any] = {"start_steps": 500, "update_after": 500, "epsilon_share": 0.1, "buffer_size": 1_000_000}
DQN_OURS |= {"target_every": 10_000, "num_test_episodes": 0}
DQN_SB3 = {"learning_starts": 500, "exploration_fraction": 0.1}
ROWS = [
    Row(
        "PPO CartPole, 8 envs x 32, batch 256, 20 passes",
        "ppo", "CartPole-v1", 25_600,
        on_policy(8, 32, 256, 20, gamma=0.98, lam=0.8),
        sb3_on_policy(8, 32, 256, 20, gamma=0.98, gae_lambda=0.8),
        40, 3, CARTPOLE, None, 7100,
    ),
    Row(
        "PPO CartPole, 4 envs x 128, 4 x 4 minibatches",
        "ppo", "CartPole-v1", 25_600,
        on_policy(4, 128, 128, 4),
        sb3_on_policy(4, 128, 128, 4),
        8, 3, CARTPOLE, ("CleanRL", 8650),
    ),
    Row(
        "PPO CartPole, 4000 steps, 80 + 80 full-batch steps",
        "ppo", "CartPole-v1", 8000,
        on_policy(1, 4000, 4000, 80),
        sb3_on_policy(1, 4000, 4000, 80),
        160, 3, CARTPOLE, ("Spinning Up", 3470),
    ),
    Row(
        "VPG CartPole, 4000 steps, 1 + 80 steps",
        "vpg", "CartPole-v1", 12_000,
        {"num_envs": 1, "rollout_len": 4000, "train_v_iters": 80},
        None,
        81, 3, CARTPOLE, ("Spinning Up", 4080),
    ),
    Row(
        "A2C CartPole, 8 envs x 5",
        "a2c", "CartPole-v1", 30_000,
        {"num_envs": 8, "rollout_len": 5},
        {"num_envs": 8, "n_steps": 5},
        2, 1, CARTPOLE, None, 15_900,
    ),
    Row(
        "DQN CartPole, batch 128, train every 10, net 120-84",
        "dqn", "CartPole-v1", 20_000,
        {**DQN_OURS, "batch_size": 128, "update_every": 10, "hidden_sizes": (120, 84)},
        {**DQN_SB3, "batch_size": 128, "train_freq": 10, "net_arch": [120, 84]},
        12.8, 13.8, (4, 120, 84, 2), ("CleanRL", 8380),
    ),
    Row(
        "DQN CartPole, default of SB3",
        "dqn", "CartPole-v1", 10_000,
        {**DQN_OURS, "batch_size": 32, "update_every": 4, "hidden_sizes": (64, 64)},
        {**DQN_SB3, "batch_size": 32, "train_freq": 4},
        8, 9, (4, 64, 64, 2), None, 3500,
    ),
    Row(
        "DDPG Pendulum, batch 256, net 256 x 2, 1 update/step",
        "ddpg", "Pendulum-v1", 2000,
        {**DDPG_OURS, "batch_size": 256},
        {**DDPG_SB3, "batch_size": 256, "net_arch": [256, 256]},
        # Per sample and update: the critic once with gradients, the policy once, the critic once with gradients only
        # to its input (two thirds of the work), and both target networks.
        256 * (2 + 2 / 3), 256 * 2 + 2, (4, 256, 256, 1), ("CleanRL", 260),
    ),
    Row(
        "DDPG HalfCheetah, batch 100, net 256 x 2",
        "ddpg", "HalfCheetah-v5", 2000,
        {**DDPG_OURS, "batch_size": 100},
        {**DDPG_SB3, "batch_size": 100, "net_arch": [256, 256]},
        100 * (2 + 2 / 3), 100 * 2 + 2, CHEETAH_Q, ("Spinning Up", 403),
    ),
    Row(
        "PPO HalfCheetah, 1 env x 2048, 32 minibatches x 10",
        "ppo", "HalfCheetah-v5", 4096,
        on_policy(1, 2048, 64, 10, normalize_obs=True, scale_reward=True),
        sb3_on_policy(1, 2048, 64, 10, normalize=True),
        20, 3, CHEETAH, ("CleanRL", 1980),
    ),
]  # fmt: skip


def run_ours(row: Row) -> float:
    """Steps per second of one of our trainings."""
    module = importlib.import_module(f"rlsuite.algos.{row.algo}")
    config = module.Config(env=row.env, total_steps=row.steps, **row.ours)
    with tempfile.TemporaryDirectory() as folder:
        logger = Logger(data_dir=folder, quiet=True)
        start = time.perf_counter()
        module.train(config, logger=logger)
        return row.steps / (time.perf_counter() - start)


def run_sb3(row: Row) -> float:
    """Steps per second of stable-baselines3 at the same work."""
    assert row.theirs is not None
    settings = dict(row.theirs)
    env = make_vec_env(row.env, n_envs=settings.pop("num_envs", 1), seed=0)
    if settings.pop("normalize", False):
        env = VecNormalize(env)
    net_arch = settings.pop("net_arch", None)
    policy = {"net_arch": net_arch} if net_arch else {}
    model = SB3[row.algo]("MlpPolicy", env, seed=0, device="cpu", policy_kwargs=policy, **settings)
    torch.set_num_threads(1)
    start = time.perf_counter()
    model.learn(row.steps)
    seconds = time.perf_counter() - start
    env.close()
    return row.steps / seconds


def env_alone(env_id: str, seconds: float = 1.0) -> float:
    """Steps per second of one environment with random actions and nothing else."""
    env = gym.make(env_id, disable_env_checker=True)
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(1000)]
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        steps += len(actions)
    env.close()
    return steps / (time.perf_counter() - start)


def matrix_rate() -> float:
    """Floating-point operations per second of a product of two 1024 x 1024 float32 matrices on one core."""
    torch.set_num_threads(1)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(times)


def limit(row: Row, env_rate: float, flops: float) -> float:
    """Steps per second without overhead: the environment, then the arithmetic at the machine's rate."""
    weights = sum(a * b for a, b in zip(row.widths, row.widths[1:], strict=False))
    arithmetic = 2 * weights * (3 * row.forward + row.acting)
    return 1 / (1 / env_rate + arithmetic / flops)


def measure(rows: list[Row], rounds: int) -> list[dict[str, str]]:
    """The table: medians of `rounds` turns of both sides."""
    sides: list[tuple[Row, Callable[[Row], float], list[float]]] = []
    for row in rows:
        sides += [(row, run_ours, [])] + ([(row, run_sb3, [])] if row.theirs else [])
    for number in range(1, rounds + 1):
        for row, run, rates in sides:
            rates.append(run(row))
            print(f"round {number} of {rounds}  {run.__name__[4:]:5} {rates[-1]:9,.0f} steps/s  {row.work}", flush=True)
    rate = {(row.work, run): statistics.median(rates) for row, run, rates in sides}
    chain = [rate[row.work, run_sb3] / row.sb3_then for row in rows if row.sb3_then]
    machine = statistics.geometric_mean(chain) if chain else None
    flops, envs = matrix_rate(), {row.env: env_alone(row.env) for row in rows}
    table = []
    for row in rows:
        ours, sb3 = rate[row.work, run_ours], rate.get((row.work, run_sb3))
        ratios = [ours / sb3] if sb3 else []
        other, chained = "", ""
        if row.reference and machine:
            other = f"{row.reference[0]} {row.reference[1] * machine:,.0f}"
            ratios.append(ours / (row.reference[1] * machine))
            chained = f"{ratios[-1]:.2f}"
        table.append(
            {
                "work": row.work,
                "rlsuite, steps/s": f"{ours:,.0f}",
                "SB3, steps/s": f"{sb3:,.0f}" if sb3 else "",
                "x SB3": f"{ours / sb3:.2f}" if sb3 else "",
                "other suite, steps/s (chained)": other,
                "x other": chained,
                "share of the limit": f"{ours / limit(row, envs[row.env], flops):.0%}",
            }
        )
    print(f"one core: {flops / 1e9:,.0f} GFLOP/s; chain: {', '.join(f'{c:.2f}' for c in chain)}; environments alone:")
    print(", ".join(f"{name} {r:,.0f}/s" for name, r in envs.items()))
    for column in ("x SB3", "x other"):
        values = [float(line[column]) for line in table if line[column]]
        if values:
            print(f"geometric mean of {column}: {statistics.geometric_mean(values):.2f}")
    nearest = [float(line["x other"] or line["x SB3"]) for line in table if line["x other"] or line["x SB3"]]
    if nearest:
        print(f"geometric mean of x other, or x SB3 where there is none: {statistics.geometric_mean(nearest):.2f}")
    return table


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of both sides")
    parser.add_argument("--only", help="rows whose name holds this; nothing is written then")
    args = parser.parse_args()
    table = measure([row for row in ROWS if not args.only or args.only in row.work], args.rounds)
    for line in [list(table[0]), ["---"] * len(table[0]), *(list(line.values()) for line in table)]:
        print(f"| {' | '.join(line)} |")
    if not args.only:
        write_table("speed", table)


if __name__ == "__main__":
    main()
