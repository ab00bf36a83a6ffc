"""What a sweep says: its best trials, which setting mattered, and how sensitive the algorithm is.

Source: Watanabe et al. 2023, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces".
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from rlsuite.runs import digits

SHUFFLES = 200
GOOD = 0.9  # of the way from random play to the best
IMPORTANCE = (
    "PED-ANOVA compares how each setting by itself is distributed among the best tenth of the trials, 5 at least, and "
    "among all: it is blind to what only a pair of settings does, and with few trials most of what it finds is chance."
)


class Importance(NamedTuple):
    """What PED-ANOVA finds for one setting."""

    share: float
    """of the sum over all"""
    chance: float
    """how often it is as large when the returns are shuffled; above 0.05 it says nothing"""


def returns_of(rows: Sequence[dict[str, str]], random: float = math.nan) -> NDArray[np.float64]:
    """The return of each trial; one that failed counts as the worst, or as random play where that is worse."""
    returns = np.array([float(row["return"]) for row in rows])
    known = [ret for ret in [*returns, random] if math.isfinite(ret)]
    return np.where(np.isfinite(returns), returns, min(known, default=0.0))


def importances(study: optuna.Study, returns: NDArray[np.float64]) -> dict[str, Importance]:
    """PED-ANOVA of each setting, the largest first.

    Args:
        study: the trials.
        returns: of those that have ended, in their order.
    """
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    quantile = min(0.5, max(0.1, 5 / len(trials)))  # with fewer than 5 trials at the top there is little to compare
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)

    def evaluate(values: NDArray[np.float64]) -> dict[str, float]:
        copy = optuna.create_study(direction="maximize")
        copy.add_trials(
            optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=value)
            for trial, value in zip(trials, values, strict=True)
        )
        return optuna.importance.get_param_importances(copy, evaluator=evaluator, normalize=False)

    found, rng = evaluate(returns), np.random.default_rng(0)
    shuffled = [evaluate(rng.permutation(returns)) for _ in range(SHUFFLES)]
    total = sum(found.values()) or 1.0
    return {
        name: Importance(value / total, float(np.mean([each[name] >= value for each in shuffled])))
        for name, value in sorted(found.items(), key=lambda item: -item[1])
    }


def table(rows: Sequence[dict[str, str]], settings: Sequence[str], shown: int = 10) -> list[str]:
    """The best trials."""
    best = sorted(zip(rows, returns_of(rows), strict=True), key=lambda pair: -pair[1])[:shown]
    cells = [["trial", "state", "return", *settings]]
    cells += [[row["trial"], row["state"], digits(ret), *(row[name] for name in settings)] for row, ret in best]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in cells]


def which_mattered(weights: dict[str, Importance]) -> list[str]:
    """A line for each setting."""
    lines = [f"{name:<16} {value.share:>10.0%} {value.chance:>13.0%}" for name, value in weights.items()]
    return [f"{'setting':<16} {'importance':>10} {'as by chance':>13}", *lines, "", IMPORTANCE]


def sensitivity(returns: NDArray[np.float64], random: float) -> list[str]:
    """How many random configurations are good, and the quantiles of their returns.

    Args:
        returns: of random configurations.
        random: return of random play; NaN if it is not known, and the worst configuration takes its place.
    """
    low, best = random if math.isfinite(random) else returns.min(), returns.max()
    good = (returns >= low + GOOD * (best - low)).mean() if best > low else 0.0
    quantiles = (f"{q:.0%} {digits(float(np.quantile(returns, q)))}" for q in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1))
    return [
        f"{good:.0%} of {len(returns)} random configurations come {GOOD:.0%} of the way from {digits(low)}, "
        f"{'random play' if math.isfinite(random) else 'the worst'}, to {digits(best)}, the best.",
        f"Quantiles of their returns: {', '.join(quantiles)}",
    ]


def draw(
    path: Path,
    title: str,
    rows: Sequence[dict[str, str]],
    random: float,
    weights: dict[str, Importance],
    ranges: Mapping[str, tuple[Sequence[Any], bool]],
) -> None:
    """Importances and all returns, then the return against each setting, the most important first.

    Args:
        path: of the figure.
        title: its first line.
        rows: the trials.
        random: return of random play, or NaN.
        weights: importances.
        ranges: ends, or choices as text, of each setting, and whether its axis is logarithmic.
    """
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    from rlsuite.figures.style import COLORS, GREY, STYLE, draw_frame, save_figure, tick_label

    returns, states = returns_of(rows, random), np.array([row["state"] for row in rows])
    with matplotlib.style.context(["default", STYLE]):
        fig, columns = Figure(), 4
        lines = -(-(len(weights) + 2) // columns)
        subtitle = "return of the final policy · rings: pruned, so far · crosses: failed · dotted: random play"
        commits = sorted({commit[:7] + "+" * commit.endswith("+") for row in rows for commit in row["commit"].split()})
        caption = f"Pale bars are no larger than chance makes them. {IMPORTANCE}\nof commit {', '.join(commits)}"
        draw_frame(fig, (11, 2.6 * lines), title, subtitle, [], caption)
        axes = fig.subplots(lines, columns, squeeze=False).flat
        ax = next(axes)
        for name, value in reversed(weights.items()):
            ax.barh(name, value.share, color=COLORS[0], alpha=1 if value.chance <= 0.05 else 0.3)
        ax.set_title("importance")
        ax = next(axes)
        ax.step(np.arange(1, len(returns) + 1) / len(returns), np.sort(returns)[::-1], color=COLORS[0], where="pre")
        ax.axhline(random, color=GREY, linestyle=":")
        ax.set_xlim(0, 1)
        ax.set_title("share at least as good")
        for name, value in weights.items():
            ax, (ends, log) = next(axes), ranges[name]
            if isinstance(ends[0], str):  # points of one choice lie side by side
                xs = np.array([ends.index(row[name]) for row in rows])
                xs = xs + np.random.default_rng(0).uniform(-0.2, 0.2, len(rows))
                ax.set_xticks(range(len(ends)), [f"{end}" for end in ends])
                ax.set_xlim(-0.5, len(ends) - 0.5)
            else:
                xs = np.array([float(row[name]) for row in rows])
                low, high = (float(end) for end in ends)
                more = (high / low) ** 0.05 if log else 0.05 * (high - low)  # points at the ends are whole
                ax.set_xlim((low / more, high * more) if log else (low - more, high + more))
                if log:
                    ax.set_xscale("log")
                    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
                    ax.xaxis.set_minor_formatter(NullFormatter())
                ax.xaxis.set_major_formatter(tick_label)
            for state, mark, face in (("complete", "o", COLORS[0]), ("pruned", "o", "none"), ("fail", "x", COLORS[1])):
                of = states == state
                ax.plot(xs[of], returns[of], mark, ms=4, mfc=face, mec=COLORS[state == "fail"], alpha=0.8)
            ax.axhline(random, color=GREY, linestyle=":")
            ax.set_title(f"{name} · {value.share:.0%}")
        for ax in axes:
            ax.set_visible(False)
        save_figure(fig, path)
