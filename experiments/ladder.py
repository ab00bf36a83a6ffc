"""Does every sound algorithm pass the ladder, and which rung finds which fault? Run `python experiments/ladder.py`.

First each algorithm as it is, on all rungs; then each fault of tests/mutants.py that lies in an algorithm or in what
algorithms learn with, put into a copy of the package, up to the first rung that fails. data/ladder.csv gets a line for
each rung that was tried. Started again, a rung that has its line is not repeated; delete the lines of one that you have
changed, and all of them after a change of what is computed. Hours on two cores.

    --seeds 10     of the sound algorithms, from 0; a fault gets the seed 0, and 1 if it changes something and passes
    --only WORD    algorithms and faults whose name or file holds this
    --part         sound, faults, or table, which trains nothing and prints what the file says; planted: how many are
                   caught of the faults that lower the return in the trainings of planted_bugs.py, if these are here

A fault counts if it changes what is learned: the final weights of some rung differ, bit by bit, from those of the sound
algorithm with the same seed. What concerns files, columns or several processes does not. It is caught if a rung fails
that no seed of the sound algorithm fails.
"""

import argparse
import csv
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tables import DATA, ROOT, markdown

sys.path.insert(0, str(ROOT / "tests"))
from mutants import MUTANTS, Mutant

TABLE = DATA / "ladder.csv"
COLUMNS = ("fault", "file", "algorithm", "seed", "rung", "verdict", "said", "weights", "seconds")
ALGORITHMS = ("vpg", "a2c", "ppo", "trpo", "dqn", "ddpg", "td3", "sac", "cem", "random")
CPU_LIMIT = 300  # seconds of a fault that never ends
LEARNING = {
    "common/buffer.py": "ppo",
    "common/normalize.py": "ppo",
    "common/optim.py": "ppo",
    "common/actor_critic.py": "ppo",
    "common/distributions.py": "ppo",
    "common/replay.py": "dqn",
    "common/q_networks.py": "dqn",
    "common/soft_actor_critic.py": "sac",
}
"""what algorithms learn with, and one that shows it"""
SPECIAL = {"squash": "sac", "rmsprop": "a2c", "the critic sees actions": "ddpg", "Gaussian": "a2c", "twin": "td3"}
"""words of faults which another algorithm shows"""


Row = dict[str, str]
MISSED, SAME, NO_START = "missed", "nothing changes", "does not start"


class Task(NamedTuple):
    """A climb: of a sound algorithm, or of one with a fault, on the seeds one after the other."""

    fault: Mutant | None
    algo: str
    seeds: tuple[int, ...]
    before: Sequence[Row] = ()
    """its lines so far, and those of the sound algorithm"""

    @property
    def name(self) -> str:
        """Of the fault; "" without one."""
        return self.fault.name if self.fault else ""

    def own(self, seed: int) -> list[Row]:
        """Its lines so far of a seed."""
        return [row for row in self.before if row["fault"] == self.name and row["seed"] == f"{seed}"]

    def caught(self, row: Row) -> bool:
        """Whether a rung fails that no seed of the sound algorithm fails."""
        alarms = {old["rung"] for old in self.before if not old["fault"] and old["verdict"] == "fail"}
        return bool(self.fault) and row["verdict"] == "fail" and row["rung"] not in alarms

    def changed(self, row: Row) -> bool:
        """Whether a rung has left other weights than the sound algorithm with the same seed."""
        sound = {key(old): old["weights"] for old in self.before if not old["fault"]}
        return row["weights"] != sound.get(key(row))


def algorithm_of(fault: Mutant) -> str:
    """The algorithm that should show a fault; "" if it is in nothing that learns."""
    named = fault.name.split(":")[0]
    if named in ALGORITHMS and (fault.file in LEARNING or fault.file.startswith("algos/")):
        return str(named)
    for word, algo in SPECIAL.items():
        if word in fault.name and fault.file in LEARNING:
            return algo
    return LEARNING.get(fault.file, "")


def tasks(seeds: int, only: str, part: str) -> Iterator[Task]:
    """The climbs of a part; of the sound algorithms one seed after the other."""
    if part == "sound":
        for seed in range(seeds):
            yield from (Task(None, algo, (seed,)) for algo in ALGORITHMS if only in algo)
    else:
        for fault in sorted(MUTANTS, key=lambda fault: not fault.file.startswith("algos/")):
            if only in f"{fault.name} {fault.file}" and (algo := algorithm_of(fault)):
                yield Task(fault, algo, (0, 1))


def stop(number: int, frame: Any) -> None:
    """End a training that has used up its time."""
    raise TimeoutError(f"no end within {CPU_LIMIT} s")


def climb(task: Task) -> list[Row]:
    """In a process of its own: a line for each rung."""
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder, "suite")
        shutil.copytree(ROOT / "rlsuite", suite / "rlsuite", ignore=shutil.ignore_patterns("__pycache__"))
        if task.fault:
            path = suite / "rlsuite" / task.fault.file
            path.write_text(path.read_text().replace(task.fault.old, task.fault.new))
        sys.path.insert(0, str(suite))
        torch.set_num_threads(1)
        signal.signal(signal.SIGPROF, stop)
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT)
        rows: list[Row] = []
        try:
            for seed in task.seeds:
                if any(map(task.caught, task.own(seed))):
                    break
                rows += rungs(task, seed)
                tried = [*task.own(seed), *rows]
                if any(map(task.caught, tried)) or not any(map(task.changed, tried)):
                    break
        except Exception as error:  # a fault that does not even import
            failure = (task.name, task.fault.file if task.fault else "", task.algo, f"{task.seeds[0]}", "", "fail")
            rows.append(dict(zip(COLUMNS, (*failure, f"{type(error).__name__}: {error}", "", ""), strict=True)))
        return rows


def rungs(task: Task, seed: int) -> Iterator[Row]:
    """A line for each rung of one seed that has none yet; with a fault, up to the first that fails."""
    probe: Any = import_module("rlsuite.probe")
    done = {row["rung"] for row in task.own(seed)}
    names = [rung.name for rung in probe.RUNGS if rung.name not in done]
    algorithm: Any = import_module(f"rlsuite.algos.{task.algo}")
    train, weights = algorithm.train, [""]

    def keep(*args: Any, **kwargs: Any) -> Any:
        ac = train(*args, **kwargs)
        state = b"".join(value.cpu().numpy().tobytes() for value in ac.state_dict().values())
        weights[0] = f"{zlib.crc32(state):08x}"
        return ac

    algorithm.train = keep
    try:
        begun = time.process_time()
        for result in probe.climb(algorithm, [seed], names):
            verdict = "fail" if result.faults else "pass"
            seconds = time.process_time() - begun
            cells = (task.name, task.fault.file if task.fault else "", task.algo, f"{seed}", result.rung.name, verdict)
            said = "; ".join(result.faults) or result.shown
            row = dict(zip(COLUMNS, (*cells, said, weights[0], f"{seconds:.2f}"), strict=True))
            yield row
            if task.caught(row):
                return
            begun, weights[0] = time.process_time(), ""
    except probe.UserError:
        if not done:  # else nothing is left to climb
            raise
    finally:
        algorithm.train = train


def key(row: Row) -> tuple[str, str, str]:
    """By which lines of faults find those of sound algorithms."""
    return row["algorithm"], row["seed"], row["rung"]


def read() -> list[Row]:
    """The lines so far."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def work(wanted: Sequence[Task], jobs: int) -> None:
    """Climb, and append the lines of each climb as soon as it is done."""
    before = read()
    of: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in before:
        of[row["fault"], row["algorithm"]].append(row)
    left = [task._replace(before=of[task.name, task.algo] + of["", task.algo] * bool(task.name)) for task in wanted]
    unknown = {task.algo for task in wanted if task.fault and not of["", task.algo]}
    if unknown:
        sys.exit(f"the sound {', '.join(sorted(unknown))} must climb first, to compare with: --part sound")
    new = not TABLE.exists()
    with (
        TABLE.open("a", newline="", encoding="utf-8") as file,
        multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        for rows in filter(None, pool.imap_unordered(climb, left)):
            writer.writerows(rows)
            file.flush()
            failed = [f"{row['rung']}: {row['said']}" for row in rows if row["verdict"] == "fail"]
            first = rows[0]
            print(
                f"{first['fault'] or 'sound'} | {first['algorithm']} {first['seed']} | {'; '.join(failed)}", flush=True
            )


def verdicts(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """The first rung that catches each fault, by its name and file; `MISSED` or `SAME` of others."""
    sound = {key(row): row for row in rows if not row["fault"]}
    alarms = {(row["algorithm"], row["rung"]) for row in sound.values() if row["verdict"] == "fail"}
    faults = defaultdict(list)
    for row in rows:
        if row["fault"]:
            faults[row["fault"], row["file"]].append(row)
    found = {}
    for fault, tried in faults.items():
        failed_at = [r for r in tried if r["verdict"] == "fail" and (r["algorithm"], r["rung"]) not in alarms]
        healthy = [(row, sound.get(key(row))) for row in tried]
        if failed_at:
            found[fault] = failed_at[0]["rung"] or NO_START
        else:
            changed = any(other and other["weights"] != row["weights"] for row, other in healthy)
            found[fault] = MISSED if changed else SAME
    return found


def planted() -> str:
    """How many of the faults are caught that planted_bugs.py plants, too, and that lower the return there."""
    import planted_bugs as bugs  # here, because no process that climbs may have imported the package before

    from rlsuite.analysis.watch import read_log

    found_by = verdicts(read())
    edits = {(fault.file, fault.old, fault.new): found_by.get((fault.name, fault.file)) for fault in MUTANTS}
    cells = {bugs.slug(f"healthy {cell}"): cell for part in bugs.HEALTHY.values() for cell in part}
    sound = {cells[task.name]: task for task in bugs.tasks() if not task.fault}
    counted = {}
    for task in bugs.tasks():
        edit = (task.fault.file, task.fault.old, task.fault.new) if task.fault else ("", "", "")
        if task.fault and (rung := edits.get(edit)):
            healthy = sound[task.fault.cell]
            chance = read_log(bugs.runs_of(healthy)[0]).chance[0]
            if bugs.lowers(bugs.returns(task), bugs.returns(healthy), chance):
                counted[edit] = rung
    caught = sum(rung not in (MISSED, SAME) for rung in counted.values())
    return f"{caught} of {len(counted)} faults that lower the return in the trainings of planted_bugs.py are found"


def table() -> list[str]:
    """What the file says, as Markdown: the sound algorithms, then how many faults each rung is the first to find."""
    rows = read()
    sound = {key(row): row for row in rows if not row["fault"]}
    summary = []
    for algo in ALGORITHMS:
        own = [row for row in sound.values() if row["algorithm"] == algo]
        if own:
            seeds = {row["seed"] for row in own}
            failed = Counter(row["rung"] for row in own if row["verdict"] == "fail")
            seconds = sum(float(row["seconds"]) for row in own) / len(seeds)
            summary.append(
                {
                    "algorithm": algo,
                    "seeds": f"{len(seeds)}",
                    "passed": f"{len(own) - failed.total()} of {len(own)}",
                    "CPU seconds per seed": f"{seconds:.0f}",
                    "failed, seeds": ", ".join(f"{rung} {count}" for rung, count in failed.items()),
                }
            )
    lines = [markdown(summary)] if summary else []
    found_by = verdicts(rows)
    missed = [f"- {name} ({file})" for (name, file), rung in found_by.items() if rung == MISSED]
    same = sum(rung == SAME for rung in found_by.values())
    caught = Counter(rung for rung in found_by.values() if rung not in (MISSED, SAME))
    if found_by:
        counted = caught.total() + len(missed)
        share = f"{caught.total()} of {counted} faults that change what is learned are found"
        order = [NO_START, *dict.fromkeys(row["rung"] for row in sound.values())]
        found = [{"first to fail": rung, "faults": f"{caught[rung]}"} for rung in order if caught[rung]]
        share += f" ({caught.total() / counted:.0%})" if counted else ""
        lines += ["", f"{share}; {same} more change nothing."]
        lines += ["", markdown(found)] if found else []
        lines += ["", "Missed:", "", *missed] if missed else []
    return lines


def main() -> int:
    """Climb and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="of each sound algorithm, from 0 [10]")
    parser.add_argument("--only", default="", metavar="WORD", help="algorithms and faults with this in name or file")
    parser.add_argument("--part", choices=("all", "sound", "faults", "table", "planted"), default="all")
    parser.add_argument("--jobs", type=int, default=2, help="climbs at a time [2]")
    args = parser.parse_args()
    if min(args.seeds, args.jobs) < 1:
        parser.error("--seeds and --jobs take a whole number from 1 up")
    for part in ("sound", "faults"):  # the faults are compared with what the sound ones have written
        if args.part in ("all", part):
            work(list(tasks(args.seeds, args.only, part)), args.jobs)
    print(planted() if args.part == "planted" else "\n".join(table()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
