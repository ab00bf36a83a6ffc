"""Where a critic has nothing left to explain: once a task is solved, its returns hardly vary.

The explained variance is NaN there, which says nothing against the critic.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rlsuite.figures.intervals import HUGE, X_COLUMN
from rlsuite.figures.style import COLORS, GREY
from rlsuite.rundir.runs import Columns

if TYPE_CHECKING:  # matplotlib takes long to import: --help and errors must not wait for it
    from matplotlib.axes import Axes

TEXT = "nothing left to explain"
TEXT_HEIGHT = 0.1  # of the panel's height


def unexplained_stretches(log: Columns, x_column: str = X_COLUMN) -> list[tuple[float, float]]:
    """Return from where to where, in env steps or another column, a run's returns hardly vary.

    ExplainedVariance is NaN there and ValueBias is a number. Where both are NaN, there is no critic.
    """
    if not {x_column, "ExplainedVariance", "ValueBias"} <= set(log):
        return []
    sound = np.abs(log[x_column]) < HUGE
    x, explained, bias = (log[name][sound] for name in (x_column, "ExplainedVariance", "ValueBias"))
    borders = np.concatenate([[0.0], x])  # the k-th epoch reaches from borders[k] to borders[k + 1]
    nothing = np.concatenate([[False], np.isnan(explained) & np.isfinite(bias), [False]])
    first, last = np.flatnonzero(nothing[1:] != nothing[:-1]).reshape(-1, 2).T
    stretches = zip(borders[first].tolist(), borders[last].tolist(), strict=True)
    return [(begin, end) for begin, end in stretches if begin < end]  # not so where the steps don't increase


def mark_unexplained(ax: "Axes", logs: Sequence[Sequence[Columns]], x_column: str = X_COLUMN) -> bool:
    """Mark in a panel of ExplainedVariance where nothing is left to explain.

    A single group shades the whole height of the panel; of several, each has a bar of its colour below the curves.
    The mark is paler where only some seeds of a group have nothing left.

    Args:
        ax:   the panel, its curves drawn and its axes scaled.
        logs: of each group, what each of its runs has logged.
        x_column: what the panel is drawn against.

    Returns:
        Whether there was anything to mark.
    """
    by_group = [[unexplained_stretches(log, x_column) for log in runs] for runs in logs]
    marked = [k for k, runs in enumerate(by_group) if any(runs)]
    if not marked:
        return False
    alone = len(logs) == 1
    height = 1.0 if alone else min(0.06, 0.25 / len(marked))  # of one mark, as a share of the panel's
    for row, k in enumerate(marked):
        color, opacity = (GREY, 0.25) if alone else (COLORS[k % len(COLORS)], 0.8)
        alpha = 1 - (1 - opacity) ** (1 / len(by_group[k]))  # of one seed, so that all together have the opacity
        for run in by_group[k]:
            ax.broken_barh(
                [(begin, end - begin) for begin, end in run],
                (row * height, height),
                transform=ax.get_xaxis_transform(),
                facecolor=color,
                alpha=alpha,
                linewidth=0,
            )
    begin, end = _heaviest([stretch for runs in by_group for run in runs for stretch in run])
    left, right = ax.get_xlim()
    middle, share = ((begin + end) / 2 - left) / (right - left), (end - begin) / (right - left)
    if alone:
        _write(ax, min(max(middle, 0.04), 0.96), 0.5, rotation=0 if share > 0.5 else 90)
    else:
        low, high = ax.get_ylim()
        bars = height * len(marked)
        ax.set_ylim(high - (high - low) / (1 - bars - TEXT_HEIGHT), high)  # the curves keep clear of bars and text
        x, side = (0.02, "left") if middle < 1 / 3 else (0.98, "right") if middle > 2 / 3 else (0.5, "center")
        _write(ax, x, bars + TEXT_HEIGHT / 2, ha=side)
    return True


def _heaviest(stretches: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the part of the x axis with the most shade: its length times how many stretches cover it."""
    borders, places = np.unique(stretches, return_inverse=True)
    begins, ends = places.reshape(-1, 2).T
    covers = np.cumsum(np.bincount(begins, minlength=borders.size) - np.bincount(ends, minlength=borders.size))
    part = int(np.argmax(np.diff(borders) * covers[:-1]))
    return float(borders[part]), float(borders[part + 1])


def _write(ax: "Axes", x: float, y: float, ha: str = "center", rotation: float = 0) -> None:
    """Write the text at x and y, shares of the panel's width and height."""
    ax.text(x, y, TEXT, ha=ha, va="center", rotation=rotation, size=8.5, color="#444444", transform=ax.transAxes)
