"""The run directory, progress.txt and the console."""

import dataclasses
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from rlsuite import mpi
from rlsuite.common.console import LiveTable, line
from rlsuite.errors import EnvError, NonFiniteError, UserError
from rlsuite.rundir.columns import tag
from rlsuite.rundir.files import lock, new_directory, refuse_link, write_atomically
from rlsuite.rundir.runs import read_config
from rlsuite.rundir.versions import git_commit, versions


class Logger:
    """Writes one run: `<data_dir>/<exp_name>/<timestamp>_s<seed><suffix>/` with config.json and progress.txt.

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
        suffix: str = "",
        stop_at: float = math.inf,
        advise: Callable[[Any], Sequence[str]] | None = None,
        watch: Callable[[Path], Sequence[str]] | None = None,
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
            suffix: what joins the name of the run's folder, after the seed.
            stop_at: a return; the run ends as soon as an epoch's mean reaches it and test episodes confirm it.
            advise: what to say about random play at the start, a line each, given its `Recording`.
            watch: what to say about what has been written so far, a line each, given the run directory; it is asked
                nine times, after each tenth of the epochs but the last.
        """
        self.exp_name, self.data_dir, self.note, self.command, self.quiet = (
            exp_name,
            Path(data_dir),
            note,
            command,
            quiet or mpi.rank > 0,
        )
        self.resume, self.checkpoint_every = Path(resume) if resume else None, checkpoint_every
        self.suffix = suffix
        self.stop_at, self.advise, self.watch = stop_at, advise, watch
        self.stopped_at: int | None = None
        """env steps after which the run ended early, see `stop_at`"""
        self.run_dir: Path | None = None
        self.columns: list[str] = []
        self._file: BinaryIO | None = None
        self._lock: int | None = None
        self._config: dict[str, Any] = {}
        self._settings = ""
        self._bytes = self._crc = 0  # length and checksum of progress.txt
        self._live: Any = None
        self._events: Any = None
        self.tensorboard = tensorboard

    def start(
        self, algo: str, config: Any, total_steps: int, steps: Callable[[], int] = lambda: 0, **facts: Any
    ) -> Path:
        """Create the run directory and write config.json.

        Args:
            algo: the algorithm's name.
            config: its `Config`, with at least `env`, `seed` and `total_steps`.
            total_steps: the budget in env steps, which may be rounded up from that of the settings.
            steps: returns the env steps so far, for the bar on a terminal.
            facts: further entries of config.json.

        Returns:
            The run directory.

        Raises:
            UserError: the directory can't be made or written.
        """
        self.close()
        self.columns, self._bytes, self._crc = [], 0, 0
        exp_name = self.exp_name or f"{algo}_{config.env}".replace("/", "_").replace(":", "_")
        if Path(exp_name).name != exp_name or exp_name == ".." or "\0" in exp_name:
            raise UserError(f"--exp-name {exp_name!r} must be a plain folder name, without slashes")
        if self.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UserError('--tensorboard needs a missing package: pip install "rlsuite[tensorboard]"') from error
        if mpi.rank > 0:
            self.run_dir = Path(mpi.gather_objects(None)[0])
            return self.run_dir
        chosen = dataclasses.asdict(config)
        self._settings = json.dumps({**chosen, "algo": algo, "total_steps": None}, default=str)
        try:
            if self.resume:
                self.run_dir = self.resume
                self._lock = lock(self.run_dir)
                refuse_link(self.run_dir / "progress.txt")
                self._config = read_config(self.run_dir)
                if self._config.get("total_steps") != config.total_steps:
                    self._config.setdefault("first_total_steps", self._config.get("total_steps"))
                    self._config["total_steps"] = config.total_steps
            else:
                stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
                self.run_dir = new_directory(self.data_dir / exp_name, f"{stamp}_s{config.seed}{self.suffix}")
                self._lock = lock(self.run_dir)
                self._config = {"algo": algo, "exp_name": exp_name, **chosen, "note": self.note, **facts}
                self._config |= {"checkpoint_every": self.checkpoint_every, "command": self.command}
                self._config["stop_at"] = self.stop_at
                self._config |= {"ranks": mpi.size, "versions": versions(), "git_commit": git_commit()}
                self._config["started"] = datetime.now().isoformat(" ", "seconds")
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
                self._live = LiveTable(total_steps, steps)
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
                    self._events.add_scalar(tag(name), value, row["TotalEnvInteracts"])
            self._events.flush()
        if self._live:
            self._live.show(row)
        elif not self.quiet:
            print(line(row), flush=True)

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

    def saved(self, name: str) -> Any:
        """An entry of config.json; None where there is none, and on other ranks than 0."""
        return self._config.get(name)

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
            if self._live:
                self._live.resume()
            self._file.truncate(self._bytes)
            self._file.seek(self._bytes)
            (self.run_dir / "result.json").unlink(missing_ok=True)  # of the policy before
            (self.run_dir / "error.json").unlink(missing_ok=True)  # of the attempt before
            before, warnings = self._config.get("versions"), list(warnings)
            if before != versions():
                warnings.append(f"this run was made with {before}, and here are {versions()}: results may differ")
            entry = {"after_epoch": epoch, "time": datetime.now().isoformat(" ", "seconds"), "warnings": warnings}
            resumed = self._config.get("resumed")
            self._config["resumed"] = [*(resumed if isinstance(resumed, list) else []), entry]
            self._write_config()
        except OSError as error:
            raise UserError(f"can't write to {error.filename or path} ({error.strerror})") from error
        for text in warnings:
            print(f"rlsuite: {text}", file=sys.stderr, flush=True)

    def save_result(self, result: Mapping[str, float]) -> None:
        """Write result.json: the final policy's test episodes, and the env steps of a run that ended early."""
        if mpi.rank > 0:
            return
        assert self.run_dir is not None, "start() comes first"
        early = {} if self.stopped_at is None else {"StoppedAt": self.stopped_at}
        write_atomically(self.run_dir / "result.json", f"{json.dumps({**result, **early}, indent=2)}\n".encode())

    def save_error(self, error: BaseException) -> None:
        """Write error.json, why this run failed; without a run that is being written, or a place to write, nothing."""
        if self._file is None or self.run_dir is None:  # another process may be training it
            return
        ours = isinstance(error, UserError | NonFiniteError | EnvError)
        text = f"{error}" if ours else f"{type(error).__name__}: {error}"
        why = {"error": text, "time": datetime.now().isoformat(" ", "seconds")}
        with suppress(OSError):
            write_atomically(self.run_dir / "error.json", f"{json.dumps(why, indent=2)}\n".encode())

    def close(self) -> None:
        """Close the files and the live table; safe to call twice."""
        self.close_table()
        if self._events:
            self._events.close()
            self._events = None
        if self._file:
            self._file.close()
            self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close_table(self, redraw: bool = True) -> None:
        """Leave the live table as it is; see `LiveTable.close`. Safe to call twice."""
        if self._live:
            self._live.close(redraw)
            self._live = None


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.7g}"
