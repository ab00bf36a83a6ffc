"""Train what README.md reports and write its table: `python experiments/results.py [--jobs 2] [--only PAIR ...]`.

Every run is `python -m rlsuite.run ALGO --env ENV --seed S --test-episodes 100`, with the preset of that pair.
FrozenLake gets 500 test episodes, because each is only a win or a loss. Runs that have finished in data/ are not
repeated, so an interrupted call can be started again. A pair keeps its old row while any of its runs is missing here.
The table goes to data/results.csv and README.md.
"""

import argparse
import csv
import json
import os
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tables import DATA, ROOT, markdown, write_table

from rlsuite.common.console import returns as shown
from rlsuite.envs.episodes import random_return
from rlsuite.envs.making import make_env
from rlsuite.presets import PRESETS
from rlsuite.rundir.runs import read_config

# algorithm, environment, number of seeds from 0
TASKS = [
    ("ppo", "CartPole-v1", 5),
    ("a2c", "CartPole-v1", 5),
    ("vpg", "CartPole-v1", 5),
    ("ppo", "Acrobot-v1", 3),
    ("ppo", "LunarLander-v3", 3),
    ("ppo", "Pendulum-v1", 3),
    ("ppo", "InvertedPendulum-v5", 3),
    ("trpo", "CartPole-v1", 3),
    ("trpo", "Acrobot-v1", 3),
    ("trpo", "LunarLander-v3", 3),
    ("trpo", "Pendulum-v1", 3),
    ("trpo", "Hopper-v5", 1),
    ("dqn", "CartPole-v1", 3),
    ("dqn", "MountainCar-v0", 3),
    ("dqn", "Acrobot-v1", 3),
    ("dqn", "LunarLander-v3", 3),
    ("dqn", "FrozenLake-v1", 3),
    ("ddpg", "Pendulum-v1", 3),
    ("ddpg", "MountainCarContinuous-v0", 3),
    ("ddpg", "InvertedPendulum-v5", 3),
    ("ddpg", "HalfCheetah-v5", 1),
    ("td3", "Pendulum-v1", 3),
    ("td3", "MountainCarContinuous-v0", 3),
    ("td3", "InvertedPendulum-v5", 3),
    ("td3", "HalfCheetah-v5", 1),
    ("sac", "Pendulum-v1", 3),
    ("sac", "MountainCarContinuous-v0", 3),
    ("sac", "LunarLander-v3", 3),
    ("sac", "HalfCheetah-v5", 1),
    ("cem", "CartPole-v1", 3),
    ("cem", "Acrobot-v1", 3),
    ("cem", "MountainCarContinuous-v0", 3),
]


def arguments(algo: str, env: str, seed: int) -> list[str]:
    """The command line of one training, without the interpreter."""
    episodes = "500" if env.startswith("FrozenLake") else "100"
    return ["-m", "rlsuite.run", algo, "--env", env, "--seed", str(seed), "--test-episodes", episodes, "--quiet"]


def finished(algo: str, env: str, seed: int) -> Path | None:
    """The newest finished run of exactly this command line, if there is one."""
    command = shlex.join(["python", *arguments(algo, env, seed)])
    runs = sorted((DATA / f"{algo}_{env}").glob(f"*_s{seed}"), reverse=True)
    done = (run for run in runs if (run / "result.json").exists() and read_config(run).get("command") == command)
    return next(done, None)


def train(task: tuple[str, str, int]) -> None:
    """Run one training, in a process of its own."""
    words = arguments(*task)
    print(shlex.join(["python", *words]) + "\n", end="", flush=True)
    alone = {"OMP_NUM_THREADS": "1", **os.environ}  # other cores are for other runs
    subprocess.run([sys.executable, *words], cwd=ROOT, env=alone, check=True)


def env_kwargs(algo: str, env: str) -> str:
    """Arguments of the environment that the preset of a pair has, as JSON."""
    kwargs: str = PRESETS.get(algo, {}).get(env, {}).get("env_kwargs", "{}")
    return kwargs


def env_name(algo: str, env: str) -> str:
    """The environment as the table calls it."""
    kwargs = env_kwargs(algo, env)
    return env if kwargs == "{}" else f"{env} {kwargs}"


def row(algo: str, env: str, seeds: int) -> dict[str, str] | None:
    """One line of the table; None while a seed is missing."""
    runs = [run for run in (finished(algo, env, seed) for seed in range(seeds)) if run]
    if len(runs) < seeds:
        return None
    returns = [json.loads((run / "result.json").read_text())["AverageEpRet"] for run in runs]
    return {
        "algorithm": algo,
        "environment": env_name(algo, env),
        "env steps": f"{read_config(runs[0])['total_steps']:,}",
        "return, mean of seeds": shown(statistics.mean(returns))[0],
        "worst seed": shown(min(returns))[0],
        "each seed": " ".join(shown(ret)[0] for ret in returns),
        "random policy": shown(random_return(make_env(env, env_kwargs(algo, env)), episodes=500))[0],
    }


def main() -> None:
    """Train what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--only", nargs="+", help="pairs such as ppo_Acrobot-v1")
    parser.add_argument("--table", action="store_true", help="train nothing, only write the table")
    args = parser.parse_args()
    pairs = [f"{algo}_{env}" for algo, env, _ in TASKS]
    unknown = set(args.only or []) - set(pairs)
    if unknown:
        parser.error(f"--only: no pair is called {' '.join(sorted(unknown))}; there are {' '.join(pairs)}")
    tasks = [task for task, pair in zip(TASKS, pairs, strict=True) if not args.only or pair in args.only]
    missing = [(algo, env, s) for algo, env, seeds in tasks for s in range(seeds) if not finished(algo, env, s)]
    if not args.table:
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(train, missing))

    published = DATA / "results.csv"
    with published.open(newline="", encoding="utf-8") as file:
        before = {(old["algorithm"], old["environment"]): old for old in csv.DictReader(file)}
    rows = [r for r in (row(*task) or before.get((task[0], env_name(*task[:2]))) for task in TASKS) if r]
    write_table(published, rows)
    table = markdown(rows)
    readme = ROOT / "README.md"
    head, rest = readme.read_text(encoding="utf-8").split("<!-- results -->\n")
    _, tail = rest.split("<!-- end of results -->\n")
    text = f"{head}<!-- results -->\n{table}\n<!-- end of results -->\n{tail}"
    readme.write_text(text, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
