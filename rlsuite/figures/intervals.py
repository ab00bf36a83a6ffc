"""One column over several seeds: its mean, and a confidence band around it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsuite.analysis.statistics import t_interval
from rlsuite.rundir.runs import Columns

Array = NDArray[np.float64]

X_COLUMN = "TotalEnvInteracts"
"""What curves are drawn against unless another column is asked for, env steps."""
HUGE = 1e100  # No measurement is that large, and matplotlib overflows on it.
MAX_POINTS = 1000  # of a curve; a panel has fewer pixels


class Curve(NamedTuple):
    """One column over the runs of a group: x, mean, lo and hi (X,), and the x, y of each run."""

    x: Array
    mean: Array
    lo: Array
    hi: Array
    runs: list[tuple[Array, Array]]


def aggregate(
    runs: Sequence[Columns], column: str, *, gaps: bool = False, x_column: str = X_COLUMN, smooth: int = 1
) -> Curve:
    """Average one column over runs: at each x, over the runs that have a value there.

    Between its rows a run is interpolated linearly; before its first and after its last row it has no value.

    Args:
        runs:     as `read_progress` returns them.
        column:   a run without it is left out.
        gaps:     whether a row of NaN breaks the run's curve, or the curve runs on to the next value.
        x_column: what it is drawn against, env steps by default.
        smooth:   over how many rows of a run, up to the one at x, its values are averaged first.

    Returns:
        At most `MAX_POINTS` points, at x of the runs; none if no run has a value.
    """
    found = [measured(run, column, gaps=gaps, x_column=x_column) for run in runs]
    curves = [(x, moving_mean(y, smooth)) for x, y in found if np.isfinite(y).any()]
    x = np.unique(np.concatenate([np.empty(0), *(steps for steps, _ in curves)]))
    if x.size > MAX_POINTS:
        x = x[np.unique(np.searchsorted(x, np.linspace(x[0], x[-1], MAX_POINTS)))]
    values = np.empty((len(curves), x.size))
    for row, (steps, y) in zip(values, curves, strict=True):
        row[:] = np.interp(x, steps, y, left=np.nan, right=np.nan)  # next to a NaN only the row itself has a value
    present = np.isfinite(values).sum(axis=0)
    mean = np.where(present > 0, np.nansum(values, axis=0) / np.maximum(present, 1), np.nan)
    return Curve(x, mean, *t_interval(values), curves)


def moving_mean(y: Array, rows: int) -> Array:
    """Return the mean of each value and those before it, `rows` in all; what is NaN stays it and counts nowhere."""
    if not y.size:
        return y
    there = np.isfinite(y)
    window = np.ones(min(rows, y.size))
    sums, counts = (np.convolve(part, window)[: y.size] for part in (np.where(there, y, 0), there.astype(float)))
    return np.where(there, sums / np.maximum(counts, 1), np.nan)


def measured(run: Columns, column: str, *, gaps: bool = False, x_column: str = X_COLUMN) -> tuple[Array, Array]:
    """Return x and the values (rows,) of the rows that have both, by increasing x.

    Args:
        run:      as `read_progress` returns it.
        column:   none gives no rows.
        gaps:     whether rows whose value is NaN stay.
        x_column: env steps by default.
    """
    if column not in run or x_column not in run:
        return np.empty(0), np.empty(0)
    x, y = run[x_column], run[column]
    ok = (np.abs(x) < HUGE) & ((np.abs(y) < HUGE) | (gaps & np.isnan(y)))  # a NaN is not below HUGE
    steps, first = np.unique(x[ok], return_index=True)
    return steps, y[ok][first]
