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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import gymnasium as gym
import numpy as np
import torch
from tables import DATA, ROOT, write_table

from rlsuite import pool
from rlsuite.algos import ppo
from rlsuite.analysis.statistics import LEVEL, MIN_SEEDS, Comparison, compare_cells, paired_difference, smallest_found
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.envs.making import make_env
from rlsuite.errors import ArgumentParser, UserError
from rlsuite.launching import Terminated, train_if_left
from rlsuite.run import jobs_of
from rlsuite.rundir.runs import read_config, read_progress
from rlsuite.rundir.summaries import FAILED, FINISHED, summarize
from rlsuite.runs import digits
from rlsuite.settings import flag

RUNS = Path("data") / "ablations"
KEPT, FIGURE = DATA / "ablations.csv", DATA / "ablations.png"
SEEDS, RANDOM_SEEDS = 10, 3
BUDGETS = {
    "CartPole-v1": 50_000,
    "Pendulum-v1": 100_000,
    "LunarLander-v3": 300_000,
}  # env steps; the presets' have more
WHOLE, RANDOM = "whole algorithm", "random play"
NO_CLIP, NO_STOP, NEITHER = "no clipping", "no early stop", "no clipping, no early stop"
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
RETURN, LEARNING = "return", "return while training"
"""What is measured: of the final test episodes, and the mean over the env steps of the training."""

Returns = dict[str, dict[str, dict[int, float]]]
"""Of each seed of each setting of each environment."""

# ---- what is left out in the code


class LargeFinalLayer(ActorCritic):
    """The policy's last layer begins as large as that of V."""

    def __init__(self, obs_space: Any, act_space: Any, config: Any) -> None:
        """The weights are those of the small layer, times a number: no other draw of the generator changes."""
        super().__init__(obs_space, act_space, config)
        with torch.no_grad():
            self.pi.layers[-1].weight.mul_(100)  # type: ignore[union-attr, operator]  # its gain was 0.01


class TimeLimitEnds(gym.Wrapper[Any, Any, Any, Any]):
    """Says of a time limit that the episode has terminated: V of what would follow counts as 0."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step."""
        obs, rew, terminated, truncated, info = self.env.step(action)
        return obs, rew, terminated or truncated, False, info


def leave_out(setting: str) -> None:
    """Change PPO, in this process, where no flag does."""
    whole = ppo.train
    if setting == NO_STANDARDISING:
        ppo.standardize = lambda adv: adv
    elif setting == NO_SMALL_LAYER:
        ppo.train = functools.partial(whole, actor_critic=LargeFinalLayer)  # type: ignore[assignment]
    elif setting == TIME_LIMIT_ENDS:

        @functools.wraps(whole)
        def train(config: ppo.Config, **rest: Any) -> ActorCritic:
            return whole(config, lambda: TimeLimitEnds(make_env(config.env, config.env_kwargs)), **rest)

        ppo.train = train


def train_changed(setting: str, words: Sequence[str]) -> int:
    """Train a run of a setting without a flag, in this process, and return the exit code.

    Args:
        setting: one of `IN_CODE`, with dashes.
        words: as `rlsuite.run` takes them.
    """

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
        return pool.Task(job, f"{self.env}, {self.setting}, seed {self.seed}", self.command, words, program)


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
    for run in runs:
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


# ---- what came out


def returns_of(rows: Sequence[Mapping[str, str]], column: str) -> Returns:
    """What is measured, by environment, setting and seed; what is not finite is left out."""
    found: Returns = {env: {} for env in BUDGETS if any(row["environment"] == env for row in rows)}
    for row in rows:
        if math.isfinite(float(row[column])):
            found[row["environment"]].setdefault(row["setting"], {})[int(row["seed"])] = float(row[column])
    return found


def pairs(of_env: Mapping[str, dict[int, float]], *settings: str) -> tuple[list[int], list[np.ndarray]]:
    """The seeds that all these settings have, and the returns (seeds,) of each setting."""
    seeds = sorted(set.intersection(*(set(of_env.get(setting, {})) for setting in settings)))
    return seeds, [np.array([of_env[setting][seed] for seed in seeds]) for setting in settings]


def compared(returns: Returns) -> dict[tuple[str, str], Comparison]:
    """Each setting with the whole algorithm on the same seeds, by (environment, setting)."""
    both = {(env, setting): pairs(returns[env], WHOLE, setting) for env in returns for setting in SETTINGS}
    both = {key: found for key, found in both.items() if key[1] != WHOLE and found[0]}
    old, new = (
        {" ".join(k): dict(zip(seeds, sides[i], strict=True)) for k, (seeds, sides) in both.items()} for i in (0, 1)
    )
    return dict(zip(both, compare_cells(old, new).values(), strict=True))


def verdict(found: Comparison) -> str:
    """In a few words."""
    if found.verdict in ("better", "worse"):
        return f"{found.verdict} by {digits(abs(found.difference))}"
    return found.verdict


def table(rows: Sequence[Mapping[str, str]], column: str) -> list[str]:
    """What each setting changes, at most 100 columns wide."""
    returns, logs = returns_of(rows, column), returns_of(rows, LEARNING)
    found = compared(returns)
    lines = [f"{column}, difference to the {WHOLE}"]
    for env in returns:
        means = [
            f"{s} {digits(float(np.mean([*returns[env][s].values()])))}" for s in (WHOLE, RANDOM) if s in returns[env]
        ]
        lines += ["", f"{env}: {', '.join(means)}"]
        head = f"{'mean':>9} {'from':>9} {'to':>9} {'p':>6} {'n':>2} {'same':>4} {'finds':>8}"
        lines += [f"  {'':<28} {head}  verdict"]
        for (_, setting), c in ((key, c) for key, c in found.items() if key[0] == env):
            _, (old, new) = pairs(returns[env], WHOLE, setting)
            _, (log, other) = pairs(logs[env], WHOLE, setting)
            finds = math.nan
            if len(old) >= MIN_SEEDS:
                finds = smallest_found(
                    len(old), float((new - old).std(ddof=1)), paired=True, level=1 - (1 - LEVEL) / c.cells
                )
            numbers = "".join(f" {digits(x):>9}" for x in (c.difference, c.low, c.high))
            same = int((log == other).sum())
            lines.append(
                f"  {setting:<28}{numbers} {f'{c.p:.2g}' if c.p >= 0.001 else '<0.001' if c.p < 0.001 else '':>6} {len(old):>2} "
                f"{same:>4} {digits(finds):>8}  {verdict(c)}"
            )
    return lines


def interaction(returns: Returns) -> list[str]:
    """Whether clipping and the early stop stand in for each other."""
    lines = [
        "clipping and early stop, each left out, and both; interaction = both - sum of the two",
        "",
        f"{'':<16}{'clipping':>10}{'early stop':>11}{'sum':>10}{'both':>10}{'interaction':>12}{'from':>10}{'to':>10}",
    ]
    for env, of_env in returns.items():
        seeds, (whole, clip, stop, both) = pairs(of_env, WHOLE, NO_CLIP, NO_STOP, NEITHER)
        if not seeds:
            continue
        alone, c = clip + stop - 2 * whole, paired_difference(clip + stop - whole, both)
        means = (x.mean() for x in (clip - whole, stop - whole, alone, both - whole))
        parts = zip((*means, c.difference, c.low, c.high), (10, 11, 10, 10, 12, 10, 10), strict=True)
        lines.append(f"{env:<16}" + "".join(f"{digits(float(x)):>{width}}" for x, width in parts))
        say = "no interaction found" if math.isnan(c.low) or c.low <= 0 <= c.high else "they hinder each other"
        say = "they stand in for each other: one makes up for the other's absence" if c.high < 0 else say
        lines.append(f"{'':<16}  {say} ({len(seeds)} seeds)")
    return lines


NOTES = """
mean, from, to: paired difference and its 95% interval, not corrected; p: corrected by Holm's method for all
{cells} comparisons of a table; n: seeds; same: seeds whose training returned exactly what the whole algorithm's did,
as the detail was never in use; finds: the smallest difference that n seeds would show about, in 80% of cases, at the
strictest of Holm's levels. "No difference found" is no proof that there is none. Interactions are not corrected.
"""


def report(rows: Sequence[Mapping[str, str]], failed: Sequence[Run] = ()) -> list[str]:
    """What came out, and how much of the study it rests on."""
    count, commits = len(runs_of()), sorted({row["commit"][:7] + "+" * row["commit"].endswith("+") for row in rows})
    lines = [f"{len(rows)} of {count} runs are finished; of commit {', '.join(commits)}"]
    lines += ["This is not the whole study: all below may change."] * (len(rows) < count)
    lines += [f"failed, and left out: {run.env}, {run.setting}, seed {run.seed}" for run in failed]
    lines += ["", *table(rows, RETURN), "", *table(rows, LEARNING)]
    cells = len(compared(returns_of(rows, RETURN)))
    return [*lines, "", *interaction(returns_of(rows, RETURN)), *NOTES.format(cells=cells).rstrip().split("\n")]


def draw(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """A panel for each environment, above its final return and below that while training; a line for each setting."""
    import matplotlib.style
    from matplotlib.figure import Figure

    from rlsuite.figures.style import COLORS, GREY, STYLE, draw_frame, save_figure, tick_label

    settings, envs = [s for s in SETTINGS if s != WHOLE], [*returns_of(rows, RETURN)]
    count = len(runs_of())
    with matplotlib.style.context(["default", STYLE]):
        fig = Figure()
        title = f"PPO with one detail left out{'' if len(rows) >= count else f' ({len(rows)} of {count} runs so far)'}"
        subtitle = (
            "difference to the whole algorithm · points: seeds · bar: mean · line: 95% interval · dotted: random play"
        )
        caption = (
            "Pale: no difference found, after Holm's correction for all settings and environments of a row of panels."
            f"\n{', '.join(f'{env}: {BUDGETS[env]:,} env steps' for env in envs)}"
        )
        draw_frame(fig, (11, 5.8), title, subtitle, [], caption)
        axes = fig.subplots(2, len(envs), sharey=True, squeeze=False)
        for line, column in zip(axes, (RETURN, LEARNING), strict=True):
            returns = returns_of(rows, column)
            found = compared(returns)
            for ax, env in zip(line, envs, strict=True):
                ax.axvline(0, color="black", linewidth=1)
                if {WHOLE, RANDOM} <= set(returns[env]):
                    whole, random = (np.mean([*returns[env][s].values()]) for s in (WHOLE, RANDOM))
                    ax.axvline(random - whole, color=GREY, linestyle=":")
                for y, setting in enumerate(settings):
                    if (env, setting) not in found:
                        continue
                    c, (_, (old, new)) = found[env, setting], pairs(returns[env], WHOLE, setting)
                    color, alpha = COLORS[c.difference < 0], 1 if verdict(c) != c.verdict else 0.35
                    ax.plot(new - old, np.full(len(old), y), "o", color=color, ms=3.5, mew=0, alpha=0.5 * alpha)
                    ax.plot([c.low, c.high], [y, y], color=color, linewidth=2, alpha=alpha)
                    ax.plot(c.difference, y, "|", color=color, ms=12, mew=2, alpha=alpha)
                ax.set_yticks(range(len(settings)), settings)
                ax.set_ylim(len(settings) - 0.5, -0.5)
                ax.xaxis.set_major_formatter(tick_label)
                ax.set_title(env)
                ax.set_xlabel(f"{column}, difference")
        save_figure(fig, path)


def main(argv: Sequence[str]) -> int:
    """Train what is left of the study or of a part, then report on all that is finished."""
    os.chdir(ROOT)
    try:
        if argv[:1] == ["--train"]:
            return train_changed(argv[1], argv[2:])
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
    rows, failed = results(runs_of())
    if rows:
        write_table(KEPT, rows)
    elif KEPT.exists():
        with KEPT.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    if rows:
        print("\n" + "\n".join(report(rows, failed)))
        draw(rows, FIGURE)
    else:
        print("rlsuite: no run of the study is finished", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
