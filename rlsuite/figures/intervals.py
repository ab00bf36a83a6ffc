"""One column over several seeds: its mean, and a confidence band around it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsuite.rundir.runs import Columns

Array = NDArray[np.float64]

X_COLUMN = "TotalEnvInteracts"
"""What all curves are drawn against, env steps."""
HUGE = 1e100  # No measurement is that large, and matplotlib overflows on it.
MAX_POINTS = 1000  # of a curve; a panel has fewer pixels


class Curve(NamedTuple):
    """One column over the runs of a group: x, mean, lo and hi (X,), and the x, y of each run."""

    x: Array
    mean: Array
    lo: Array
    hi: Array
    runs: list[tuple[Array, Array]]


def bootstrap_band(values: Array, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> tuple[Array, Array]:
    """Percentile bootstrap confidence band of the mean over seeds.

    Args:
        values:    (S, X), one row per seed; NaN where a seed has no value.
        level:     share of the resampled means that lie inside the band.
        resamples: how often S seeds are drawn anew, with replacement.
        seed:      of the resampling, so that equal data give equal figures.

    Returns:
        lo, hi (X,): NaN where fewer than two seeds have a value, since one says nothing about the spread.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13.
    """
    lo, hi = np.full((2, values.shape[1]), np.nan)
    there = np.isfinite(values)
    for present in np.unique(there, axis=1).T:  # each set of seeds that meet somewhere: (S,) bool
        n = int(present.sum())
        if n < 2:
            continue
        at = (there == present[:, None]).all(axis=0)
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
        means = counts / n @ values[np.ix_(present, at)]  # (resamples, X of this set)
        lo[at], hi[at] = np.percentile(means, [50 * (1 - level), 50 * (1 + level)], axis=0)
    return lo, hi


def aggregate(runs: Sequence[Columns], column: str, *, gaps: bool = False) -> Curve:
    """Average one column over runs: at each step, over the runs that have a value there.

    Between its rows a run is interpolated linearly; before its first and after its last row it has no value.

    Args:
        runs:   as `read_progress` returns them.
        column: a run without it is left out.
        gaps:   whether a row of NaN breaks the run's curve, or the curve runs on to the next value.

    Returns:
        At most `MAX_POINTS` points, at steps of the runs; none if no run has a value.
    """
    curves = [curve for curve in (measured(run, column, gaps=gaps) for run in runs) if np.isfinite(curve[1]).any()]
    x = np.unique(np.concatenate([np.empty(0), *(steps for steps, _ in curves)]))
    if x.size > MAX_POINTS:
        x = x[np.unique(np.searchsorted(x, np.linspace(x[0], x[-1], MAX_POINTS)))]
    values = np.empty((len(curves), x.size))
    for row, (steps, y) in zip(values, curves, strict=True):
        row[:] = np.interp(x, steps, y, left=np.nan, right=np.nan)  # next to a NaN only the row itself has a value
    present = np.isfinite(values).sum(axis=0)
    mean = np.where(present > 0, np.nansum(values, axis=0) / np.maximum(present, 1), np.nan)
    return Curve(x, mean, *bootstrap_band(values), curves)


def measured(run: Columns, column: str, *, gaps: bool = False) -> tuple[Array, Array]:
    """Return the steps and values (rows,) of the rows that have both, by increasing step.

    Args:
        run:    as `read_progress` returns it.
        column: none gives no rows.
        gaps:   whether rows whose value is NaN stay.
    """
    if column not in run or X_COLUMN not in run:
        return np.empty(0), np.empty(0)
    x, y = run[X_COLUMN], run[column]
    ok = (np.abs(x) < HUGE) & ((np.abs(y) < HUGE) | (gaps & np.isnan(y)))  # a NaN is not below HUGE
    steps, first = np.unique(x[ok], return_index=True)
    return steps, y[ok][first]
