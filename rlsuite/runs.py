"""The door to the table of runs: `python -m rlsuite.runs [DIR ...] [--where lam=0.95] [--sort COLUMN]`."""

import csv
import difflib
import math
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rlsuite.errors import ArgumentParser, UserError
from rlsuite.rundir.runs import differing_settings, find_runs
from rlsuite.rundir.summaries import Summary, summarize, write_note

Columns = dict[str, list[str]]

COLUMNS: dict[str, Callable[[Summary], Any]] = {
    "algo": lambda s: s.settings.get("algo", ""),
    "env": lambda s: s.settings.get("env", ""),
    "seed": lambda s: s.seed,
    "state": lambda s: s.state,
    "why": lambda s: s.why,
    "steps": lambda s: s.steps,
    "total_steps": lambda s: s.total_steps,
    "return": lambda s: s.ret,
    "std": lambda s: s.std,
    "best": lambda s: s.best,
    "random": lambda s: s.random,
    "started": lambda s: s.started,
    "seconds": lambda s: s.seconds,
    "note": lambda s: s.note,
    "run": lambda s: f"{s.run}",
}
"""What can be sorted by and asked for; the settings join them."""
NARROWER = (
    *(("run", 0), ("note", 32), ("state", 32), ("settings", 24), ("shared", 0), ("env", 16), ("took", 0), ("note", 16)),
    *(
        ("started", 0),
        ("best", 0),
        ("random", 0),
        ("state", 16),
        ("env", 12),
        ("note", 0),
        ("settings", 8),
        ("state", 8),
    ),
)
"""What gives way in a narrow window, in this order, and to how many letters; 0 for none. A CSV file has everything."""


def _arguments(argv: Sequence[str] | None) -> Any:
    parser = ArgumentParser(
        prog="python -m rlsuite.runs",
        description="A table of runs: the settings in which they differ, how far they are, and what came out. "
        "`return` is that of the test episodes at the end, or of the last epoch; `best` is that of the best epoch, "
        "`random` that of random play at the start.",
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="DIR", help="run or experiment directory [data]")
    parser.add_argument("--where", nargs="+", default=[], metavar="NAME=VALUE", help="only runs with these values")
    parser.add_argument("--sort", metavar="COLUMN", help="a column or setting [started]")
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--csv", action="store_true", help="all columns, for a spreadsheet or pandas")
    parser.add_argument("--note", "--notes", metavar="TEXT", help='keep a note with the one run given; "" removes it')
    args = parser.parse_args(argv)
    if args.note is not None and (len(args.paths) != 1 or args.where or args.sort or args.csv or args.reverse):
        raise UserError('--note takes one run and nothing else: python -m rlsuite.runs --note "why" RUN_DIR')
    return args


def value_of(summary: Summary, name: str) -> Any:
    """A column or setting of a run; None where it has none."""
    name = name.replace("-", "_")
    return COLUMNS[name](summary) if name in COLUMNS else summary.settings.get(name)


def check_name(summaries: Sequence[Summary], name: str) -> None:
    """Raise UserError if no run has a column or setting of that name."""
    known = {*COLUMNS, *(key for summary in summaries for key in summary.settings)}
    if name.replace("-", "_") not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COLUMNS)}, and the settings"
        raise UserError(f"no run has {name[:40]!r}; {hint}")


def select(summaries: Sequence[Summary], conditions: Sequence[str]) -> list[Summary]:
    """The runs for which every condition, such as "lam=0.95", holds. Numbers are compared as numbers.

    Raises:
        UserError: a condition that is none, or asks for what no run has.
    """
    for condition in conditions:
        name, equals, wanted = condition.partition("=")
        if not equals:
            raise UserError(f"--where takes conditions such as lam=0.95 algo=ppo, not {condition[:40]!r}")
        check_name(summaries, name)
        summaries = [summary for summary in summaries if _same(value_of(summary, name), wanted)]
    return list(summaries)


def _same(value: Any, wanted: str) -> bool:
    if value is None:
        return False
    try:
        return math.isclose(float(value), float(wanted.replace("_", "")), rel_tol=1e-9)
    except (TypeError, ValueError):  # hidden_sizes=[64, 64] may be asked for as 64,64
        plain, asked = (f"{text}".lower().translate(str.maketrans("", "", "[]() ")) for text in (value, wanted))
        return plain == asked


def order(summaries: Sequence[Summary], name: str, reverse: bool = False) -> list[Summary]:
    """The runs by a column or setting, the smallest first; those without a value are last.

    Raises:
        UserError: no run has it.
    """
    check_name(summaries, name)

    def key(summary: Summary) -> tuple[int, Any]:
        value = value_of(summary, name)
        try:
            return 0, float(value)
        except (TypeError, ValueError):
            return 1, f"{value}"

    def missing(summary: Summary) -> bool:
        value = value_of(summary, name)
        return value in (None, "") or (isinstance(value, float) and math.isnan(value))

    there = [summary for summary in summaries if not missing(summary)]
    return sorted(there, key=key, reverse=reverse) + [summary for summary in summaries if missing(summary)]


def table(summaries: Sequence[Summary], width: float = math.inf, year: int | None = None) -> list[str]:
    """The lines of the table: names, runs, and how many there are of each state.

    Args:
        summaries: at least one.
        width: letters in a line, which it keeps to as far as something can give way.
        year: this one, which need not be said.
    """
    settings = _varying(summaries)
    columns: Columns = {name: [f"{value_of(s, name)}" for s in summaries] for name in ("algo", "env", "seed")}
    columns |= {name: [s.settings.get(name, "") for s in summaries] for name in settings}
    columns |= {
        "state": [f"{s.state}: {s.why}" if s.why else s.state for s in summaries],
        "steps": [_steps(s.steps, s.total_steps) for s in summaries],
        "return": [spread(s.ret, s.std) for s in summaries],
        "best": [digits(s.best) for s in summaries],
        "random": [digits(float(f"{s.random:.3g}")) for s in summaries],
        "started": [s.started.strftime("%m-%d %H:%M" if s.started.year == year else "%Y-%m-%d") for s in summaries],
        "took": [_duration(s.seconds) for s in summaries],
        "note": [s.note for s in summaries],
        "run": [f"{s.run}" for s in summaries],
    }
    columns = {name: [_clean(cell) for cell in cells] for name, cells in columns.items() if any(cells)}
    shared: list[str] = []
    for name, letters in NARROWER:
        if _width(columns) <= width:
            break
        if name == "shared":  # what all runs have in common can be said once
            shared = [columns.pop(kind)[0] for kind in ("algo", "env") if len(set(columns.get(kind, ()))) == 1]
            continue
        for each in settings if name == "settings" else [name]:
            if letters and each in columns:
                columns[each] = [_cut(cell, letters) for cell in columns[each]]
            else:
                columns.pop(each, None)
    states = Counter(s.state for s in summaries)
    lines = _lines(columns)
    count = f"{len(summaries)} run{'s' * (len(summaries) > 1)}{' of ' * bool(shared)}{' on '.join(shared)}"
    return [*lines, "", f"{count}: {', '.join(f'{n} {state}' for state, n in states.most_common())}"]


def _varying(summaries: Sequence[Summary]) -> list[str]:
    """The settings in which the runs differ, without those that have a column."""
    return [name for name in differing_settings([s.settings for s in summaries]) if name not in COLUMNS]


def _lines(columns: Columns) -> list[str]:
    left = {"algo", "env", "state", "note", "run"}
    padded = []
    for name, cells in columns.items():
        wide = max(map(len, [name, *cells]))
        padded.append([cell.ljust(wide) if name in left else cell.rjust(wide) for cell in (name, *cells)])
    return ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]


def _width(columns: Columns) -> int:
    return sum(max(map(len, [name, *cells])) + 2 for name, cells in columns.items()) - 2


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1].rstrip(': ')}…"


def _clean(text: str) -> str:
    """One printable line: a file may hold what would change the terminal."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def digits(value: float) -> str:
    """A number with the four digits that matter, "" for NaN."""
    if not math.isfinite(value):
        return "" if math.isnan(value) else f"{value}"
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3g}"
    places = 3 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:.{max(places, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def spread(mean: float, std: float) -> str:
    """A mean with its spread, both to the second digit of the spread: "497.3 ± 8.1"."""
    if not math.isfinite(mean) or not math.isfinite(std) or not 1e-4 <= std < 1e9 or abs(mean) >= 1e9:
        return digits(mean) + (f" ± {digits(std)}" if math.isfinite(std) and math.isfinite(mean) else "")
    places = max(0, 1 - math.floor(math.log10(std)))
    return f"{round(mean, places) + 0.0:.{places}f} ± {std:.{places}f}"  # + 0.0 makes -0.0 a plain zero


def _steps(steps: float, budget: float) -> str:
    done = _short(0 if math.isnan(steps) else steps)
    return done if math.isnan(budget) else f"{done}/{_short(budget)}"


def _short(steps: float) -> str:
    """Env steps as 35.3k; rounded down, so that 99,999 are not yet 100k."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(steps) >= unit:
            return f"{math.floor(steps / unit * 10) / 10:g}{letter}" if math.isfinite(steps) else f"{steps}"
    return f"{steps:g}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return ""
    for unit, letter, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= unit:
            return f"{int(seconds // unit)}{letter}{int(seconds % unit // below):02}{small}"
    return f"{seconds:.0f}s"


def write_csv(summaries: Sequence[Summary]) -> None:
    """Print all columns and the settings that differ, with all digits."""
    names = list(COLUMNS)
    names[3:3] = _varying(summaries)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for summary in summaries:
        writer.writerow([_plain(value_of(summary, name)) for name in names])


def _plain(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = f"{int(value)}" if isinstance(value, float) and value.is_integer() else f"{value}"
    return text.encode(errors="replace").decode()


def _terminal_width() -> float:
    """Of the window; a file or another program gets whole lines."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else math.inf


def _print(args: Any) -> None:
    runs = find_runs(args.paths or [Path("data")])
    if args.note is not None:
        if len(runs) > 1:
            raise UserError(f"--note takes one run, and {args.paths[0]} holds {len(runs)}, such as {runs[-1]}")
        write_note(runs[0], args.note)
        runs = runs[:1]
    summaries = [summarize(run) for run in runs]
    chosen = order(select(summaries, args.where), "started")
    if args.sort or args.reverse:
        check_name(summaries, args.sort or "started")
        chosen = order(chosen, args.sort or "started", args.reverse) if chosen else []
    if args.csv:
        write_csv(chosen)
    elif chosen:
        print("\n".join(table(chosen, _terminal_width(), datetime.now().year)))
    else:
        print(f"none of {len(summaries)} runs: {' '.join(args.where)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; return the exit code."""
    try:
        _print(_arguments(argv))
        sys.stdout.flush()
    except UserError as error:
        print("rlsuite:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
