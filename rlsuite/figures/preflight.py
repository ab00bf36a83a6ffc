"""The page of an environment before the training: what its observations, rewards and episodes look like."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlsuite.analysis.preflight import Measurements, Recording, faulty, values
from rlsuite.figures.style import COLORS, GREY, draw_frame, one_line, tick_label

if TYPE_CHECKING:  # matplotlib takes long to import: --help and errors must not wait for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12
"""histograms of components; more would be too small to read"""
COLUMNS = 4
BINS = 30
FACED, MARKED = COLORS[0], COLORS[1]


def draw_preflight(
    fig: "Figure", title: str, played: str, recording: Recording, measured: Measurements, advice: Sequence[str]
) -> None:
    """Draw rewards, values, returns and lengths, the range of every component, and histograms of the first ones.

    Args:
        fig:       an empty figure.
        title:     of the environment.
        played:    what was, and for how long, in words.
        recording: what was played.
        measured:  of the recording.
        advice:    lines that go below the panels.
    """
    shown = order(measured)[:MOST]
    rows = -(-len(shown) // COLUMNS)
    said = "\n".join(f"• {line}" for line in advice) or "No rule had anything to say."
    subtitle = f"{played} · dotted: ±10 for values, declared bounds for observations · "
    subtitle += "orange: components that a rule speaks of"
    draw_frame(fig, (11, 4.6 + 1.7 * rows), title, subtitle, [], said)
    panels = fig.add_gridspec(2 + rows, COLUMNS, height_ratios=[1, 1.1] + [0.85] * rows)
    _draw_counts([fig.add_subplot(panels[0, k]) for k in range(COLUMNS)], recording, measured)
    _draw_ranges(fig.add_subplot(panels[1, :]), measured)
    for k, i in enumerate(shown):
        ax = fig.add_subplot(panels[2 + k // COLUMNS, k % COLUMNS])
        column = recording.random.obs[:, i].astype(np.float64)
        _histogram(ax, column, MARKED if faulty(measured)[i] else FACED)
        ax.set_title(f"component {i}: {_number(measured.mean[i])} ± {_number(measured.std[i])}", size=9)


def order(m: Measurements) -> list[int]:
    """All components: those that a rule speaks of first."""
    wrong = faulty(m)
    return sorted(range(len(wrong)), key=lambda i: (not wrong[i], i))


def _draw_counts(axes: Sequence["Axes"], recording: Recording, m: Measurements) -> None:
    _histogram(axes[0], recording.random.rew, FACED)
    axes[0].set_title(f"reward: {_number(m.rew_mean)} ± {_number(m.rew_std)}", size=9)
    _histogram(axes[1], values(recording.random, m.gamma), FACED)
    axes[1].set_xlim(axes[1].get_xlim())  # values far below 10 would be a needle between the lines
    for edge in (-10, 10):
        axes[1].axvline(edge, color=GREY, linestyle=":")
    axes[1].set_title(f"value at gamma {m.gamma:g}", size=9)
    for ax, numbers, name in ((axes[2], m.returns, "return"), (axes[3], m.lengths, "episode length")):
        _histogram(ax, numbers, FACED)
        ax.set_title(f"{name}: {_number(numbers.mean())}" if len(numbers) else f"{name}: no episode ended", size=9)
    axes[0].set_ylabel("share")


def _draw_ranges(ax: "Axes", m: Measurements) -> None:
    """Mean and standard deviation of each component as a thick line, what was seen as a thin one, bounds as ticks."""
    from matplotlib.ticker import MaxNLocator

    wrong, at = faulty(m), np.arange(len(m.mean))
    for which, color in ((~wrong, FACED), (wrong, MARKED)):
        i = at[which & np.isfinite(m.seen_low) & np.isfinite(m.seen_high)]
        ax.vlines(i, m.seen_low[i], m.seen_high[i], color=color, linewidth=1)
        ax.vlines(i, (m.mean - m.std)[i], (m.mean + m.std)[i], color=color, linewidth=5, alpha=0.6)
        ax.plot(i, m.mean[i], ".", color=color, markersize=4)
    for bound in (m.low, m.high):
        i, half = at[np.abs(bound) < 1e6], min(0.3, len(at) / 30)
        ax.hlines(bound[i], i - half, i + half, color=GREY, linestyle=":")
    ax.set_yscale("symlog", linthresh=1)
    ax.yaxis.set_major_formatter(tick_label)
    ax.set_xlim(-0.7, len(at) - 0.3)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_title("observations: mean ± std (thick), lowest to highest (thin); logarithmic beyond ±1", size=9)
    ax.set_xlabel("component")


def _histogram(ax: "Axes", numbers: NDArray[Any], color: str) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    numbers = numbers[np.isfinite(numbers)]
    ax.tick_params(labelsize=8)
    ax.locator_params(nbins=4)
    ax.xaxis.set_major_formatter(tick_label)
    if not len(numbers):
        return
    different = np.unique(numbers)
    whole = bool((different == np.round(different)).all())
    if len(different) <= BINS // 2 and whole:
        ax.bar(different, [np.mean(numbers == one) for one in different], color=color, width=0.8 * _gap(different))
        ax.set_xlim(different[0] - _gap(different), different[-1] + _gap(different))
        ax.xaxis.set_major_locator(
            MaxNLocator(4, integer=True) if len(different) > 1 else FixedLocator(different.tolist())
        )
        return
    low, high = numbers.min(), numbers.max()
    spread = high - low if high - low > 1e-9 * max(abs(low), abs(high)) else max(abs(low), 1.0)
    edges = np.linspace(low - 0.01 * spread, high + 0.01 * spread, BINS + 1)
    if whole:  # each bar holds equally many whole numbers; else some would stand out for their width alone
        edges = np.arange(low - 0.5, high + 0.5 + (width := np.ceil((spread + 1) / BINS)), width)
    ax.hist(numbers, edges.tolist(), weights=np.full(len(numbers), 1 / len(numbers)), color=color)


def _gap(different: NDArray[Any]) -> float:
    return float(np.diff(different).min()) if len(different) > 1 else 1.0


def _number(value: float) -> str:
    return one_line(tick_label(float(f"{value:.3g}")), 12)
