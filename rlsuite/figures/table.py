"""What came out of groups of runs, as a table: final, best and average return."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlsuite.analysis.statistics import FEW_SEEDS, MANY_SEEDS, MIN_SEEDS, estimate
from rlsuite.errors import UserError
from rlsuite.figures.intervals import Array, measured
from rlsuite.rundir.runs import Columns, Group, read_progress, whole_label
from rlsuite.rundir.summaries import DAMAGED, RETURN, TEST_RETURN, summarize

NAMES = {
    "n": "n",
    "final": "final return",
    "low": "from",
    "high": "to",
    "best": "best",
    "area": "area",
    "random": "random",
}


class Row(NamedTuple):
    """One group; NaN where there is no such number."""

    group: str
    n: int
    """runs that have a return"""
    final: float
    """mean over the runs: of each the final test episodes, without them the last epoch"""
    low: float
    """of the 95% interval of that mean, see `estimate`"""
    high: float
    best: float
    """highest mean return of an epoch, of any run"""
    area: float
    """mean over the runs of the area under the curve of the return, divided by the env steps below it"""
    random: float
    """mean over the runs of what random play returned at their start"""


def tabulate(groups: Sequence[Group]) -> list[Row]:
    """Return a row per group.

    Args:
        groups: as `group_by_settings` returns them.

    Raises:
        UserError: a file is damaged.
    """
    rows = []
    for group in groups:
        logs = [read_progress(run) for run in group.runs]
        summaries = [summarize(run) for run in group.runs]
        for summary in summaries:
            if summary.state == DAMAGED:  # left out without a word, it would make the others look like all
                raise UserError(f"{summary.run}: {summary.why}")
        final, best = (_finite([getattr(s, name) for s in summaries]) for name in ("ret", "best"))
        area = _finite([area_under_curve(log) for log in logs])
        random = _finite([s.random for s in summaries])
        mean, low, high = estimate(final[:, None]) if final.size else (np.nan,) * 3
        height, chance = (float(values.mean()) if values.size else np.nan for values in (area, random))
        name = whole_label(group, groups)
        rows.append(Row(name, final.size, mean, low, high, best.max(initial=-np.inf), height, chance))
    return [row if row.n else row._replace(best=np.nan) for row in rows]


def area_under_curve(log: Columns) -> float:
    """Return the mean height of the curve of the return over env steps, NaN without a curve.

    It is that of the test return, where there is one.
    """
    x, y = measured(log, TEST_RETURN[0])
    if not x.size:
        x, y = measured(log, RETURN[0])
    if x.size < 2:
        return float(y[0]) if y.size else np.nan
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0]))


def lines_of(rows: Sequence[Row]) -> list[str]:
    """Return the table as lines, and below it what its columns are."""
    chance = any(np.isfinite(row.random) for row in rows)
    cells = [["group", *NAMES.values()], *([row.group, f"{row.n}", *map(_digits, row[2:])] for row in rows)]
    cells = cells if chance else [line[:-1] for line in cells]
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([group.ljust(wide[0]), *(c.rjust(w) for c, w in zip(rest, wide[1:], strict=True))]).rstrip()
        for group, *rest in cells
    ]
    few = [f"from {MANY_SEEDS} runs on by bootstrap"] * any(row.n >= MANY_SEEDS for row in rows)
    few += [f"fewer than {MIN_SEEDS} runs: no interval"] * any(row.n < MIN_SEEDS for row in rows)
    few += [f"fewer than {FEW_SEEDS} runs are few"] * any(MIN_SEEDS <= row.n < FEW_SEEDS for row in rows)
    return [
        *lines,
        "",
        "final return: mean of n runs, of each the final test episodes or else its last epoch",
        "; ".join(["from, to: 95% t-interval of that mean", *few]),
        "best: highest mean return of an epoch; area: under the curve of the return, divided by its env steps",
        *["random: mean return of random play at the start"] * chance,
    ]


def csv_of(rows: Sequence[Row]) -> str:
    """Return the table as CSV with all digits; what is not there is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow(["" if cell != cell else cell for cell in row])
    return text.getvalue()


def _finite(values: Sequence[float]) -> Array:
    array = np.array(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _digits(value: float) -> str:
    """Write a number with five digits that matter, "-" for NaN."""
    if np.isnan(value):
        return "-"
    return np.format_float_positional(value, precision=5, unique=False, fractional=False, trim="-")
