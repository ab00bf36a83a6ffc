"""The run directory, progress.txt and the console."""

import dataclasses
import json
import math
import os
import platform
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from rlsuite.common import mpi
from rlsuite.common.checkpoint import write_atomically
from rlsuite.common.checks import UserError
from rlsuite.common.runs import read_config

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
        resume: str | Path | None = None,
        checkpoint_every: int = 1,
    ) -> None:
        """Remember where to write.

        Args:
            exp_name: the experiment, a folder name; "" for `<algo>_<env>`.
            data_dir: parent of all experiments.
            note: what question this run answers; kept in config.json.
            command: the command line that started it; kept in config.json.
            tensorboard: write event files for TensorBoard as well.
            quiet: print nothing.
            resume: a run directory to go on with instead of making one; the settings must be those of its config.json,
                but for total_steps.
            checkpoint_every: epochs from one checkpoint of the whole state to the next; 0 for none.
        """
        self.exp_name, self.data_dir, self.note, self.command, self.quiet = (
            exp_name,
            Path(data_dir),
            note,
            command,
            quiet or mpi.rank > 0,
        )
        self.resume, self.checkpoint_every = Path(resume) if resume else None, checkpoint_every
        self.run_dir: Path | None = None
        self.columns: list[str] = []
        self._file: BinaryIO | None = None
        self._lock: int | None = None
        self._config: dict[str, Any] = {}
        self._settings = ""
        self.config: Any = None
        self._bytes = self._crc = 0  # length and checksum of progress.txt
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
        self.config = config
        if mpi.rank > 0:
            self.run_dir = Path(mpi.gather_objects(None)[0])
            return self.run_dir
        chosen = dataclasses.asdict(config)
        settings = {"algo": algo, "exp_name": self.exp_name, **chosen, "note": self.note}
        self._settings = json.dumps({**chosen, "algo": algo, "total_steps": None}, default=str)
        about = {"network": f"{network.__module__}.{network.__qualname__}", **facts}
        about |= {
            "checkpoint_every": self.checkpoint_every,
            "command": self.command,
            "ranks": mpi.size,
            "versions": _versions(),
            "git_commit": _git_commit(),
        }
        try:
            if self.resume:
                self.run_dir = self.resume
                refuse_links(self.run_dir)
                self._lock = lock(self.run_dir)
                self._config = {**read_config(self.run_dir), "total_steps": config.total_steps}
            else:
                stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
                self.run_dir = _new_directory(self.data_dir / self.exp_name, f"{stamp}_s{config.seed}")
                self._lock = lock(self.run_dir)
                self._config = {**settings, **about}
                self._write_config()
                self._file = (self.run_dir / "progress.txt").open("wb")
        except OSError as error:
            where, hint = error.filename or self.data_dir, "" if self.resume else "; choose another --data-dir"
            raise UserError(f"can't write to {where} ({error.strerror}){hint}") from error
        mpi.gather_objects(str(self.run_dir))
        if self.tensorboard:
            self._events = SummaryWriter(self.run_dir)
        self._start_time = self._epoch_time = time.perf_counter()
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
        row = {**row, "Time": round(now - self._start_time, 3), "StepsPerSec": round(rate, 1)}
        self._epoch_steps, self._epoch_time = int(row["TotalEnvInteracts"]), now
        if not self.columns:
            self.columns = list(row)
            self._write("\t".join(self.columns) + "\n")
        if list(row) != self.columns:  # of a resumed run, those of the version that began it
            raise UserError(
                f"{self.run_dir} has other columns than this version: {sorted(set(row) ^ set(self.columns))}"
            )
        self._write("\t".join(_cell(value) for value in row.values()) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
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

    def _write(self, text: str) -> None:
        """Append to progress.txt and to its checksum."""
        assert self._file is not None
        data = text.encode()
        self._file.write(data)
        self._bytes, self._crc = self._bytes + len(data), zlib.crc32(data, self._crc)

    def _write_config(self) -> None:
        assert self.run_dir is not None
        text = json.dumps(self._config, indent=2, default=str)
        write_atomically(self.run_dir / "config.json", f"{text}\n".encode())

    def state_dict(self) -> dict[str, Any]:
        """How far progress.txt is, what the clock says, and the settings: for `check_log` and `continue_log`."""
        if mpi.rank > 0:
            return {}
        seconds = self._epoch_time - self._start_time
        position = {"bytes": self._bytes, "crc": self._crc, "seconds": seconds, "steps": self._epoch_steps}
        return {**position, "settings": self._settings}

    def check_log(self, state: Mapping[str, Any]) -> None:
        """See whether progress.txt still begins with what was written when `state_dict` gave this state.

        Raises:
            UserError: it does not, or can't be read.
        """
        if mpi.rank > 0:
            return
        assert self.run_dir is not None
        path = self.run_dir / "progress.txt"
        numbers = [state.get(name) for name in ("bytes", "crc", "steps")]
        if not all(type(n) is int and 0 <= n < 2**62 for n in numbers) or type(state.get("seconds")) is not float:
            raise UserError(f"the checkpoint of {self.run_dir} does not say how far progress.txt was")
        try:
            written = path.read_bytes()[: state["bytes"]]
        except OSError as error:
            raise UserError(f"{path} can't be read: {error.strerror}") from error
        damaged = len(written) != state["bytes"] or zlib.crc32(written) != state["crc"]
        if damaged:
            raise UserError(f"{path} is damaged: it does not begin with the epochs that the checkpoint has seen")

    def check_settings(self, state: Mapping[str, Any]) -> None:
        """Raise UserError if the settings are not those with which `state_dict` gave this state."""
        if mpi.rank == 0 and state.get("settings") != self._settings:
            raise UserError(f"{self.run_dir}/config.json has other settings than the checkpoint was made with")

    def begin_anew(self) -> None:
        """Write progress.txt from its beginning, for a run that was stopped in its first epoch.

        Raises:
            UserError: it has epochs already, which would be lost; only its first may lack a checkpoint.
        """
        if mpi.rank > 0:
            return
        assert self.run_dir is not None
        path = self.run_dir / "progress.txt"
        every = self._config.get("checkpoint_every")
        epochs = path.read_bytes().count(b"\n") - 1 if path.exists() else 0
        if epochs > (every if type(every) is int else 0):
            raise UserError(f"{self.run_dir} has {epochs} epochs but no checkpoint of them, so it can't be resumed")
        saved = {name: self._config.get(name) for name in json.loads(self._settings)} | {"total_steps": None}
        if saved != json.loads(self._settings):
            raise UserError(f"{self.run_dir}/config.json has other settings than those given")
        self.continue_log(None, 0, [])

    def continue_log(self, state: Mapping[str, Any] | None, epoch: int, warnings: Sequence[str]) -> None:
        """Cut progress.txt back to a checkpoint and write on from there; note it in config.json.

        Args:
            state: that of `state_dict`, checked; None to begin anew.
            epoch: after which the run goes on.
            warnings: what is not as it was; printed, and kept in config.json.
        """
        if mpi.rank > 0:
            return
        assert self.run_dir is not None
        path = self.run_dir / "progress.txt"
        try:
            path.touch()
            self._file = path.open("r+b")
            if state:
                self._bytes, self._crc, self._epoch_steps = state["bytes"], state["crc"], state["steps"]
                self._start_time = self._epoch_time - state["seconds"]
                self.columns = self._file.readline().decode(errors="replace").rstrip("\n").split("\t")
            self._file.truncate(self._bytes)
            self._file.seek(self._bytes)
            (self.run_dir / "result.json").unlink(missing_ok=True)  # of the policy before
            versions, warnings = self._config.get("versions"), list(warnings)
            if versions != _versions():
                warnings.append(f"this run was made with {versions}, and here are {_versions()}: results may differ")
            entry = {"after_epoch": epoch, "time": datetime.now().isoformat(" ", "seconds"), "warnings": warnings}
            resumed = self._config.get("resumed")
            self._config["resumed"] = [*(resumed if isinstance(resumed, list) else []), entry]
            self._write_config()
        except OSError as error:
            raise UserError(f"can't write to {error.filename or path} ({error.strerror})") from error
        for text in warnings:
            print(f"rlsuite: {text}", file=sys.stderr, flush=True)

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
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._live:
            self._live.close()
            self._live = None


def lock(run_dir: Path) -> int | None:
    """Take the run for this process, until it ends in whatever way or closes the file descriptor returned.

    Raises:
        UserError: another process is writing this run.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(f"{run_dir} is being trained by another process; wait for it to end, or stop it") from error
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def refuse_links(run_dir: Path) -> None:
    """Raise UserError for anything in a run directory through which writing would change or wait for something else."""
    for path in run_dir.rglob("*"):
        about = path.lstat()
        if not (stat.S_ISDIR(about.st_mode) or (stat.S_ISREG(about.st_mode) and about.st_nlink == 1)):
            raise UserError(f"{path} is a link or no plain file, which no run makes; replace it by a copy")


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
