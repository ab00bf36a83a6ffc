"""From the shell prompt to a solved CartPole: `python experiments/solved.py` (extra `bench`).

Seconds of a whole command, start-up and imports included. It trains PPO with the preset of its suite, on one torch
thread, and then plays 20 deterministic test episodes: `python -m rlsuite.run ppo --env CartPole-v1`, and the same in
stable-baselines3 with the preset of its zoo. Both take turns. Solved means a mean return of at least 475. The table
goes to data/solved.csv.

Source of the preset: rl-baselines3-zoo, hyperparams/ppo.yml, CartPole-v1.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time

from tables import DATA, ROOT, write_table

SUITES = ["rlsuite", "stable-baselines3"]


def train_sb3(seed: int) -> None:
    """Train, test, print the mean return."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
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
    ).learn(100_000)
    mean, _ = evaluate_policy(model, make_vec_env("CartPole-v1", seed=seed + 1000), n_eval_episodes=20)
    print(f"final return {mean:.1f}")


def measure(suite: str, seed: int) -> dict[str, str]:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "rlsuite.run", "ppo", "--env", "CartPole-v1", "--seed", str(seed), "--data-dir", folder]
        command = words if suite == "rlsuite" else [__file__, "--sb3", str(seed)]
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    (ret,) = re.findall(r"final return (\S+)", done.stdout)
    if float(ret) < 475:
        sys.exit(f"{suite} has not solved it with seed {seed}: {ret}")
    return {"suite": suite, "seed": str(seed), "seconds": f"{seconds:.1f}", "mean test return": ret}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0")
    parser.add_argument("--sb3", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sb3 is not None:
        train_sb3(args.sb3)
        return
    table = []
    for seed in range(args.seeds):
        for suite in SUITES:
            table.append(measure(suite, seed))
            print(*table[-1].values(), sep="  ", flush=True)
    write_table(DATA / "solved.csv", table)


if __name__ == "__main__":
    main()
