"""What an ablation study found: what each detail is worth, in words and as a figure."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlsuite.analysis.statistics import LEVEL, MIN_SEEDS, Comparison, compare_cells, paired_difference, smallest_found

WHOLE, RANDOM = "whole algorithm", "random play"
NO_CLIP, NO_STOP, NEITHER = "no clipping", "no early stop", "no clipping, no early stop"
RETURN, LEARNING = "return", "return while training"
"""What is measured: of the final test episodes, and the mean over the env steps of the training."""

Returns = dict[str, dict[str, dict[int, float]]]
"""Of each seed of each setting of each environment."""


def returns_of(rows: Sequence[Mapping[str, str]], column: str) -> Returns:
    """What is measured, by environment, setting and seed; what is not finite is left out."""
    found: Returns = {row["environment"]: {} for row in rows}
    for row in rows:
        if math.isfinite(float(row[column])):
            found[row["environment"]].setdefault(row["setting"], {})[int(row["seed"])] = float(row[column])
    return found


def pairs(of_env: Mapping[str, dict[int, float]], *settings: str) -> tuple[list[int], list[NDArray[np.float64]]]:
    """The seeds that all these settings have, and the returns (seeds,) of each setting."""
    seeds = sorted(set.intersection(*(set(of_env.get(setting, {})) for setting in settings)))
    return seeds, [np.array([of_env[setting][seed] for seed in seeds]) for setting in settings]


def compared(returns: Returns) -> dict[tuple[str, str], Comparison]:
    """Each setting with the whole algorithm on the same seeds, by (environment, setting)."""
    both = {(env, setting): pairs(returns[env], WHOLE, setting) for env in returns for setting in returns[env]}
    both = {key: found for key, found in both.items() if key[1] not in (WHOLE, RANDOM) and found[0]}
    old, new = (
        {" ".join(k): dict(zip(seeds, sides[i], strict=True)) for k, (seeds, sides) in both.items()} for i in (0, 1)
    )
    return dict(zip(both, compare_cells(old, new).values(), strict=True))


def tenths(value: float) -> str:
    """A return, "" for NaN."""
    return "" if math.isnan(value) else f"{round(value, 1) + 0.0:.1f}"  # + 0.0: no "-0.0"


def verdict(found: Comparison) -> str:
    """In a few words."""
    if found.verdict in ("better", "worse"):
        return f"{found.verdict} by {tenths(abs(found.difference))}"
    return found.verdict


def table(rows: Sequence[Mapping[str, str]], column: str) -> list[str]:
    """What each setting changes, at most 100 columns wide."""
    returns, logs = returns_of(rows, column), returns_of(rows, LEARNING)
    found = compared(returns)
    lines = [f"{column}, difference to the {WHOLE}"]
    for env, of_env in returns.items():
        means = [f"{s} {tenths(float(np.mean([*of_env[s].values()])))}" for s in (WHOLE, RANDOM) if s in of_env]
        head = f"{'mean':>8} {'from':>8} {'to':>8} {'p':>6} {'n':>2} {'same':>4} {'finds':>7}"
        lines += ["", f"{env}: {', '.join(means)}", f"{'':<28} {head}  verdict"]
        for setting, c in ((setting, c) for (of, setting), c in found.items() if of == env):
            seeds, (old, new) = pairs(of_env, WHOLE, setting)
            log, other = (logs[env].get(side, {}) for side in (WHOLE, setting))
            same = sum(log.get(seed, math.nan) == other.get(seed) for seed in seeds)
            finds, p = math.nan, ""
            if len(seeds) >= MIN_SEEDS:
                spread, level = float((new - old).std(ddof=1)), 1 - (1 - LEVEL) / c.cells
                finds, p = smallest_found(len(seeds), spread, paired=True, level=level), f"{c.p:.3f}"
            numbers = " ".join(f"{tenths(x):>8}" for x in (c.difference, c.low, c.high))
            counts = f"{p.replace('0.000', '<0.001'):>6} {len(seeds):>2} {same:>4} {tenths(finds):>7}"
            lines.append(f"{setting:<28} {numbers} {counts}  {'not in use' if same == len(seeds) else verdict(c)}")
    return lines


def interaction(returns: Returns) -> list[str]:
    """Whether clipping and the early stop stand in for each other."""
    lines = [
        "clipping and early stop, each left out, and both; interaction = both - sum of the two",
        "",
        f"{'':<16}{'clipping':>10}{'early stop':>11}{'sum':>10}{'both':>10}{'interaction':>12}{'from':>10}{'to':>10}",
    ]
    for env, of_env in returns.items():
        seeds, (whole, clip, stop, both) = pairs(of_env, WHOLE, NO_CLIP, NO_STOP, NEITHER)
        if not seeds:
            continue
        alone, c = clip + stop - 2 * whole, paired_difference(clip + stop - whole, both)
        means = (x.mean() for x in (clip - whole, stop - whole, alone, both - whole))
        parts = zip((*means, c.difference, c.low, c.high), (10, 11, 10, 10, 12, 10, 10), strict=True)
        lines.append(f"{env:<16}" + "".join(f"{tenths(float(x)):>{width}}" for x, width in parts))
        say = (
            "no interaction found"
            if math.isnan(c.low) or c.low <= 0 <= c.high
            else "to lose both costs less than the sum"
        )
        say = "they stand in for each other: one makes up for the other's absence" if c.high < 0 else say
        lines.append(f"{'':<16}  {say} ({len(seeds)} seeds)")
    return lines


NOTES = """
Mean, from, to: paired difference and its 95% interval, not corrected. p: corrected by Holm's method
for all {cells} comparisons of a table. n: seeds. Same: seeds whose training returned exactly what the
whole algorithm's did, as the detail was never in use. Finds: the smallest difference that n seeds
would show about, in 80% of cases, at the strictest of Holm's levels. "No difference found" is no
proof that there is none. Interactions are not corrected."""


def report(rows: Sequence[Mapping[str, str]], count: int, failed: Sequence[str] = ()) -> list[str]:
    """What came out, and on how many of the `count` runs of the study it rests."""
    commits = sorted({row["commit"][:7] + "+" * row["commit"].endswith("+") for row in rows})
    lines = [f"{len(rows)} of {count} runs are finished; of commit {', '.join(commits)}"]
    lines += ["This is not the whole study: all below may change."] * (len(rows) < count)
    lines += [f"failed, and left out: {run}" for run in failed]
    lines += ["", *table(rows, RETURN), "", *table(rows, LEARNING)]
    cells = len(compared(returns_of(rows, RETURN)))
    return [*lines, "", *interaction(returns_of(rows, RETURN)), *NOTES.format(cells=cells).split("\n")]


def draw(path: Path, rows: Sequence[Mapping[str, str]], count: int) -> None:
    """A panel for each environment, above its final return and below that while training; a line for each setting.

    Where there is nothing to compare yet, nothing is drawn.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    from rlsuite.figures.style import COLORS, GREY, STYLE, draw_frame, save_figure, tick_label

    found = compared(returns_of(rows, RETURN))
    if not found:
        return
    envs, settings = [*returns_of(rows, RETURN)], list(dict.fromkeys(setting for _, setting in found))
    steps = {row["environment"]: int(row["env steps"]) for row in rows if row["setting"] == WHOLE}
    with matplotlib.style.context(["default", STYLE]):
        fig = Figure()
        title = f"PPO with one detail left out{'' if len(rows) >= count else f' ({len(rows)} of {count} runs so far)'}"
        subtitle = (
            "difference to the whole algorithm · points: seeds · bar: mean · line: 95% interval · dotted: random play"
        )
        caption = (
            "Pale: no difference found, after Holm's correction for all settings and environments of a row of panels."
            f"\n{', '.join(f'{env} {steps[env]:,} env steps' for env in steps)}"
        )
        draw_frame(fig, (11, 5.8), title, subtitle, [], caption)
        axes = fig.subplots(2, len(envs), sharey=True, squeeze=False)
        for line, column in zip(axes, (RETURN, LEARNING), strict=True):
            returns = returns_of(rows, column)
            found = compared(returns)
            for ax, env in zip(line, envs, strict=True):
                ax.axvline(0, color="black", linewidth=1)
                if {WHOLE, RANDOM} <= set(returns[env]):
                    whole, random = (np.mean([*returns[env][s].values()]) for s in (WHOLE, RANDOM))
                    ax.axvline(random - whole, color=GREY, linestyle=":")
                for y, setting in enumerate(settings):
                    if (env, setting) not in found:
                        continue
                    c, (_, (old, new)) = found[env, setting], pairs(returns[env], WHOLE, setting)
                    color, alpha = COLORS[c.difference < 0], 1 if verdict(c) != c.verdict else 0.35
                    ax.plot(new - old, np.full(len(old), y), "o", color=color, ms=3.5, mew=0, alpha=0.5 * alpha)
                    ax.plot([c.low, c.high], [y, y], color=color, linewidth=2, alpha=alpha)
                    ax.plot(c.difference, y, "|", color=color, ms=12, mew=2, alpha=alpha)
                ax.set_yticks(range(len(settings)), settings)
                ax.set_ylim(len(settings) - 0.5, -0.5)
                ax.xaxis.set_major_formatter(tick_label)
                ax.set_title(env)
                ax.set_xlabel(f"{column}, difference")
        save_figure(fig, path)
