"""All algorithms on small environments, to run all the time: `python experiments/battery.py --small`.

The small one takes ten minutes on two cores. Its runs go to data/battery/, side by side; started again, finished ones
are not repeated, and interrupted ones go on. `mpiexec -n 9 python -m mpi4py.futures experiments/battery.py --small`
spreads them over hosts; start it in the repository's root.

    --compare   says in which cells the returns are worse, or better, than the kept ones
    --keep      keeps the returns for later comparisons: data/battery.csv, data/battery.png

The seeds of a comparison are not paired, since equal seeds do not make runs of different code alike. With 3 seeds only
what is badly broken is found; docs/pictures.md has the numbers.

`--full` trains every algorithm on every environment that it fits, for days, the cheap cells first: the runs of
`cells.py` that have no line in data/results.csv, or a stale one. It goes on in the same way, and then writes
docs/results.md, the table in README.md and the reference curves.

    --only WORD   chooses cells: ppo_CartPole-v1, or all with that word in their name; --table writes the pages later
    --count       says what is left of each, and the hours it may take
    --table       only writes, and trains nothing
    --pages DIR   only draws the curves of each environment
"""

import argparse
import csv
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tables import DATA, ROOT, write_table

from rlsuite import pool
from rlsuite.analysis.statistics import compare_cells, estimate
from rlsuite.errors import UserError
from rlsuite.run import jobs_of
from rlsuite.rundir.runs import read_config
from rlsuite.rundir.summaries import FINISHED, summarize

RUNS = Path("data") / "battery"
KEPT = DATA / "battery.csv"
FIGURE = DATA / "battery.png"
SOON = "--hidden-sizes 64 64 --total-steps 10000 --steps-per-epoch 1000 --start-steps 1000 --update-after 1000"
SOON += " --gamma 0.98 --num-test-episodes 0 --preset none"
# algorithm, environment, settings: each learns something in seconds
SMALL = [
    ("random", "CartPole-v1", "--total-steps 20000"),
    ("vpg", "CartPole-v1", "--preset none --total-steps 50000"),
    ("a2c", "CartPole-v1", "--preset none --total-steps 50000"),
    ("trpo", "CartPole-v1", "--preset none --total-steps 50000"),
    ("ppo", "CartPole-v1", "--preset none --total-steps 50000"),
    ("dqn", "CartPole-v1", "--total-steps 30000"),
    ("cem", "CartPole-v1", "--total-steps 30000"),
    ("random", "Pendulum-v1", "--total-steps 20000"),
    ("ppo", "Pendulum-v1", "--total-steps 50000"),
    ("ddpg", "Pendulum-v1", SOON),
    ("td3", "Pendulum-v1", SOON),
    ("sac", "Pendulum-v1", SOON),
    ("random", "FrozenLake-v1", "--total-steps 20000"),
    ("dqn", "FrozenLake-v1", "--total-steps 20000"),
    ("ppo", "FrozenLake-v1", "--preset none --total-steps 30000"),
]


class Run(NamedTuple):
    """One training of the battery."""

    algo: str
    env: str
    seed: int
    settings: str

    @property
    def cell(self) -> str:
        """What the seeds of one setting share."""
        return f"{self.algo} {self.env}"

    @property
    def words(self) -> list[str]:
        """What follows `python -m rlsuite.run`."""
        where = ["--data-dir", f"{RUNS}", "--seed", f"{self.seed}", "--quiet"]
        return [self.algo, "--env", self.env, *self.settings.split(), *where]

    @property
    def command(self) -> str:
        """As config.json has it."""
        return shlex.join(["python", "-m", "rlsuite.run", *self.words])


def runs_of(seeds: int) -> list[Run]:
    """The whole battery, one seed of all cells after the other: what is interrupted has something of each."""
    return [Run(algo, env, seed, settings) for seed in range(seeds) for algo, env, settings in SMALL]


def train(runs: Sequence[Run], jobs: int) -> int:
    """Train what is not finished, and return the exit code."""
    tasks = [
        pool.Task(jobs_of(run.words)[0], f"{run.cell}, seed {run.seed}", run.command, [*run.words, "--job", "1"])
        for run in runs
    ]
    return pool.train_all(tasks, jobs, shlex.join(["python", *sys.argv]))


def results(runs: Sequence[Run]) -> list[dict[str, str]]:
    """A line for each run that is finished, of the newest where there are several."""
    made = {}
    for path in sorted((ROOT / RUNS).glob("*/*/config.json"), key=lambda path: path.parent.name):
        made[read_config(path.parent).get("command")] = path.parent
    rows = []
    for run in runs:
        if run.command not in made:
            continue
        summary, config = summarize(made[run.command]), read_config(made[run.command])
        if summary.state == FINISHED:
            rows.append(
                {
                    "algorithm": run.algo,
                    "environment": run.env,
                    "seed": f"{run.seed}",
                    "env steps": f"{summary.steps:.0f}",
                    "return": f"{summary.ret:.4f}",
                    "std": f"{summary.std:.4f}",
                    "seconds": f"{summary.seconds:.1f}",
                    "commit": f"{config.get('git_commit')}",
                    "versions": " ".join(f"{name} {number}" for name, number in config.get("versions", {}).items()),
                    "command": run.command,
                }
            )
    return rows


def returns(rows: Sequence[dict[str, str]]) -> dict[str, dict[int, float]]:
    """The return of each seed of each cell."""
    cells: dict[str, dict[int, float]] = {}
    for row in rows:
        cells.setdefault(f"{row['algorithm']} {row['environment']}", {})[int(row["seed"])] = float(row["return"])
    return cells


def commits(rows: Sequence[dict[str, str]]) -> str:
    """Which source the rows are of, in a few words."""
    found = sorted({row["commit"][:7] + "+" * row["commit"].endswith("+") for row in rows})
    mixed = "of several commits, so cells may differ for that reason: " if len(found) > 1 else "of commit "
    return mixed + ", ".join(found)


def table(rows: Sequence[dict[str, str]]) -> list[str]:
    """Mean return of each cell with its 95% interval, and every seed."""
    lines = [f"{'cell':<24} {'n':>2} {'mean':>9} {'from':>9} {'to':>9}  seeds"]
    for cell, by_seed in returns(rows).items():
        value, low, high = estimate(np.array([*by_seed.values()])[:, None])
        seeds = " ".join(f"{ret:.4g}" for _, ret in sorted(by_seed.items()))
        lines.append(f"{cell:<24} {len(by_seed):>2} {value:>9.4g} {low:>9.4g} {high:>9.4g}  {seeds}")
    return [*lines, "", f"{len(rows)} runs {commits(rows)}. From, to: 95% interval of the mean; 3 seeds are few."]


def comparison(old: Sequence[dict[str, str]], new: Sequence[dict[str, str]]) -> tuple[list[str], bool]:
    """A line for each cell that both have, and whether any of them is worse."""
    before, after = returns(old), returns(new)
    shared = [cell for cell in before if cell in after and not cell.startswith("random ")]
    found = compare_cells({c: before[c] for c in shared}, {c: after[c] for c in shared}, pair=False)
    lines = [f"kept: {commits(old)}; now: {commits(new)}"]
    lines += [f"{cell:<24} {text}" for cell, text in found.items()]
    worse = [cell for cell, text in found.items() if text.verdict == "worse"]
    return [*lines, f"worse: {', '.join(worse) or 'none found'}"], bool(worse)


def draw(rows: Sequence[dict[str, str]]) -> None:
    """Every seed as a point, the mean with its interval as a line, random play as the place to start from."""
    import matplotlib.style
    from matplotlib.figure import Figure

    from rlsuite.figures.style import COLORS, GREY, STYLE, draw_frame, save_figure

    cells = returns(rows)
    envs = list(dict.fromkeys(row["environment"] for row in rows))
    learned = {env: [c for c in cells if c.endswith(f" {env}") and not c.startswith("random ")] for env in envs}
    with matplotlib.style.context(["default", STYLE]):
        fig, heights = Figure(), [len(learned[env]) for env in envs]
        subtitle = "points: seeds · bar: mean · line: 95% interval of the mean · dotted: random play"
        draw_frame(fig, (8, 0.6 * len(envs) + 0.3 * sum(heights)), "battery", subtitle, [], f"{commits(rows)}")
        axes = fig.subplots(len(envs), height_ratios=heights, squeeze=False)
        for ax, env in zip(axes[:, 0], envs, strict=True):
            if chance := cells.get(f"random {env}"):
                ax.axvline(np.mean([*chance.values()]), color=GREY, linestyle=":")
            for y, cell in enumerate(learned[env]):
                seeds = np.array([*cells[cell].values()])
                mean, low, high = estimate(seeds[:, None])
                ax.plot([low, high], [y, y], color=COLORS[0], linewidth=2, alpha=0.5)
                ax.plot(seeds, np.full(len(seeds), y), "o", color=COLORS[0], markersize=4, alpha=0.7)
                ax.plot(mean, y, "|", color=COLORS[0], markersize=14, markeredgewidth=2)
            ax.set_yticks(range(len(learned[env])), [cell.split()[0] for cell in learned[env]])
            ax.set_ylim(len(learned[env]) - 0.5, -0.5)
            ax.set_title(env)
        axes[-1, 0].set_xlabel("return of the final policy")
        save_figure(fig, FIGURE)


def whole_battery(args: argparse.Namespace) -> int:
    """Do what the command line asks of the full battery, and return the exit code."""
    import curves
    import full
    import published

    cells = full.chosen(args.only)
    wanted = full.trainings(cells, args.seeds)
    if args.count:
        print("\n".join(full.count(wanted)))
        return 0
    code = 0 if args.table or args.pages else full.train(wanted, args.jobs)
    lines = full.read_lines()
    results = published.results(lines)
    if args.pages:
        print("\n".join(map(str, curves.draw_pages(results, lines, args.pages))))
    elif not args.only:
        published.write(lines)
        curves.write_curves(results)
    return code


def main() -> int:
    """Train, print the table, and compare or keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--small", action="store_true", help="what takes minutes")
    which.add_argument("--full", action="store_true", help="all of cells.py")
    parser.add_argument("--seeds", type=int, help="seeds of each cell, from 0 [3; --full: all]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time [one per core]")
    parser.add_argument("--compare", action="store_true", help="with data/battery.csv; exit code 1 if a cell is worse")
    parser.add_argument("--keep", action="store_true", help="write data/battery.csv and data/battery.png")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="--full: cells, such as ppo_CartPole-v1")
    parser.add_argument("--count", action="store_true", help="--full: hours of each cell; nothing is trained")
    parser.add_argument("--table", action="store_true", help="--full: write tables and curves; nothing is trained")
    parser.add_argument("--pages", type=Path, metavar="DIR", help="--full: draw the curves; nothing is trained")
    args = parser.parse_args()
    if (args.seeds is not None and args.seeds < 1) or args.jobs < 1:
        parser.error("--seeds and --jobs take a whole number from 1 up")
    small, full = args.compare or args.keep, args.only or args.count or args.table or args.pages
    if (args.full and small) or (args.small and full):
        parser.error("--compare and --keep go with --small; --only, --count, --table and --pages with --full")
    args.pages = args.pages and args.pages.absolute()
    os.chdir(ROOT)
    if args.full:
        try:
            return whole_battery(args)
        except UserError as error:
            parser.error(f"{error}")
    runs = runs_of(args.seeds or 3)
    try:
        code = train(runs, args.jobs)
    except UserError as error:
        parser.error(f"{error}")
    rows = results(runs)
    if not rows:
        return code
    print("\n" + "\n".join(table(rows)))
    if args.compare:
        with KEPT.open(newline="") as file:
            lines, worse = comparison(list(csv.DictReader(file)), rows)
        print("\n" + "\n".join(lines))
        code = code or int(worse)
    if args.keep and not code:
        write_table(KEPT, rows)
        draw(rows)
    return code


if __name__ == "__main__":
    sys.exit(main())
