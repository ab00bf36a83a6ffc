"""The dashboard: one panel per column of progress.txt, and in it one curve per group of runs.

Each environment has panels of its own: returns of two of them can't be compared.

The runs of a group differ only in their seed. Their curve is the mean over the seeds, with the 95% t-interval of that
mean as a band. Fewer than 3 seeds have no interval, and are drawn one by one.
"""

import difflib
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlsuite.analysis.statistics import FEW_SEEDS, MIN_SEEDS
from rlsuite.errors import UserError
from rlsuite.figures.intervals import HUGE, X_COLUMN, Array, Curve, aggregate
from rlsuite.figures.panels import BESIDE, N_PANELS, RETURNS, choose_columns
from rlsuite.figures.style import (
    COLORS,
    GREY,
    LINES,
    caption_of,
    draw_frame,
    named_config,
    one_line,
    shorten,
    tick_label,
    title_of,
)
from rlsuite.figures.unexplained import mark_unexplained
from rlsuite.rundir.columns import GROUPS, TITLES
from rlsuite.rundir.references import COLUMN, Reference
from rlsuite.rundir.runs import Columns, Group, read_config, read_progress
from rlsuite.rundir.summaries import FINISHED, random_return_of, summarize

if TYPE_CHECKING:  # matplotlib takes long to import: --help and errors must not wait for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Average = Callable[..., Curve]  # `aggregate`, knowing what to draw against and how smooth
RETURNED = {*RETURNS, *itertools.chain(*RETURNS.values()), "EliteRet"}
"""Columns of undiscounted returns, which can be compared with that of random play."""
BELOW = 1.2  # a logarithmic axis begins at the smallest value, divided by this


def draw_dashboard(
    fig: "Figure",
    groups: Sequence[Group],
    columns: Sequence[str] = (),
    x: str = X_COLUMN,
    smooth: int = 1,
    references: Sequence[Reference] = (),
) -> list[Group]:
    """Draw one panel per column and in it one curve per group; each environment has panels of its own.

    Args:
        fig:     an empty figure.
        groups:  as `group_by_settings` returns them. Those with the same label look the same in every environment.
        columns: of progress.txt; none: those that say most about the runs of each environment, see `choose_columns`.
        x:       the column that they are drawn against.
        smooth:  over how many epochs, up to the one at x, each run's values are averaged.
        references: curves to draw behind the training returns of their environment.

    Returns:
        The groups that are left out, since none of their runs has an epoch yet.

    Raises:
        UserError: no run has an epoch yet, a file is damaged, or no run has a column of that name.
    """
    begun, logs = _begun(groups, x)
    known = sorted(set().union(*(log for group_logs in logs for log in group_logs)))
    for column in columns:
        if column not in known:
            raise UserError(f"there is no column {column[:40]!r}; {_suggest(column, known)}")

    labels = list(dict.fromkeys(group.label for group in begun))
    found = {(group.env, group.label): runs for group, runs in zip(begun, logs, strict=True)}
    # Of each environment a list of all labels' runs: the k-th has the k-th colour everywhere.
    envs = {env: [found.get((env, label), []) for label in labels] for env, _ in found}
    most = N_PANELS if len(envs) == 1 else N_PANELS // 2
    cells, n_cols = _arrange({env: columns or choose_columns(list(filter(None, envs[env])), most) for env in envs})
    n_rows = -(-len(cells) // n_cols)
    width, height = max(5.0, 3.8 * n_cols), (2.5 if len(envs) == 1 else 2.8) * n_rows

    configs = [named_config(run) for group in begun for run in group.runs]
    if len(configs) > 1 or labels != [configs[0]["exp_name"]]:
        entries = _entries(labels, groups, begun, letters=int(11 * width) - 5)
        subtitle = _explain_bands([len(group.runs) for group in begun])
    else:
        entries = []
        subtitle = " · ".join([f"seed {one_line(configs[0].get('seed', '?'), 20)}", *_unfinished(begun[0].runs)])
    drawn = {column for _, column in filter(None, cells)}
    if any(column in RETURNS and set(RETURNS[column]) <= set(known) for column in drawn):
        shaded = "palest" if len(configs) > 1 else "band around the return"
        subtitle += f" · {shaded}: from each epoch's worst episode to its best"
    random = _random_returns(begun)
    if random and drawn & RETURNED:
        subtitle += " · dotted: random play"
    if smooth > 1:
        subtitle += f" · each point: mean of the last {smooth} epochs"
    if references:
        named = ", ".join(f"{reference.cell} ({reference.runs} seeds)" for reference in references)
        subtitle += f" · grey: mean of docs/results.md and its 95% interval, {named}"
    draw_frame(fig, (width, height), title_of(configs), subtitle, entries, caption_of(configs))
    axes = fig.subplots(n_rows, n_cols, squeeze=False)
    _draw_panels(axes, cells, envs, x, smooth, random)
    for ax, cell in zip(axes.ravel(), cells, strict=False):
        for reference in references:
            if cell == (reference.env, COLUMN):
                look: dict[str, Any] = {"color": GREY, "zorder": 1.4}
                ax.fill_between(reference.steps, reference.low, reference.high, alpha=0.25, linewidth=0, **look)
                ax.plot(reference.steps, reference.mean, linewidth=1.2, **look)
    return [group for group in groups if (group.env, group.label) not in found]


def _random_returns(groups: Sequence[Group]) -> dict[str, float]:
    """Return for each environment the mean over its runs of what random play returned there, where any says so."""
    found: dict[str, list[float]] = {}
    for group in groups:
        found.setdefault(group.env, []).extend(random_return_of(read_config(run)) for run in group.runs)
    known = {env: [ret for ret in returns if abs(ret) < HUGE] for env, returns in found.items()}
    return {env: float(np.mean(returns)) for env, returns in known.items() if returns}


def _entries(labels: Sequence[str], groups: Sequence[Group], begun: Sequence[Group], letters: int) -> list[str]:
    """Return the legend's entry for each label: how many runs it stands for, and what is not finished of them."""
    all_runs = {(group.env, group.label): len(group.runs) for group in groups}
    about: dict[str, dict[str, list[str]]] = {label: {} for label in labels}
    for group in begun:
        waiting = all_runs[group.env, group.label] - len(group.runs)
        parts = [_count(group.runs), *[f"{waiting} without an epoch yet"] * (waiting > 0), *_unfinished(group.runs)]
        about[group.label].setdefault(", ".join(parts), []).append(group.env)
    counts = ["; ".join(_where(envs, of=len(said)) + text for text, envs in said.items()) for said in about.values()]
    short = shorten(labels, max(16, letters - max(map(len, counts))))
    return [f"{label} ({count})" for label, count in zip(short, counts, strict=True)]


def _where(envs: Sequence[str], of: int) -> str:
    """Say in which environments something holds, where it is one of several things that hold in others."""
    if of == 1:
        return ""
    return f"{one_line(envs[0], 40)}: " if len(envs) == 1 else f"{len(envs)} environments: "


def _unfinished(runs: Sequence[Path]) -> list[str]:
    """Say how far the runs are that have not taken all steps of their budget, such as "running: 35 of 100k steps"."""
    summaries = [s for s in map(summarize, runs) if s.state != FINISHED and s.steps < s.total_steps]
    parts = []
    for state in dict.fromkeys(s.state for s in summaries):
        which = [s for s in summaries if s.state == state]
        count = f"{len(which)} " if len(runs) > 1 else ""
        steps, budget = (
            "\N{EN DASH}".join(dict.fromkeys(tick_label(float(f"{end(values):.3g}")) for end in (min, max)))
            for values in ([s.steps for s in which], [s.total_steps for s in which])
        )
        parts.append(f"{count}{state}: {steps} of {budget} steps")
    return parts


def _draw_panels(
    grid: NDArray[Any],
    cells: Sequence[tuple[str, str] | None],
    envs: Mapping[str, Sequence[Sequence[Columns]]],
    x: str,
    smooth: int,
    random: Mapping[str, float],
) -> None:
    """Fill the grid with what `_arrange` has put into its cells, and returns of random play into those of returns."""
    average = functools.partial(aggregate, x_column=x, smooth=smooth)
    alone = sum(len(runs) for logs in envs.values() for runs in logs) == 1
    panels: dict[str, list[Axes]] = {env: [] for env in envs}
    for ax, cell in itertools.zip_longest(grid.ravel(), cells):
        if cell is None:
            ax.remove()
            continue
        env, column = cell
        if panels[env]:
            ax.sharex(panels[env][0])
        else:
            ax.set_xlim(_x_limits(envs[env], x))
        panels[env].append(ax)
        _draw_panel(ax, column, envs[env], average, x, opacity=0.18 if alone else 0.07)
        if column in RETURNED and env in random and ax.lines:
            ax.axhline(random[env], color=GREY, linestyle=":", linewidth=1.2, zorder=1.5)
    for env, axes in panels.items():
        for ax in axes[-grid.shape[1] :]:
            ax.set_xlabel(TITLES.get(x, one_line(x, 40)))
        for ax in axes[: -grid.shape[1]]:
            ax.tick_params(labelbottom=False)
        if len(envs) > 1:
            name, above = one_line(env, 40) or "environment unknown", (0, 22)  # points, clear of the panel's title
            axes[0].annotate(name, (0, 1), above, "axes fraction", "offset points", size=12, weight="bold")


def _arrange(shown: Mapping[str, Sequence[str]]) -> tuple[list[tuple[str, str] | None], int]:
    """Return what the cells of the grid show, row by row, as environment and column, and how many a row has.

    Each environment begins a row, unless all have only one panel: these stand side by side.
    """
    widest = max(map(len, shown.values()))
    n_cols = min(3, widest if widest > 1 else len(shown))
    cells: list[tuple[str, str] | None] = []
    for env, columns in shown.items():
        cells += [(env, column) for column in columns]
        if widest > 1:
            cells += [None] * (-len(cells) % n_cols)
    return cells, n_cols


def _x_limits(logs: Sequence[Sequence[Columns]], x: str) -> tuple[float, float]:
    """Return from where to where all panels of an environment reach: from 0 where x counts up from there."""
    seen = np.concatenate([log[x] for runs in logs for log in runs if x in log])
    seen = seen[np.abs(seen) < HUGE]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    if x in GROUPS["time"] and low >= 0 and high > 0:
        return 0.0, 1.02 * high
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


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
    for label, runs, env in groups:
        read = [(run, read_progress(run)) for run in runs]
        known |= {name for _, log in read for name in log}
        found = [(run, log) for run, log in read if len(log.get(x, ()))]
        if found:
            begun.append(Group(label, [run for run, _ in found], env))
            logs.append([log for _, log in found])
    if not begun and X_COLUMN in known and x not in known:
        raise UserError(f"there is no column {x[:40]!r}; {_suggest(x, sorted(known))}")
    if not begun:
        raise UserError(f"{groups[0].runs[0] / 'progress.txt'} has no epoch yet, or no column {x[:40]}")
    return begun, logs


def _draw_panel(
    ax: "Axes", column: str, logs: Sequence[Sequence[Columns]], average: Average, x: str, opacity: float
) -> None:
    """Draw one column; logs[k] are the runs of the k-th group, and the opacity is that of the range of episodes."""
    curves = _visible([average(runs, column, gaps=column == "ExplainedVariance") for runs in logs], column)
    ax.set_title(TITLES.get(column, one_line(column, 40)))
    for k, (runs, curve) in enumerate(zip(logs, curves, strict=True)):
        if column in RETURNS:
            _draw_range(ax, column, runs, average, COLORS[k % len(COLORS)], opacity)
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
        text = "no values" if any(column in log for runs in logs for log in runs) else "not logged"
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

        band = cut

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
