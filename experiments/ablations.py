"""What each detail of PPO is worth: `python experiments/ablations.py --jobs 2`.

PPO with all its details, and with each left out, on three environments and ten seeds: 270 trainings, and random play.
Settings, environments, seeds and budgets were chosen before the first run. Clipping and the early stop, which may stand
in for each other, are also left out both at once.

The runs go to data/ablations/, each in a process of its own. Started again, finished ones are not repeated, and
interrupted ones go on, as long as no file of rlsuite/ changes. What is finished goes to data/ablations.csv and
data/ablations.png, at the end or with --report; where there are no runs, the report is that of data/ablations.csv.

How it is judged: the return of the final deterministic test episodes, seed by seed against the whole algorithm, by
t-tests whose p Holm's method corrects for all settings and environments. The mean return over the whole training, which
says how fast it learns, is judged likewise, on its own.
"""

import csv
import functools
import math
import os
import shlex
import signal
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import gymnasium as gym
import numpy as np
import torch
from ablation_results import LEARNING, NEITHER, NO_CLIP, NO_STOP, RANDOM, RETURN, WHOLE, draw, report
from tables import DATA, ROOT, write_table
from torch import nn

from rlsuite import pool
from rlsuite.algos import ppo
from rlsuite.common.actor_critic import MLP, ActorCritic
from rlsuite.envs.making import make_env
from rlsuite.errors import ArgumentParser, UserError
from rlsuite.launching import Terminated, train_if_left
from rlsuite.run import jobs_of
from rlsuite.rundir.runs import read_config, read_progress
from rlsuite.rundir.summaries import FAILED, FINISHED, summarize
from rlsuite.settings import flag

RUNS = Path("data") / "ablations"
KEPT, FIGURE = DATA / "ablations.csv", DATA / "ablations.png"
SEEDS, RANDOM_SEEDS = 10, 3
BUDGETS = {
    "CartPole-v1": 50_000,
    "Pendulum-v1": 100_000,
    "LunarLander-v3": 200_000,
}  # env steps; the presets' have more
NO_STANDARDISING, NO_SMALL_LAYER = "no advantage normalisation", "no small final layer"
TIME_LIMIT_ENDS = "truncation as termination"
IN_CODE = [NO_STANDARDISING, NO_SMALL_LAYER, TIME_LIMIT_ENDS]  # what no flag leaves out
ALL = {"normalize_obs": "True", "test_episodes": "50"}  # on top of the presets, which have the other details
SETTINGS: dict[str, dict[str, str]] = {
    WHOLE: {},
    NO_CLIP: {"clip_ratio": "1e9"},
    NO_STANDARDISING: {},
    "no GAE": {"lam": "1"},
    NO_SMALL_LAYER: {},
    "no observation normalisation": {"normalize_obs": "False"},
    TIME_LIMIT_ENDS: {},
    NO_STOP: {"target_kl": "inf"},
    NEITHER: {"clip_ratio": "1e9", "target_kl": "inf"},
}
# ---- what is left out in the code


class LargeFinalLayer(ActorCritic):
    """The policy's last layer begins as large as that of V."""

    def __init__(self, obs_space: Any, act_space: Any, config: Any) -> None:
        """The weights are those of the small layer, times a number: no other draw of the generator changes."""
        super().__init__(obs_space, act_space, config)
        assert isinstance(self.pi, MLP), self.pi
        last = self.pi.layers[-1]
        assert isinstance(last, nn.Linear), last
        with torch.no_grad():
            last.weight *= 100  # from a gain of 0.01 to 1


class TimeLimitEnds(gym.Wrapper[Any, Any, Any, Any]):
    """Says of a time limit that the episode has terminated: V of what would follow counts as 0."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step."""
        obs, rew, terminated, truncated, info = self.env.step(action)
        return obs, rew, terminated or truncated, False, info


def leave_out(setting: str) -> None:
    """Change PPO, in this process, where no flag does."""
    whole = ppo.train

    @functools.wraps(whole)  # whose arguments are looked at before the training
    def with_time_limits_that_end(config: ppo.Config, **rest: Any) -> ActorCritic:
        return whole(config, lambda: TimeLimitEnds(make_env(config.env, config.env_kwargs)), **rest)

    changes: dict[str, tuple[str, Any]] = {
        NO_STANDARDISING: ("standardize", lambda adv: adv),
        NO_SMALL_LAYER: ("train", functools.partial(whole, actor_critic=LargeFinalLayer)),
        TIME_LIMIT_ENDS: ("train", with_time_limits_that_end),
    }
    setattr(ppo, *changes[setting])


def train_changed(setting: str, words: Sequence[str]) -> int:
    """Train a run of a setting without a flag, in this process, and return the exit code.

    Args:
        setting: one of `IN_CODE`, with dashes.
        words: as `rlsuite.run` takes them.
    """
    if setting not in {name.replace(" ", "-") for name in IN_CODE}:
        raise UserError(f"--train is for {', '.join(IN_CODE)}, not {setting!r}")

    def terminate(number: int, frame: Any) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    pool.end_with_pool()
    (job,) = jobs_of(words)
    leave_out(setting.replace("-", " "))
    return train_if_left(ppo, [job], 1, shlex.join(["python", *program_of(setting.replace("-", " ")), *words]))


def program_of(setting: str) -> tuple[str, ...]:
    """What trains a setting, for `python` to run in the repository's root."""
    return ("experiments/ablations.py", "--train", setting.replace(" ", "-")) if setting in IN_CODE else pool.RUN


# ---- runs


class Run(NamedTuple):
    """One training of the study."""

    env: str
    setting: str
    seed: int

    @property
    def label(self) -> str:
        """What sets it apart from the others."""
        return f"{self.env}, {self.setting}, seed {self.seed}"

    @property
    def words(self) -> list[str]:
        """What follows the program."""
        name = f"{self.setting}_{self.env}".replace(",", "").replace(" ", "-")
        settings = {"total_steps": f"{BUDGETS[self.env]}", **ALL, **SETTINGS.get(self.setting, {})}
        if self.setting == RANDOM:
            settings = {"total_steps": "1000", "test_episodes": "200"}
        settings |= {"seed": f"{self.seed}", "data_dir": f"{RUNS}", "exp_name": name}
        flags = [word for name, value in settings.items() for word in (flag(name), value)]
        return ["random" if self.setting == RANDOM else "ppo", "--env", self.env, *flags, "--quiet"]

    @property
    def command(self) -> str:
        """As config.json has it."""
        return shlex.join(["python", *program_of(self.setting), *self.words])

    @property
    def task(self) -> pool.Task:
        """As the pool trains it."""
        program, (job,) = program_of(self.setting), jobs_of(self.words)
        words = [*self.words, *(["--job", "1"] if program == pool.RUN else [])]
        return pool.Task(job, self.label, self.command, words, program)


def runs_of(seeds: int = SEEDS, envs: Sequence[str] = (), settings: Sequence[str] = ()) -> list[Run]:
    """The study or a part of it, one seed of everything after the other: what is interrupted has something of each."""
    runs = [Run(env, s, seed) for seed in range(seeds) for env in envs or BUDGETS for s in (*SETTINGS, RANDOM)]
    runs = [run for run in runs if run.setting != RANDOM or run.seed < RANDOM_SEEDS]
    return [run for run in runs if not settings or run.setting in settings]


def mean_while_training(run: Path) -> float:
    """Mean of the epochs' mean returns, each with as much weight as it has env steps."""
    log = read_progress(run)
    ret, steps = log["AverageEpRet"], np.diff(log["TotalEnvInteracts"], prepend=0)
    there = np.isfinite(ret)  # in some epochs no episode ends
    return float(np.average(ret[there], weights=steps[there])) if there.any() else math.nan


def results(runs: Sequence[Run]) -> tuple[list[dict[str, str]], list[Run]]:
    """A line for each run that is finished, of the newest where there are several; and the runs that failed."""
    made = {}
    for path in sorted((ROOT / RUNS).glob("*/*/config.json"), key=lambda path: path.parent.name):
        made[read_config(path.parent).get("command")] = path.parent
    rows, failed = [], []
    for run in sorted(runs, key=lambda run: ([*BUDGETS].index(run.env), [*SETTINGS, RANDOM].index(run.setting))):
        summary = summarize(made[run.command]) if run.command in made else None
        if summary and summary.state == FAILED:
            failed.append(run)
        if summary and summary.state == FINISHED:
            rows.append(
                {
                    "environment": run.env,
                    "setting": run.setting,
                    "seed": f"{run.seed}",
                    "env steps": f"{summary.steps:.0f}",
                    RETURN: f"{summary.ret:.4f}",
                    LEARNING: f"{mean_while_training(summary.run):.4f}",
                    "seconds": f"{summary.seconds:.1f}",
                    "commit": f"{read_config(summary.run).get('git_commit')}",
                    "command": run.command,
                }
            )
    return rows, failed


def main(argv: Sequence[str]) -> int:
    """Train what is left of the study or of a part, then report on all that is finished."""
    os.chdir(ROOT)
    try:
        if argv[:1] == ["--train"]:
            return train_changed("".join(argv[1:2]), argv[2:])
        names = {setting.replace(",", "").replace(" ", "-"): setting for setting in (*SETTINGS, RANDOM)}
        parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
        parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time [one per core]")
        parser.add_argument("--seeds", type=int, default=SEEDS, help=f"seeds from 0 on, at most {SEEDS} [{SEEDS}]")
        parser.add_argument("--env", nargs="+", choices=BUDGETS, default=[], help="only these [all]")
        parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="SETTING", help=" ".join(names))
        parser.add_argument("--report", action="store_true", help="train nothing")
        args = parser.parse_args(argv)
        if not 1 <= args.seeds <= SEEDS or args.jobs < 1:
            raise UserError(f"--seeds is from 1 to {SEEDS}, --jobs 1 or more")
        runs = runs_of(args.seeds, args.env, [names[name] for name in args.only])
        go_on = shlex.join(["python", "experiments/ablations.py", *argv])
        code = 0 if args.report else pool.train_all([run.task for run in runs], args.jobs, go_on)
    except UserError as error:
        print(f"rlsuite: {error}", file=sys.stderr)
        return 2
    study = runs_of()
    rows, failed = results(study)
    if rows:
        write_table(KEPT, rows)
    elif KEPT.exists():
        with KEPT.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    if rows:
        print("\n" + "\n".join(report(rows, len(study), [run.label for run in failed])))
        draw(FIGURE, rows, len(study))
    else:
        print("rlsuite: no run of the study is finished", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
