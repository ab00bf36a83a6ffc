"""Draw what runs have logged.

`draw_dashboard` shows columns of progress.txt. Runs that differ only in their seed make one curve: the mean over the
seeds, with a 95% bootstrap confidence band. `draw_value_map` shows what the critic believes and where the policy goes,
for environments whose state is a point in the plane.
"""

import contextlib
import difflib
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsuite.common.checks import UserError
from rlsuite.common.runs import Columns, Group, read_config, read_progress

if TYPE_CHECKING:  # matplotlib and torch are imported late: --help and errors must not wait for them
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

X_COLUMN = "TotalEnvInteracts"
PANELS = {  # the dashboard, and what its panels are called
    "AverageEpRet": "return",
    "Entropy": "entropy (nats)",
    "KL": "KL divergence (nats)",
    "ExplainedVariance": "explained variance",
    "EpLen": "episode length (steps)",
    "ValueBias": "value bias",
}
# Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow, too pale on white.
# Their number and that of the line styles have no common divisor: 35 groups look different, 5 even in grey.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
LINES: list[Any] = ["-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (5, 1.2, 1.2, 1.2, 1.2, 1.2))]
GREY = "#777777"
MINUS = "\N{MINUS SIGN}"
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8e8e8",
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": "#444444",
    "ytick.labelcolor": "#444444",
    "legend.frameon": False,
    "text.parse_math": False,  # a "$" in a note is a dollar
    "pdf.fonttype": 42,
    "svg.hashsalt": "rlsuite",  # together with the dates left out: equal data, equal file
}
FORMATS: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
HUGE = 1e100  # such a number is no measurement, and matplotlib overflows on it
MAX_POINTS = 1000  # on a curve: more than a panel has pixels
MAX_SNAPSHOTS = 6
GRID = 101  # points along each side of a value map
BINS = 40  # along each side of a visitation map
PLANE_LABELS = {
    "Pendulum-v1": ("θ (rad), 0 = up", "dθ/dt (rad/s)"),
    "MountainCar-v0": ("position", "velocity"),
    "MountainCarContinuous-v0": ("position", "velocity"),
}


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


def aggregate(runs: Sequence[Columns], column: str) -> Curve:
    """Average one column over runs: at each step, over the runs that have reached it.

    Rows without a finite value are left out; between its own rows a run is interpolated linearly.
    """
    curves = [curve for curve in (_finite(run, column) for run in runs) if curve[0].size]
    x = np.unique(np.concatenate([np.empty(0), *(steps for steps, _ in curves)]))
    if x.size > MAX_POINTS:
        x = np.linspace(x[0], x[-1], MAX_POINTS)
    values = np.empty((len(curves), x.size))
    for row, (steps, y) in zip(values, curves, strict=True):
        row[:] = np.interp(x, steps, y, left=np.nan, right=np.nan)
    reached = np.isfinite(values).sum(axis=0)
    mean = np.where(reached > 0, np.nansum(values, axis=0) / np.maximum(reached, 1), np.nan)
    return Curve(x, mean, *bootstrap_band(values), curves)


def _finite(run: Columns, column: str) -> tuple[Array, Array]:
    """Return the steps and values of the rows that have both, by increasing step."""
    if column not in run or X_COLUMN not in run:
        return np.empty(0), np.empty(0)
    x, y = run[X_COLUMN], run[column]
    ok = (np.abs(x) < HUGE) & (np.abs(y) < HUGE)  # false for NaN
    steps, first = np.unique(x[ok], return_index=True)
    return steps, y[ok][first]


def draw_dashboard(fig: "Figure", groups: Sequence[Group], columns: Sequence[str] = tuple(PANELS)) -> None:
    """Draw one panel per column and in it one curve per group."""
    drawn: list[tuple[Group, list[Columns]]] = []
    for label, runs in groups:
        found = [(run, log) for run in runs if len((log := read_progress(run)).get(X_COLUMN, ()))]
        if found:
            drawn.append((Group(label, [run for run, _ in found]), [log for _, log in found]))
    logs = [log for _, found_logs in drawn for log in found_logs]
    if not logs:
        raise UserError(f"{groups[0].runs[0] / 'progress.txt'} has no epoch yet, or no column {X_COLUMN}")
    known = sorted(set().union(*logs))
    for column in columns:
        if column not in known and column not in PANELS:
            raise UserError(f"there is no column {column[:40]!r}; {_suggest(column, known)}")

    n_cols = min(3, len(columns))
    n_rows = -(-len(columns) // n_cols)
    configs = [_config(run) for group, _ in drawn for run in group.runs]
    width = max(5.0, 3.8 * n_cols)
    room = int(11 * width) - 12  # letters of a label that fit
    labels = [f"{_clean(group.label, room)} ({_count(group.runs)})" for group, _ in drawn if len(logs) > 1]
    if len(logs) > 1:
        subtitle = "mean over seeds · band: its 95% bootstrap confidence interval · faint: each seed"
        subtitle = subtitle if len(logs) > len(drawn) else "one run per line"
    else:
        subtitle = f"seed {_clean(configs[0].get('seed', '?'), 20)}"
        if "AverageEpRet" in columns and {"MinEpRet", "MaxEpRet"} <= set(known):
            subtitle += " · band around the return: from each epoch's worst episode to its best"
    _frame(fig, (width, 2.5 * n_rows), _title(configs), subtitle, labels, _caption(configs))
    axes = fig.subplots(n_rows, n_cols, sharex=True, squeeze=False).ravel()
    for ax, column in zip(axes, columns, strict=False):
        for k, (_, group_logs) in enumerate(drawn):
            _draw_curve(ax, _visible(aggregate(group_logs, column), column), k)
        if column == "AverageEpRet" and len(logs) == 1:
            _draw_range(ax, logs[0])
        _finish_panel(ax, column, logged=column in known)
    for ax in axes[len(columns) :]:
        ax.remove()
    for ax in axes[max(0, len(columns) - n_cols) : len(columns)]:
        ax.set_xlabel("environment steps")
        ax.tick_params(labelbottom=True)


def _draw_range(ax: "Axes", log: Columns) -> None:
    """Shade from the worst to the best episode of each epoch."""
    (x, worst), (_, best) = _finite(log, "MinEpRet"), _finite(log, "MaxEpRet")
    if worst.size == best.size:
        ax.fill_between(x, worst, best, color=COLORS[0], alpha=0.18, linewidth=0)


def _draw_curve(ax: "Axes", curve: Curve, k: int) -> None:
    color, line = COLORS[k % len(COLORS)], LINES[k % len(LINES)]
    if len(curve.runs) > 1:
        for x, y in curve.runs:
            ax.plot(x, y, color=color, alpha=0.35, linewidth=0.6)
        ax.fill_between(curve.x, curve.lo, curve.hi, color=color, alpha=0.18, linewidth=0)
    marker = "o" if curve.x.size == 1 else ""  # a line needs two points to be seen
    ax.plot(curve.x, curve.mean, color=color, linestyle=line, linewidth=1.8, marker=marker, markersize=5)


def _visible(curve: Curve, column: str) -> Curve:
    """Fit a curve to the panel's axis: explained variance from -1 up, KL positive for its log scale."""
    if column == "ExplainedVariance":

        def clip(y: Array) -> Array:
            return np.maximum(y, -1)

    elif column == "KL" and (curve.mean > 0).any():

        def clip(y: Array) -> Array:
            return np.where(y > 0, y, np.nan)

    else:
        return curve
    mean, lo, hi = clip(curve.mean), clip(curve.lo), clip(curve.hi)
    return Curve(curve.x, mean, lo, hi, [(x, clip(y)) for x, y in curve.runs])


def _finish_panel(ax: "Axes", column: str, *, logged: bool) -> None:
    """Set title, scale, ticks and reference lines, or say why the panel is empty."""
    from matplotlib.ticker import LogLocator

    ax.set_title(PANELS.get(column, _clean(column, 40)))
    ax.xaxis.set_major_formatter(tick_label)
    ax.locator_params(axis="x", nbins=5)
    y = np.concatenate([np.empty(0), *(np.asarray(line.get_ydata(), dtype=float) for line in ax.lines)])
    y = y[np.isfinite(y)]
    if not y.size:
        text = "no values yet" if logged else "not logged"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)
        ax.tick_params(left=False, labelleft=False)
        ax.grid(visible=False)
    elif column == "KL" and (y > 0).any():
        ax.set_yscale("log", nonpositive="mask")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if y.max() < 30 * y[y > 0].min() else (1,)))
        ax.yaxis.set_major_formatter(tick_label)
        ax.yaxis.set_minor_formatter("")
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


def draw_value_map(fig: "Figure", run: Path) -> None:
    """Draw what the critic believes, what the policy does, and where it has been, for up to six snapshots of one run.

    The value is V(s), or max_a Q(s, a), or Q(s, μ(s)); the action is the one that the policy takes without exploring.

    Raises:
        UserError: the run has no snapshots, or its states are not points in the plane.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    from rlsuite.common import checkpoint

    epochs = sorted(checkpoint.snapshot_epochs(run))
    if not epochs:
        raise UserError(f"{run} has no snapshots yet; a value map is drawn from them")
    epochs = sorted({epochs[round(i)] for i in np.linspace(0, len(epochs) - 1, MAX_SNAPSHOTS)})
    config, log = _config(run), read_progress(run)
    env = str(config.get("env", ""))
    snapshots = [checkpoint.load_snapshot(run, epoch) for epoch in epochs]
    sides, values, actions, visits = value_maps(env, snapshots)

    meaning = snapshots[0][0].value_label
    subtitle = f"seed {_clean(config.get('seed', '?'), 20)} · the critic's value {meaning}"
    subtitle += ", the policy's action without exploration, and the states visited"
    _frame(fig, (1.8 + 2.2 * len(epochs), 7), _title([config]), subtitle, [], _caption([config]))
    axes = fig.subplots(3, len(epochs), sharex=True, sharey=True, squeeze=False)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
    levels = np.linspace(low, high if high > low else low + 1, 31)
    rare, often = visits[visits > 0].min(initial=100), visits.max()
    shares = LogNorm(rare, max(often, 2 * rare))
    steps = dict(zip(*(log.get(name, np.empty(0)).tolist() for name in ("Epoch", X_COLUMN)), strict=False))
    act_colors, act_range, act_ticks = _action_scale(snapshots[0][0].act_space)
    for above, middle, below, epoch, v, act, share in zip(*axes, epochs, values, actions, visits, strict=True):
        surface = above.contourf(*(np.linspace(*side, GRID) for side in sides), v, levels, cmap="viridis")
        edges = [np.linspace(*side, BINS + 1) for side in sides]
        extent = (*sides[0], *sides[1])
        choice = middle.imshow(act, act_colors, origin="lower", extent=extent, aspect="auto")
        choice.set_clim(*act_range)
        middle.grid(visible=False)
        cells = below.pcolormesh(*edges, np.ma.masked_equal(share, 0), cmap="magma_r", norm=shares)
        surface.set_edgecolor("face")  # else white seams in PDF and SVG
        cells.set_rasterized(True)
        when = f"\n{steps[epoch]:,.0f} steps" if epoch in steps else ""
        above.set_title(f"epoch {epoch}{when}", size=10)
    x_name, y_name = PLANE_LABELS.get(env, ("observation 0", "observation 1"))
    for ax in axes[:, 0]:
        ax.set_ylabel(y_name)
    for ax in axes[2]:
        ax.set_xlabel(x_name)
        ax.locator_params(nbins=4)
    fig.colorbar(surface, ax=axes[0].tolist(), label=meaning, pad=0.01, format=tick_label, ticks=MaxNLocator(5))
    fig.colorbar(choice, ax=axes[1].tolist(), label="action", pad=0.01, format=tick_label, ticks=act_ticks)
    fig.colorbar(cells, ax=axes[2].tolist(), label="visits (%)", pad=0.01, format=tick_label)


def _action_scale(space: Any) -> tuple[Any, tuple[float, float], Any]:
    """Return colours, their range and the ticks for Discrete actions, or for the first number of continuous ones."""
    from matplotlib.colors import ListedColormap

    if hasattr(space, "n"):
        n = int(space.n)
        return ListedColormap((COLORS * -(-n // len(COLORS)))[:n]), (-0.5, n - 0.5), range(n) if n <= 10 else None
    low, high = float(space.low.flat[0]), float(space.high.flat[0])
    return "coolwarm", (low, high) if np.isfinite([low, high]).all() else (-1.0, 1.0), None


def value_maps(env: str, snapshots: Sequence[tuple[Any, Any]]) -> tuple[list[tuple[float, float]], Array, Array, Array]:
    """Return both sides' range, values and actions (epochs, GRID, GRID), and visits in percent (epochs, BINS, BINS).

    All are [y, x]; of actions with several numbers only the first is returned.
    """
    import torch

    space = snapshots[0][0].obs_space
    pendulum = env == "Pendulum-v1" and space.shape == (3,)
    if not pendulum and (type(space).__name__ != "Box" or space.shape != (2,)):
        raise UserError(f"a value map needs observations of two numbers; {env or 'this run'} has {space}")
    if any(obs.shape[1:] != space.shape for _, obs in snapshots):
        raise UserError(f"a snapshot's observations are not of the shape {space.shape} of {env or 'the run'}'s")
    plane = [np.asarray(obs, dtype=np.float64) for _, obs in snapshots]
    low, high = (np.asarray(bound, dtype=np.float64) for bound in (space.low, space.high))
    if pendulum:
        plane = [np.stack([np.arctan2(obs[:, 1], obs[:, 0]), obs[:, 2]], axis=1) for obs in plane]
        low, high = np.array([-np.pi, low[2]]), np.array([np.pi, high[2]])
    seen = np.concatenate(plane)
    sides = [_side(seen[:, i], float(low[i]), float(high[i])) for i in (0, 1)]
    x, y = (grid.ravel() for grid in np.meshgrid(*(np.linspace(*side, GRID) for side in sides)))
    states = np.stack([np.cos(x), np.sin(x), y] if pendulum else [x, y], axis=1)
    values = np.empty((len(snapshots), GRID, GRID))
    actions = np.empty((len(snapshots), GRID, GRID))
    visits = np.empty((len(snapshots), BINS, BINS))
    points = torch.as_tensor(states, dtype=torch.float32)
    for k, (ac, _) in enumerate(snapshots):
        with torch.no_grad():
            values[k] = ac.value(points).numpy().reshape(GRID, GRID)
            actions[k] = ac.mode(points).numpy().reshape(GRID, GRID, -1)[..., 0]
        counts, _, _ = np.histogram2d(plane[k][:, 1], plane[k][:, 0], bins=BINS, range=sides[::-1])
        visits[k] = 100 * counts / max(1, counts.sum())
    return sides, values, actions, visits


def _side(seen: Array, low: float, high: float) -> tuple[float, float]:
    """Return the range of one side of the map: the space's bounds, or what was seen where it has none."""
    if max(abs(low), abs(high)) < 1e6:  # some environments write the largest float for "unbounded"
        return low, high
    seen = seen[np.isfinite(seen)]
    low, high = (seen.min(), seen.max()) if seen.size else (0.0, 0.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _frame(
    fig: "Figure", size: tuple[float, float], title: str, subtitle: str, labels: Sequence[str], caption: str
) -> None:
    """Write title, legend and caption around an area of `size` inches, in which the panels are laid out."""
    from matplotlib.lines import Line2D

    width, height = size
    n_cols = max(1, min(len(labels), int(width / (0.7 + 0.08 * max(map(len, labels), default=0)))))
    head = 0.65 + 0.22 * -(-len(labels) // n_cols)
    lines = [part for line in caption.split("\n") if line for part in textwrap.wrap(line, int(width * 14))]
    foot = 0.1 + 0.17 * len(lines)
    total = head + height + foot
    fig.set_size_inches(width, total)
    area = (0, foot / total, 1, height / total)
    fig.set_layout_engine("constrained", rect=area, h_pad=0.08, w_pad=0.1)
    # Points; a long line is written smaller, so that it fits.
    large, small = min(14, 115 * width / max(1, len(title))), min(9, 132 * width / len(subtitle))
    fig.text(0.1 / width, 1 - 0.1 / total, title, size=large, weight="bold", va="top")
    fig.text(0.1 / width, 1 - 0.39 / total, subtitle, size=small, color=GREY, va="top")
    fig.text(0.1 / width, 0.07 / total, "\n".join(lines), size=8.5, color=GREY, va="bottom")
    handles = [
        Line2D([], [], color=COLORS[k % len(COLORS)], linestyle=LINES[k % len(LINES)], linewidth=1.8)
        for k in range(len(labels))
    ]
    if handles:
        corner = (0.1 / width, 1 - 0.58 / total)
        fig.legend(handles, labels, loc="upper left", bbox_to_anchor=corner, ncols=n_cols, handlelength=3)


def _config(run: Path) -> dict[str, Any]:
    return {"exp_name": run.absolute().parent.name, **read_config(run)}


def _distinct(configs: Sequence[Mapping[str, Any]], *keys: str) -> list[str]:
    values = (_clean(config[key], 60) for config in configs for key in keys if config.get(key))
    return list(dict.fromkeys(value for value in values if value))


def _title(configs: Sequence[Mapping[str, Any]]) -> str:
    names, envs = _distinct(configs, "exp_name"), _distinct(configs, "env", "env_name")
    if len(names) > 1:
        return envs[0] if len(envs) == 1 else f"{len(names)} experiments"
    return " · ".join(names + [env for env in envs if len(envs) == 1 and env not in names[0]])


def _caption(configs: Sequence[Mapping[str, Any]]) -> str:
    notes = list(dict.fromkeys(_clean(config.get("note") or "", 300) for config in configs))
    notes = [f"note: {note}" for note in notes if note]
    return "\n".join(notes[:3] + [f"… and {len(notes) - 3} more notes"] * (len(notes) > 3))


def _count(runs: Sequence[Path]) -> str:
    seeds = {str(read_config(run).get("seed")) for run in runs}
    # The same seed twice is the same run twice, and no evidence of anything.
    unit = "seed" if len(seeds) == len(runs) else "run"
    return f"{len(runs)} {unit}{'s' * (len(runs) > 1)}"


def _clean(value: object, limit: int) -> str:
    """Make one short printable line of whatever a file has in this place."""
    text = "".join(c for c in " ".join(str(value).split()) if c.isprintable())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def tick_label(value: float, _: object = None) -> str:
    """Write 100000 as 100k."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if unit <= abs(value) < 1000e9:
            return f"{value / unit:g}{letter}".replace("-", MINUS)
    return f"{value:g}".replace("-", MINUS)


def _suggest(column: str, known: Sequence[str]) -> str:
    lower = {name.lower(): name for name in known}
    near = [lower[name] for name in difflib.get_close_matches(column.lower(), lower, n=3, cutoff=0.5)]
    return ("nearest: " if near else "it has: ") + ", ".join(_clean(name, 40) for name in near or known[:40])


def save_figure(fig: "Figure", path: Path) -> None:
    """Write the figure in the format of the suffix, whole or not at all."""
    part = path.with_name(f".plot-{os.getpid()}.part")
    suffix = path.suffix.lower()
    try:
        fig.savefig(part, format=suffix[1:], dpi=160, metadata=FORMATS[suffix])
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
