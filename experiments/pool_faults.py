"""Faults of many processes: `python experiments/faults.py --pools` (Linux; extra `mpi`).

Grids with `--jobs`, grids over mpi4py.futures, and a program that calls `ppo.train` on two ranks. One of their
processes gets SIGKILL, SIGTERM or SIGINT at a random moment, or the disk is full. They are started again with the same
command line until all runs are finished. In the end each run is compared with the same training left alone. Every
process inherits a mark in its environment, by which those that are left behind are found.
"""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from fault_helpers import COMMANDS, Result, bad, new_folder, rows, same
from tables import ROOT

from rlsuite.rundir.runs import read_config

MARK = "RLSUITE_FAULTS"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SEEDS = ("0", "1", "2")
GRACE = 60  # seconds that processes have to save and end, once the one that started them is gone
EVERYBODY = ("parent", "rank", "training")
COUNTED = ("lost", "twice", "differing", "left", "tracebacks")
CODES = set(range(-64, 256))  # mpiexec makes its own of a process that was killed
MORE = 2  # epochs that a training may still log then: these trainings are too short to outlive GRACE
LIMIT = 600  # seconds after which a job hangs
TRACES = re.compile(r'Traceback|File ".*", line \d+|Exception ignored')  # a pool shows only the end of what failed
PROGRAM = """
import sys
from rlsuite.algos import ppo
from rlsuite.common.logger import Logger

folder, run = sys.argv[1], (sys.argv[2:] or [None])[0]
settings = dict(total_steps=2048, steps_per_epoch=256, num_envs=2, rollout_len=64, minibatch_size=64, train_iters=2)
ppo.train(ppo.Config("CartPole-v1", **settings), logger=Logger(data_dir=folder, resume=run))
"""

Runs = dict[int, list[Path]]
Start = Callable[[Path], list[str]]
"""What to start, or to start again, in a folder."""


def small(command: Sequence[str]) -> list[str]:
    """Shorter: most of the time goes to starting processes."""
    iters = ["--train-iters", "2"] if command[0] == "ppo" else []
    return [*("2048" if word == "4096" else word for word in command), *iters]


def runs_of(folder: Path) -> Runs:
    """The run directories below a folder, by their seed."""
    found: Runs = {}
    for path in sorted(folder.glob("*/*/config.json")):
        found.setdefault(read_config(path.parent)["seed"], []).append(path.parent)
    return found


class Job:
    """A command line, and all processes that come from it in whatever way."""

    def __init__(self, words: Sequence[str], folder: Path, size: int = resource.RLIM_INFINITY) -> None:
        """Start it; no file that it writes may become larger than `size` bytes."""

        def before() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background inherits that it is ignored
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        self.folder, self.mpi = folder, "mpiexec" in words[0]
        self.begun = time.time()
        self.output = folder / f"output_{len(list(folder.glob('output_*')))}.txt"
        self.process = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, MARK: f"{folder}"},
            stdin=subprocess.DEVNULL,
            stdout=self.output.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before,
        )

    def ended(self) -> bool:
        """Whether the process that was started is gone."""
        return self.process.poll() is not None

    def family(self, who: str) -> list[psutil.Process]:
        """The parent, its trainings, or its ranks, so far as they live."""
        if who == "parent":
            return [psutil.Process(self.process.pid)]
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if process.name().startswith("python") and ("--job" in process.cmdline()) == (who == "training"):
                    found.append(process)
        return found

    def wait(self) -> int | None:
        """The exit code; None if it hangs."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(LIMIT)
        return None

    def said(self) -> str:
        """All that it printed."""
        return self.output.read_text(errors="replace")


def marked(folder: Path) -> list[psutil.Process]:
    """Living processes that come from jobs in a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == f"{folder}" and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def left_behind(folder: Path) -> int:
    """How many processes don't end by themselves; they are killed here."""
    deadline = time.monotonic() + GRACE
    while (found := marked(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in found:
        with suppress(psutil.Error):
            print(f"    | left: {' '.join(process.cmdline())}")
            process.kill()
    return len(found)


def epochs_of(folder: Path) -> dict[Path, int]:
    """How many epochs each run below a folder has logged."""
    return {run: max(0, len(rows(run)) - 1) for several in runs_of(folder).values() for run in several}


@dataclass
class Memory:
    """What has stood in the logs of one folder."""

    epochs: dict[int, list[list[str]]] = field(default_factory=dict)
    """rows of progress.txt, by seed"""
    finished: dict[Path, bytes] = field(default_factory=dict)
    """progress.txt of finished runs, whose times would change if they were trained once more"""

    def look(self, folder: Path) -> None:
        """Remember what is there now."""
        for seed, runs in runs_of(folder).items():
            for run in runs:
                if (run / "result.json").exists():
                    self.finished.setdefault(run, (run / "progress.txt").read_bytes())
                known = self.epochs.setdefault(seed, [])
                known += [row for row in rows(run) if row not in known]

    def compare(self, folder: Path, whole: Runs) -> dict[str, int]:
        """Count what is lost, trained twice, or differs from the trainings left alone."""
        runs = runs_of(folder)
        there = {seed: [row for run in runs.get(seed, []) for row in rows(run)] for seed in self.epochs}
        again = sum(run.exists() and (run / "progress.txt").read_bytes() != log for run, log in self.finished.items())
        return {
            "lost": sum(row not in there[seed] for seed, known in self.epochs.items() for row in known),
            "twice": sum(len(several) - 1 for several in runs.values()) + again,
            "differing": sum(
                not any(same(run, expected) for run in runs.get(s, [])) for s, (expected,) in whole.items()
            ),
        }


def has_begun(process: psutil.Process, job: "Job") -> bool:
    """Whether a signal would meet rlsuite; before that, it is Python that dies in the middle of its imports.

    A command line handles SIGTERM from its beginning; what MPI starts need not, but writes a run, or goes on with one.
    """
    if job.mpi:
        return any(path.stat().st_mtime > job.begun for path in job.folder.glob("*/*/progress.txt"))
    with suppress(OSError):
        handled = Path(f"/proc/{process.pid}/status").read_text().split("SigCgt:")[1].split()[0]
        return bool(int(handled, 16) >> (signal.SIGTERM - 1) & 1)
    return False


def wait_for_a_moment(job: Job, rng: random.Random) -> bool:
    """Wait for a random one: after the start, among the epochs, or in a checkpoint; False if the job has ended."""

    def logs() -> int:
        return sum(path.stat().st_size for path in job.folder.glob("*/*/progress.txt"))

    def writes() -> bool:
        return any(job.folder.glob("*/*/checkpoint/.*.tmp"))

    before, kind = logs(), rng.choice(["start", "epochs", "write"])
    pause = rng.uniform(0, 1.5) if kind != "write" else 0
    while not (kind == "start" or (logs() != before if kind == "epochs" else writes())):
        if job.ended():
            return False
        time.sleep(0.0005)
    deadline = time.monotonic() + pause
    while not job.ended() and time.monotonic() < deadline:
        time.sleep(0.001)
    return not job.ended()


def strike(job: Job, victims: Sequence[str], rng: random.Random) -> tuple[str, int]:
    """Send a random signal to a random process of a job, and return whose it was; ("", 0) if it has ended before."""
    who, number = rng.choice(victims), rng.choice(SIGNALS)
    while not job.ended():
        with suppress(psutil.Error):
            family = [p for p in job.family(who) if number == signal.SIGKILL or has_begun(p, job)]
            if family:
                victim = rng.choice(family)
                if who == "parent" and number == signal.SIGINT:  # Ctrl-C
                    os.killpg(victim.pid, number)
                else:
                    victim.send_signal(number)
                return who, number
    return "", 0


def codes_after(who: str, number: int) -> set[int | None]:
    """The exit codes of a pool that was struck; it may have been at its end."""
    return {-9 if number == signal.SIGKILL else 128 + number} if who == "parent" else set()


@dataclass
class Battery:
    """One kind of fault: what to start, what to hit, and the counts so far."""

    name: str
    start: Start
    reference: Start
    """trains the same, and is left alone"""
    victims: Sequence[str]
    """of EVERYBODY; nobody: the disk is full instead"""
    pools: int = 1
    """started at once in the same folder, of which one is hit"""
    mpi: bool = False
    """the exit code is whatever mpiexec makes of it"""
    whole: Runs = field(default_factory=dict)
    """what the reference has trained"""
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def until(self, times: int, folder: Path, rng: random.Random) -> Result:
        """Hit jobs in ever new folders until there were enough hits; each folder is finished after a few."""
        alone = new_folder(folder, "whole")
        job = Job(self.reference(alone), alone)
        assert job.wait() == 0, job.said()
        self.whole = runs_of(alone)
        while self.cases < times:
            place, memory = new_folder(folder, "pool"), Memory()
            for _ in range(rng.randrange(2, 8)):
                if not (self.hit if self.victims else self.fill)(place, memory, rng):
                    break
            self.finish(place, memory)
            print(f"{self.name}: {self.cases} of {times}", flush=True)
            shutil.rmtree(place)
        return Result(self.name, self.cases, **{name: self.counts[name] for name in COUNTED})

    def hit(self, place: Path, memory: Memory, rng: random.Random) -> bool:
        """Start, hit, and wait for the end; False if it had come before."""
        jobs = [Job(self.start(place), place) for _ in range(self.pools)]
        codes: set[int | None] = {0, 3}
        who = ""
        while wait_for_a_moment(jobs[0], rng):
            who, number = strike(jobs[0], self.victims, rng)
            memory.look(place)
            before = epochs_of(place)
            self.cases += bool(who)
            codes |= CODES if self.mpi else codes_after(who, number)
            if who != "training" or rng.random() < 0.5:
                break
        for job in jobs:
            self.end(job, codes)
        # Half of the pools are started again while trainings of the one before may still be saving.
        if self.mpi or rng.random() < 0.5:
            self.counts["left"] += left_behind(place)
            if who == "parent" and self.pools == 1:
                went_on = [run for run, count in epochs_of(place).items() if count > before.get(run, 0) + MORE]
                self.counts["left"] += bad(bool(went_on), f"{self.name}: trained on: {went_on}") and len(went_on)
        memory.look(place)
        return bool(who)

    def fill(self, place: Path, memory: Memory, rng: random.Random) -> bool:
        """Start where no file can grow beyond a random size; False if that was enough."""
        job = Job(self.start(place), place, size=rng.randrange(500, 40_000))
        self.end(job, {0, 1, 3})
        self.counts["left"] += left_behind(place)
        memory.look(place)
        full = job.process.returncode != 0
        self.cases += full
        return full

    def end(self, job: Job, codes: set[int | None]) -> None:
        """Wait for the end of a job, and see what it said."""
        code, said = job.wait(), job.said()
        wrong = code not in codes or TRACES.search(said)
        self.counts["tracebacks"] += bad(bool(wrong), f"{self.name}: exit code {code}\n{said}")

    def finish(self, place: Path, memory: Memory) -> None:
        """Start again until there is nothing left to train, and compare."""
        for _ in range(3):
            job = Job(self.start(place), place)
            self.end(job, {0})
            self.counts["left"] += left_behind(place)
            memory.look(place)
            if "is being trained by another process" not in job.said():
                break
        found = memory.compare(place, self.whole)
        bad(any(found.values()), f"{self.name}: {found}")
        self.counts.update(found)


def pool_battery(folder: Path, seed: int) -> dict[str, Callable[[], Result]]:
    """All kinds of faults by a short name."""
    mpiexec = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec") or "mpiexec"
    rlsuite = [sys.executable, "-m", "rlsuite.run"]
    over_mpi = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", "-m", "rlsuite.run"]
    program = new_folder(folder, "program") / "train.py"
    program.write_text(PROGRAM)

    def grid(algo: str, place: Path) -> list[str]:
        return [*rlsuite, *small(COMMANDS[algo]), "--seed", *SEEDS, "--data-dir", f"{place}"]

    def pool(algo: str, jobs: int, place: Path) -> list[str]:
        return [*grid(algo, place), "--jobs", f"{jobs}"]

    def pool_over_mpi(place: Path) -> list[str]:
        return [*over_mpi, *grid("ppo", place)[len(rlsuite) :]]

    def from_python(place: Path) -> list[str]:
        runs = [f"{run}" for several in runs_of(place).values() for run in several]
        return [mpiexec, "-n", "2", sys.executable, f"{program}", f"{place}", *runs]

    ppo, dqn = partial(grid, "ppo"), partial(grid, "dqn")
    pool_ppo, pool_dqn, small_pool = partial(pool, "ppo", 2), partial(pool, "dqn", 2), partial(pool, "ppo", 1)
    kinds = {
        "pool-parent": (50, Battery("pool: parent killed", pool_dqn, dqn, ["parent"])),
        "pool-training": (60, Battery("pool: training killed", pool_ppo, ppo, ["training"])),
        "pool-disk": (20, Battery("pool: disk full", pool_dqn, dqn, [])),
        "two-pools": (20, Battery("two pools: one of them killed", small_pool, ppo, ["parent", "training"], pools=2)),
        "pool-mpi": (25, Battery("pool over MPI: a process killed", pool_over_mpi, ppo, EVERYBODY, mpi=True)),
        "python-ranks": (
            30,
            Battery("ppo.train on two ranks: one killed", from_python, from_python, EVERYBODY[:2], mpi=True),
        ),
    }
    return {
        kind: partial(battery.until, times, folder, random.Random(f"{seed} {kind}"))
        for kind, (times, battery) in kinds.items()
    }
