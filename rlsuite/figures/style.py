"""What all figures share: colours and lines, the frame around the panels, and how a figure is written to disk."""

import contextlib
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsuite.errors import UserError
from rlsuite.rundir.runs import read_config

if TYPE_CHECKING:  # matplotlib takes long to import: --help and errors must not wait for it
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart. Their yellow is missing: it is too pale on white.
# 7 colours and 5 line styles share no divisor, so 35 groups look different, and 5 of them even in grey.
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
    "svg.hashsalt": "rlsuite",  # with the salt fixed and the dates left out, equal data give equal files
}
FORMATS: dict[str, dict[str, Any]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""The suffixes a figure may have, and the metadata that keep its date out of the file."""


def draw_frame(
    fig: "Figure", size: tuple[float, float], title: str, subtitle: str, labels: Sequence[str], caption: str
) -> None:
    """Write title, legend and caption, and leave room between them for the panels.

    Args:
        fig:      an empty figure; it grows to hold everything.
        size:     width and height of the panels' area, inches.
        title:    one line.
        subtitle: below the title, in as many lines as it takes.
        labels:   of the legend, the k-th for `COLORS[k]` and `LINES[k]`; empty for no legend.
        caption:  any number of lines, below the panels.
    """
    from matplotlib.lines import Line2D

    width, height = size
    n_cols = max(1, min(len(labels), int(width / (0.7 + 0.08 * max(map(len, labels), default=0)))))
    explained = textwrap.wrap(subtitle, int(132 * width / 9))
    more = 0.17 * (len(explained) - 1)  # inches below the subtitle's first line
    head = 0.65 + more + 0.22 * -(-len(labels) // n_cols)
    lines = [part for line in caption.split("\n") if line for part in textwrap.wrap(line, int(width * 14))]
    foot = 0.1 + 0.17 * len(lines)
    total = head + height + foot
    fig.set_size_inches(width, total)
    area = (0, foot / total, 1, height / total)
    fig.set_layout_engine("constrained", rect=area, h_pad=0.08, w_pad=0.1)
    large = min(14, 115 * width / max(1, len(title)))  # points; a long title gets smaller letters, so that it fits
    fig.text(0.1 / width, 1 - 0.1 / total, title, size=large, weight="bold", va="top")
    fig.text(0.1 / width, 1 - 0.39 / total, "\n".join(explained), size=9, color=GREY, va="top")
    fig.text(0.1 / width, 0.07 / total, "\n".join(lines), size=8.5, color=GREY, va="bottom")
    handles = [
        Line2D([], [], color=COLORS[k % len(COLORS)], linestyle=LINES[k % len(LINES)], linewidth=1.8)
        for k in range(len(labels))
    ]
    if handles:
        corner = (0.1 / width, 1 - (0.58 + more) / total)
        fig.legend(handles, labels, loc="upper left", bbox_to_anchor=corner, ncols=n_cols, handlelength=3)


def named_config(run: Path) -> dict[str, Any]:
    """Return the run's settings; a run without a name is named after the folder that it lies in.

    Raises:
        UserError: as `read_config`.
    """
    return {"exp_name": run.absolute().parent.name, **read_config(run)}


def title_of(configs: Sequence[Mapping[str, Any]]) -> str:
    """Return the runs' experiment and environment as one line; of several experiments, what they share."""
    names, envs = _distinct(configs, "exp_name"), _distinct(configs, "env", "env_name")
    if len(names) > 1:
        return ", ".join(envs) if 0 < len(envs) <= 3 else f"{len(names)} experiments"
    return " · ".join(names + [env for env in envs if len(envs) == 1 and env not in names[0]])


def caption_of(configs: Sequence[Mapping[str, Any]]) -> str:
    """Return the runs' notes, each once, at most three of them."""
    notes = list(dict.fromkeys(one_line(config.get("note") or "", 300) for config in configs))
    notes = [f"note: {note}" for note in notes if note]
    return "\n".join(notes[:3] + [f"… and {len(notes) - 3} more notes"] * (len(notes) > 3))


def _distinct(configs: Sequence[Mapping[str, Any]], *keys: str) -> list[str]:
    values = (one_line(config[key], 60) for config in configs for key in keys if config.get(key))
    return list(dict.fromkeys(value for value in values if value))


def one_line(value: object, limit: int) -> str:
    """Make one printable line of at most `limit` letters out of whatever a file holds."""
    text = "".join(c for c in " ".join(str(value).split()) if c.isprintable())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shorten(labels: Sequence[str], limit: int) -> list[str]:
    """Cut labels to at most so many letters, at a place where different ones stay different; else number them."""
    whole = [one_line(label, 10_000) for label in labels]
    for head in (limit - 1, limit // 2, 0):  # letters kept of the beginning; the others are those of the end
        short = [t if len(t) <= limit else f"{t[:head]}…{t[len(t) - (limit - 1 - head) :]}" for t in whole]
        if len(set(short)) == len(set(whole)):
            return short
    return [one_line(f"{k}: {text}", limit) for k, text in enumerate(whole, start=1)]


def tick_label(value: float, _: object = None) -> str:
    """Write 100000 as 100k. Matplotlib passes the tick's position too, which plays no part."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if unit <= abs(value) < 1000e9:
            return f"{value / unit:g}{letter}".replace("-", MINUS)
    return f"{value:g}".replace("-", MINUS)


def mono_font() -> str:
    """Return the file of a font that is everywhere, since it is matplotlib's; numbers that change do not jump in it."""
    import matplotlib

    return f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSansMono.ttf"


def save_figure(fig: "Figure", path: Path) -> None:
    """Write the figure in the format of the suffix, whole or not at all.

    Args:
        fig:  what to write.
        path: with one of the suffixes in `FORMATS`, in upper or lower case.

    Raises:
        UserError: the file can't be written.
    """
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
