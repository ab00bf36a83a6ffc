"""What a training shows on a terminal: its last rows and a bar."""

import math
from collections.abc import Mapping
from typing import Any

TABLE_COLUMNS = ("AverageEpRet", "MinEpRet", "MaxEpRet", "EpLen", "Entropy", "KL", "ExplainedVariance")


class LiveTable:
    """The last rows and a progress bar, redrawn in place on a terminal."""

    def __init__(self, total_steps: int) -> None:
        """Of a budget in env steps."""
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.rows: list[Mapping[str, float]] = []
        self.progress = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f} / {task.total:,.0f} steps  {task.fields[rate]:,.0f}/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.task = self.progress.add_task("", total=total_steps, rate=0)
        self.live = Live(self.progress, refresh_per_second=4, transient=False)
        self.live.start()

    def show(self, row: Mapping[str, float]) -> None:
        """Add a row."""
        from rich.console import Group
        from rich.table import Table

        self.rows = [*self.rows[-9:], row]
        names = ["Epoch", *(name for name in TABLE_COLUMNS if name in row)]
        table = Table(*names, box=None, pad_edge=False)
        for column in table.columns:
            column.justify = "right"
        for shown in self.rows:
            table.add_row(*(short(shown[name]) for name in names))
        self.progress.update(self.task, completed=row["TotalEnvInteracts"], rate=row["StepsPerSec"])
        self.live.update(Group(table, self.progress))

    def close(self) -> None:
        """Leave the last rows on the screen."""
        self.live.stop()


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
    shown = (f"{name} {short(row[name])}" for name in TABLE_COLUMNS if name in row)
    return f"epoch {row['Epoch']}  steps {row['TotalEnvInteracts']}  {'  '.join(shown)}"
