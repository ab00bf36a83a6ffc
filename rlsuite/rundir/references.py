"""Reference curves: the training returns of the runs that docs/results.md reports, in `curves.csv` beside this file.

`experiments/battery.py --full` writes them, of each cell that is as good as what others publish, at 50 points at most.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsuite.rundir.runs import settings_of

Array = NDArray[np.float64]
CURVES = Path(__file__).with_name("curves.csv")
COLUMN = "AverageEpRet"
"""of progress.txt, which the curves are means of"""
COLUMNS = ("cell", "algo", "env", "env_kwargs", "settings", "runs", "steps", "mean", "low", "high")
"""of the file"""
NOT_LEARNING = {"exp_name", "device", "compile", "torch_threads"}
"""settings that change where and how fast a run computes, and not what it learns"""


class Reference(NamedTuple):
    """The curve of one algorithm in one environment."""

    cell: str
    """name, such as ppo_CartPole-v1"""
    algo: str
    env: str
    env_kwargs: str
    settings: str
    """`settings_digest` of its runs"""
    runs: int
    """seeds"""
    steps: Array
    """(X,) env steps, increasing"""
    mean: Array
    """(X,) over the seeds"""
    low: Array
    """(X,) of the 95% interval of that mean"""
    high: Array


def settings_digest(config: Mapping[str, Any]) -> str:
    """Eight letters that two runs share if they have the same settings and budget, whatever their seed.

    Args:
        config: a run's `config.json`.
    """
    settings = {name: text for name, text in settings_of(Path(), config).items() if name not in NOT_LEARNING}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


@cache
def read_references(path: Path = CURVES) -> Sequence[Reference]:
    """All curves of a file; none if there is no file."""
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    for cell in dict.fromkeys(row["cell"] for row in rows):
        own = [row for row in rows if row["cell"] == cell]
        first, points = own[0], np.array([[float(row[name]) for name in COLUMNS[6:]] for row in own])
        task = first["algo"], first["env"], first["env_kwargs"]
        found.append(Reference(cell, *task, first["settings"], int(first["runs"]), *points.T))
    return tuple(found)


def same_settings(config: Mapping[str, Any], references: Sequence[Reference] | None = None) -> Reference | None:
    """The curve of runs that differ from this one in their seed only, None where there is none.

    Args:
        config: the run's `config.json`.
        references: to choose from, those of the package by default.
    """
    known = read_references() if references is None else references
    digest = settings_digest(config) if known else ""
    return next((reference for reference in known if reference.settings == digest), None)


def same_task(config: Mapping[str, Any], references: Sequence[Reference] | None = None) -> Reference | None:
    """The curve of the same algorithm and environment: that of `same_settings` if there is one, else the longest."""
    known = read_references() if references is None else references
    task = config.get("algo"), config.get("env"), config.get("env_kwargs", "{}")
    alike = [each for each in known if (each.algo, each.env, each.env_kwargs) == task and not config.get("custom_env")]
    longest = max(alike, key=lambda each: float(each.steps[-1]), default=None)
    return same_settings(config, alike) or longest
