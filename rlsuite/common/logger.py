"""The run directory, progress.txt and the console."""

import dataclasses
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from rlsuite.common import mpi
from rlsuite.common.checks import UserError

TABLE_COLUMNS = ("AverageEpRet", "MinEpRet", "MaxEpRet", "EpLen", "Entropy", "KL", "ExplainedVariance")


class Logger:
    """Writes one run: `<data_dir>/<exp_name>/<timestamp>_s<seed>/` with config.json and progress.txt.

    Nothing is created before `start`, so that bad settings leave nothing behind, and no run is ever overwritten. Of
    several processes only rank 0 writes and prints.
    """

    def __init__(
        self,
        exp_name: str = "",
        data_dir: str | Path = "data",
        *,
        note: str = "",
        command: str = "",
        tensorboard: bool = False,
        quiet: bool = False,
    ) -> None:
        """Remember where to write.

        Args:
            exp_name: the experiment, a folder name; "" for `<algo>_<env>`.
            data_dir: parent of all experiments.
            note: what question this run answers; kept in config.json.
            command: the command line that started it; kept in config.json.
            tensorboard: write event files for TensorBoard as well.
            quiet: print nothing.
        """
        self.exp_name, self.data_dir, self.note, self.command, self.quiet = (
            exp_name,
            Path(data_dir),
            note,
            command,
            quiet or mpi.rank > 0,
        )
        self.run_dir: Path | None = None
        self.columns: list[str] = []
        self._file: TextIO | None = None
        self._live: Any = None
        self._events: Any = None
        self.tensorboard = tensorboard

    def start(self, algo: str, config: Any, network: type, **facts: Any) -> Path:
        """Create the run directory and write config.json.

        Args:
            algo: the algorithm's name.
            config: its `Config`, with at least `env`, `seed` and `total_steps`.
            network: the class of its networks.
            facts: further entries of config.json.

        Returns:
            The run directory.

        Raises:
            UserError: the directory can't be made or written.
        """
        self.exp_name = self.exp_name or f"{algo}_{config.env}".replace("/", "_").replace(":", "_")
        if Path(self.exp_name).name != self.exp_name or self.exp_name == ".." or "\0" in self.exp_name:
            raise UserError(f"--exp-name {self.exp_name!r} must be a plain folder name, without slashes")
        if self.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UserError('--tensorboard needs a missing package: pip install "rlsuite[tensorboard]"') from error
        if mpi.rank > 0:
            self.run_dir = Path(mpi.gather_objects(None)[0])
            return self.run_dir
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        settings = {"algo": algo, "exp_name": self.exp_name, **dataclasses.asdict(config), "note": self.note}
        about = {"network": f"{network.__module__}.{network.__qualname__}", **facts}
        about |= {"command": self.command, "ranks": mpi.size, "versions": _versions(), "git_commit": _git_commit()}
        try:
            self.run_dir = _new_directory(self.data_dir / self.exp_name, f"{stamp}_s{config.seed}")
            text = json.dumps({**settings, **about}, indent=2, default=str)
            (self.run_dir / "config.json").write_text(text + "\n", encoding="utf-8")
            self._file = (self.run_dir / "progress.txt").open("w", encoding="utf-8")
        except OSError as error:
            where = error.filename or self.data_dir
            raise UserError(f"can't write to {where} ({error.strerror}); choose another --data-dir") from error
        mpi.gather_objects(str(self.run_dir))
        if self.tensorboard:
            self._events = SummaryWriter(self.run_dir)
        self.start_time = self._epoch_time = time.perf_counter()
        self._epoch_steps = 0
        if not self.quiet:
            print(f"{self.run_dir}")
            if sys.stdout.isatty():
                self._live = _LiveTable(config.total_steps)
        return self.run_dir

    def say(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self.quiet:
            print(text, flush=True)

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Append a row to progress.txt, flushed to the operating system, and show it.

        Args:
            row: column name to number; the columns of the first row hold for the whole run. `Time` (seconds since the
                start) and `StepsPerSec` (env steps per second in this epoch) are added here.
        """
        if mpi.rank > 0:
            return
        assert self._file is not None, "start() comes first"
        now = time.perf_counter()
        rate = (row["TotalEnvInteracts"] - self._epoch_steps) / max(now - self._epoch_time, 1e-9)
        row = {**row, "Time": round(now - self.start_time, 3), "StepsPerSec": round(rate, 1)}
        self._epoch_steps, self._epoch_time = int(row["TotalEnvInteracts"]), now
        if not self.columns:
            self.columns = list(row)
            self._file.write("\t".join(self.columns) + "\n")
        assert list(row) == self.columns, f"columns changed: {sorted(set(row) ^ set(self.columns))}"
        self._file.write("\t".join(_cell(value) for value in row.values()) + "\n")
        self._file.flush()
        if self._events:
            for name, value in row.items():
                if math.isfinite(value):
                    self._events.add_scalar(name, value, row["TotalEnvInteracts"])
            self._events.flush()
        if self._live:
            self._live.show(row)
        elif not self.quiet:
            shown = (f"{name} {_short(row[name])}" for name in TABLE_COLUMNS if name in row)
            print(f"epoch {row['Epoch']}  steps {row['TotalEnvInteracts']}  {'  '.join(shown)}", flush=True)

    def save_result(self, result: Mapping[str, float]) -> None:
        """Write result.json: the final policy's test episodes."""
        if mpi.rank > 0:
            return
        assert self.run_dir is not None, "start() comes first"
        (self.run_dir / "result.json").write_text(json.dumps(dict(result), indent=2) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Close the files and the live table; safe to call twice."""
        if self._events:
            self._events.close()
        if self._file:
            self._file.close()
        if self._live:
            self._live.close()
            self._live = None


class _LiveTable:
    """The last rows and a progress bar, redrawn in place on a terminal."""

    def __init__(self, total_steps: int) -> None:
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
        from rich.console import Group
        from rich.table import Table

        self.rows = [*self.rows[-9:], row]
        names = ["Epoch", *(name for name in TABLE_COLUMNS if name in row)]
        table = Table(*names, box=None, pad_edge=False)
        for column in table.columns:
            column.justify = "right"
        for shown in self.rows:
            table.add_row(*(_short(shown[name]) for name in names))
        self.progress.update(self.task, completed=row["TotalEnvInteracts"], rate=row["StepsPerSec"])
        self.live.update(Group(table, self.progress))

    def close(self) -> None:
        self.live.stop()


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.7g}"


def _short(value: float) -> str:
    return "-" if isinstance(value, float) and math.isnan(value) else f"{value:.4g}"


def _new_directory(parent: Path, name: str) -> Path:
    """Make a directory that did not exist before, numbering the name if it did."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        path = parent / (name if number == 1 else f"{name}_{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise UserError(f"{parent} already holds a thousand runs called {name}")


def _versions() -> dict[str, str]:
    names = ("rlsuite", "torch", "numpy", "gymnasium")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def _git_commit() -> str:
    """The commit of the source that runs, with "+" for uncommitted changes, or "" outside a checkout."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return ""
    try:
        command = ["git", "-C", os.fspath(source), "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
