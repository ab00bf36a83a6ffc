"""Which columns are worth a panel."""

from collections.abc import Sequence

import numpy as np

from rlsuite.figures.intervals import HUGE
from rlsuite.rundir.runs import Columns

N_PANELS = 6
RETURNS = {"AverageEpRet": ("MinEpRet", "MaxEpRet"), "AverageTestEpRet": ("MinTestEpRet", "MaxTestEpRet")}
"""The worst and the best episode behind a mean return."""
BESIDE = {"QVals": ("ReturnMean", "Q (thick), observed return (thin)")}
"""What is drawn into the panel of a column for comparison, and the title of both."""
SCHEDULES = {"Epsilon", "ActNoise"}  # where a run logs one of them, its Entropy only follows it

# The first that says something of each line has a panel, until there are enough.
CANDIDATES = [
    ("Entropy",),
    ("KL",),
    ("QVals", "ValueBias"),
    ("TargetGap",),
    ("ExplainedVariance",),
    ("ClipFrac", "StopIter"),
    ("EliteRet",),
    ("AverageTestEpRet",),
    ("AverageEpRet",),
    ("EpLen",),
    ("ActionEntropy",),
    ("ParamStd",),
    ("StateEntropy",),
    ("GradNormPi",),
    ("LossV",),
    ("StepsPerSec",),
]


def choose_columns(logs: Sequence[Sequence[Columns]], most: int = N_PANELS) -> list[str]:
    """Return the columns to look at first, the return before all.

    That is the test return, where each group has test episodes: training episodes explore.

    Args:
        logs: of each group, what each of its runs has logged.
        most: how many at most.
    """
    tested = all(any(_has_values(log, "AverageTestEpRet") for log in runs) for runs in logs)
    columns = ["AverageTestEpRet" if tested else "AverageEpRet"]
    every = [log for runs in logs for log in runs]
    for alternatives in CANDIDATES:
        telling = [c for c in alternatives if c not in columns and any(_says_something(log, c) for log in every)]
        columns += telling[:1]
    return columns[:most]


def _has_values(log: Columns, column: str) -> bool:
    return column in log and bool((np.abs(log[column]) < HUGE).any())


def _says_something(log: Columns, column: str) -> bool:
    """Whether a column has values that are news: a length or a clip that varies, a length that is not the return."""
    if not _has_values(log, column) or (column == "Entropy" and SCHEDULES & set(log)):
        return False
    y = log[column]
    if column not in ("EpLen", "ClipFrac", "StopIter") or y.size < 2:
        return True
    ret = log.get("AverageEpRet", np.full(y.size, np.nan))
    both = (np.abs(y) < HUGE) & (np.abs(ret) < HUGE) & (y != 0)
    share = ret[both] / y[both]  # CartPole pays 1 for each step, MountainCar -1
    multiple = both.sum() > 1 and np.ptp(share) <= 1e-3 * np.abs(share).max()
    seen = y[np.abs(y) < HUGE]
    return bool(np.ptp(seen) > 0 and not (column == "EpLen" and multiple))
