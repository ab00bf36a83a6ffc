"""Many trainings side by side, each in a process of its own: on this machine, or with mpi4py.futures on many.

A training that fails or is killed takes no other with it. None outlives the process that started it: each reads the end
of a pipe, which the system closes when the other end dies, however it dies. Then it saves and stops, as after SIGTERM.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rlsuite import mpi
from rlsuite.errors import UserError
from rlsuite.launching import FINISHED, Job, earlier, signal_code, what_is_left
from rlsuite.rundir.summaries import read_ends

RUN = ("-m", "rlsuite.run")
VARIABLE = "RLSUITE_POOL"  # of the environment of a training whose standard input is such a pipe
SHOWN_LINES = 8  # of the output of a training that failed
EVERY = 1.0  # seconds between two looks at the logs
LAUNCHERS = ("PMI_", "PMIX_", "OMPI_", "SLURM_STEP_NUM_TASKS")  # variables that make a process a rank of a common job

Running = dict[int, subprocess.Popen[bytes]]


class Task(NamedTuple):
    """One training of a pool."""

    job: Job
    label: str
    """what sets it apart from the others"""
    command: str
    """as its config.json is to have it"""
    words: list[str]
    """what follows the program, with --job"""
    program: tuple[str, ...] = RUN
    """what `python` runs"""


class Ending(NamedTuple):
    """How a training of a pool ended."""

    code: int
    """exit code; negative: the signal that killed it"""
    output: str
    """what it printed"""


def train_all(
    tasks: Sequence[Task],
    jobs: int,
    go_on: str,
    quiet: bool = False,
    finished: Callable[[Task], None] = lambda task: None,
) -> int:
    """Train all tasks, say what failed and what is left, and return the exit code.

    Args:
        tasks: what to train; those that are finished are skipped.
        jobs: how many at a time; over MPI it is as many as there are processes that wait for tasks.
        go_on: the command line that trains what is left.
        quiet: print nothing but errors.
        finished: is called with each task whose process has ended well, as soon as it has.

    Returns:
        0, or 3 where a training failed, or what the signal that ended the pool stands for.
    """
    count = len(tasks)
    found = [earlier([task.job], task.command)[0] for task in tasks]
    for task, (run, state) in zip(tasks, found, strict=True):
        if state == FINISHED and not quiet:
            print(f"{task.label}: skipped, as {run} is finished", flush=True)
    tasks = [task for task, (_, state) in zip(tasks, found, strict=True) if state != FINISHED]
    endings, interrupt = train_side_by_side(tasks, jobs, quiet, finished)
    for task, ending in zip(tasks, endings, strict=True):
        if ending and ending.code not in (0, 130, 143):
            said = [f"  {line}" for line in ending.output.splitlines()[-SHOWN_LINES:]]
            end = ["; the end of its output:", *said] if said else [""]
            print(f"\nrlsuite: {task.label} failed, {_how(ending)}" + "\n".join(end), file=sys.stderr)
    left = [task.label for task, ending in zip(tasks, endings, strict=True) if not ending or ending.code]
    if left:
        print(f"rlsuite: {what_is_left(left, count)}; go on with: {go_on}", file=sys.stderr, flush=True)
    return signal_code(interrupt) if interrupt else 3 * bool(left)


def train_side_by_side(
    tasks: Sequence[Task],
    jobs: int,
    quiet: bool = False,
    finished: Callable[[Task], None] = lambda task: None,
) -> tuple[list[Ending | None], KeyboardInterrupt | None]:
    """Train all tasks, some at a time, and show how far each is.

    Args:
        tasks: the process of one that has been finished meanwhile, or is trained elsewhere, says so and ends.
        jobs: how many at a time; over MPI it is as many as there are processes that wait for tasks.
        quiet: show nothing.
        finished: is called with each task whose process has ended well, as soon as it has.

    Returns:
        How each ended, None for those that had not begun when Ctrl-C or SIGTERM came; and that interrupt.
    """
    interrupt = None
    running: Running = {}
    executor = _executor(jobs)
    futures: list[Future[Ending]] = []
    with closing(_Progress(tasks, futures, quiet, finished)) as progress:
        try:
            for task in tasks:
                if mpi.is_pool():
                    futures.append(executor.submit(_train_in_worker, task.words, task.program))
                else:
                    futures.append(executor.submit(train_apart, task.words, running, task.program))
            while not all(future.done() for future in futures):
                progress.show()
                time.sleep(EVERY)
        except BaseException as error:  # a full pipe or disk, too, must not leave trainings behind
            executor.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                for process in list(running.values()):
                    assert process.stdin
                    process.stdin.close()  # it saves and ends
                time.sleep(0.1)
            if not isinstance(error, KeyboardInterrupt):
                raise
            interrupt = error
        executor.shutdown()
        progress.show()
    endings = [ending_of(future) for future in futures]
    return endings + [None] * (len(tasks) - len(endings)), interrupt


def _executor(jobs: int) -> Executor:
    if not mpi.is_pool():
        return ThreadPoolExecutor(jobs)  # each thread only waits for a process
    from mpi4py.futures import MPIPoolExecutor

    executor: Executor = MPIPoolExecutor(initializer=_ignore_interrupts)
    return executor


def _ignore_interrupts() -> None:
    """In a process that waits for tasks: Ctrl-C is for the one that hands them out, and for those that train."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _train_in_worker(words: Sequence[str], program: Sequence[str]) -> Ending:
    """Train one task over MPI, and be open to Ctrl-C meanwhile."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return train_apart(words, program=program)
    finally:
        _ignore_interrupts()


def ending_of(future: "Future[Ending]") -> Ending | None:
    """How a task ended, None if it has not or never began."""
    if not future.done() or future.cancelled():
        return None
    error = future.exception()
    return Ending(1, f"{error}") if error else future.result()


def train_apart(words: Sequence[str], running: Running | None = None, program: Sequence[str] = RUN) -> Ending:
    """Train one task in a process of its own, which no launcher's variables make a rank of anything."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(LAUNCHERS)}
    process = subprocess.Popen(
        [sys.executable, *program, *words],
        env={"OMP_NUM_THREADS": "1", **environment, VARIABLE: "1"},  # other cores are for other trainings
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches the pool alone, and the pipe passes it on
    )
    running = {} if running is None else running
    running[process.pid] = process
    assert process.stdout
    with process:  # closes the pipes
        output = process.stdout.read().decode(errors="replace")
    del running[process.pid]
    return Ending(process.returncode, output)


def end_with_pool() -> None:
    """In a training of a pool, wait in the background for the end of the process that started it, and then end too."""
    if os.environ.pop(VARIABLE, ""):
        threading.Thread(target=_wait_for_pool, daemon=True).start()


def _wait_for_pool() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class _Progress:
    """How far each training is: a table that is redrawn on a terminal, else a line whenever one ends."""

    def __init__(
        self,
        tasks: Sequence[Task],
        futures: Sequence["Future[Ending]"],
        quiet: bool,
        finished: Callable[[Task], None],
    ) -> None:
        self.tasks, self.futures, self.quiet, self.finished = tasks, futures, quiet, finished
        self.runs: dict[int, Path] = {}
        self.said: set[int] = set()
        self.live: Any = None
        if sys.stdout.isatty() and not quiet:
            from rich.live import Live

            self.live = Live(refresh_per_second=2, transient=True)
            self.live.start()

    def show(self) -> None:
        """Say what is new."""
        endings = [ending_of(future) for future in self.futures]
        for i, ending in enumerate(endings):
            if ending and i not in self.said:
                self.said.add(i)
                self._say(f"{len(self.said)} of {len(endings)} ended, {self.tasks[i].label}: {last_line(ending)}")
                if not ending.code:
                    self.finished(self.tasks[i])
        if self.live:
            self.live.update(self._table(endings))

    def _say(self, text: str) -> None:
        if self.live:
            self.live.console.print(text, markup=False, highlight=False)
        elif not self.quiet:
            print(text, flush=True)

    def _table(self, endings: Sequence[Ending | None]) -> Any:
        from rich.table import Table

        table = Table("run", "env steps", "return", "left", box=None, pad_edge=False)
        running = [i for i, future in enumerate(self.futures) if future.running()]
        for i in running:
            table.add_row(self.tasks[i].label, *self._progress(i))
        waiting = len(self.tasks) - len(running) - sum(ending is not None for ending in endings)
        table.add_row(f"{len(running)} running, {waiting} waiting")
        return table

    def _progress(self, i: int) -> tuple[str, str, str]:
        """Env steps done, the last epoch's mean return, and the time left, of a task in training."""
        task = self.tasks[i]
        with suppress(UserError, OSError):  # of a run that has only begun, or is being removed
            if i not in self.runs:
                run, _ = earlier([task.job], task.command)[0]
                if not run:
                    return "", "", ""
                self.runs[i] = run
            ends = read_ends(self.runs[i])
            if ends.steps > 0:
                budget = task.job.config.total_steps
                left = timedelta(seconds=round(max(0.0, (budget - ends.steps) * ends.seconds / ends.steps)))
                return f"{ends.steps:,.0f} of {budget:,}", f"{ends.ret:.4g}", f"{left}"
        return "", "", ""

    def close(self) -> None:
        """Leave only the lines of the runs that ended on the screen."""
        if self.live:
            self.live.stop()


def last_line(ending: Ending) -> str:
    """The line of a training's output that says what came out."""
    lines = [re.sub("^run .*: (?=skipped)", "", line) for line in ending.output.splitlines() if line.strip()]
    chosen = [line for line in lines if line.startswith(("final return", "rlsuite: ", "skipped"))]
    if ending.code > 0 and not chosen:
        chosen = lines
    return chosen[-1].partition(" (min ")[0] if ending.code >= 0 and chosen else _how(ending)


def _how(ending: Ending) -> str:
    if not ending.code:
        return "finished"
    return f"killed by signal {-ending.code}" if ending.code < 0 else f"exit code {ending.code}"
