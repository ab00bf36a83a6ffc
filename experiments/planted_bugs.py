"""Does the diagnosis find what is wrong? `python experiments/planted_bugs.py train`, then `... judge`.

`train` plants each fault of `planted_faults.py` in a copy of the package and trains five seeds; it trains as many
without a fault, and healthy runs that are slow or hard. About two hours on two cores. The logs stay in data/planted/
and are made only once: started again, it goes on with what is missing.

`judge` reads the logs alone. A fault counts if it lowers the return by more than three times the larger standard
deviation over seeds, its own or that without the fault; a run that broke off counts as random play. Halves are split by
a hash of the fault's name. Thresholds were set on the building half, and `--part held-out` judged the other one. Then
the rules were set by both, and `--part fresh` judged them by the faults and healthy runs of `planted_fresh.py`. They
were changed once more, and `--part later` judged them by those of `planted_later.py`. What comes of it goes to
data/diagnosis.csv, which `report` prints as tables.

`fit` fits the likeness (`rlsuite.analysis.likeness`) to the faults of all sets that have been judged. It says first how
many of each set are named when it is fitted to the others. Of the likeness, `--part last` was the first judge, by
`planted_last.py`. The rules were changed again, and `--part fifth` judged what is here now, by `planted_fifth.py`.

    detection    most runs of a fault that counts have a finding other than "not learning" or "worse than random play"
    naming       in most of them its cause is among the first three that the findings name
    false alarm  a healthy run has a finding of which no cause is true of it (TRUE_OF in planted_faults.py)

The likeness only reorders causes. So it detects nothing, and is a false alarm if none of the first three is true.

Source of the idea: RLExplorer, arXiv 2410.04322, which names 83% of 11 faulty programs.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from planted_faults import CELLS, FAULTS, HARD, TRUE_OF, UNSEEN, Fault
from planted_fifth import FIFTH, FIFTH_HEALTHY, FIFTH_TRUE_OF, FIFTH_TRUE_RETURN
from planted_fresh import FRESH, FRESH_HEALTHY, FRESH_TRUE_OF, FRESH_TRUE_RETURN
from planted_judgement import LEFT_OUT, NAMED, Verdict, alarms, judge, missed, rate, report, table
from planted_last import LAST, LAST_HEALTHY, LAST_TRUE_OF, LAST_TRUE_RETURN
from planted_later import LATER, LATER_CELLS, LATER_HEALTHY, LATER_TRUE_OF, LATER_TRUE_RETURN
from planted_likeness import Known, fit, write
from tables import DATA, ROOT, write_table

from rlsuite.analysis.diagnosis import Log, Rule, diagnose
from rlsuite.analysis.likeness import looks_like
from rlsuite.analysis.rules import RULES
from rlsuite.analysis.watch import read_log
from rlsuite.launching import without

RUNS = DATA / "planted"
TABLE = DATA / "diagnosis.csv"
SEEDS = range(5)
HARD_SEEDS = range(3)
HOUR = 3600  # seconds after which a training is given up


class Blind(NamedTuple):
    """Faults and healthy runs of someone who had not read the rules."""

    faults: Sequence[Fault]
    healthy: Mapping[str, str]
    """name: command line"""
    true_of: Mapping[str, tuple[str, ...]]
    """of these, causes that are true of them all the same"""
    cells: Mapping[str, tuple[str, str, str]] = {}
    """more of them, in which faults are planted, as in `CELLS`"""


BLIND = {  # in the order of time
    "fresh": Blind(FRESH, FRESH_HEALTHY, FRESH_TRUE_OF),
    "later": Blind(LATER, LATER_HEALTHY, LATER_TRUE_OF, LATER_CELLS),
    "last": Blind(LAST, LAST_HEALTHY, LAST_TRUE_OF),
    "fifth": Blind(FIFTH, FIFTH_HEALTHY, FIFTH_TRUE_OF),
}
FITTED = ("building", "held-out", "fresh", "later", "last")
"""parts that `fit` sees"""
TRUE_OF_ALL = [TRUE_OF, *(part.true_of for part in BLIND.values())]
HEALTHY = {"building": [*CELLS, *HARD], "held-out": [*UNSEEN]}
HEALTHY |= {name: [*part.cells, *part.healthy] for name, part in BLIND.items()}
# What the wrapper of an environment makes of a return is undone before returns are compared.
TRUE_RETURN = {"NegativeReward": -1.0, "HugeReward": 1e-4, "TinyReward": 1e4, "NoReward": math.nan}
TRUE_RETURN |= FRESH_TRUE_RETURN | LATER_TRUE_RETURN | LAST_TRUE_RETURN | FIFTH_TRUE_RETURN


class Task(NamedTuple):
    """The trainings of one fault, or of one healthy cell."""

    name: str
    """of its folder"""
    words: list[str]
    """after `python -m rlsuite.run`, without seeds and folders"""
    seeds: range
    fault: Fault | None = None


def slug(text: str) -> str:
    """A name as a folder: letters, digits and underscores."""
    return "".join(char if char.isalnum() and char.isascii() else "_" for char in text)


def tasks() -> Iterator[Task]:
    """All of them: the healthy cells first, since what counts is measured against them."""
    cells = dict(CELLS)
    for part in BLIND.values():
        cells |= part.cells
    for cell, (algo, env, settings) in cells.items():
        yield Task(slug(f"healthy {cell}"), [algo, "--env", env, *settings.split()], SEEDS)
    for fault in [*FAULTS, *(fault for part in BLIND.values() for fault in part.faults)]:
        algo, env, settings = cells[fault.cell]
        words = [algo, "--env", env, *without(settings.split(), *fault.settings.split()[::2]), *fault.settings.split()]
        if fault.wrapper:
            words[2] = f"planted_environments:{fault.wrapper}/{env}"
            words += [] if "--preset" in words else ["--preset", env]
        yield Task(slug(fault.name), words, SEEDS, fault)
    for name, command in HARD.items():
        yield Task(slug(f"healthy {name}"), command.split(), HARD_SEEDS)
    for healthy in (UNSEEN, *(part.healthy for part in BLIND.values())):
        for name, command in healthy.items():
            yield Task(slug(f"healthy {name}"), command.split(), SEEDS)


def planted(fault: Fault | None, folder: Path) -> Path:
    """A copy of the package, and what registers the environments, with the fault in it."""
    shutil.copytree(ROOT / "rlsuite", folder / "rlsuite", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "experiments" / "planted_environments.py", folder)
    if fault and fault.file:
        path = folder / "rlsuite" / fault.file
        text = path.read_text()
        assert text.count(fault.old) == 1, f"{fault.name}: {fault.old!r} stands {text.count(fault.old)} times"
        path.write_text(text.replace(fault.old, fault.new))
    return folder


def train(task: Task) -> str:
    """Train the seeds that are missing; what came of it in a few words."""
    out = RUNS / task.name
    missing = []
    for seed in task.seeds:
        if not any(any(out.glob(f"*_s{seed}/{name}.json")) for name in ("result", "error")):
            missing.append(seed)
            for run in out.glob(f"*_s{seed}"):
                shutil.rmtree(run)  # it was killed
    with tempfile.TemporaryDirectory() as folder:
        copy = planted(task.fault, Path(folder))
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(copy)}
        while missing:
            how = ["--data-dir", str(RUNS), "--exp-name", task.name, "--quiet", "--checkpoint-every", "0"]
            command = [sys.executable, "-m", "rlsuite.run", *task.words, *how, "--seed", *map(str, missing)]
            try:
                done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=HOUR)
            except subprocess.TimeoutExpired:
                return "FAILED: no end within an hour"
            begun = [seed for seed in missing if list(out.glob(f"*_s{seed}/config.json"))]
            if done.returncode and not begun:
                return f"FAILED before it began: {done.stderr.strip()[-300:]}"
            missing = [seed for seed in missing if seed not in begun]  # a grid ends with the first run that breaks off
    ended = len(list(out.glob("*/result.json")))
    return f"{ended} of {len(task.seeds)} trained to their end"


def half(name: str) -> str:
    """Either "building" or "held-out", by a hash of the fault's name; of those that were written blind, their part."""
    by_hash = ("building", "held-out")[hashlib.sha256(name.encode()).digest()[0] % 2]
    return next((part for part, blind in BLIND.items() if name in [fault.name for fault in blind.faults]), by_hash)


def part_of(task: Task) -> str:
    """Which half a fault, or a healthy cell, belongs to."""
    if task.fault:
        return half(task.fault.name)
    return next(name for name, cells in HEALTHY.items() if task.name in [slug(f"healthy {cell}") for cell in cells])


def train_all(jobs: int, only: str, which: str) -> None:
    """All tasks, a line for each as it ends."""
    todo = [task for task in tasks() if only in task.name and which in ("all", part_of(task))]
    with ThreadPoolExecutor(jobs) as pool:
        for number, (task, said) in enumerate(zip(todo, pool.map(train, todo), strict=True), start=1):
            print(f"{number} of {len(todo)}  {task.name}: {said}", flush=True)


def runs_of(task: Task) -> list[Path]:
    """Its run directories, one for each seed.

    Raises:
        SystemExit: some have not been trained.
    """
    found = [next(iter((RUNS / task.name).glob(f"*_s{seed}")), None) for seed in task.seeds]
    runs = [run for run in found if run]
    if len(runs) < len(task.seeds):
        sys.exit(f"{task.name}: {len(runs)} of {len(task.seeds)} runs are there; train them first")
    return runs


def returns(task: Task) -> np.ndarray:
    """Of all seeds, of the final policy's test episodes, in the units of the sound environment.

    What broke off, or can't be known, is at the level of random play.
    """
    factor = TRUE_RETURN.get(task.fault.wrapper, 1.0) if task.fault else 1.0
    found = []
    for run in runs_of(task):
        result, config = (run / name for name in ("result.json", "config.json"))
        chance = json.loads(config.read_text())["random_play"]["return"]
        known = json.loads(result.read_text())["AverageEpRet"] if result.exists() else chance
        found.append(factor * known if math.isfinite(factor) else math.nan)
    return np.array(found)


def twins(which: str) -> list[str]:
    """Faults of a half which another algorithm, or cell, has in the other half; of a blind part, in any before it."""
    before = [*BLIND][: [*BLIND].index(which) + 1] if which in BLIND else []
    faults = [*FAULTS, *(fault for part in before for fault in BLIND[part].faults)]
    other = {fault.name.partition(": ")[2] for fault in faults if half(fault.name) != which}
    names = [fault.name for fault in faults if half(fault.name) == which]
    return [name for name in names if any(_alike(name.partition(": ")[2], text) for text in other)]


def _alike(name: str, other: str) -> bool:
    return name.partition(",")[0].removesuffix("s") == other.partition(",")[0].removesuffix("s")


def lowers(fault: np.ndarray, sound: np.ndarray, chance: float) -> bool:
    """Whether a fault counts."""
    fault = np.where(np.isnan(fault), chance, fault)
    return bool(sound.mean() - fault.mean() > 3 * max(fault.std(ddof=1), sound.std(ddof=1)))


def trained(parts: Collection[str]) -> Iterator[tuple[str, Task, list[Log], bool]]:
    """The tasks of some parts, each with its part, the logs of its seeds, and whether it is a fault that counts."""
    sound: dict[str, np.ndarray] = {}
    chance: dict[str, float] = {}
    cells = {slug(f"healthy {task.fault.cell}") for task in tasks() if task.fault and part_of(task) in parts}
    for task in tasks():
        part, counts = part_of(task), False
        if part not in parts and task.name not in cells:
            continue
        logs = [read_log(run) for run in runs_of(task)]
        if task.fault:
            cell = slug(f"healthy {task.fault.cell}")
            counts = lowers(returns(task), sound[cell], chance[cell])
        else:
            sound[task.name], chance[task.name] = returns(task), float(np.mean([log.chance[0] for log in logs]))
        if part in parts:
            yield part, task, logs, counts


def judge_half(which: str) -> tuple[list[Verdict], list[Verdict], int]:
    """Verdicts of the faults of a half that count, of its healthy runs, and how many faults do not count."""
    true_of = {slug(f"healthy {cell}"): true for part in TRUE_OF_ALL for cell, true in part.items()}
    faults, healthy, uncounted = [], [], 0
    for _, task, logs, counts in trained([which]):
        if not task.fault:
            healthy += [judge(task.name.removeprefix("healthy_"), log, "", true_of.get(task.name, ())) for log in logs]
        elif counts:
            faults += [judge(task.fault.name, log, task.fault.cause) for log in logs]
        else:
            uncounted += 1
    return faults, healthy, uncounted


def fit_likeness() -> list[dict[str, str]]:
    """Fit it to all parts that it may see, and write it down; lines of how it does when it has not seen one of them."""
    known = [
        (part, Known(task.fault.name if task.fault else task.name, task.fault.cause if task.fault else "", counts, log))
        for part, task, logs, counts in trained(FITTED)
        for log in logs
    ]
    lines = []
    for left_out in FITTED:
        rule = partial(looks_like, model=fit([run for part, run in known if part != left_out]))
        rules: list[Rule] = [*(other for other in RULES if other is not looks_like), rule]
        named: dict[str, list[bool]] = {}
        for run in [run for part, run in known if part == left_out and run.counts]:
            named.setdefault(run.fault, []).append(run.cause in diagnose(run.log, rules).causes[:NAMED])
        share = rate(sum(2 * sum(runs) > len(runs) for runs in named.values()), len(named))
        lines.append({"half": left_out, "measure": LEFT_OUT, "algorithm": "all", "cause": "all", "said": "", **share})
    write(fit([run for _, run in known]))
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Train, fit, or judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "fit", "judge", "report"])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time [one per core]")
    parser.add_argument("--only", default="", metavar="WORD", help="tasks whose folder contains this")
    parser.add_argument("--part", default="all", choices=["all", *HEALTHY])
    args = parser.parse_args(argv)
    if args.what == "train":
        train_all(args.jobs, args.only, args.part)
        return 0
    known = []
    if TABLE.exists():
        with TABLE.open(newline="", encoding="utf-8") as file:
            known = list(csv.DictReader(file))
    if args.what == "report":
        print("\n".join(report(known)))
        return 0
    if args.what == "fit":
        rows = [row for row in known if row["measure"] != LEFT_OUT] + fit_likeness()
        write_table(TABLE, rows)
        print("\n".join(report(rows)))
        return 0
    which = [*BLIND][-1] if args.part == "all" else args.part
    if which in FITTED:
        sys.exit(f"--part {which} was judged before the rules and the likeness had seen it; {TABLE.name} keeps that")
    faults, healthy, uncounted = judge_half(which)
    print("\n".join([*missed(faults), *alarms(healthy)]))
    kept = [row for row in known if row["half"] != which or row["measure"] == LEFT_OUT]
    rows = kept + [{"half": which, **row} for row in table(faults, healthy, uncounted, twins(which))]
    write_table(TABLE, rows)
    print("\n".join(report(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
