"""What the batteries of faults share: trainings in processes of their own, and the comparison of what they left."""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlsuite.run import main as rlsuite
from rlsuite.rundir.files import unpack

SMALL = ["--num-envs", "2", "--total-steps", "4096", "--steps-per-epoch", "256", "--test-episodes", "1"]
SMALL += ["--preset", "none", "--normalize-obs"]
REPLAY = ["--start-steps", "64", "--update-after", "64", "--update-every", "8", "--batch-size", "16"]
REPLAY += ["--buffer-size", "700", "--hidden-sizes", "16", "16", "--num-test-episodes", "1"]
COMMANDS = {
    "vpg": ["vpg", "--env", "CartPole-v1", *SMALL, "--rollout-len", "64", "--train-v-iters", "3"],
    "a2c": ["a2c", "--env", "Pendulum-v1", *SMALL, "--rollout-len", "8"],
    "ppo": ["ppo", "--env", "CartPole-v1", *SMALL, "--rollout-len", "64", "--minibatch-size", "64", "--scale-reward"],
    "dqn": ["dqn", "--env", "CartPole-v1", *SMALL, *REPLAY],
    "ddpg": ["ddpg", "--env", "Pendulum-v1", *SMALL, *REPLAY, "--noise-corr", "0.5"],
}


class Result(NamedTuple):
    """One line of the table."""

    fault: str
    cases: int
    lost: int = 0
    differing: int = 0
    tracebacks: int = 0
    refused: int = 0
    twice: int | None = None
    """None where there is only one run"""
    left: int | None = None


class Child:
    """A forked process that runs a command line of rlsuite, without importing anything again."""

    def __init__(self, argv: list[str], folder: Path, before: Callable[[], Any] = lambda: None) -> None:
        """Start it; the child calls `before` first."""
        self.output = folder / "output.txt"
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                descriptor = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                before()
                code = rlsuite(argv)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)

    def ended(self) -> int | None:
        """The exit code, -9 after SIGKILL, or None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def wait(self) -> int:
        """The exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """SIGKILL, and wait."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def said(self) -> str:
        """All that it printed."""
        return self.output.read_text(errors="replace")


def bad(failed: bool, said: str) -> bool:
    """Return `failed`; if it is true, print the end of what the process said."""
    if failed:
        print("    | " + "\n    | ".join(said.splitlines()[-12:]))
    return failed


def rows(run: Path) -> list[list[str]]:
    """The complete lines of progress.txt, without the time columns."""
    path = run / "progress.txt"
    lines = [line.split("\t") for line in path.read_text().split("\n")[:-1]] if path.exists() else []
    timed = [lines[0].index(name) for name in ("Time", "StepsPerSec")] if lines else []
    return [[cell for i, cell in enumerate(line) if i not in timed] for line in lines]


def only_run(folder: Path) -> Path | None:
    """The run directory below a folder, once it has settings."""
    return next((path.parent for path in folder.glob("*/*/config.json")), None)


def same(run: Path, whole: Path) -> bool:
    """Whether two finished runs are equal in everything but time."""
    if rows(run) != rows(whole):
        return False
    for kind in ("", "episodes", "snapshots"):
        files = {path.name: path.read_bytes() for path in (whole / kind).glob("*.safetensors")}
        if {path.name: path.read_bytes() for path in (run / kind).glob("*.safetensors")} != files:
            return False
    for path in (whole / "checkpoint").glob("epoch_*"):
        arrays, facts = unpack(path)
        theirs, their_facts = unpack(run / "checkpoint" / path.name)
        if facts["parts"] != their_facts["parts"] or arrays.keys() != theirs.keys():
            return False
        if not all(np.array_equal(array, theirs[name]) for name, array in arrays.items()):
            return False
    return True


numbers = itertools.count()


def new_folder(parent: Path, name: str) -> Path:
    """An empty folder."""
    path = parent / f"{name}_{next(numbers)}"
    path.mkdir()
    return path
