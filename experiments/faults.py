"""Everything that can go wrong, on purpose: `python experiments/faults.py [--kills 200]` (posix; extra `mpi`).

Trainings are killed at random moments, some of them while writing a checkpoint, resumed and killed again. In the end
each is compared with the same training left alone: log, episodes, weights and the whole state must be equal. Then come
disks that fill up, folders that can't be written, links, files that are cut or have a flipped bit, environments that
misbehave, actions out of range, and two processes that want the same run. Last come the faults of many processes, see
pool_faults.py; `--pools` is those alone. For each kind of fault the table counts

    lost        finished epochs that were in progress.txt and are gone in the end
    differing   resumed trainings that differ from the uninterrupted one, and files outside that were written through
    tracebacks  reactions other than one clear line
    refused     runs that can't go on, and said why in one line
    twice       runs in two folders, and finished runs that were trained once more; only of grids
    left        processes that outlive what started them; only of pools and ranks

All but `refused` must be 0; otherwise the exit code is 1. The table goes to data/faults.csv.
"""

import argparse
import csv
import importlib
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
from fault_helpers import COMMANDS, Child, Result, bad, new_folder, only_run, rows, same
from pool_faults import pool_battery
from tables import DATA, ROOT, markdown, write_table

from rlsuite.rundir.files import pack, unpack
from rlsuite.rundir.runs import read_config


def whole_run(algo: str, folder: Path) -> tuple[Path, float]:
    """The training left alone, and the seconds that it took."""
    start = time.perf_counter()
    child = Child([*COMMANDS[algo], "--data-dir", str(folder)], folder)
    assert child.wait() == 0, child.said()
    run = only_run(folder)
    assert run is not None
    return run, time.perf_counter() - start


def start_or_resume(algo: str, folder: Path) -> Child:
    """The first piece of a training, or the next one after a kill."""
    run = only_run(folder)
    argv = ["--resume", str(run), "--test-episodes", "1"] if run else [*COMMANDS[algo], "--data-dir", str(folder)]
    return Child(argv, folder)


def kill_once(child: Child, folder: Path, seconds: float, rng: random.Random) -> bool:
    """Kill a training at a random moment, or while it writes a checkpoint; False if it ended before that."""
    while only_run(folder) is None:
        if child.ended() is not None:
            return False
    if rng.random() < 0.5:
        deadline = time.perf_counter() + rng.uniform(0, seconds)
        while time.perf_counter() < deadline:
            time.sleep(0.001)
            if child.ended() is not None:
                return False
    else:
        writes = rng.randrange(1, 8)
        run = only_run(folder)
        assert run is not None
        was_there = False
        while writes:
            if child.ended() is not None:
                return False
            try:
                there = any(name.endswith(".tmp") for name in os.listdir(run / "checkpoint"))
            except FileNotFoundError:
                there = False
            writes -= there and not was_there
            was_there = there
    child.kill()
    return True


def killed(algo: str, kills: int, folder: Path, rng: random.Random) -> Result:
    """Kill trainings of one algorithm until there were enough kills; each gets to its end after a few."""
    whole, seconds = whole_run(algo, new_folder(folder, "whole"))
    done = lost = differing = tracebacks = 0
    while done < kills:
        place, seen = new_folder(folder, "killed"), []
        for _ in range(rng.randrange(1, 6)):
            child = start_or_resume(algo, place)
            if not kill_once(child, place, 0.7 * seconds, rng):
                tracebacks += bad("Traceback" in child.said(), child.said())
                break
            done += 1
            run = only_run(place)
            seen.append(rows(run) if run else [])
        child = start_or_resume(algo, place)
        code = child.wait()
        run = only_run(place)
        tracebacks += bad("Traceback" in child.said() or code != 0, child.said())
        if run is None or not same(run, whole):
            differing += 1
        end = rows(run) if run else []
        lost += sum(row not in end for before in seen for row in before)
        shutil.rmtree(place)
    return Result(f"SIGKILL, {algo}", done, lost, differing, tracebacks)


def rank_killed(algo: str, times: int, folder: Path, rng: random.Random) -> Result:
    """Kill one process of two, then resume both."""
    mpiexec = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec") or "mpiexec"

    def start(argv: list[str], place: Path) -> "subprocess.Popen[bytes]":
        words = [mpiexec, "-n", "2", sys.executable, "-m", "rlsuite.run", *argv]
        return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=(place / "output.txt").open("wb"))

    first = new_folder(folder, "whole")
    assert start([*COMMANDS[algo], "--data-dir", str(first)], first).wait() == 0
    whole = only_run(first)
    assert whole is not None
    lost = differing = tracebacks = done = 0
    while done < times:
        place = new_folder(folder, "killed")
        job = start([*COMMANDS[algo], "--data-dir", str(place)], place)
        while not any(place.glob("*/*/checkpoint/epoch_*")) and job.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        with suppress(psutil.NoSuchProcess, IndexError):  # it may be at its end
            processes = psutil.Process(job.pid).children(recursive=True)
            rng.choice([p for p in processes if p.name().startswith("python")]).kill()
        if job.wait() == 0:
            continue
        done += 1
        run = only_run(place)
        assert run is not None
        before = rows(run)
        code = start(["--resume", str(run), "--test-episodes", "1"], place).wait()
        said = (place / "output.txt").read_text()
        tracebacks += bad(code != 0 or "Traceback" in said, said)
        differing += not same(run, whole)
        lost += sum(row not in rows(run) for row in before)
    return Result(f"SIGKILL of one process of two, {algo}", done, lost, differing, tracebacks)


def full_disk(times: int, folder: Path, rng: random.Random) -> Result:
    """Writes fail beyond a random file size; then there is room again, and the training resumes."""
    lost = differing = tracebacks = 0
    for algo in itertools.islice(itertools.cycle(COMMANDS), times):
        whole, _ = whole_run(algo, new_folder(folder, "whole"))
        place, size = new_folder(folder, "full"), rng.randrange(3000, 40_000)
        child = Child(
            [*COMMANDS[algo], "--data-dir", str(place)],
            place,
            partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size)),
        )
        child.wait()
        tracebacks += bad("Traceback" in child.said(), child.said())
        run = only_run(place)
        before = rows(run) if run else []
        child = start_or_resume(algo, place)
        tracebacks += bad(child.wait() != 0 or "Traceback" in child.said(), child.said())
        run = only_run(place)
        differing += run is None or not same(run, whole)
        lost += sum(row not in (rows(run) if run else []) for row in before)
    return Result("disk full at a random moment", times, lost, differing, tracebacks)


def read_only(folder: Path) -> Result:
    """A folder that can't be written: for a new run, and for resuming one."""

    def as_nobody() -> None:
        if os.geteuid() == 0:  # who may write everywhere
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

    tracebacks = 0
    place = new_folder(folder, "readonly")
    whole, _ = whole_run("ppo", place)
    for path in (folder, place):  # everybody may look
        path.chmod(0o755)
    logs = new_folder(folder, "logs")
    logs.chmod(0o777)
    for path in [whole, *whole.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    read_config(whole)  # python loads what it needs for this now: the user `nobody` may not be allowed to read it
    for argv in ([*COMMANDS["ppo"], "--data-dir", str(place)], ["--resume", str(whole), "--total-steps", "8192"]):
        child = Child(argv, logs, as_nobody)
        code, said = child.wait(), child.said()
        tracebacks += bad(code != 2 or "Traceback" in said or "can't write" not in said, said)
    for path in [whole, *whole.rglob("*")]:
        path.chmod(0o755)
    return Result("read-only directory", 2, tracebacks=tracebacks, refused=2 - tracebacks)


def interrupted_run(algo: str, whole: Path, folder: Path) -> Path:
    """A run that was killed when it had two checkpoints and was not at its end."""
    while True:
        place = new_folder(folder, "interrupted")
        child = start_or_resume(algo, place)
        run = None
        while child.ended() is None:
            run = only_run(place)
            if run and len(list((run / "checkpoint").glob("epoch_*"))) == 2:
                child.kill()
                break
        if run and len(rows(run)) < len(rows(whole)):
            return run


def links(folder: Path) -> Result:
    """A file that would be written through a link is refused; a folder behind a link is as good as any."""
    lost = differing = tracebacks = refused = 0
    whole, _ = whole_run("ppo", new_folder(folder, "whole"))
    run = interrupted_run("ppo", whole, folder)
    kinds: list[Callable[[Path, Path], None]] = [os.symlink, os.link]
    files = list(itertools.product(("progress.txt", "lock"), kinds))
    for name, link in files:
        place = new_folder(folder, "link")
        copy, outside = place / run.name, place / "outside"
        shutil.copytree(run, copy)
        shutil.move(copy / name, outside)
        link(outside, copy / name)
        before = outside.read_bytes()
        child = Child(["--resume", str(copy), "--test-episodes", "1"], place)
        code, said = child.wait(), child.said()
        failed = code != 2 or "Traceback" in said or f"{name} is a link" not in said
        tracebacks += bad(failed, said)
        refused += not failed
        differing += outside.read_bytes() != before
        lost += rows(copy) != rows(run)
    folders = ["", "checkpoint", "episodes", "snapshots"]
    for name in folders:
        place = new_folder(folder, "link")
        copy, outside = place / run.name, place / "outside"
        shutil.copytree(run, copy)
        shutil.move(copy / name, outside)
        (copy / name).symlink_to(outside, target_is_directory=True)
        child = Child(["--resume", str(copy), "--test-episodes", "1"], place)
        tracebacks += bad(child.wait() != 0 or "Traceback" in child.said(), child.said())
        differing += not same(copy, whole)
    return Result("links", len(files) + len(folders), lost, differing, tracebacks, refused)


def damaged(times: int, folder: Path, rng: random.Random) -> Result:
    """One file of an interrupted run is cut, or one of its bits is flipped."""
    lost = differing = tracebacks = refused = 0
    for algo in COMMANDS:
        whole, _ = whole_run(algo, new_folder(folder, "whole"))
        run = interrupted_run(algo, whole, folder)
        for _ in range(times // len(COMMANDS)):
            copy = new_folder(folder, "damaged") / run.name
            shutil.copytree(run, copy)
            files = [copy / "config.json", copy / "progress.txt", *sorted((copy / "checkpoint").iterdir())]
            path = rng.choice(files)
            data = bytearray(path.read_bytes())
            if rng.random() < 0.5:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            else:
                del data[rng.randrange(len(data)) :]
            path.write_bytes(data)
            child = Child(["--resume", str(copy), "--test-episodes", "1"], copy.parent)
            code, said = child.wait(), child.said()
            if code == 0:
                differing += not same(copy, whole)
            else:
                refused += 1
                lost += path.name != "progress.txt" and rows(copy) != rows(run)
            tracebacks += bad("Traceback" in said or code not in (0, 2), said)
    return Result(
        "file cut, or a bit flipped", times // len(COMMANDS) * len(COMMANDS), lost, differing, tracebacks, refused
    )


class Misbehaving(gym.Env[Any, Any]):
    """Returns constants until its 300th step, and then does what `fault` says."""

    def __init__(self, fault: str) -> None:
        """Box observations, and actions that the algorithm can take."""
        self.observation_space: Any = gym.spaces.Box(-1, 1, (3,))
        self.action_space: Any = gym.spaces.Box(-1, 1, (1,)) if "box" in fault else gym.spaces.Discrete(2)
        self.fault, self.t = fault.removesuffix(" box"), 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> Any:
        """One step; the 300th is wrong."""
        self.t += 1
        if self.t < 300:
            return np.zeros(3, np.float32), 1.0, False, self.t % 20 == 0, {}
        if self.fault == "raises":
            raise RuntimeError("the simulation has exploded")
        if self.fault == "changes its spaces":
            self.observation_space = gym.spaces.Box(-1, 1, (5,))
            return np.zeros(5, np.float32), 1.0, False, False, {}
        obs: Any = {
            "NaN": np.full(3, np.nan, np.float32),
            "infinity": np.full(3, np.inf, np.float32),
            "one number for three": np.zeros(1, np.float32),
            "four numbers for three": np.zeros(4, np.float32),
            "text": "an observation",
            "objects": np.array([None, 1, "x"], object),
            "complex numbers": np.array([1j, 0, "nan"], complex),
        }.get(self.fault, np.zeros(3, np.float32))
        rew: Any = {"reward NaN": np.nan, "reward text": "much", "reward vector": np.zeros(3)}.get(self.fault, 1.0)
        return (obs, rew, False, {}) if self.fault == "four results" else (obs, rew, False, False, {})


FAULTS = ["raises", "changes its spaces", "NaN", "infinity", "one number for three", "four numbers for three", "text"]
FAULTS += ["objects", "complex numbers", "reward NaN", "reward text", "reward vector", "four results"]


def misbehaving(folder: Path) -> Result:
    """Environments that raise or return what they should not, with every algorithm."""
    gym.register("Misbehaving-v0", lambda **kwargs: Misbehaving(**kwargs))
    tracebacks = lost = cases = 0
    for algo, fault in itertools.product(COMMANDS, FAULTS):
        place = new_folder(folder, "env")
        kwargs = json.dumps({"fault": fault + (" box" if algo == "ddpg" else "")})
        command = [*COMMANDS[algo], "--data-dir", str(place), "--env-kwargs", kwargs]
        command[2] = "Misbehaving-v0"
        command.remove("--normalize-obs")  # its random steps would meet the fault, before there is any epoch
        child = Child(command, place)
        code, said = child.wait(), child.said()
        lines = [line for line in said.splitlines() if line.startswith("rlsuite:")]
        tracebacks += bad(code != 3 or "Traceback" in said or len(lines) != 1, f"{algo}, {fault}\n{said}")
        run = only_run(place)
        lost += run is None or len(rows(run)) < 2
        cases += 1
    return Result("environment that misbehaves", cases, lost, tracebacks=tracebacks, refused=cases - tracebacks)


class Strict(gym.Env[Any, Any]):
    """Raises at any action outside its space, which is not centred on 0 and does not begin there."""

    def __init__(self, box: bool) -> None:
        """A space of actions that the algorithm can take."""
        self.observation_space: Any = gym.spaces.Box(-1, 1, (3,))
        bounds = np.array([-1, 0], np.float32), np.array([0.5, 3], np.float32)
        self.action_space: Any = gym.spaces.Box(*bounds) if box else gym.spaces.Discrete(3, start=5)
        self.t = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> Any:
        """One of the 50 steps of an episode."""
        if not self.action_space.contains(action):
            raise ValueError(f"action {action} is not in {self.action_space}")
        self.t += 1
        return np.full(3, self.t / 50, np.float32), 1.0, False, self.t == 50, {}


def out_of_range(folder: Path) -> Result:
    """No action leaves its space in training; those of a forged checkpoint cost an episode, not the run."""
    gym.register("Strict-v0", lambda **kwargs: Strict(**kwargs))
    tracebacks = lost = cases = 0
    for algo in COMMANDS:
        for box in {"dqn": (False,), "ddpg": (True,)}.get(algo, (False, True)):
            place = new_folder(folder, "strict")
            kwargs = json.dumps({"box": box})
            command = [*COMMANDS[algo], "--data-dir", str(place), "--env-kwargs", kwargs]
            command[2] = "Strict-v0"
            child = Child(command, place)
            tracebacks += bad(child.wait() != 0 or "rlsuite:" in child.said(), child.said())
            run = only_run(place)
            assert run is not None
            before = rows(run)
            path = max((run / "checkpoint").glob("epoch_*"))
            arrays, facts = unpack(path)
            arrays["envs/actions"] = np.full_like(arrays["envs/actions"], 99)
            path.write_bytes(pack(arrays, facts))
            child = Child(["--resume", str(run), "--total-steps", "5120", "--test-episodes", "1"], place)
            code, said = child.wait(), child.said()
            tracebacks += bad(code != 0 or "Traceback" in said or said.count("not deterministic") != 2, said)
            lost += sum(row not in rows(run) for row in before)
            cases += 2
    return Result("actions out of range", cases, lost, tracebacks=tracebacks)


def resumed_twice(times: int, folder: Path) -> Result:
    """Two processes resume the same run: one goes on, the other is refused, and after a kill the lock is free."""
    differing = tracebacks = refused = 0
    whole, _ = whole_run("dqn", new_folder(folder, "whole"))
    for _ in range(times):
        place = new_folder(folder, "twice")
        child = start_or_resume("dqn", place)
        while not any(place.glob("*/*/checkpoint/epoch_*")):
            time.sleep(0.001)
        child.kill()
        first, second = start_or_resume("dqn", place), None
        logs = new_folder(folder, "logs")
        run = only_run(place)
        assert run is not None
        second = Child(["--resume", str(run), "--test-episodes", "1"], logs)
        codes, said = sorted([first.wait(), second.wait()]), first.said() + second.said()
        refused += codes == [0, 2]
        tracebacks += bad(codes not in ([0, 2], [0, 0]) or "Traceback" in said, said)
        differing += not same(run, whole)
    return Result("two processes resume one run", times, 0, differing, tracebacks, refused)


def publish(results: list[Result], path: Path, part: bool) -> Result:
    """Write the table and return its last line, the sums; a part replaces its own lines, and leaves the others."""
    table = [{name: "" if value is None else str(value) for name, value in r._asdict().items()} for r in results]
    if part and path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            known = [{name: line.get(name) or "" for name in Result._fields} for line in csv.DictReader(file)]
        new = {line["fault"] for line in table} | {"all"}
        table = [line for line in known if line["fault"] not in new] + table
    sums = Result("all", *(sum(int(line[name] or 0) for line in table) for name in Result._fields[1:]))
    write_table(path, [*table, {name: str(value) for name, value in sums._asdict().items()}])
    return sums


def main() -> int:
    """Run the battery, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs in all of single trainings of one process")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places")
    parser.add_argument(
        "--pools", nargs="*", metavar="KIND", help="only faults of many processes, or only these kinds of them"
    )
    parser.add_argument("--only", default="", help="kinds of faults whose name holds this; nothing is written then")
    args = parser.parse_args()
    for algo in COMMANDS:  # once, before the forks: it takes seconds
        importlib.import_module(f"rlsuite.algos.{algo}")
    rng = random.Random(args.seed)
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        battery: dict[str, Callable[[], Result]] = {
            **{f"kill {a}": partial(killed, a, -(-args.kills // 5), folder, rng) for a in COMMANDS},
            **{f"rank {a}": partial(rank_killed, a, 5, folder, rng) for a in ("ppo", "ddpg")},
            "disk": lambda: full_disk(20, folder, rng),
            "read-only": lambda: read_only(folder),
            "links": lambda: links(folder),
            "damage": lambda: damaged(100, folder, rng),
            "environment": lambda: misbehaving(folder),
            "range": lambda: out_of_range(folder),
            "twice": lambda: resumed_twice(5, folder),
        }
        pools = pool_battery(folder, args.seed)
        if unknown := set(args.pools or ()) - set(pools):
            parser.error(f"--pools takes {', '.join(pools)}, not {', '.join(sorted(unknown))}")
        chosen = battery | pools if args.pools is None else {kind: pools[kind] for kind in args.pools or pools}
        for kind, fault in chosen.items():
            if args.only not in kind:
                continue
            start = time.perf_counter()
            results.append(fault())
            print(f"{results[-1]}  {time.perf_counter() - start:.0f} s", flush=True)
        path = folder / "faults.csv" if args.only else DATA / "faults.csv"
        sums = publish(results, path, part=args.pools is not None)
    print(markdown([{name: str(value) for name, value in result._asdict().items()} for result in [*results, sums]]))
    return 1 if any(getattr(sums, name) for name in ("lost", "differing", "tracebacks", "twice", "left")) else 0


if __name__ == "__main__":
    sys.exit(main())
