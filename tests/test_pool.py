"""Grids whose runs are trained side by side: what fails, dies or is killed, and starting again."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rlsuite import pool
from rlsuite.errors import UserError
from rlsuite.pool import Ending, ending_of, last_line
from rlsuite.run import begin, main
from rlsuite.rundir.files import claim
from rlsuite.rundir.runs import find_runs, read_config, read_progress
from tests.conftest import small_command, source_environment

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and locks")

GRID = {"seed": (0, 1, 2), "total_steps": 384, "steps_per_epoch": 128}
LONG = {"seed": (0, 1), "total_steps": 60_000, "steps_per_epoch": 256, "test_episodes": 0}
TRAP = """
import glob, os, signal
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class Trap(CartPoleEnv):
    def step(self, action):
        if os.path.exists("trap") and glob.glob("data/*/*/config.json"):  # random play is over
            os.remove("trap")
            if os.path.exists("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("no power")
        return super().step(action)

gym.register("Trap-v0", entry_point=Trap, max_episode_steps=500)
"""


def start(folder: Path, words: list[str], *before: str) -> "subprocess.Popen[str]":
    """A command line of ours as a process of its own, to be killed."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "rlsuite.run", *words],
        cwd=folder,
        env=source_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # which a background job lacks
    )


def wait_for(condition: Callable[[], Any], process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def columns(folder: Path) -> dict[int, dict[str, list[float]]]:
    """What each run below a folder has logged, but for the clock, by its seed, of which none occurs twice."""
    runs = find_runs([folder])
    found = {
        read_config(run)["seed"]: {
            name: values.tolist() for name, values in read_progress(run).items() if name not in ("Time", "StepsPerSec")
        }
        for run in runs
    }
    assert len(found) == len(runs)
    return dict(sorted(found.items()))


def processes(folder: Path) -> list[str]:
    """Command lines of processes that work below a folder, so far as this system tells."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if str(folder) in line and "ps -eo" not in line]


def test_runs_side_by_side_are_those_one_after_the_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*small_command("ppo", **GRID, data_dir=tmp_path / "apart"), "--jobs", "2"]) == 0
    out, err = capfd.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()] == [f"{i} of 3 ended" for i in (1, 2, 3)]
    assert out.count(": final return ") == 3
    assert err == ""
    assert main(small_command("ppo", **GRID, data_dir=tmp_path / "plain", quiet=True)) == 0
    assert str(columns(tmp_path / "apart")) == str(columns(tmp_path / "plain"))


def test_started_again_it_trains_what_is_left(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whether the first of them was trained by itself, in a pool, or in a plain grid: the command line is the same."""
    words = small_command("ppo", **GRID, data_dir=tmp_path)
    assert main([*words, "--job", "2"]) == 0
    assert "run 2 of 3: ppo on CartPole-v1, seed 1" in capfd.readouterr().out
    (first,) = find_runs([tmp_path])
    assert read_config(first)["command"] == shlex.join(["python", "-m", "rlsuite.run", *words])
    before = (first / "progress.txt").read_bytes()
    assert main([*words, "--jobs", "3"]) == 0
    assert f"--seed 1: skipped, as {first} is finished\n" in capfd.readouterr().out
    assert main([*words, "--jobs", "3", "--quiet"]) == 0  # another command line, for what config.json keeps
    assert capfd.readouterr() == ("", "")
    assert (first / "progress.txt").read_bytes() == before
    assert len(find_runs([tmp_path])) == 6


@pytest.mark.parametrize("kill", [False, True])
def test_a_training_that_fails_or_is_killed_takes_no_other_with_it(kill: bool, tmp_path: Path) -> None:
    (tmp_path / "traps.py").write_text(TRAP)
    words = small_command("ppo", **GRID | {"seed": (0, 1)}, env="traps:Trap-v0", data_dir="data")
    (tmp_path / "trap").touch()
    if kill:
        (tmp_path / "kill").touch()
    out, err = (process := start(tmp_path, [*words, "--jobs", "1"])).communicate()
    assert process.returncode == 3
    how = "killed by signal 9" if kill else "exit code 3"
    assert out.splitlines()[0].startswith(f"1 of 2 ended, --seed 0: {how if kill else 'rlsuite: environment 0 failed'}")
    assert f"rlsuite: --seed 0 failed, {how}" in err
    assert kill or "; the end of its output:\n  " in err  # what was killed may have had no time to print
    again = shlex.join(["python", "-m", "rlsuite.run", *words, "--jobs", "1"])
    assert err.splitlines()[-1] == f"rlsuite: 1 of 2 runs are left (--seed 0); go on with: {again}"
    assert sum(1 for run in find_runs([tmp_path]) if (run / "result.json").exists()) == 1
    _, err = (process := start(tmp_path, [*words, "--jobs", "2"])).communicate()
    assert (process.returncode, err) == (0, "")
    assert sorted(columns(tmp_path)) == [0, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_a_pool_and_nothing_is_lost(number: signal.Signals, tmp_path: Path) -> None:
    words = [*small_command("ppo", **LONG, data_dir=tmp_path), "--jobs", "2"]
    process = start(tmp_path, words)
    wait_for(lambda: len(list(tmp_path.glob("*/*/checkpoint/epoch_*"))) >= 2, process)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 128 + number
    assert len(err.splitlines()) == 1
    assert err.startswith("rlsuite: 2 of 2 runs are left (--seed 0, --seed 1); go on with: python -m rlsuite.run ")
    assert processes(tmp_path) == []
    for run in find_runs([tmp_path]):
        epochs = len(read_progress(run).get("Epoch", ()))
        saved = {int(path.name[6:12]) for path in (run / "checkpoint").glob("epoch_*")}
        assert epochs - max(saved, default=0) in (0, 1)  # the last row may lack its checkpoint; it is made again


def test_a_pool_that_was_killed_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    words = {**GRID, "seed": (0, 1), "total_steps": 8000, "test_episodes": 0}
    assert main([*small_command("ppo", **words, data_dir=tmp_path / "whole"), "--jobs", "2"]) == 0
    cut = [*small_command("ppo", **words, data_dir=tmp_path / "cut"), "--jobs", "2"]
    process = start(tmp_path, cut)
    wait_for(lambda: list((tmp_path / "cut").glob("*/*/checkpoint/epoch_*")), process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while processes(tmp_path) and time.monotonic() < deadline:  # its trainings still save
        time.sleep(0.1)
    assert processes(tmp_path) == []
    assert main(cut) == 0
    assert str(columns(tmp_path / "cut")) == str(columns(tmp_path / "whole"))


def test_two_pools_on_one_folder_train_no_run_twice(tmp_path: Path) -> None:
    words = [*small_command("ppo", **GRID, data_dir=tmp_path), "--jobs", "2"]
    pools = [start(tmp_path, words) for _ in range(2)]
    outs = [pool.communicate() for pool in pools]
    assert [pool.returncode for pool in pools] == [0, 0], outs
    assert sorted(columns(tmp_path)) == [0, 1, 2]
    assert sum(out.count("skipped, as ") for out, _ in outs) == 3


def test_what_one_process_has_claimed_no_other_can_claim(tmp_path: Path, python: Any) -> None:
    code = """
from pathlib import Path
from rlsuite.rundir.files import claim
for name in "ab":
    with claim(Path("."), name) as free:
        print(free)
"""
    with claim(tmp_path, "a") as free:
        assert free
        done = python(tmp_path, "-c", code)
    assert done.stdout == "False\nTrue\n", done.stderr
    assert python(tmp_path, "-c", code).stdout == "True\nTrue\n"
    assert (tmp_path / ".claims").read_bytes() == b""


def test_tasks_wait_for_processes_of_mpi(tmp_path: Path) -> None:
    """Each run is one process, and no part of a common training; started again, nothing is repeated."""
    pytest.importorskip("mpi4py")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    words = small_command("ppo", **GRID, data_dir=tmp_path)
    for repeated in (0, 3):
        done = subprocess.run(
            [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", "-m", "rlsuite.run", *words],
            env=source_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count(" ended, --seed ") == 3 - repeated
        assert done.stdout.count("skipped, as ") == repeated
    runs = find_runs([tmp_path])
    assert [read_config(run)["ranks"] for run in runs] == [1, 1, 1]
    assert sorted(columns(tmp_path)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (["--jobs", "2", "3"], "--jobs takes one number, not 2 3"),
        (["--jobs", "2", "--cpus", "2"], "--jobs trains several runs, each in one process, --cpus one run in several"),
        (["--job", "0"], "--job counts the runs of a grid from 1"),
        (["--job", "1", "--jobs", "2"], "--jobs trains all runs of a grid, --job one of them; choose one"),
        (["--job", "4"], "--job 4: this command line makes 3 runs"),
        (["--jobs", "-1"], "--jobs is -1, but must be from 0"),
        (["--jobs", "2", "--lam", "2"], "--lam is 2.0, but must be from 0 to 1"),
    ],
)
def test_bad_input_is_found_before_anything_begins(more: list[str], error: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=error):
        begin([*small_command("ppo", **GRID, data_dir=tmp_path / "data"), *more])
    assert not (tmp_path / "data").exists()


def test_the_last_line_says_what_came_out() -> None:
    assert last_line(Ending(0, "epoch 1\nfinal return 3.0\nplot it\n")) == "final return 3.0"
    assert last_line(Ending(0, "run 1 of 2: skipped, as x is finished\n")) == "skipped, as x is finished"
    assert last_line(Ending(3, "epoch 1\nrlsuite: no power\n")) == "rlsuite: no power"
    assert last_line(Ending(-9, "epoch 1\n")) == "killed by signal 9"
    assert last_line(Ending(1, "")) == "exit code 1"


def test_a_task_that_never_began_has_no_ending() -> None:
    future: Future[Ending] = Future()
    assert ending_of(future) is None
    future.cancel()
    assert ending_of(future) is None
    future = Future()
    future.set_exception(OSError("no such host"))
    assert ending_of(future) == Ending(1, "no such host")


def test_the_trainings_of_a_pool_do_not_take_each_others_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    program = ("-c", "import os; print(os.environ['OMP_NUM_THREADS'])")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert pool.train_apart([], program=program) == pool.Ending(0, "1\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert pool.train_apart([], program=program) == pool.Ending(0, "3\n")


def test_a_training_of_ones_own_does_not_wait_for_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pool.VARIABLE, raising=False)
    monkeypatch.setattr("threading.Thread", lambda **_: pytest.fail("it reads the standard input"))
    pool.end_with_pool()


def test_a_process_that_waits_for_tasks_ignores_ctrl_c_and_its_training_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    program = ("-c", "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)")
    try:
        pool._ignore_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert pool._train_in_worker([], program) == pool.Ending(0, "True\n")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
