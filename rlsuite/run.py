"""The door to training: `python -m rlsuite.run ALGO --env ID [--any-setting VALUE ...]`, or `--resume RUN_DIR`."""

import dataclasses
import difflib
import itertools
import math
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from rlsuite.errors import UserError

try:
    from rlsuite import mpi
except UserError as error:  # processes that were started together and can't be connected
    print(f"rlsuite: {error}", file=sys.stderr)
    sys.exit(2)

from rlsuite import pool
from rlsuite.flags import fields_of, grid, parse, parse_flags, varying
from rlsuite.launching import (
    Job,
    Launch,
    Terminated,
    algorithm_names,
    check_environments,
    labels,
    relaunch,
    signal_code,
    train_all,
    train_if_left,
    without,
)
from rlsuite.presets import PRESETS
from rlsuite.rundir.runs import read_config
from rlsuite.rundir.summaries import run_at
from rlsuite.settings import CountOrZero, Goal, check, flag, from_saved
from rlsuite.synonyms import ALGORITHMS

USAGE = """usage: python -m rlsuite.run ALGO --env ID [--seed 0 1 2] [--total-steps N] [--<setting> VALUE ...]

algorithms: {algos}
example:    python -m rlsuite.run ppo --env CartPole-v1
settings:   python -m rlsuite.run ppo --help
go on:      python -m rlsuite.run --resume RUN_DIR [--total-steps N]

Several values after a setting of one value make a grid: one run for each combination.
"""


def begin(argv: Sequence[str]) -> int:
    """Train as the command line says and return the exit code.

    Raises:
        UserError: bad input; nothing has been created.
    """
    names = algorithm_names()
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE.format(algos=" ".join(names)), end="")
        return 0 if argv else 2
    if argv[0].split("=")[0] == "--resume":
        return resume(argv)
    algo = argv[0]
    if algo not in names:
        raise UserError(f"unknown algorithm {algo!r}; {_algorithm_hint(algo, names)}")

    algorithm = import_module(f"rlsuite.algos.{algo}")
    if {"-h", "--help"} & set(argv):
        show_help(algorithm, algo, argv)
    flags, jobs = _asked_for(algorithm, argv)
    if "cpus" in flags and flags["cpus"] != ["1"]:
        if {"jobs", "job"} & set(flags):
            raise UserError("--jobs trains several runs, each in one process, --cpus one run in several; choose one")
        return relaunch(argv, flags["cpus"])
    if jobs[0].launch.jobs or jobs[0].launch.job or mpi.is_pool():
        return _train_apart(algorithm, jobs, without(argv, "--jobs", "--job"))
    return train_all(algorithm, jobs, shlex.join(["python", "-m", "rlsuite.run", *argv]))


def jobs_of(argv: Sequence[str]) -> list[Job]:
    """The trainings that a command line asks for, as `begin` takes it.

    Raises:
        UserError: bad input.
    """
    return _asked_for(import_module(f"rlsuite.algos.{argv[0]}"), argv)[1]


def _asked_for(algorithm: ModuleType, argv: Sequence[str]) -> tuple[dict[str, list[str]], list[Job]]:
    """The flags of a command line with their values, and its trainings."""
    algo = argv[0]
    fields = fields_of(algorithm.Config, Launch)
    flags = parse_flags(argv[1:], {**fields, "resume": str})
    if "resume" in flags:
        raise UserError("--resume takes all settings from the run: python -m rlsuite.run --resume RUN_DIR")
    if "env" not in flags:
        raise UserError(f"--env is missing, for example: python -m rlsuite.run {algo} --env CartPole-v1")
    for name in {"jobs", "job"} & set(flags):
        if len(flags[name]) > 1:
            raise UserError(f"{flag(name)} takes one number, not {' '.join(flags[name])}")
    if flags.get("job") == ["0"]:
        raise UserError("--job counts the runs of a grid from 1")
    if {"jobs", "job"} <= set(flags):
        raise UserError("--jobs trains all runs of a grid, --job one of them; choose one")
    of_runs = {name: values for name, values in flags.items() if name != "cpus"}
    return flags, list(_jobs(algorithm, algo, grid(of_runs, fields), varying(of_runs, fields)))


def _train_apart(algorithm: ModuleType, jobs: Sequence[Job], words: list[str]) -> int:
    """Train the runs of a grid side by side, or only one of them, whose command line without those flags is `words`."""
    launch = jobs[0].launch
    command = shlex.join(["python", "-m", "rlsuite.run", *words])
    if mpi.size > 1 and launch.job:
        raise UserError("--job trains in one process; leave mpiexec out")
    if mpi.size > 1:
        raise UserError("--jobs over MPI is mpiexec -n N python -m mpi4py.futures -m rlsuite.run ..., without --jobs")
    if launch.job > len(jobs):
        raise UserError(f"--job {launch.job}: this command line makes {len(jobs)} runs")
    if launch.job:
        return train_if_left(algorithm, jobs, launch.job, command)
    check_environments(algorithm, jobs)
    tasks = [
        pool.Task(job, label or algorithm.__name__.rpartition(".")[2], command, [*words, "--job", f"{number}"])
        for number, (job, label) in enumerate(zip(jobs, labels(jobs), strict=True), start=1)
    ]
    go_on = command if mpi.is_pool() else f"{command} --jobs {launch.jobs}"
    return pool.train_all(tasks, launch.jobs, go_on, launch.quiet)


def show_help(algorithm: ModuleType, algo: str, argv: Sequence[str]) -> None:
    """Print the settings and exit; with an --env, the defaults shown are those that a run there starts from.

    Raises:
        UserError: there is no preset of the name given.
    """
    command, program = _command(algorithm), f"python -m rlsuite.run {algo}"
    env = _given("--env", argv)
    if not env:
        parse(command, ["--help"], program)
    preset, settings = preset_for(algo, env, _given("--preset", argv) or "auto")
    command.__doc__ = f"{command.__doc__} The defaults below are those of {preset or 'Config'}."
    parse(command, ["--help"], program, command(algorithm.Config(env, **settings), Launch()))


def _given(name: str, argv: Sequence[str]) -> str:
    """The value of a flag, as `--env ID` or `--env=ID`; "" without one."""
    values = [word.partition("=")[2] for word in argv if word.startswith(f"{name}=")]
    values += [value for word, value in itertools.pairwise(argv) if word == name and not value.startswith("-")]
    return values[0] if values else ""


def _algorithm_hint(word: str, names: Sequence[str]) -> str:
    """What an unknown algorithm may mean: "PPO", "td4", another name, or a file of CleanRL's, ppo_continuous_action."""
    word = word.lower().replace("-", "_")
    near = [ALGORITHMS[word]] if word in ALGORITHMS else difflib.get_close_matches(word, names, n=1)
    near = near or [name for name in names if word.split("_")[0] == name]
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"


def _command(algorithm: ModuleType) -> type[Any]:
    """What a command line sets: the algorithm's settings, and those of starting it."""
    command = dataclasses.make_dataclass("Command", [("config", algorithm.Config), ("launch", Launch)])
    command.__doc__ = (algorithm.__doc__ or "").split("\n\n")[0]
    return command


def _jobs(algorithm: ModuleType, algo: str, lines: Iterator[list[str]], varied: Sequence[str]) -> Iterator[Job]:
    """What each command line of a grid asks for, with the preset that it starts from, and what sets it apart."""
    command = _command(algorithm)
    for words in lines:
        env = words[words.index("--env") + 1]
        wanted = words[words.index("--preset") + 1] if "--preset" in words else "auto"
        preset, settings = preset_for(algo, env, wanted)
        default = command(algorithm.Config(env, **settings), Launch())
        chosen = parse(command, words, f"python -m rlsuite.run {algo}", default)
        values = {"preset": chosen.launch.preset, **dataclasses.asdict(chosen.config)}
        # The seed is always named, and the environment too, but where the experiment has a name of its own.
        said = {"seed", *(() if chosen.launch.exp_name else ("env",))}
        apart = {name: f"{values[name]}" for name in varied if name in values and name not in said}
        missing = f"no preset for {env}: the defaults of Config" if wanted == "auto" else ""
        yield Job(chosen.config, chosen.launch, preset or missing, apart)


def preset_for(algo: str, env: str, name: str) -> tuple[str, dict[str, Any]]:
    """The preset to start from, as (what it is called, settings), such as "preset ppo/CartPole-v1"; ("", {}) for none.

    Raises:
        UserError: there is no preset of that name.
    """
    known = PRESETS.get(algo, {})
    if name == "none" or (name == "auto" and env not in known):
        return "", {}
    name = env if name == "auto" else name
    if name not in known:
        raise UserError(f"--preset {name} does not exist for {algo}; there are {', '.join([*sorted(known), 'none'])}")
    return f"preset {algo}/{name}", known[name]


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run that was interrupted, exactly as if it had never stopped, or go beyond its end."""

    resume: str  # the run directory; of an experiment's, its newest run
    total_steps: CountOrZero = 0  # a new budget in env steps, above the old one; 0 keeps that
    test_episodes: CountOrZero = 20  # deterministic episodes at the end; 0 for none
    stop_at: Goal = math.inf  # return at which to stop, if not that of the run; inf: never
    tensorboard: bool = False  # write event files for TensorBoard as well
    quiet: bool = False  # print nothing but errors
    checkpoint_every: CountOrZero = 1  # epochs from one checkpoint to the next; 0 for none
    cpus: int = 1  # processes; as many as before
    import_env: str = ""  # module of your own that registers the run's environment; importing it runs its code

    def __post_init__(self) -> None:
        """Raises UserError for a value that makes no sense."""
        check(self)


def resume(argv: Sequence[str]) -> int:
    """Go on with a run as its config.json says and return the exit code.

    Raises:
        UserError: bad input; nothing has been changed.
    """
    if {"-h", "--help"} & set(argv):
        parse(Resume, ["--help"], "python -m rlsuite.run")
    fields = fields_of(Resume)
    flags = parse_flags(argv, fields)
    several = next((name for name, values in flags.items() if len(values) > 1), None)
    if several:
        raise UserError(f"{flag(several)} takes one value here, not {' '.join(flags[several])}")
    cpus = flags.pop("cpus", ["1"])
    wanted = parse(Resume, next(grid(flags, fields)), "python -m rlsuite.run")
    if cpus != ["1"]:
        return relaunch(argv, cpus)
    run_dir = run_at(Path(wanted.resume), quiet=wanted.quiet or mpi.rank > 0)
    algorithm, config, launch = _saved_run(run_dir)
    if wanted.total_steps and wanted.total_steps < config.total_steps:
        raise UserError(
            f"--total-steps {wanted.total_steps} is below the budget of the run, {config.total_steps} env steps"
        )
    from rlsuite.envs.making import check_module

    check_module(config.env, wanted.import_env)
    config = dataclasses.replace(config, total_steps=wanted.total_steps or config.total_steps)
    launch = dataclasses.replace(
        launch,
        test_episodes=wanted.test_episodes,
        stop_at=wanted.stop_at if "stop_at" in flags else launch.stop_at,
        tensorboard=wanted.tensorboard,
        quiet=wanted.quiet,
        checkpoint_every=wanted.checkpoint_every,
    )
    return train_all(algorithm, [Job(config, launch)], "", run_dir)


def _saved_run(run_dir: Path) -> tuple[ModuleType, Any, Launch]:
    """The algorithm and the settings of a run directory, and what its config.json says of starting it.

    Raises:
        UserError: there is no such directory, or its config.json does not say with what to go on.
    """
    if not run_dir.is_dir():
        raise UserError(f"--resume {run_dir}: there is no such directory")
    saved = read_config(run_dir)
    algo = saved.get("algo")
    if algo not in algorithm_names():
        raise UserError(f"--resume {run_dir}: its config.json names no algorithm of rlsuite, so it can't be resumed")
    if saved.get("custom_env"):
        raise UserError(
            f"--resume {run_dir}: it was trained on an environment function; in Python, "
            "train(config, env_fn, logger=Logger(resume=run_dir))"
        )
    algorithm = import_module(f"rlsuite.algos.{algo}")
    goal = {"stop_at": saved["stop_at"]} if "stop_at" in saved else {}
    return algorithm, from_saved(algorithm.Config, saved), from_saved(Launch, goal)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; bad input becomes one line and exit code 2.

    One of several processes that stops with an error takes the others with it: they would wait for it for ever.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if in_main_thread else None
    try:
        code = _exit_code(sys.argv[1:] if argv is None else argv)
    except Exception as error:
        mpi.end_all(error)
        raise
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)
    if code:
        if code > 128 and mpi.rank > 0:
            time.sleep(5)  # a signal reaches all ranks, and rank 0, which says how to go on, ends them all
        mpi.abort(code)
    return code


def _terminate(number: int, frame: Any) -> None:
    raise Terminated


def _exit_code(argv: Sequence[str]) -> int:
    """Run the command line and say what went wrong."""
    try:
        return begin(argv)
    except UserError as error:
        _complain(f"{error}")
        return 2
    except KeyboardInterrupt as interrupt:
        print("\nrlsuite: interrupted", file=sys.stderr)
        return signal_code(interrupt)
    except MemoryError as error:
        _complain(f"not enough memory ({error}); lower --steps-per-epoch, --buffer-size or --hidden-sizes")
        return 2
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, most likely; the epochs before it are whole
        _complain(f"{error.strerror or error}: {error.filename or 'output'}")
        return 1


def _complain(text: str) -> None:
    """Print an error, once where all ranks have the same."""
    if mpi.rank > 0:
        time.sleep(1)  # rank 0 may be about to say the same and to end all
    where = f" (rank {mpi.rank})" if mpi.rank > 0 else ""
    print(f"rlsuite: {text}{where}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    pool.end_with_pool()
    sys.exit(main())
