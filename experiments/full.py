"""The whole battery: trains the runs of `cells.py` that are missing or stale, and keeps a line of each.

The lines are data/results.csv, one for each run. A line is stale where the code that matters for what is learned, the
preset or the settings have changed since: the command line holds a stamp of the first two, so that a line is as good as
new if its command is today's. A commit that changes none of them makes nothing stale.
"""

import ast
import csv
import fcntl
import hashlib
import io
import json
import shlex
import sys
import tokenize
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cells import CELLS, Cell
from tables import DATA, ROOT

from rlsuite import pool
from rlsuite.errors import UserError
from rlsuite.run import jobs_of
from rlsuite.rundir.files import is_locked, write_atomically
from rlsuite.rundir.runs import read_config, read_object
from rlsuite.rundir.summaries import summarize

RUNS = Path("data") / "full"
LINES = DATA / "results.csv"
COLUMNS = (
    *("cell", "algorithm", "environment", "seed", "env steps", "return", "std", "episodes", "seconds"),
    *("stamp", "preset", "commit", "command"),
)
Line = dict[str, str]


# ---- what is trained


def digest(text: str) -> str:
    """Eight letters that another text would not have."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def meaning(source: str) -> str:
    """A module without comments, docstrings and empty lines, the same under any version of Python."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    for node in ast.walk(ast.parse(source)):
        # A statement that is only a string: the docstring of a module, a function, a field.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            assert node.end_lineno is not None
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


@lru_cache
def stamp(algo: str, package: Path = ROOT / "rlsuite") -> str:
    """A digest of the code that matters for what an algorithm learns: its own file, `common/`, `envs/`, no probes."""
    files = [package / "algos" / f"{algo}.py", *sorted((package / "common").glob("*.py"))]
    files += sorted(set((package / "envs").glob("*.py")) - {package / "envs" / "probes.py"})
    return digest("\n".join(f"# {file.name}\n{meaning(file.read_text(encoding='utf-8'))}" for file in files))


def preset_stamp(cell: Cell) -> str:
    """A digest of a cell's preset, or "none"."""
    return digest(json.dumps(cell.preset, sort_keys=True)) if cell.preset else "none"


class Training(NamedTuple):
    """One run."""

    cell: Cell
    seed: int

    @property
    def key(self) -> tuple[str, str]:
        """Of its line."""
        return self.cell.name, f"{self.seed}"

    @property
    def label(self) -> str:
        """For the one who waits."""
        return f"{self.cell.name}, seed {self.seed}"

    @property
    def words(self) -> list[str]:
        """What follows `python -m rlsuite.run`; a source that is changed meanwhile makes the line stale."""
        made_with = f"code {stamp(self.cell.algo)}, preset {preset_stamp(self.cell)}"
        where = ["--data-dir", f"{RUNS}", "--seed", f"{self.seed}", "--note", made_with, "--quiet"]
        return [*self.cell.words, *where]

    @property
    def command(self) -> str:
        """As config.json has it."""
        return shlex.join(["python", "-m", "rlsuite.run", *self.words])


def trainings(cells: Iterable[Cell], seeds: int | None = None) -> list[Training]:
    """All runs of some cells, cell by cell; with so many seeds each, at most."""
    return [
        Training(cell, seed)
        for cell in cells
        for seed in range(cell.seeds if seeds is None else min(seeds, cell.seeds))
    ]


def chosen(words: Sequence[str]) -> list[Cell]:
    """The cells of that name, or with that word in their name; without words, all.

    Raises:
        UserError: no cell's name has the word.
    """
    names = {cell.name for cell in CELLS}
    for word in words:
        if not any(word in name for name in names):
            raise UserError(f"--only {word}: no cell has that in its name; --full --count lists them")
    return [
        cell
        for cell in CELLS
        if not words or any(word == cell.name or (word not in names and word in cell.name) for word in words)
    ]


# ---- its lines


def read_lines() -> list[Line]:
    """The line of each run that has been published; none without the file."""
    with suppress(FileNotFoundError), LINES.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
    return []


def publish(lines: Sequence[Line]) -> None:
    """Put lines into the file, each in the place of an earlier one of the same cell and seed.

    The file is whole at any time, and several processes may do this at once.
    """
    if not lines:
        return
    order = {cell.name: place for place, cell in enumerate(CELLS)}
    guard = ROOT / RUNS / ".results"
    guard.parent.mkdir(parents=True, exist_ok=True)
    with guard.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = {(line["cell"], line["seed"]): line for line in (*read_lines(), *lines)}
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept.values(), key=lambda line: (order.get(line["cell"], -1), int(line["seed"]))))
        write_atomically(LINES, text.getvalue().encode())


def newest(training: Training, command: str = "") -> Path | None:
    """The last run of a command line, of today's unless another is given."""
    for config in sorted((ROOT / RUNS / training.cell.name).glob(f"*_s{training.seed}*/config.json"), reverse=True):
        with suppress(UserError):  # of a damaged run nothing is known
            if read_config(config.parent).get("command") == (command or training.command):
                return config.parent
    return None


def line_of(training: Training) -> Line | None:
    """What there is to say of a run that is finished, with its test episodes; None of others."""
    run = newest(training)
    if not run or is_locked(run):
        return None
    result = read_object(run / "result.json")
    if "TestEpisodes" not in result:
        return None
    cell, summary = training.cell, summarize(run)
    values = (
        *(cell.name, cell.algo, cell.environment, f"{training.seed}", f"{summary.steps:.0f}"),
        *(f"{summary.ret:.6g}", f"{summary.std:.4g}", f"{result['TestEpisodes']}", f"{summary.seconds:.1f}"),
        *(stamp(cell.algo), preset_stamp(cell), f"{read_config(run).get('git_commit')}", training.command),
    )
    return dict(zip(COLUMNS, values, strict=True))


def stale(line: Line) -> str:
    """What has changed since a line was made: "code", "preset", "settings", "cell"; "" if nothing has."""
    cell = next((cell for cell in CELLS if cell.name == line["cell"]), None)
    if not cell:
        return "cell"
    if line["stamp"] != stamp(cell.algo):
        return "code"
    if line["preset"] != preset_stamp(cell):
        return "preset"
    return "" if line["command"] == Training(cell, int(line["seed"])).command else "settings"


# ---- training


def train(wanted: Sequence[Training], jobs: int) -> int:
    """Train what has no line that is as good as new, and return the exit code."""
    publish([line for training in left(wanted) if (line := line_of(training))])  # of runs whose battery was killed
    missing = left(wanted)
    tasks = {f"{training.label}": training for training in missing}

    def finished(task: pool.Task) -> None:
        publish([line for line in [line_of(tasks[task.label])] if line])

    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are finished", flush=True)
    return pool.train_all(
        [_task(training) for training in missing], jobs, shlex.join(["python", *sys.argv]), finished=finished
    )


def left(wanted: Sequence[Training]) -> list[Training]:
    """Those without a line that is as good as new."""
    have = {(line["cell"], line["seed"]) for line in read_lines() if not stale(line)}
    return [training for training in wanted if training.key not in have]


def count(wanted: Sequence[Training]) -> list[str]:
    """What is left of each cell, and the hours of one core that it may take, in lines."""
    missing = left(wanted)
    rows = [(cell, sum(training.cell == cell for training in missing)) for cell in CELLS]
    hours = {cell.name: runs * seconds_of(cell) / 3600 for cell, runs in rows if runs}
    lines = [f"{cell.name:<34} {runs:>3} runs {hours[cell.name]:>7.2f} h" for cell, runs in rows if runs]
    return [*lines, f"{len(hours)} cells, {len(missing)} runs, {sum(hours.values()):.1f} hours of one core"]


def seconds_of(cell: Cell) -> float:
    """How long a run takes: as its lines say, else as measured elsewhere."""
    took = [float(line["seconds"]) for line in read_lines() if line["cell"] == cell.name and line["seconds"]]
    return sum(took) / len(took) if took else 3600 * cell.hours / cell.seeds


def _task(training: Training) -> pool.Task:
    """The process of a run, which goes on with an interrupted one: any other change of the source does not matter."""
    words, run = [*training.words, "--job", "1"], newest(training)
    if run and not is_locked(run) and any((run / "checkpoint").glob("epoch_*")) and not (run / "error.json").exists():
        episodes = training.words[training.words.index("--test-episodes") + 1]
        words = ["--resume", f"{run.relative_to(ROOT)}", "--test-episodes", episodes, "--quiet"]
    return pool.Task(jobs_of(training.words)[0], training.label, training.command, words)
