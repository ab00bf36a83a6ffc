"""The dashboard: one panel per column of progress.txt, and in it one curve per group of runs.

The runs of a group differ only in their seed. Their curve is the mean over the seeds, with the 95% t-interval of that
mean as a band. Fewer than 3 seeds have no interval, and are drawn one by one.
"""

import difflib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlsuite.analysis.statistics import FEW_SEEDS, MIN_SEEDS
from rlsuite.errors import UserError
from rlsuite.figures.intervals import X_COLUMN, Array, Curve, aggregate
from rlsuite.figures.panels import BESIDE, RETURNS, choose_columns
from rlsuite.figures.style import (
    COLORS,
    GREY,
    LINES,
    caption_of,
    draw_frame,
    named_config,
    one_line,
    tick_label,
    title_of,
)
from rlsuite.figures.unexplained import mark_unexplained
from rlsuite.rundir.columns import TITLES
from rlsuite.rundir.runs import Columns, Group, read_config, read_progress

if TYPE_CHECKING:  # matplotlib takes long to import: --help and errors must not wait for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Average = Callable[..., Curve]  # `aggregate`, knowing what to draw against and how smooth
BELOW = 1.2  # a logarithmic axis begins at the smallest value, divided by this


def draw_dashboard(
    fig: "Figure", groups: Sequence[Group], columns: Sequence[str] = (), x: str = X_COLUMN, smooth: int = 1
) -> None:
    """Draw one panel per column and in it one curve per group.

    Args:
        fig:     an empty figure.
        groups:  as `group_by_settings` returns them. Runs that have no epoch yet are left out.
        columns: of progress.txt; none: those that say most about these runs, see `choose_columns`.
        x:       the column that they are drawn against.
        smooth:  over how many epochs, up to the one at x, each run's values are averaged.

    Raises:
        UserError: no run has an epoch yet, a file is damaged, or no run has a column of that name.
    """
    begun, logs = _begun(groups, x)
    known = sorted(set().union(*(log for group_logs in logs for log in group_logs)))
    for column in columns:
        if column not in known:
            raise UserError(f"there is no column {column[:40]!r}; {_suggest(column, known)}")

    columns = columns or choose_columns(logs)
    n_cols = min(3, len(columns))
    n_rows = -(-len(columns) // n_cols)
    configs = [named_config(run) for group in begun for run in group.runs]
    width = max(5.0, 3.8 * n_cols)
    letters = int(11 * width) - 12  # that fit into a label
    labels = [f"{one_line(group.label, letters)} ({_count(group.runs)})" for group in begun]
    if len(configs) > 1:
        subtitle = _explain_bands([len(group.runs) for group in begun])
        shaded = "palest"
    else:
        labels = []
        subtitle = f"seed {one_line(configs[0].get('seed', '?'), 20)}"
        shaded = "band around the return"
    if any(column in RETURNS and set(RETURNS[column]) <= set(known) for column in columns):
        subtitle += f" · {shaded}: from each epoch's worst episode to its best"
    if smooth > 1:
        subtitle += f" · each point: mean of the last {smooth} epochs"
    average = functools.partial(aggregate, x_column=x, smooth=smooth)
    draw_frame(fig, (width, 2.5 * n_rows), title_of(configs), subtitle, labels, caption_of(configs))
    axes = fig.subplots(n_rows, n_cols, sharex=True, squeeze=False).ravel()
    for ax, column in zip(axes, columns, strict=False):
        _draw_panel(ax, column, logs, average, x, logged=column in known)
    for ax in axes[len(columns) :]:
        ax.remove()
    for ax in axes[max(0, len(columns) - n_cols) : len(columns)]:
        ax.set_xlabel(TITLES.get(x, one_line(x, 40)))
        ax.tick_params(labelbottom=True)


def _explain_bands(counts: Sequence[int]) -> str:
    """Say what lines and bands are, where the groups have as many runs as `counts` says."""
    if max(counts) == 1:
        return "one run per line"
    with_band = [n for n in counts if n >= MIN_SEEDS]
    band = "mean over seeds · band: 95% t-interval of the mean · faint: each seed"
    parts = [band if with_band else "each seed a line"]
    if len(with_band) < len(counts):
        parts.append(f"fewer than {MIN_SEEDS} seeds: no interval")
    if with_band and min(with_band) < FEW_SEEDS:
        parts.append(f"fewer than {FEW_SEEDS} seeds are few")
    return " · ".join(parts)


def _begun(groups: Sequence[Group], x: str) -> tuple[list[Group], list[list[Columns]]]:
    """Return the groups without the runs that have no epoch yet, and for each group what its runs have logged."""
    begun: list[Group] = []
    logs: list[list[Columns]] = []
    known: set[str] = set()
    for label, runs in groups:
        read = [(run, read_progress(run)) for run in runs]
        known |= {name for _, log in read for name in log}
        found = [(run, log) for run, log in read if len(log.get(x, ()))]
        if found:
            begun.append(Group(label, [run for run, _ in found]))
            logs.append([log for _, log in found])
    if not begun and X_COLUMN in known and x not in known:
        raise UserError(f"there is no column {x[:40]!r}; {_suggest(x, sorted(known))}")
    if not begun:
        raise UserError(f"{groups[0].runs[0] / 'progress.txt'} has no epoch yet, or no column {x[:40]}")
    return begun, logs


def _draw_panel(
    ax: "Axes", column: str, logs: Sequence[Sequence[Columns]], average: Average, x: str, *, logged: bool
) -> None:
    """Draw one column; logs[k] are the runs of the k-th group."""
    alone = sum(map(len, logs)) == 1
    curves = _visible([average(runs, column, gaps=column == "ExplainedVariance") for runs in logs], column)
    ax.set_title(TITLES.get(column, one_line(column, 40)))
    for k, (runs, curve) in enumerate(zip(logs, curves, strict=True)):
        if column in RETURNS:
            _draw_range(ax, column, runs, average, COLORS[k % len(COLORS)], alpha=0.18 if alone else 0.07)
        _draw_curve(ax, curve, k)
        other, title = BESIDE.get(column, ("", ""))
        beside = average(runs, other)
        if beside.x.size:
            _draw_line(ax, beside.x, beside.mean, markersize=3, color=COLORS[k % len(COLORS)], linewidth=1)
            ax.set_title(title)
    ax.xaxis.set_major_formatter(tick_label)
    ax.locator_params(axis="x", nbins=5)
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in ax.lines]
    drawn += [curve.lo for curve in curves if column == "ExplainedVariance"]
    y = np.concatenate([np.empty(0), *drawn])
    y = y[np.isfinite(y)]
    if y.size:
        _set_scale(ax, column, y)
        _mark_zeros(ax, column, logs, average)
    else:
        ax.tick_params(left=False, labelleft=False)
        ax.grid(visible=False)
    unexplained = column == "ExplainedVariance" and mark_unexplained(ax, logs, x)
    if not y.size and not unexplained:
        text = "no values" if logged else "not logged"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)


def _draw_range(ax: "Axes", column: str, runs: Sequence[Columns], average: Average, color: str, alpha: float) -> None:
    """Shade from the worst to the best episode of each epoch, over all runs."""
    curves = [average(runs, bound).runs for bound in RETURNS[column]]
    if not all(curves):
        return
    x = np.unique(np.concatenate([steps for side in curves for steps, _ in side]))
    (worst, best) = (np.array([np.interp(x, *run, left=np.nan, right=np.nan) for run in side]) for side in curves)
    ax.fill_between(x, np.fmin.reduce(worst), np.fmax.reduce(best), color=color, alpha=alpha, linewidth=0)


def _draw_curve(ax: "Axes", curve: Curve, k: int) -> None:
    color, line = COLORS[k % len(COLORS)], LINES[k % len(LINES)]
    if 1 < len(curve.runs) < MIN_SEEDS:
        for x, y in curve.runs:
            _draw_line(ax, x, y, markersize=4, color=color, linestyle=line, linewidth=1.2)
        return
    if len(curve.runs) > 1:
        for x, y in curve.runs:
            _draw_line(ax, x, y, markersize=2, color=color, alpha=0.35, linewidth=0.6)
        ax.fill_between(curve.x, curve.lo, curve.hi, color=color, alpha=0.18, linewidth=0)
    _draw_line(ax, curve.x, curve.mean, markersize=5, color=color, linestyle=line, linewidth=1.8)


def _draw_line(ax: "Axes", x: Array, y: Array, **look: Any) -> None:
    """Draw a line, and a point where both neighbours are missing: a line needs two points to be seen."""
    there = np.concatenate([[False], np.isfinite(y), [False]])
    lone = there[1:-1] & ~there[:-2] & ~there[2:]
    ax.plot(x, y, marker="o" if lone.any() else "", markevery=np.flatnonzero(lone).tolist(), **look)


def _visible(curves: list[Curve], column: str) -> list[Curve]:
    """Fit curves to the panel's axis: explained variance from -1 up, KL positive for its log scale."""
    if column == "ExplainedVariance":

        def cut(y: Array) -> Array:
            return np.maximum(y, -1)

        def band(y: Array) -> Array:
            return np.maximum(y, -1)

    elif column == "KL" and any((curve.mean > 0).any() for curve in curves):
        drawn = np.concatenate([y for curve in curves for y in (curve.mean, *(y for _, y in curve.runs))])
        bottom = float(drawn[drawn > 0].min()) / BELOW

        def cut(y: Array) -> Array:
            return np.where(y > 0, y, np.nan)

        def band(y: Array) -> Array:
            return np.maximum(y, bottom)  # what reaches 0 reaches the edge of the panel

    else:
        return curves
    return [Curve(c.x, cut(c.mean), band(c.lo), band(c.hi), [(x, cut(y)) for x, y in c.runs]) for c in curves]


def _set_scale(ax: "Axes", column: str, y: Array) -> None:
    """Set the y axis and its reference lines for the values y that are drawn, all finite."""
    from matplotlib.ticker import LogLocator

    if column == "KL" and (y > 0).any():
        ax.set_yscale("log", nonpositive="mask")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if y.max() < 30 * y[y > 0].min() else (1,)))
        ax.yaxis.set_major_formatter(tick_label)
        ax.yaxis.set_minor_formatter("")
        ax.set_ylim(bottom=y[y > 0].min() / BELOW)
    elif column == "ExplainedVariance":
        for reference in (0, 1):
            ax.axhline(reference, color=GREY, linewidth=0.9, zorder=1.5)
        ticks = [-1, -0.5, 0, 0.5, 1]
        ax.set_yticks(ticks, [("≤ " if v == -1 == y.min() else "") + tick_label(v) for v in ticks])
        ax.set_ylim(max(-1.05, min(-0.15, y.min() - 0.1)), 1.1)
    else:
        if np.abs(y).max() >= 1e4:
            ax.yaxis.set_major_formatter(tick_label)
        if column == "ValueBias":
            ax.axhline(0, color=GREY, linewidth=0.9, zorder=1.5)


def _mark_zeros(ax: "Axes", column: str, logs: Sequence[Sequence[Columns]], average: Average) -> None:
    """Mark at the foot of a logarithmic panel where a run's value is 0, and say so: such an axis has no 0."""
    if ax.get_yscale() != "log":
        return
    row = 0
    for k, runs in enumerate(logs):
        at = np.unique(np.concatenate([np.empty(0), *(x[y <= 0] for x, y in average(runs, column).runs)]))
        if at.size:
            heights = np.full(at.size, min(0.05 * row, 1))
            look: dict[str, Any] = {"color": COLORS[k % len(COLORS)], "markersize": 4, "clip_on": False}
            ax.plot(at, heights, "v", transform=ax.get_xaxis_transform(), zorder=3, **look)
            row += 1
    if row:
        ax.set_title(f"{ax.get_title(loc='left')}, ▼ = 0")


def _count(runs: Sequence[Path]) -> str:
    seeds = {str(read_config(run).get("seed")) for run in runs}
    # The same seed twice is the same run twice, and no evidence of anything.
    unit = "seed" if len(seeds) == len(runs) else "run"
    return f"{len(runs)} {unit}{'s' * (len(runs) > 1)}"


def _suggest(column: str, known: Sequence[str]) -> str:
    lower = {name.lower(): name for name in known}
    near = [lower[name] for name in difflib.get_close_matches(column.lower(), lower, n=3, cutoff=0.5)]
    return ("nearest: " if near else "it has: ") + ", ".join(one_line(name, 40) for name in near or known[:40])
