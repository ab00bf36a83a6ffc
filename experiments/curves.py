"""The curves of the whole battery: those that the package ships as references, and a page for each environment."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cells import PLACES
from full import Line, Training, newest
from published import Result, random_of

from rlsuite.analysis.statistics import FEW_SEEDS
from rlsuite.figures.intervals import aggregate
from rlsuite.rundir.files import write_atomically
from rlsuite.rundir.references import COLUMN, COLUMNS, CURVES, Array, settings_digest
from rlsuite.rundir.runs import read_config, read_progress

POINTS = 50
"""of a curve at most"""


class Drawn(NamedTuple):
    """The curve of a cell."""

    settings: str
    """digest"""
    steps: Array
    mean: Array
    low: Array
    high: Array


def curve_of(result: Result) -> Drawn | None:
    """The mean training return of a cell's seeds and its interval; None if one of its runs is not on this disk."""
    runs = [newest(Training(result.cell, int(line["seed"])), line["command"]) for line in result.lines]
    there = [run for run in runs if run]
    if len(there) < len(runs):
        return None
    curve = aggregate([read_progress(run) for run in there], COLUMN)
    known = np.flatnonzero(np.isfinite(curve.mean))
    if not len(known):
        return None
    at = known[np.unique(np.linspace(0, len(known) - 1, POINTS).round().astype(int))]
    return Drawn(settings_digest(read_config(there[0])), *(part[at] for part in curve[:4]))


def write_curves(results: Mapping[str, Result], path: Path = CURVES) -> None:
    """Write the curve of each cell that passes; of one whose runs are not on this disk the one that is there stays."""
    before: dict[str, list[dict[str, str]]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                before.setdefault(row["cell"], []).append(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name, result in sorted(results.items()):
        if result.passed:
            drawn = None if result.changed else curve_of(result)
            writer.writerows(_rows(result, drawn) if drawn else before.get(name, []))
    write_atomically(path, text.getvalue().encode())


def _rows(result: Result, drawn: Drawn) -> Iterator[dict[str, str]]:
    cell = result.cell
    place = PLACES[cell.place]
    names = (cell.name, cell.algo, place.env, place.kwargs, drawn.settings, f"{len(result.lines)}")
    for steps, *returns in zip(*drawn[1:], strict=True):
        yield dict(zip(COLUMNS, (*names, f"{steps:.0f}", *(f"{ret:.5g}" for ret in returns)), strict=True))


def draw_pages(results: Mapping[str, Result], lines: Sequence[Line], folder: Path) -> list[Path]:
    """Draw the curves of all algorithms of each environment that has any, a picture each, and return the files."""
    import matplotlib.style
    from matplotlib.figure import Figure

    from rlsuite.figures.style import COLORS, GREY, LINES, STYLE, draw_frame, save_figure, tick_label

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in PLACES:
        here = [result for result in results.values() if result.cell.place == name and result.cell.algo != "random"]
        found = [(result, drawn) for result in here if (drawn := curve_of(result))]
        if not found:
            continue
        with matplotlib.style.context(["default", STYLE]):
            fig = Figure()
            counts = [len(result.lines) for result, _ in found]
            labels = [
                f"{result.marked} ({n} seed{'s' * (n > 1)})" for (result, _), n in zip(found, counts, strict=True)
            ]
            subtitle = "mean return of training episodes · band: 95% interval of the mean · dotted: random play"
            subtitle += f" · fewer than {FEW_SEEDS} seeds are few" * (min(counts) < FEW_SEEDS)
            draw_frame(fig, (9, 5), found[0][0].cell.environment, subtitle, labels, "")
            ax = fig.subplots()
            ax.axhline(random_of(name, lines), color=GREY, linestyle=":")
            for k, (_, (_, steps, mean, low, high)) in enumerate(found):
                color = COLORS[k % len(COLORS)]
                ax.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
                ax.plot(steps, mean, color=color, linestyle=LINES[k % len(LINES)], linewidth=1.8)
            ax.xaxis.set_major_formatter(tick_label)
            ax.set_xlabel("env steps")
            files.append(folder / f"{name.replace(' ', '-')}.png")
            save_figure(fig, files[-1])
    return files
