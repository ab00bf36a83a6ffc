"""What a training shows on a terminal: its last rows and a bar."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

TABLE_COLUMNS = {
    "AverageEpRet": "EpRet",
    "MinEpRet": "Min",
    "MaxEpRet": "Max",
    "AverageTestEpRet": "TestEpRet",
    "EpLen": "EpLen",
    "Entropy": "Entropy",
    "KL": "KL",
    "ExplainedVariance": "ExplVar",
}
"""columns of the log that are shown, and what stands above them where space is scarce; the last are left out first"""
ROWS = 10
REFRESHES = 4  # per second
MEMORY = 300  # seconds that the speed is measured over; a rollout and its update, which differ in speed, take less
SHORTEST_BAR = 8


class LiveTable:
    """The last rows and a progress bar, redrawn in place on a terminal, several times a second."""

    def __init__(self, total_steps: int, steps: Callable[[], int]) -> None:
        """Begin to draw.

        Args:
            total_steps: the budget in env steps.
            steps: returns the env steps so far.
        """
        from rich import get_console
        from rich.live import Live

        self.console = get_console()
        self.total_steps, self.steps = total_steps, steps
        self.rows: deque[Mapping[str, float]] = deque(maxlen=ROWS)
        self.begun = time.monotonic()
        self.times: deque[tuple[float, int]] = deque(maxlen=MEMORY * REFRESHES)
        self.closing = False
        self.live = Live(console=self.console, get_renderable=self.screen, refresh_per_second=REFRESHES)
        self.live.start()
        self.console.show_cursor()  # a process that is killed could not bring it back

    def show(self, row: Mapping[str, float]) -> None:
        """Add a row."""
        self.rows.append(row)

    def resume(self) -> None:
        """Measure the speed from here: the steps before were not taken now."""
        self.times.clear()

    def screen(self) -> Any:
        """What is drawn, as wide as the terminal is now."""
        from rich.console import Group

        width, height = self.console.size
        rows = list(self.rows)[-max(1, height - 4) :]
        parts = [table(rows, width)] if rows else []
        # The terminal writes ^C where the cursor is, which must be no line of ours: redrawing would miss by one line.
        return Group(*parts, self.bar(width), *([] if self.closing else [""]))

    def bar(self, width: int) -> Any:
        """One line: the share of the budget, steps, time left and elapsed, and speed, as many of them as fit."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        now, steps = time.monotonic(), self.steps()
        self.times.append((now, steps))
        since, before = self.times[0]
        rate = (steps - before) / max(now - since, 1e-9)
        left = timedelta(seconds=int((self.total_steps - steps) / rate)) if rate else "-:--:--"
        elapsed = timedelta(seconds=int(now - self.begun))
        texts = [f"{steps:,} / {self.total_steps:,} steps", f"{left} left", f"{elapsed} elapsed", f"{rate:,.0f}/s"]
        share = f"{steps / self.total_steps:4.0%}"
        while texts and width - len("  ".join([share, "", *texts])) < SHORTEST_BAR:
            texts.pop()
        grid = Table.grid(padding=(0, 2))
        bar = ProgressBar(self.total_steps, steps, width=max(1, width - len("  ".join([share, "", *texts]))))
        grid.add_row(share, bar, *texts)
        return grid

    def close(self, redraw: bool = True) -> None:
        """Leave the last rows on the screen.

        Args:
            redraw: False if another process may have moved the cursor: all stays as it was drawn last.
        """
        self.closing = True
        self.console.quiet = not redraw
        self.live.stop()
        self.console.quiet = False


def table(rows: list[Mapping[str, float]], width: int) -> Any:
    """Rows under a header, without the columns on the right that do not fit."""
    from rich.text import Text

    columns = [[head, *(short(row[name]) for row in rows)] for name, head in _columns(rows[-1]).items()]
    widths = [max(map(len, column)) for column in columns]
    count = sum(sum(widths[:n]) + 2 * (n - 1) <= width for n in range(1, len(widths) + 1))
    lines = ["  ".join(map(str.rjust, line, widths[:count])) for line in zip(*columns[:count], strict=True)]
    return Text("\n", no_wrap=True).join([Text(lines[0], "bold"), *map(Text, lines[1:])])


def _columns(row: Mapping[str, float]) -> dict[str, str]:
    """The columns of a row that are shown; of the test return, only where there are test episodes."""
    present = {"Epoch": "Epoch"} | {name: head for name, head in TABLE_COLUMNS.items() if name in row}
    if math.isnan(row.get("AverageTestEpRet", math.nan)):
        present.pop("AverageTestEpRet", None)
    return present


def short(value: float) -> str:
    """A number in four digits, "-" for NaN."""
    return "-" if isinstance(value, float) and math.isnan(value) else f"{value:.4g}"


def returns(*values: float) -> list[str]:
    """Returns as text, all with as many decimals as the larger of the first two needs for three digits, at least one.

    Args:
        values: for example a mean, its spread, and then a minimum and a maximum.

    Returns:
        For example ["0.160", "0.367", "0.000", "1.000"], or ["-82.3"].
    """
    size = max((abs(value) for value in values[:2] if math.isfinite(value)), default=0.0)
    decimals = max(1, 2 - math.floor(math.log10(size))) if size else 1
    return [f"{round(value, decimals) + 0.0:.{decimals}f}" for value in values]  # -0.0 + 0.0 is 0.0


def acting(ac: Any, sample: bool = False) -> str:
    """How a policy takes its actions: "deterministic", or "sampled" where that is asked for or all it can do."""
    return "sampled" if sample or ac.mode == getattr(ac, "act", None) else "deterministic"


def line(row: Mapping[str, float]) -> str:
    """A row as one line of text."""
    shown = (f"{name} {short(row[name])}" for name in list(_columns(row))[1:])
    return f"epoch {row['Epoch']}  steps {row['TotalEnvInteracts']}  {'  '.join(shown)}"
