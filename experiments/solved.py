"""From the shell prompt to a solved CartPole: `python experiments/solved.py` (extra `bench`).

Seconds of a whole command, start-up and imports included, until 20 deterministic test episodes return 475 on average.
Each suite trains PPO with its own preset for CartPole on one torch thread, and stops as soon as it is solved, as that
suite offers it. Our preset was tuned for seconds, that of the zoo was not.

    rlsuite                       python -m rlsuite.run ppo --env CartPole-v1 --stop-at 475 --test-episodes 0
    stable-baselines3             20 test episodes every 2048 env steps (EvalCallback), and it stops at 475
    stable-baselines3, to the end its zoo's whole budget of 100,000 env steps, which tells how fast this machine is;
                                  three seeds are enough for that

They take turns. The table goes to data/solved.csv.

Source of the preset: rl-baselines3-zoo, hyperparams/ppo.yml, CartPole-v1.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from tables import DATA, ROOT, write_table

WHOLE = "stable-baselines3, to the end"
SUITES = ["rlsuite", "stable-baselines3", WHOLE]
GOAL = 475


def train_sb3(seed: int, whole: bool) -> None:
    """Train, test, print the mean return."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
    test_env = make_vec_env("CartPole-v1", seed=seed + 1000)
    stop = StopTrainingOnRewardThreshold(GOAL, verbose=0)
    tests = EvalCallback(test_env, stop, n_eval_episodes=20, eval_freq=2048 // 8, verbose=0)
    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", n_envs=8, seed=seed),
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gae_lambda=0.8,
        gamma=0.98,
        learning_rate=lambda left: 1e-3 * left,
        clip_range=lambda left: 0.2 * left,
        seed=seed,
        device="cpu",
    ).learn(100_000, callback=None if whole else tests)
    mean: Any = tests.last_mean_reward
    if whole or mean < GOAL:
        mean, _ = evaluate_policy(model, test_env, n_eval_episodes=20)
    print(f"final return {mean:.1f}")


def measure(suite: str, seed: int) -> dict[str, str]:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "rlsuite.run", "ppo", "--env", "CartPole-v1", "--stop-at", str(GOAL), "--test-episodes", "0"]
        words += ["--seed", str(seed), "--data-dir", folder]
        theirs = [__file__, "--sb3", str(seed), *(["--whole"] if suite == WHOLE else [])]
        command = words if suite == "rlsuite" else theirs
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    ret = ([*re.findall(r"(?:final return|test episodes) (\d+\.\d+)", done.stdout), "0"])[-2:][0]
    if float(ret) < GOAL:
        sys.exit(f"{suite} has not solved it with seed {seed}: {ret}")
    return {"suite": suite, "seed": str(seed), "seconds": f"{seconds:.1f}", "mean test return": ret}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds, from 0 [10]")
    parser.add_argument("--sb3", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sb3 is not None:
        train_sb3(args.sb3, args.whole)
        return
    table = []
    for seed in range(args.seeds):
        for suite in SUITES if seed < 3 else SUITES[:2]:
            table.append(measure(suite, seed))
            print(*table[-1].values(), sep="  ", flush=True)
    write_table(DATA / "solved.csv", table)
    for suite in SUITES:
        seconds = [float(row["seconds"]) for row in table if row["suite"] == suite]
        print(f"{suite}: median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s")


if __name__ == "__main__":
    main()
