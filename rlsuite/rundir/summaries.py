"""What became of each run, in a few numbers and words; of thousands of runs in a second or two."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlsuite.errors import UserError
from rlsuite.rundir.files import is_locked, refuse_link, write_atomically
from rlsuite.rundir.runs import find_runs, read_config, read_object, read_progress, settings_of

FINISHED, RUNNING, STOPPED, FAILED, DAMAGED = "finished", "running", "stopped", "failed", "damaged"
TEST_RETURN, RETURN = ("AverageTestEpRet", "StdTestEpRet"), ("AverageEpRet", "StdEpRet")
"""Mean and spread; the first pair where a run has it, since training episodes explore."""
NAN = math.nan


class Progress(NamedTuple):
    """What `progress.txt` says in the end; NaN where it says nothing."""

    steps: float = NAN
    seconds: float = NAN
    ret: float = NAN
    """mean return of the last epoch that has one"""
    std: float = NAN
    best: float = NAN
    """highest mean return of an epoch"""


class Summary(NamedTuple):
    """One run."""

    run: Path
    settings: dict[str, str]
    """as `settings_of` returns them"""
    seed: str
    state: str
    """finished, running, stopped, failed or damaged"""
    why: str
    """of a run that failed or is damaged"""
    steps: float
    """env steps done"""
    total_steps: float
    """its budget"""
    ret: float
    """mean return of the final test episodes; without them, of the last epoch"""
    std: float
    """over those episodes"""
    best: float
    """highest mean return of an epoch"""
    random: float
    """mean return of random play at the start"""
    started: datetime
    seconds: float
    """how long it has trained"""
    note: str


def summarize(run: Path) -> Summary:
    """Read a run. Damaged files make a damaged run, so that one of them does not hide the others."""
    config: dict[str, Any] = {}
    result: dict[str, Any] = {}
    error: dict[str, Any] = {}
    log, damage = Progress(), ""
    try:
        config = read_config(run)
        result, error = read_object(run / "result.json"), read_object(run / "error.json")
        log = read_ends(run)
    except UserError as problem:
        damage = f"{problem}".replace(f"{run}/", "")
    settings, budget = settings_of(run, config), budget_of(config)
    if damage:
        state = DAMAGED
    elif is_locked(run):
        state = RUNNING
    elif error:
        state = FAILED
    else:
        state = FINISHED if result or log.steps >= budget else STOPPED
    tested = "AverageEpRet" in result
    return Summary(
        run=run,
        settings=settings,
        seed=_text(config.get("seed")),
        state=state,
        why=damage or (_text(error.get("error")) if state == FAILED else ""),
        steps=log.steps,
        total_steps=budget,
        ret=number(result.get("AverageEpRet")) if tested else log.ret,
        std=number(result.get("StdEpRet")) if tested else log.std,
        best=log.best,
        random=random_return_of(config),
        started=start_of(run, config, log.seconds),
        seconds=log.seconds,
        note=_text(config.get("note")),
    )


def read_ends(run: Path) -> Progress:
    """Read the last row of `progress.txt`, and of the rows before it nothing but the return.

    Raises:
        UserError: the file can't be read, or a return or the last row is damaged.
    """
    path = run / "progress.txt"
    try:
        header, *rows = path.read_bytes().split(b"\n")[:-1] or [b""]  # the last line may be half written
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    names = header.decode("utf-8-sig", "replace").rstrip("\r").split("\t")
    rows = [row for row in rows if row.strip()]
    if rows and rows[-1].count(b"\t") + 1 < len(names):
        rows.pop()
    if not rows:
        return Progress()
    mean, std = TEST_RETURN if TEST_RETURN[0] in names else RETURN
    at = names.index(mean) if mean in names else -1
    try:
        returns = [float(row.split(b"\t", at + 1)[at] or NAN) for row in rows] if at >= 0 else []
        finite = [i for i, ret in enumerate(returns) if math.isfinite(ret)]
        last = _cells(names, rows[-1])
        tested = _cells(names, rows[finite[-1]]) if finite else {}
    except (ValueError, IndexError):
        raise UserError(f"{path} is damaged") from None
    return Progress(
        steps=last.get("TotalEnvInteracts", NAN),
        seconds=last.get("Time", NAN),
        ret=tested.get(mean, NAN),
        std=tested.get(std, NAN),
        best=max((returns[i] for i in finite), default=NAN),
    )


def _cells(names: list[str], row: bytes) -> dict[str, float]:
    return {name: float(cell or NAN) for name, cell in zip(names, row.split(b"\t"), strict=True)}


def budget_of(config: Mapping[str, Any]) -> float:
    """The env steps that a run is to take; Spinning Up counts in epochs. NaN where nothing is said."""
    steps = number(config.get("total_steps"))
    return number(config.get("epochs")) * number(config.get("steps_per_epoch")) if math.isnan(steps) else steps


def random_return_of(config: Mapping[str, Any]) -> float:
    """The mean return of random play that a training measured at its start; NaN where there is none."""
    play = config.get("random_play")
    return number(play.get("return")) if isinstance(play, dict) else NAN


def start_of(run: Path, config: Mapping[str, Any], seconds: float = NAN) -> datetime:
    """When a run was started: as config.json or the folder's name says, else as the clock of its last row does."""
    for text, form in ((config.get("started"), "%Y-%m-%d %H:%M:%S"), (run.name[:19], "%Y-%m-%d_%H-%M-%S")):
        try:
            return datetime.strptime(text or "", form)
        except (TypeError, ValueError):
            continue
    try:
        written = datetime.fromtimestamp((run / "progress.txt").stat().st_mtime)
        return written - timedelta(seconds=0 if math.isnan(seconds) else seconds)
    except (OSError, OverflowError, ValueError):
        return datetime.min


def newest_run(paths: Sequence[Path]) -> tuple[Path, str]:
    """The run at or below the paths that was started last, and a line that says so; "" where there is only one.

    Raises:
        UserError: as `find_runs`.
    """
    runs = find_runs(paths)

    def age(run: Path) -> tuple[datetime, int, str]:
        try:
            config = read_config(run)
        except UserError:  # that of another run; of the newest it will be said
            config = {}
        return start_of(run, config), (run / "progress.txt").lstat().st_mtime_ns, run.name

    newest = max(runs, key=age)
    where = ", ".join(f"{path}" for path in paths)
    return newest, f"of the {len(runs)} runs in {where} this is the newest: {newest}" if len(runs) > 1 else ""


def run_at(path: Path, quiet: bool = False) -> Path:
    """The run in a folder; of several, as in an experiment's folder, the newest, and a line on stderr says which.

    Args:
        path: a run, or a folder that runs lie below.
        quiet: leave out that line.

    Raises:
        UserError: as `find_runs`.
    """
    if (path / "config.json").exists():  # whatever else there is or isn't, whoever opens it says best
        return path
    run, taken = newest_run([path])
    if taken and not quiet:
        print(f"rlsuite: {taken}", file=sys.stderr)
    return run


def without_repetitions(runs: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Split runs into those to count, and those that repeat one of them: same settings, seed and commit.

    Of equal runs the one that was trained furthest counts. Where code was not committed it may have been any; then the
    logs have to be equal too.

    Raises:
        UserError: as `read_config`, or as `read_progress` of a run that may be a repetition.
    """
    alike: dict[tuple[str, ...], list[Path]] = {}
    for run in runs:
        config = read_config(run)
        code = _text(config.get("git_commit")) or _text(
            config.get("versions") or None
        )  # an installed package has no commit
        seed, settings = config.get("seed"), json.dumps(settings_of(run, config), sort_keys=True)
        known = seed is not None and code
        alike.setdefault((settings, f"{seed}", code) if known else (f"{run}",), []).append(run)

    def steps(run: Path) -> float:
        done = read_ends(run).steps
        return -1 if math.isnan(done) else done

    repeated = set()
    for (*_, code), equal in alike.items():
        if len(equal) > 1:
            furthest = max(equal, key=steps)
            others = set(equal) - {furthest}
            repeated |= {run for run in others if _same_log(run, furthest)} if code.endswith("+") else others
    return [run for run in runs if run not in repeated], [run for run in runs if run in repeated]


def _same_log(run: Path, longer: Path) -> bool:
    """Whether one run has logged what the other did, as far as it goes, but for the clock."""
    ours, theirs = read_progress(run), read_progress(longer)
    names = (ours.keys() | theirs.keys()) - {"Time", "StepsPerSec"}
    rows = len(next(iter(ours.values()), ()))
    none = np.empty(0)
    pairs = ((ours.get(name, none), theirs.get(name, none)[:rows]) for name in names)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def write_note(run: Path, note: str) -> None:
    """Keep a note in the run's config.json; nothing else there changes, and training and resuming do not mind.

    Raises:
        UserError: config.json is damaged, a link, or can't be written.
    """
    path = run / "config.json"
    config = read_config(run) | {"note": note}
    try:
        refuse_link(path)
        write_atomically(path, f"{json.dumps(config, indent=2)}\n".encode())
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror}") from None


def number(value: object) -> float:
    """A number that a JSON file holds, as a float; NaN for anything else."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else NAN
    except OverflowError:
        return NAN


def _text(value: object) -> str:
    return "" if value is None else f"{value}"
