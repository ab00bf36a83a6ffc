"""Steps per second at the same work: `python experiments/speed.py` (extra `bench`), or `--against DIR`.

The same work means the same environment and number of environments, networks, batch size and gradient steps per env
step, on one torch thread, but where a row says that each side has its own default. What the trainings learn does not
matter here; what they log is part of their work.

Beside stable-baselines3, or for TRPO sb3-contrib. Both sides take turns in this process, so that a machine that slows
down slows both. The figures are medians over the rounds. The other suites can't be installed beside us. They were
measured once, elsewhere, in the same session as stable-baselines3 in three of these rows. In those rows
stable-baselines3 tells how fast this machine is now compared with that one ("chain"), and the figures of the other
suites are multiplied by it. The limit of a row is a program without overhead: its environment alone, and its arithmetic
at the rate of a large matrix product on one core, by MKL or oneDNN, whichever is faster. The last columns say where our
time goes, in one more training (see `speed_parts.py`). The table goes to data/speed.csv.

Against another checkout of rlsuite, `--against DIR`, for example of an older commit (`git worktree add DIR COMMIT`). In
each round every row is timed in both checkouts, one right after the other, each in a new process that has trained a
little before the clock starts. The table has the median over the rounds of the ratio within a round.
stable-baselines3 is not needed. Nothing is written, unless `--out FILE` names a CSV file.
"""

import argparse
import importlib
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from speed_parts import PARTS, clocked, shares
from tables import DATA, ROOT, markdown, write_table

import rlsuite
from rlsuite.common.logger import Logger


class Row(NamedTuple):
    """One piece of work, in the words of both sides."""

    work: str
    algo: str
    env: str
    steps: int
    """env steps of one measurement"""
    ours: dict[str, Any]
    """settings of our `Config`, which every version of it knows"""
    theirs: dict[str, Any] | None
    """arguments of stable-baselines3's class; none where it can't do this work"""
    forward: float
    """samples that pass forward through a network with gradients, per env step; their backward pass costs twice that"""
    acting: float
    """samples that pass through a network without gradients, per env step"""
    widths: tuple[int, ...]
    """of one network's layers"""
    reference: tuple[str, float] | None = None
    """another suite, and the steps/s that were measured of it"""
    sb3_then: float | None = None
    """steps/s of stable-baselines3 in this row, measured with the references of the same family"""
    own_threads: bool = False
    """whether each side has as many torch threads as it chooses"""


OWN_THREADS = torch.get_num_threads()
"""what torch, and so stable-baselines3, takes by itself"""


def on_policy(envs: int, length: int, batch: int, passes: int, **more: Any) -> dict[str, Any]:
    """Settings of our PPO, without its early stop: stable-baselines3's makes all its passes, too."""
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
    """The same for stable-baselines3; `num_envs` and `normalize` are for its environments."""
    return {"num_envs": envs, "n_steps": length, "batch_size": batch, "n_epochs": passes, **more}


# Widths are those of one network. PPO sends each sample through two of them: `passes` times with gradients, and once
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
        "PPO CartPole, 64 envs x 32, 4 x 4 minibatches of 512",
        "ppo", "CartPole-v1", 65_536,
        on_policy(64, 32, 512, 4),
        None,
        8, 3, CARTPOLE, ("purejaxrl", 280_000),  # one compiled program, its environment included
    ),
    Row(
        "VPG CartPole, 4000 steps, 1 + 80 steps",
        "vpg", "CartPole-v1", 12_000,
        {"num_envs": 1, "rollout_len": 4000, "train_v_iters": 80},
        None,
        81, 3, CARTPOLE, ("Spinning Up", 4080),
    ),
    Row(
        "TRPO CartPole, 8 envs x 256, 10 CG steps, 10 x 16 minibatches",
        "trpo", "CartPole-v1", 20_480,
        {"num_envs": 8, "rollout_len": 256, "steps_per_epoch": 2048, "minibatch_size": 128},
        {"num_envs": 8, "n_steps": 256, "batch_size": 128, "cg_max_steps": 10},
        # The critic's 10 passes, the gradient, 11 products with F at the price of two such passes each, about 2 tries.
        10 + 1 + 22, 5, CARTPOLE,
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
        "DDPG Pendulum, batch 256, each with its own default threads",
        "ddpg", "Pendulum-v1", 2000,
        {**DDPG_OURS, "batch_size": 256},
        {**DDPG_SB3, "batch_size": 256, "net_arch": [256, 256]},
        256 * (2 + 2 / 3), 256 * 2 + 2, (4, 256, 256, 1), own_threads=True,
    ),
    Row(
        "DDPG HalfCheetah, batch 100, net 256 x 2",
        "ddpg", "HalfCheetah-v5", 2000,
        {**DDPG_OURS, "batch_size": 100},
        {**DDPG_SB3, "batch_size": 100, "net_arch": [256, 256]},
        100 * (2 + 2 / 3), 100 * 2 + 2, CHEETAH_Q, ("Spinning Up", 403),
    ),
    Row(
        "TD3 HalfCheetah, batch 256, net 256 x 2",
        "td3", "HalfCheetah-v5", 1000,
        {**DDPG_OURS, "batch_size": 256},
        {**DDPG_SB3, "batch_size": 256, "net_arch": [256, 256]},
        # Both critics, and at every second update the policy and one critic up to its input; three target networks.
        256 * (2 + (1 + 2 / 3) / 2), 256 * 3 + 3, CHEETAH_Q,
    ),
    Row(
        "SAC HalfCheetah, batch 256, net 256 x 2",
        "sac", "HalfCheetah-v5", 1000,
        {**DDPG_OURS, "batch_size": 256},
        {**DDPG_SB3, "batch_size": 256, "net_arch": [256, 256]},
        # Both critics, the policy, both critics up to their input; the policy at s', and two target networks.
        256 * (2 + 1 + 2 * 2 / 3), 256 * 3 + 3, CHEETAH_Q,
    ),
    Row(
        "CEM MountainCarContinuous, linear, 4 envs",
        "cem", "MountainCarContinuous-v0", 40_000,
        {"num_envs": 4, "population": 8, "num_test_episodes": 0},
        None,
        0, 1, (2, 1),
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
    """Steps per second of one of our trainings. What is called here must be there in every version of rlsuite."""
    module = importlib.import_module(f"rlsuite.algos.{row.algo}")
    threads = {} if row.own_threads else {"torch_threads": 1}
    config = module.Config(env=row.env, total_steps=row.steps, **threads, **row.ours)
    with tempfile.TemporaryDirectory() as folder:
        logger = Logger(data_dir=folder, quiet=True)
        start = time.perf_counter()
        module.train(config, logger=logger)
        return row.steps / (time.perf_counter() - start)


def run_sb3(row: Row) -> float:
    """Steps per second of stable-baselines3 at the same work."""
    import sb3_contrib
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    assert row.theirs is not None
    settings = dict(row.theirs)
    env: Any = make_vec_env(row.env, n_envs=settings.pop("num_envs", 1), seed=0)
    if settings.pop("normalize", False):
        env = VecNormalize(env)
    net_arch = settings.pop("net_arch", None)
    policy = {"net_arch": net_arch} if net_arch else {}
    model_class = getattr(sb3_contrib if row.algo == "trpo" else stable_baselines3, row.algo.upper())
    model = model_class("MlpPolicy", env, seed=0, device="cpu", policy_kwargs=policy, **settings)
    torch.set_num_threads(OWN_THREADS if row.own_threads else 1)
    torch.set_float32_matmul_precision("highest")  # ours may have left another
    start = time.perf_counter()
    model.learn(row.steps)
    seconds = time.perf_counter() - start
    env.close()
    return row.steps / seconds


def run_checkout(checkout: Path, row: Row) -> float:
    """Steps per second of the rlsuite in another folder, in a new process."""
    words = [sys.executable, __file__, "--worker", row.work]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    folder, rate = done.stdout.splitlines()[-1].rsplit(maxsplit=1)
    if Path(folder) != checkout:
        sys.exit(f"{checkout} was to be timed, but python imported rlsuite from {folder}")
    return float(rate)


def worker(work: str) -> None:
    """What `run_checkout` starts: print where this rlsuite lies, and its steps per second."""
    row = next(row for row in ROWS if row.work == work)
    envs = row.ours.get("num_envs", 1)
    run_ours(row._replace(steps=row.steps // 8 // envs * envs))  # what happens only once is not to be timed
    print(Path(rlsuite.__file__).resolve().parents[1], run_ours(row))


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


def matrix_rate(products: str) -> float:
    """Floating-point operations per second of a product of two 1024 x 1024 float32 matrices on one core.

    Args:
        products: "highest" for MKL, "medium" for oneDNN.
    """
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision(products)
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
    arithmetic = 2 * weights * (3 * row.forward + row.acting) / (OWN_THREADS if row.own_threads else 1)
    return 1 / (1 / env_rate + arithmetic / flops)


def where(row: Row) -> dict[str, str]:
    """The share of each part in the time of one more training of ours."""
    with clocked(row.algo) as clock:
        run_ours(row)
    found = shares(clock)
    return {part: f"{found[part]:.0%}" if part in found else "" for part in PARTS}


def measure(rows: list[Row], rounds: int) -> list[dict[str, str]]:
    """The table beside stable-baselines3: medians over `rounds` turns of both sides."""
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
    mkl, onednn = matrix_rate("highest"), matrix_rate("medium")
    flops, envs = max(mkl, onednn), {row.env: env_alone(row.env) for row in rows}
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
                **where(row),
            }
        )
    print(f"one core: {mkl / 1e9:,.0f} GFLOP/s by MKL, {onednn / 1e9:,.0f} by oneDNN")
    print(f"chain: {', '.join(f'{c:.2f}' for c in chain)}; environments alone:")
    print(", ".join(f"{name} {r:,.0f}/s" for name, r in envs.items()))
    for column in ("x SB3", "x other"):
        values = [float(line[column]) for line in table if line[column]]
        if values:
            print(f"geometric mean of {column}: {statistics.geometric_mean(values):.2f}")
    nearest = [float(line["x other"] or line["x SB3"]) for line in table if line["x other"] or line["x SB3"]]
    if nearest:
        print(f"geometric mean of x other, or x SB3 where there is none: {statistics.geometric_mean(nearest):.2f}")
    return table


def compare(rows: list[Row], other: Path, rounds: int) -> list[dict[str, str]]:
    """The table of this checkout and another one: medians of their rates, and of the ratios within a round."""
    rates: dict[str, list[tuple[float, float]]] = {row.work: [] for row in rows}
    for number in range(1, rounds + 1):
        for row in rows:
            # Who is first changes from round to round: the first one may find a cooler or a busier machine.
            order = [ROOT, other] if number % 2 else [other, ROOT]
            rate = {checkout: run_checkout(checkout, row) for checkout in order}
            rates[row.work].append((rate[ROOT], rate[other]))
            shown = f"this {rate[ROOT]:9,.0f}  other {rate[other]:9,.0f} steps/s  {rate[ROOT] / rate[other]:.2f}"
            print(f"round {number} of {rounds}  {shown}  {row.work}", flush=True)
    ratios = {work: statistics.median(a / b for a, b in pairs) for work, pairs in rates.items()}
    print(f"geometric mean of this / other: {statistics.geometric_mean(ratios.values()):.2f}")
    return [
        {
            "work": work,
            "this, steps/s": f"{statistics.median(a for a, _ in pairs):,.0f}",
            "other, steps/s": f"{statistics.median(b for _, b in pairs):,.0f}",
            "this / other": f"{ratios[work]:.2f}",
        }
        for work, pairs in rates.items()
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of both sides")
    parser.add_argument("--only", default="", help="rows whose name holds this; data/speed.csv is left alone then")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout of rlsuite, to compare with")
    parser.add_argument("--out", type=Path, metavar="FILE", help="with --against: a CSV file for the table")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker)
        return
    rows = [row for row in ROWS if args.only in row.work]
    if not rows:
        parser.error(f"no row has {args.only!r} in its name; there are: {'; '.join(row.work for row in ROWS)}")
    if args.against:
        other = args.against.resolve()
        if not (other / "rlsuite" / "__init__.py").exists():
            parser.error(f"--against {args.against}: there is no rlsuite in this folder")
        known = [row for row in rows if (other / "rlsuite" / "algos" / f"{row.algo}.py").exists()]
        table, out = compare(known, other, args.rounds), args.out
    elif args.out:
        parser.error("--out goes with --against")
    else:
        table, out = measure(rows, args.rounds), None if args.only else DATA / "speed.csv"
    print(markdown(table))
    if out:
        write_table(out, table)


if __name__ == "__main__":
    main()
