"""Find, read and group run directories: here figures and reports learn what a run has done.

A run directory holds `progress.txt` (tab separated, one header line, one row per epoch) and `config.json`.
Spinning Up's directories are read too. Files may be damaged, hostile or still growing. Reading them executes nothing,
and whatever is wrong with them is a `UserError`.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from rlsuite.errors import UserError

Columns = dict[str, NDArray[np.float64]]

# In these fields two repetitions of one experiment may differ. Those of the last row are Spinning Up's.
# fmt: off
PER_RUN_FIELDS = {
    "seed", "note", "versions", "git_commit", "command", "quiet", "resume", "resumed", "checkpoint_every",
    "data_dir", "run_dir", "first_total_steps", "stop_at", "random_play", "num_threads",
    "timestamp", "started", "finished", "date", "time", "hostname",
    "logger", "logger_kwargs", "output_dir",
}
# fmt: on
KINDS = ("algo", "env")  # across these nearly all settings differ, and tell the reader nothing
MAX_DEPTH = 20  # of nested JSON; real configurations have 2 or 3


class Group(NamedTuple):
    """Runs with the same settings, and what sets them apart from the other groups of their environment."""

    label: str
    runs: list[Path]
    env: str = ""


def find_runs(paths: Iterable[str | Path]) -> list[Path]:
    """Return the run directories at or below each path, each once, in the order given, then by name.

    Raises:
        UserError: a path does not exist, can't be searched, or has no run in it.
    """
    found: dict[str, Path] = {}  # by real path, so that a run named twice is counted once
    for path in map(Path, paths):
        if not os.path.isdir(path):
            what = "is a file" if os.path.exists(path) else "does not exist"
            raise UserError(f"{path} {what}; expected a run or experiment directory")
        runs = []
        for folder, subfolders, files in os.walk(path, onerror=_unreadable):
            if "progress.txt" in files:
                runs.append(Path(folder))
                subfolders.clear()  # a run holds no other runs, but maybe thousands of snapshots
        if not runs:
            raise UserError(f"no run in {path}: there is no progress.txt in it or in any folder below it")
        for run in sorted(runs):
            found.setdefault(os.path.realpath(run), run)
    return list(found.values())


def read_config(run: Path) -> dict[str, Any]:
    """Return the settings in `config.json`, or {} where there is none.

    Raises:
        UserError: the file can't be read or is not a JSON object.
    """
    return read_object(run / "config.json")


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or {} where there is no file.

    Raises:
        UserError: the file can't be read or is not a JSON object.
    """
    if not os.path.lexists(path):
        return {}
    text = _read_text(path)
    try:
        config = json.loads(text)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} holds a JSON {type(config).__name__}; expected an object")
    if not _shallow(config, MAX_DEPTH):
        raise UserError(f"{path} is nested too deeply")
    return config


def read_progress(run: Path) -> Columns:
    """Return the columns of `progress.txt`, each (epochs,) float64; no epoch yet gives empty columns.

    An empty cell is NaN, as Spinning Up writes it. The last line is skipped if it is still being written.

    Raises:
        UserError: the file can't be read, or a line or cell is damaged (named by its line number).
    """
    path = run / "progress.txt"
    # What follows the last newline is half written, even where it looks whole: "1000" may be half of "100000".
    lines = [line.rstrip("\r") for line in _read_text(path).split("\n")[:-1]]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        return {}
    names = lines[0].split("\t")
    for name in names:
        if not name.strip() or names.count(name) > 1:
            problem = f"column {name[:40]!r} twice" if name.strip() else "a column without a name"
            raise UserError(f"{path}, line 1: {problem}")
    rows: list[list[float]] = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) < len(names) and number == len(lines):
            break
        if len(cells) != len(names):
            raise UserError(f"{path}, line {number}: {len(cells)} cells for {len(names)} columns")
        rows.append([_number(cell, path, number, name) for cell, name in zip(cells, names, strict=True)])
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    return {name: table[:, i].copy() for i, name in enumerate(names)}


def group_by_settings(runs: Sequence[Path]) -> list[Group]:
    """Group the runs that differ only in their seed, in order of first appearance.

    The label names what differs: the algorithm, then each setting that differs between groups of the same algorithm
    and environment. Across these nearly all settings differ, and tell the reader nothing. Groups that differ in nothing
    but their name are labelled with it, and so is a group that is alone. Groups of several environments may have equal
    labels: what they share is not what differs.

    Raises:
        UserError: as `read_config`.
    """
    members: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for run in runs:
        key = tuple(sorted(settings_of(run, read_config(run)).items()))
        members.setdefault(key, []).append(run)
    groups = [dict(key) for key in members]
    names, envs = [group["exp_name"] for group in groups], [group.get("env", "") for group in groups]
    labels = [", ".join(parts) for parts in _differences(groups)]
    if len(set(zip(envs, labels, strict=True))) < len(groups):
        labels = [", ".join(part for part in pair if part) for pair in zip(names, labels, strict=True)]
    if len(set(envs)) > 1:  # a name often holds that of the environment
        names = [group.get("algo", name) for group, name in zip(groups, names, strict=True)]
    named = [label or name for label, name in zip(labels, names, strict=True)]
    return [Group(*group) for group in zip(named, members.values(), envs, strict=True)]


def whole_label(group: Group, groups: Sequence[Group]) -> str:
    """Return the group's label, with its environment where there are several."""
    return f"{group.label}, {group.env}" if len({other.env for other in groups}) > 1 else group.label


def _differences(groups: list[dict[str, str]]) -> list[list[str]]:
    """Return for each group what sets it apart, as a list of texts."""
    shown = ["algo"] if len({group.get("algo") for group in groups}) > 1 else []
    differing = differing_settings(groups)
    return [
        [group[kind] for kind in shown if kind in group] + [f"{key}={group[key]}" for key in differing if key in group]
        for group in groups
    ]


def differing_settings(groups: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the names of the settings that differ among those of the same algorithm and environment, sorted.

    Args:
        groups: each as `settings_of` returns it.
    """
    families: dict[tuple[str | None, ...], list[Mapping[str, str]]] = {}
    for group in groups:
        families.setdefault(tuple(group.get(kind) for kind in KINDS), []).append(group)
    return sorted(
        {
            key
            for family in families.values()
            for key in set().union(*family)
            if key != "exp_name" and len({group.get(key) for group in family}) > 1
        }
    )


def settings_of(run: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings as text, {"ac_kwargs": {"width": 64}} as {"ac_kwargs.width": "64"}.

    The fields in which repetitions may differ are left out, and a run that was trained further has its first budget.
    """
    flat: dict[str, str] = {"exp_name": run.absolute().parent.name}

    def add(prefix: str, fields: Mapping[str, Any]) -> None:
        for key, value in fields.items():
            if isinstance(value, dict) and value:
                add(f"{prefix}{key}.", value)
            else:
                if isinstance(value, float):
                    value = float(f"{value:.12g}")  # 3 * 0.1 is 0.3 to everyone but the computer
                text = value if isinstance(value, str) else json.dumps(value)
                # Spinning Up writes some objects as text, with an address that differs in every run.
                flat[prefix + key] = re.sub(r" at 0x[0-9a-fA-F]+", "", text)

    config = {**config, "total_steps": config["first_total_steps"]} if "first_total_steps" in config else config
    add("", {key: value for key, value in config.items() if key not in PER_RUN_FIELDS})
    if "env_name" in flat:
        flat.setdefault("env", flat.pop("env_name"))
    return flat


def _number(cell: str, path: Path, line: int, column: str) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        raise UserError(f"{path}, line {line}, {column[:40]}: {cell[:40]!r} is not a number") from None


def _shallow(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_shallow(item, levels - 1) for item in items)


def _read_text(path: Path) -> str:
    if not os.path.isfile(path):  # a named pipe would wait forever
        raise UserError(f"{path} is not a file")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        _unreadable(error, path)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file") from None


def _unreadable(error: OSError, path: Path | None = None) -> NoReturn:
    raise UserError(f"{path or error.filename} can't be read: {error.strerror}") from None
