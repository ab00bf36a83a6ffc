"""What the lines of the whole battery say: statistics of each cell, docs/results.md, and the table in README.md."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from cells import CELLS, NOTES, PLACES, Cell
from full import Line, stale
from tables import ROOT, markdown

from rlsuite.analysis.statistics import FEW_SEEDS, IQM, Estimate, estimate, normalize
from rlsuite.common.console import returns as shown
from rlsuite.rundir.files import write_atomically

PASS = 0.98
"""normalised score from which on a cell is as good as its reference"""
PAGE = ROOT / "docs" / "results.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"
STALE, MORE, FEWER = "†", "‡", "§"
INTRODUCTION = f"""# Returns of all algorithms on all environments

Made by `python experiments/battery.py --full`, and this page from [its lines](../data/results.csv), one for each run,
by `--full --table`. Each return is the mean of 100 deterministic test episodes (FrozenLake: 500) of the final policy;
test episodes choose nothing. Each line has the command that repeats it. The settings are the presets, tuned on seeds
from 1000 up, or where there is none the defaults; on the continuous LunarLander PPO and TRPO have that of the discrete
one. The seeds here are those from 0 up.

A reference is the best return that a suite or paper publishes for that algorithm and environment, with its env steps:
mostly of one tuned run, or of three seeds, and some of an older version of the environment; for FrozenLake, where
nobody publishes one, it is the optimum. Score: (mean - random play) / (reference - random play). A cell with all its
seeds passes from {PASS} on. The interval is that of the mean. Fewer than {FEW_SEEDS} seeds are few, and their
interval says little.
"""


class Result(NamedTuple):
    """What the seeds of a cell have returned."""

    cell: Cell
    lines: list[Line]
    """by seed"""
    returns: list[float]
    mean: Estimate
    iqm: float
    random: float
    """mean return of random play; NaN where it is not known"""
    score: float
    """(mean - random) / (reference - random); NaN without a reference"""
    changed: list[str]
    """what has changed since a line was made, of each line that is stale"""

    @property
    def passed(self) -> bool | None:
        """Whether it is as good as its reference; None where there is none, or seeds are missing."""
        return None if math.isnan(self.score) or not self.whole else self.score >= PASS

    @property
    def whole(self) -> bool:
        """Whether all seeds are there."""
        return len(self.lines) >= self.cell.seeds

    @property
    def steps(self) -> int:
        """Env steps of a run."""
        return int(self.lines[0]["env steps"])

    @property
    def marked(self) -> str:
        """The algorithm as the tables name it."""
        name = " ".join(filter(None, [self.cell.algo, self.cell.tag]))
        return f"{name} {STALE}" if self.changed else name


def results(lines: Sequence[Line]) -> dict[str, Result]:
    """What there is of each cell that has a line, by the cell's name."""
    found = {}
    for cell in CELLS:
        own = sorted((line for line in lines if line["cell"] == cell.name), key=lambda line: int(line["seed"]))
        own = [line for line in own if not stale(line)] or own  # never together: they are of two algorithms
        if own:
            found[cell.name] = _result(cell, own, random_of(cell.place, lines))
    return found


def random_of(place: str, lines: Sequence[Line]) -> float:
    """Mean return of random play: that of its line, else the one that is known from elsewhere."""
    measured = [float(line["return"]) for line in lines if line["cell"] == Cell("random", place, 1).name]
    return measured[0] if measured else PLACES[place].random


def _result(cell: Cell, lines: list[Line], random: float) -> Result:
    returns = [float(line["return"]) for line in lines]
    scores, score = np.array(returns)[:, None], math.nan
    if cell.reference and math.isfinite(random):
        score = float(normalize(scores, np.array([random]), np.array([cell.reference.ret])).mean())
    changed = [what for line in lines if (what := stale(line))]
    iqm = estimate(scores, IQM).value
    return Result(cell, lines, returns, estimate(scores), iqm, random, score, changed)


# ---- words


def verdict(result: Result) -> str:
    """Whether a cell passes, and whether it had more or fewer env steps than its reference."""
    reference = result.cell.reference
    if result.passed is None or not reference:
        return "–"
    steps = result.steps * result.cell.frame_skip
    mark = (
        "" if not reference.steps else f" {MORE}" * (steps > reference.steps) + f" {FEWER}" * (steps < reference.steps)
    )
    return ("yes" if result.passed else "no") + mark


def row(result: Result) -> dict[str, str]:
    """A cell as a line of the page."""
    cell, few = result.cell, len(result.lines) < FEW_SEEDS
    mean, low, high, iqm, worst, random, *each = shown(
        result.mean.value, *result.mean[1:], result.iqm, min(result.returns), result.random, *result.returns
    )
    said = cell.reference
    at = f", {said.steps:,} steps" if said and said.steps else ""
    seeds = f"{len(result.lines)}" + f" of {cell.seeds}" * (not result.whole) + ", few" * few
    return {
        "algorithm": result.marked,
        "env steps": f"{result.steps:,}",
        "seeds": seeds,
        "mean": mean,
        "95% interval": f"{low} to {high}" if math.isfinite(result.mean.low) else "–",
        "IQM": iqm,
        "worst": worst,
        "each seed": " ".join(each),
        "random play": random if math.isfinite(result.random) else "–",
        "reference": f"{said.ret:g} ({said.source}{at})" if said else "none",
        "score": f"{result.score:.3f}" if math.isfinite(result.score) else "–",
        "pass": verdict(result),
    }


def explained(found: Sequence[Result]) -> list[str]:
    """What the marks mean that occur."""
    changed = sorted({what for result in found for what in result.changed})
    marks = "".join(map(verdict, found))
    lines = []
    if changed:
        lines.append(f"{STALE} stale: {', '.join(changed)} changed since; `--full` trains them again.")
    lines += [f"{MORE} with more env steps than the reference."] * (MORE in marks)
    lines += [f"{FEWER} with fewer env steps than the reference."] * (FEWER in marks)
    return lines


def page(lines: Sequence[Line]) -> str:
    """docs/results.md."""
    found = results(lines)
    learned = [result for result in found.values() if result.cell.algo != "random"]
    judged = [result for result in learned if result.passed is not None and not result.changed]
    passed = sum(bool(result.passed) for result in judged)
    hours = sum(float(line["seconds"] or 0) for line in lines) / 3600
    open_cells = [cell for cell in CELLS if cell.name not in found and cell.algo != "random"]
    cells = [cell for cell in CELLS if cell.algo != "random"]
    text = [
        INTRODUCTION,
        f"**{passed} of {len(judged)} cells pass**, of those that have a reference and all their seeds, none stale.",
        f"{len(learned)} of {len(cells)} cells have been run, in {hours:.1f} hours of one core.",
        *(f"\n{line}" for line in explained(learned)),
    ]
    for name in PLACES:
        here = [cell for cell in CELLS if cell.place == name and cell.algo != "random"]
        ran = [found[cell.name] for cell in sorted(here, key=lambda cell: cell.name) if cell.name in found]
        if ran:
            text += ["", f"## {ran[0].cell.environment}", "", markdown([row(result) for result in ran])]
            notes = [f"- {result.marked}: {NOTES[result.cell.name]}" for result in ran if result.cell.name in NOTES]
            text += ["", *notes] if notes else []
    if open_cells:
        total = sum(cell.hours for cell in open_cells)
        text += ["", "## Left out", "", f"Not run yet, with the estimated hours of one core, {total:.0f} in all:", ""]
        text += [f"- {cell.name}: {cell.hours:.2f}" for cell in open_cells]
    return "\n".join(text) + "\n"


def short(lines: Sequence[Line]) -> str:
    """The table of README.md."""
    found = [result for result in results(lines).values() if result.cell.algo != "random"]
    order = list(PLACES)
    found.sort(key=lambda result: (order.index(result.cell.place), result.cell.name))
    if not found:
        return "No line yet: `python experiments/battery.py --full`."
    rows = []
    for result in found:
        mean, worst, random = shown(result.mean.value, min(result.returns), result.random)
        reference = result.cell.reference
        rows.append(
            {
                "algorithm": result.marked,
                "environment": result.cell.environment,
                "env steps": f"{result.steps:,}",
                "seeds": f"{len(result.lines)}" + f" of {result.cell.seeds}" * (not result.whole),
                "return, mean of seeds": mean,
                "worst seed": worst,
                "random policy": random if math.isfinite(result.random) else "–",
                "reference": f"{reference.ret:g} ({reference.source})" if reference else "–",
                "pass": verdict(result),
            }
        )
    return "\n".join([markdown(rows), *(f"\n{line}" for line in explained(found))])


def write(lines: Sequence[Line]) -> None:
    """Write the page, and the table between its marks in README.md."""
    write_atomically(PAGE, page(lines).encode())
    head, rest = README.read_text(encoding="utf-8").split(BEGIN)
    _, tail = rest.split(END)
    write_atomically(README, f"{head}{BEGIN}{short(lines)}\n{END}{tail}".encode())
