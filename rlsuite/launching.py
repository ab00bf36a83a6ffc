"""Starting trainings: one after the other, in one process or in several, each with test episodes at its end."""

import dataclasses
import inspect
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from annotated_types import Interval

from rlsuite import mpi
from rlsuite.errors import EnvError, NonFiniteError, UserError, exit_code
from rlsuite.flags import words
from rlsuite.rundir.files import claim, is_locked
from rlsuite.rundir.runs import read_config, read_object, read_progress
from rlsuite.rundir.summaries import number, random_return_of
from rlsuite.settings import STORED, CountOrZero, Goal, check, flag, marked

MOST_ADVICE = 2  # lines at the start of a training
MAX_CPUS = 4096
FINISHED, RUNNING = "finished", "being trained by another process"
MOST_NAMED = 8  # runs that are named one by one


@dataclass(frozen=True)
class Launch:
    """What belongs to starting a run and not to the algorithm."""

    exp_name: str = ""  # folder of the experiment; default <algo>_<env>
    data_dir: str = "data"  # where experiments go
    preset: str = "auto"  # settings to start from: an environment id that has some, auto for those of --env, or none
    test_episodes: CountOrZero = 20  # deterministic episodes at the end; 0 for none
    stop_at: Goal = math.inf  # return at which to stop, when an epoch's mean and 20 test episodes reach it; inf: never
    note: str = ""  # the question this run answers; kept in config.json
    tensorboard: bool = False  # write event files for TensorBoard as well
    quiet: bool = False  # print nothing but errors
    checkpoint_every: CountOrZero = 1  # epochs from one checkpoint, to resume from, to the next; 0 for none
    cpus: Annotated[int, Interval(ge=1, le=MAX_CPUS)] = 1  # processes that train the one run together, through MPI
    jobs: CountOrZero = 0  # runs of a grid side by side, each in a process of its own; 0: one after the other
    job: CountOrZero = 0  # train only this run of the grid, from 1, unless it is finished; for arrays of a cluster

    def __post_init__(self) -> None:
        """Raises UserError for a value that makes no sense."""
        check(self)


@dataclass(frozen=True)
class Job:
    """One training, by itself or of a grid."""

    config: Any
    """settings of the algorithm"""
    launch: Launch
    preset: str = ""
    """what its first line says of the settings that it starts from; "" for nothing"""
    varied: Mapping[str, str] = field(default_factory=dict)
    """what sets it apart from the other runs of its grid, but for the seed: {"lam": "0.95"}"""


class Terminated(KeyboardInterrupt):
    """SIGTERM: what a cluster sends before it takes the machine away."""


def algorithm_names() -> list[str]:
    """Every file in rlsuite/algos, but those that begin with an underscore."""
    return sorted(path.stem for path in (Path(__file__).parent / "algos").glob("[!_]*.py"))


def relaunch(argv: Sequence[str], cpus: Sequence[str]) -> int:
    """Run the same command line in several processes, which MPI connects, and return the exit code.

    Args:
        argv: with --cpus.
        cpus: the values of --cpus.

    Raises:
        UserError: not one whole number, no mpiexec, or this is such a process already.
    """
    if len(cpus) != 1 or not (cpus[0].isascii() and cpus[0].isdigit()) or not 1 <= int(cpus[0]) <= MAX_CPUS:
        raise UserError(f"--cpus takes one number of processes, from 1 to {MAX_CPUS}, not {' '.join(cpus)}")
    if mpi.launched_ranks() > 1:
        raise UserError("--cpus starts processes of its own, and this is an MPI job already; leave --cpus out")
    mpiexec = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec")
    if not mpiexec:
        raise UserError('--cpus needs mpiexec: pip install "rlsuite[mpi]"')
    rest = without(argv, "--cpus")
    job = subprocess.Popen([mpiexec, "-n", cpus[0], sys.executable, "-m", "rlsuite.run", *rest])
    while True:
        try:
            return job.wait()
        except KeyboardInterrupt as interrupt:  # the processes save and end; Ctrl-C has reached them already
            if isinstance(interrupt, Terminated):
                job.terminate()


def without(argv: Sequence[str], *flags: str) -> list[str]:
    """The words of a command line without some flags and their one value each."""
    rest = list(argv)
    for name in flags:
        for at in [i for i, word in enumerate(rest) if word.split("=")[0] == name]:
            del rest[at : at + (1 if "=" in rest[at] else 2)]
    return rest


def train_all(algorithm: ModuleType, jobs: Sequence[Job], command: str = "", resumed: Path | None = None) -> int:
    """Train one run after the other and return the exit code; one that fails does not stop the others.

    Args:
        algorithm: a module of rlsuite.algos.
        jobs: what to train.
        command: the command line, for config.json.
        resumed: the directory of the run to go on with.

    Started again with the same command line, a grid of which runs are left skips those that are finished and goes on
    with those that are not.

    Raises:
        UserError: bad input, which is found before the first run begins.
    """
    check_environments(algorithm, jobs)
    left = list(jobs) if len(jobs) > 1 else []
    # A grid that is whole is trained once more, one that has come to its end too soon goes on.
    goes_on = any(state != FINISHED for _, state in earlier(left, command))
    code, trained = 0, set()
    try:
        for number, job in enumerate(jobs, start=1):
            count = f"run {number} of {len(jobs)}: " if len(jobs) > 1 else ""
            run, state = earlier([job], command)[0] if goes_on else (resumed, "")
            if state in (FINISHED, RUNNING):
                if mpi.rank == 0 and not job.launch.quiet:
                    print(f"{count}skipped, as {run} is {state}", flush=True)
                left.remove(job)
                continue
            first = (job.config.env, job.config.env_kwargs) not in trained
            ending = _train_one(algorithm, job, command, run, count, first)
            trained.add((job.config.env, job.config.env_kwargs))
            # An interrupt ends the whole grid. So does an error on one of several ranks: the others are still in it.
            if ending not in (0, 3) or (ending and mpi.size > 1):
                return ending
            code = code or ending
            if left and not ending:
                left.remove(job)
    finally:
        if left and mpi.rank == 0:
            names = [name for name, job in zip(labels(jobs), jobs, strict=True) if job in left]
            go_on = f"{command}{_cpus()}"
            print(f"rlsuite: {what_is_left(names, len(jobs))}; go on with: {go_on}", file=sys.stderr, flush=True)
    return code


def earlier(jobs: Sequence[Job], command: str) -> list[tuple[Path | None, str]]:
    """What the same command line has made of each job of a grid before: the newest run, and its state.

    Runs that are older than any file of this source do not count: a user who has changed an algorithm wants new ones.
    Rank 0 looks, since each host may have a disk of its own, and all ranks get its answer.
    """
    if not jobs or mpi.rank > 0:
        found: list[tuple[Path | None, str]] = []
    else:
        made = []
        changed = max(path.stat().st_mtime for path in Path(__file__).parent.rglob("*.py"))
        for path in Path(jobs[0].launch.data_dir).glob("*/*/config.json"):
            with suppress(UserError):  # of a damaged run nothing is known
                saved = read_config(path.parent)
                same = saved.get("command") == command and saved.get("ranks") == mpi.size
                if same and path.stat().st_mtime > changed:
                    made.append((path.parent.name, path.parent, saved))
        made.sort(key=lambda run: run[0])
        found = [_newest(job, [(run, saved) for _, run, saved in made]) for job in jobs]
    return list(mpi.gather_objects(found)[0])


def _newest(job: Job, made: Sequence[tuple[Path, dict[str, Any]]]) -> tuple[Path | None, str]:
    """The last of these runs that has the settings of a job, and its state."""
    wanted = json.loads(json.dumps({**dataclasses.asdict(job.config), "stop_at": job.launch.stop_at}))
    wanted |= {"exp_name": job.launch.exp_name} if job.launch.exp_name else {}
    runs = [run for run, saved in made if wanted.items() <= saved.items()]
    if not runs:
        return None, ""
    if is_locked(runs[-1]):
        return runs[-1], RUNNING
    if _is_finished(runs[-1], job):
        return runs[-1], FINISHED
    return (runs[-1], "") if job.launch.checkpoint_every else (None, "")


def _is_finished(run: Path, job: Job) -> bool:
    """Whether a run has come to its end, with its test episodes if it is to have any."""
    with suppress(UserError):
        result = read_object(run / "result.json")
        if job.launch.test_episodes or result:
            return "TestEpisodes" in result or not job.launch.test_episodes
        steps = read_progress(run).get("TotalEnvInteracts")
        return steps is not None and bool(steps[-1:] >= job.config.total_steps)
    return False


def labels(jobs: Sequence[Job]) -> list[str]:
    """What sets each run of a grid apart, as the flags that vary: "--seed 0 --lam 0.95"."""
    settings = [dataclasses.asdict(job.config) for job in jobs]
    varying = [name for name in settings[0] if any(other[name] != settings[0][name] for other in settings)]
    return [" ".join(f"{flag(name)} {getattr(job.config, name)}" for name in varying) for job in jobs]


def what_is_left(names: Sequence[str], count: int) -> str:
    """Which runs of a grid of so many are not finished, by their labels."""
    shown = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
    return f"{len(names)} of {count} runs are left ({shown})"


def train_if_left(algorithm: ModuleType, jobs: Sequence[Job], number: int, command: str) -> int:
    """Train one run of a grid, and return the exit code.

    If the same command line has finished it before, or another process is at it, this says so. If it has begun it, this
    goes on with it.

    Args:
        algorithm: a module of rlsuite.algos.
        jobs: the grid.
        number: of the run, from 1.
        command: the command line of the grid.

    Raises:
        UserError: bad input.
    """
    job, count = jobs[number - 1], f"run {number} of {len(jobs)}: " if len(jobs) > 1 else ""
    check_environments(algorithm, [job])
    data_dir = Path(job.launch.data_dir)
    name = json.dumps([command, job.launch.exp_name, dataclasses.asdict(job.config)], default=str)
    with claim(data_dir, name) as claimed:
        run, state = earlier([job], command)[0] if claimed else (None, RUNNING)
        if state in (FINISHED, RUNNING):
            if not job.launch.quiet:
                print(f"{count}skipped, as {run or 'it'} is {state}", flush=True)
            return 0
        return _train_one(algorithm, job, command, run, count)


def check_environments(algorithm: ModuleType, jobs: Sequence[Job]) -> None:
    """Raise UserError if an environment can't be made, has spaces that don't fit, or asks for too much memory.

    All of a grid are made before the first run begins: the last may begin in hours.
    """
    for job in jobs:
        _check_environment(algorithm, job.config)


def _check_environment(algorithm: ModuleType, config: Any) -> None:
    """Raise UserError if the environment can't be made, has spaces that don't fit, or asks for too much memory."""
    from rlsuite.common.replay import check_memory
    from rlsuite.envs.making import configured_env

    network = inspect.signature(algorithm.train).parameters["actor_critic"].default
    with closing(configured_env(config)) as env:
        network(env.observation_space, env.action_space, config)
        for name in marked(type(config), STORED):
            check_memory(getattr(config, name), config.num_envs, env.observation_space, env.action_space)


def _train_one(
    algorithm: ModuleType, job: Job, command: str, resumed: Path | None, count: str, first: bool = True
) -> int:
    """Train and test one run, and return 0, or 3 if it failed, or what a signal stands for.

    Only the first of several runs in one environment says what is wrong with it.
    """
    from rlsuite.analysis.watch import Watch
    from rlsuite.common.logger import Logger

    config, launch = job.config, job.launch
    quiet = launch.quiet or mpi.rank > 0
    if not quiet:
        preset = f", {job.preset}" if job.preset else ", preset none" if "preset" in job.varied else ""
        varied = "".join(f", {key} {value}" for key, value in job.varied.items() if key not in ("env", "preset"))
        name = algorithm.__name__.rpartition(".")[2]
        again = ", goes on" if resumed and count else ""
        print(f"{count}{name} on {config.env}, seed {config.seed}{varied}{preset}{again}")
    logger = Logger(
        launch.exp_name,
        launch.data_dir,
        note=launch.note,
        command=command,
        tensorboard=launch.tensorboard,
        quiet=quiet,
        resume=resumed,
        checkpoint_every=launch.checkpoint_every,
        suffix=folder_suffix(job.varied),
        stop_at=launch.stop_at,
        advise=partial(at_start, config) if first else None,
        watch=Watch(),
    )
    try:
        ac = algorithm.train(config, logger=logger)
        if mpi.rank == 0:
            finish(ac, config, launch, logger, alone=not count)
    except (NonFiniteError, EnvError) as error:
        print(f"rlsuite: {error}{last_policy(logger.run_dir)}", file=sys.stderr)
        say_why(logger)
        return exit_code(error)
    except KeyboardInterrupt as interrupt:
        if mpi.rank == 0:
            # Of a grid it is the grid's command line that goes on.
            where = f" in {logger.run_dir}" if count and logger.run_dir else how_to_go_on(logger.run_dir, config.env)
            print(f"\nrlsuite: interrupted{where}", file=sys.stderr)
        return signal_code(interrupt)
    finally:
        logger.close()
    return 0


def at_start(config: Any, recording: Any) -> list[str]:
    """What is so wrong with an environment that a training says it at its start, the gravest first, two lines at most.

    Args:
        config: settings of the algorithm.
        recording: random play at the start, a `Recording`.
    """
    from rlsuite.analysis.preflight import GRAVE, Advice, advise, measure

    settings = asdict(config)
    measured = measure(recording, settings.get("gamma", 0.99), settings["frame_skip"], tolerance=GRAVE)
    lines = []
    for rule, text, advised in advise(measured, grave=True):
        flags = {name: value for name, value in advised.items() if name in settings}
        if not any(settings[name] is True for name in flags):
            said = words([Advice(rule, text, flags)], settings["env_kwargs"] if "env_kwargs" in flags else "{}")
            lines.append(f"{text}{': ' * bool(said)}{said}")
    return lines[:MOST_ADVICE]


def folder_suffix(varied: Mapping[str, str]) -> str:
    """What varies in a grid, as the end of a folder's name: "_lam0.95", in letters that every file system takes."""
    parts = (f"_{name}{re.sub('[^A-Za-z0-9.+-]+', '-', value)[:24]}" for name, value in varied.items())
    return "".join(part.rstrip("-.") for part in parts)[:100].rstrip("-.")


def finish(ac: Any, config: Any, launch: Launch, logger: Any, alone: bool = True) -> None:
    """Test the trained policy, and say what came out and where it is.

    Args:
        ac: what `train` returned.
        config: settings of the algorithm.
        launch: says how many test episodes.
        logger: of the run.
        alone: whether it is the only run, and no grid's.

    Raises:
        NonFiniteError, EnvError: the environment fails in a test episode.
    """
    from rlsuite.common.console import acting, returns
    from rlsuite.envs.episodes import episode_stats
    from rlsuite.envs.evaluation import evaluate
    from rlsuite.envs.making import configured_env, trust_flag
    from rlsuite.envs.rendering import render_modes

    with closing(configured_env(config)) as env:
        modes = render_modes(env)
        if launch.test_episodes:
            played, lengths = evaluate(ac.mode, env, launch.test_episodes, config.seed)
            stats = episode_stats(played, lengths)
            logger.save_result({"TestEpisodes": len(played), **stats})
            mean, std, low, high = returns(*(stats[f"{name}EpRet"] for name in ("Average", "Std", "Min", "Max")))
            count = f"{len(played)} {acting(ac)} test episodes"
            logger.say(f"final return {mean} ± {std} (min {low}, max {high}; {count})")
            saved = read_config(logger.run_dir)
            if math.isfinite(chance := random_return_of(saved)):  # of an old run it is not known
                mean, std = returns(chance, number(saved["random_play"].get("return_std")))
                logger.say(
                    f"random play  {mean} ± {std} ({saved['random_play'].get('episodes')} episodes at the start)"
                )
    run = shlex.quote(str(logger.run_dir))
    say_why(logger)
    if not alone:
        logger.say(f"plot all: python -m rlsuite.plot {shlex.quote(str(logger.run_dir.parent))}")
        return
    what, how = _how_to_see(modes)
    logger.say(f"{'plot it:':9} python -m rlsuite.plot {run}")
    logger.say(f"{f'{what} it:':9} python -m rlsuite.play {run}{how}{trust_flag(config.env)}")


def say_why(logger: Any) -> None:
    """Say what is gravely wrong with a run at its end, and the command that says more; nothing if nothing is."""
    from rlsuite.analysis.watch import last_words

    found = last_words(logger.run_dir) if logger.run_dir else []
    for text in [
        *found,
        *([f"{'why:':9} python -m rlsuite.diagnose {shlex.quote(str(logger.run_dir))}"] if found else []),
    ]:
        logger.say(text)


def _how_to_see(modes: Sequence[str]) -> tuple[str, str]:
    """What can be done here to see a policy in an environment with these render modes, and the flags of play for it."""
    from rlsuite.envs.rendering import has_display

    if "human" in modes and has_display():
        return "watch", " --render"
    return ("film", " --video film.mp4") if "rgb_array" in modes else ("play", "")


def how_to_go_on(run_dir: Path | None, env_id: str) -> str:
    """The command that goes on with a run, or where its policy is, as the end of a sentence; "" if there is nothing."""
    from rlsuite.envs.making import trust_flag

    if run_dir and (any((run_dir / "checkpoint").glob("epoch_*")) or not (run_dir / "policy.safetensors").exists()):
        run = shlex.quote(str(run_dir))
        return f"; go on with: python -m rlsuite.run --resume {run}{trust_flag(env_id)}{_cpus()}"
    return last_policy(run_dir)


def _cpus() -> str:
    """What the command line of as many processes ends with."""
    return f" --cpus {mpi.size}" if mpi.size > 1 else ""


def last_policy(run_dir: Path | None) -> str:
    """Where the policy of the last whole epoch is, as the end of a sentence; "" if there is none."""
    if run_dir and (run_dir / "policy.safetensors").exists():
        return f"; the policy of the last good epoch is in {run_dir}"
    return ""


def signal_code(interrupt: KeyboardInterrupt) -> int:
    """The exit code that a shell gives to a process that a signal has ended: 128 and the signal's number."""
    return 143 if isinstance(interrupt, Terminated) else 130
