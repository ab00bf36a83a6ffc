"""The page of a diagnosis: the return, and the columns that the findings rest on, with where each finding stands."""

from typing import TYPE_CHECKING

import numpy as np

from rlsuite.analysis.causes import CAUSES
from rlsuite.analysis.diagnosis import Diagnosis, Log
from rlsuite.figures.style import COLORS, GREY, draw_frame, tick_label
from rlsuite.rundir.columns import TITLES

if TYPE_CHECKING:  # matplotlib takes long to import: --help and errors must not wait for it
    from matplotlib.figure import Figure

MOST, ACROSS = 6, 3
"""panels, and panels in a row"""
CURVE, MARK = COLORS[0], COLORS[1]


def draw_diagnosis(fig: "Figure", title: str, log: Log, found: Diagnosis) -> None:
    """Draw the return and the evidence, shaded from where a finding stands.

    Args:
        fig:   an empty figure.
        title: of the run.
        log:   what the run has written.
        found: its diagnosis.
    """
    marks: dict[str, tuple[str, float]] = {}
    for finding in found.findings:
        for name in finding.columns[:1]:
            marks.setdefault(name, (finding.rule, finding.since))
    tested = np.isfinite(log.col("AverageTestEpRet")).any()
    ret = "AverageTestEpRet" if tested else "AverageEpRet"
    names = [ret, *(name for name in marks if name != ret)][:MOST]
    names += [n for n in ("Entropy", "KL", "ExplainedVariance") if n not in names][: max(0, ACROSS - len(names))]
    said = [f"Likeliest cause: {CAUSES[found.root]}"] if found.root else []
    said += [f"• {finding.text}" for finding in found.findings] or ["No rule had anything to say."]
    subtitle = "orange: from where on a finding stands · dotted: random play"
    rows = -(-len(names) // ACROSS)
    draw_frame(fig, (10, 2.3 * rows), title, subtitle, [], "\n".join(said))
    axes = fig.subplots(rows, ACROSS, squeeze=False)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, names, strict=False):
        known = np.isfinite(log.col(name))
        ax.plot(log.steps[known], log.col(name)[known], color=CURVE, marker="." if known.sum() < 3 else "")
        ax.set_title(TITLES.get(name, name), size=9)
        ax.xaxis.set_major_formatter(tick_label)
        ax.yaxis.set_major_formatter(tick_label)
        if name == ret and np.isfinite(log.chance[0]):
            ax.axhline(log.chance[0], color=GREY, linestyle=":")
        if name in marks:
            rule, since = marks[name]
            ax.axvspan(since, float(log.steps[-1]), color=MARK, alpha=0.15, linewidth=0)
            ax.set_xlabel(rule, color=MARK)
