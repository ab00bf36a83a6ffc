"""The door to training: `python -m rlsuite.run ALGO --env ID [--any-setting VALUE ...]`, or `--resume RUN_DIR`."""

import ast
import dataclasses
import difflib
import inspect
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

from rlsuite.common.checks import EnvError, NonFiniteError, UserError, check_module
from rlsuite.common.runs import read_config
from rlsuite.presets import PRESETS

try:
    from rlsuite.common import mpi
except UserError as error:  # processes that were started together and can't be connected
    print(f"rlsuite: {error}", file=sys.stderr)
    sys.exit(2)

USAGE = """usage: python -m rlsuite.run ALGO --env ID [--seed 0 1 2] [--total-steps N] [--<setting> VALUE ...]

algorithms: {algos}
example:    python -m rlsuite.run ppo --env CartPole-v1
settings:   python -m rlsuite.run ppo --help
go on:      python -m rlsuite.run --resume RUN_DIR [--total-steps N]

Several values after a setting of one value make a grid: one run for each combination.
"""


@dataclasses.dataclass(frozen=True)
class Launch:
    """What belongs to starting a run and not to the algorithm."""

    exp_name: str = ""  # folder of the experiment; default <algo>_<env>
    data_dir: str = "data"  # where experiments go
    preset: str = "auto"  # settings to start from: an environment id that has some, auto for those of --env, or none
    test_episodes: int = 20  # deterministic episodes at the end; 0 for none
    note: str = ""  # the question this run answers; kept in config.json
    tensorboard: bool = False  # write event files for TensorBoard as well
    quiet: bool = False  # print nothing but errors
    checkpoint_every: int = 1  # epochs from one checkpoint, to resume from, to the next; 0 for none
    cpus: int = 1  # processes that train the one run together, through MPI (extra `mpi`); as `mpiexec -n N` does


class Terminated(KeyboardInterrupt):
    """SIGTERM: what a cluster sends before it takes the machine away."""


def algorithm_names() -> list[str]:
    """Every file in rlsuite/algos."""
    folder = os.path.join(os.path.dirname(__file__), "algos")
    return sorted(name[:-3] for name in os.listdir(folder) if name.endswith(".py") and name != "__init__.py")


def read_settings(algo: str) -> tuple[type[Any], str]:
    """An algorithm's `Config` and docstring, from its source: importing it would import torch, which takes seconds."""
    path = Path(__file__).parent / "algos" / f"{algo}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    needed: list[ast.stmt] = [
        node
        for node in tree.body
        if (isinstance(node, ast.ClassDef) and node.name == "Config")
        or (isinstance(node, ast.ImportFrom) and node.module in ("dataclasses", "typing"))
        or (isinstance(node, ast.Import) and node.names[0].name == "math")
    ]
    settings = ModuleType(f"{algo}_settings")
    settings.__file__ = str(path)  # where tyro finds the comments that explain the fields
    sys.modules[settings.__name__] = settings
    exec(compile(ast.Module(needed, []), path, "exec"), vars(settings))
    return vars(settings)["Config"], ast.get_docstring(tree) or ""


def parse_flags(argv: Sequence[str], fields: dict[str, Any]) -> dict[str, list[str]]:
    """Split a command line into flags and their values.

    Args:
        argv: for example ["--env", "CartPole-v1", "--seed", "0", "1", "--quiet"].
        fields: known settings and their types.

    Returns:
        Setting name to its values as text; switches become ["True"] or ["False"].

    Raises:
        UserError: an unknown, repeated or empty flag, or a value without a flag.
    """
    flags: dict[str, list[str]] = {}
    for token in argv:
        if re.match(r"--\D", token):
            flag, equals, value = token.partition("=")
            name = flag[2:].replace("-", "_")
            negated = name.startswith("no_") and fields.get(name[3:]) is bool
            name = name[3:] if negated else name
            if negated and equals:
                raise UserError(f"{flag} takes no value")
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
                hint = f"did you mean --{near[0].replace('_', '-')}?" if near else "see --help"
                raise UserError(f"unknown flag {flag}; {hint}")
            if name in flags:
                raise UserError(f"{flag} is given twice; give several values after one {flag}")
            flags[name] = [value] if equals else ["False"] if negated else []
        elif re.match(r"-[a-zA-Z]", token) and token != "-inf":
            raise UserError(f"unknown flag {token}; settings are given as --name value")
        elif flags:
            flags[name].append(token)
        else:
            raise UserError(f"unexpected {token!r}; settings are given as --name value")
    for name, values in flags.items():
        if not values and fields[name] is not bool:
            raise UserError(f"--{name.replace('_', '-')} needs a value")
        if not values:
            values.append("True")
        if len(values) != len(set(values)) and get_origin(fields[name]) is not tuple:
            raise UserError(f"--{name.replace('_', '-')} has a value twice: {' '.join(values)}")
    return flags


def grid(flags: dict[str, list[str]], fields: dict[str, Any]) -> Iterator[list[str]]:
    """One command line for each combination of values; the last flag varies fastest."""

    def words(name: str, values: Sequence[str]) -> list[str]:
        flag = name.replace("_", "-")
        if fields[name] is not bool:
            return [f"--{flag}", *values]
        if values[0].lower() not in ("true", "false"):
            raise UserError(f"--{flag} is a switch: --{flag} or --no-{flag}, not {values[0]!r}")
        return [f"--{flag}" if values[0].lower() == "true" else f"--no-{flag}"]

    axes = [
        [words(name, values)] if get_origin(fields[name]) is tuple else [words(name, [value]) for value in values]
        for name, values in flags.items()
    ]
    for combination in itertools.product(*axes):
        yield [word for part in combination for word in part]


def preset_for(algo: str, env: str, name: str) -> tuple[str, dict[str, Any]]:
    """The preset to start from, as (what it is called, settings); ("", {}) for none.

    Raises:
        UserError: there is no preset of that name.
    """
    known = PRESETS.get(algo, {})
    if name == "none" or (name == "auto" and env not in known):
        return "", {}
    name = env if name == "auto" else name
    if name not in known:
        raise UserError(f"--preset {name} does not exist for {algo}; there are {', '.join([*sorted(known), 'none'])}")
    return f"{algo}/{name}", known[name]


def parse(command: type[Any], argv: list[str], algo: str, default: Any = None) -> Any:
    """Turn one command line into settings, starting from the default; --help prints them and exits.

    Raises:
        UserError: a value of the wrong type.
    """
    import tyro

    errors = StringIO()
    try:
        with redirect_stderr(errors):
            return tyro.cli(
                command,
                args=argv,
                default=default,
                prog=f"python -m rlsuite.run {algo}",
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        # tyro draws a box of several lines around the message; one line is enough.
        text = " ".join(re.sub(r"[─-╿]|-{3,}", " ", errors.getvalue()).split())
        text = re.sub(r"^.*?(Error parsing|invalid choice) ", "", text)
        text = re.sub(r" ?(Argument helptext:|For full helptext).*$", "", text)
        raise UserError(text or "a value is of the wrong type; see --help") from None


def run(argv: Sequence[str]) -> int:
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
        near = difflib.get_close_matches(algo, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise UserError(f"unknown algorithm {algo!r}; {hint}")

    settings_class, doc = read_settings(algo)
    command = dataclasses.make_dataclass("Command", [("config", settings_class), ("launch", Launch)])
    command.__doc__ = doc.split("\n\n")[0]
    if {"-h", "--help"} & set(argv):
        parse(command, ["--help"], algo)

    fields = {f.name: f.type for cls in (settings_class, Launch) for f in dataclasses.fields(cls)}
    flags = parse_flags(argv[1:], {**fields, "resume": str})
    if "resume" in flags:
        raise UserError("--resume takes all settings from the run: python -m rlsuite.run --resume RUN_DIR")
    if "env" not in flags:
        raise UserError(f"--env is missing, for example: python -m rlsuite.run {algo} --env CartPole-v1")
    if "cpus" in flags and flags["cpus"] != ["1"]:
        return relaunch(argv, flags["cpus"])
    runs = []
    for words in grid(flags, fields):
        env = words[words.index("--env") + 1]
        preset_name = words[words.index("--preset") + 1] if "--preset" in words else "auto"
        preset, settings = preset_for(algo, env, preset_name)
        default = command(settings_class(env, **settings), Launch())
        runs.append((preset, parse(command, words, algo, default)))
    return train_all(algo, runs, shlex.join(["python", "-m", "rlsuite.run", *argv]))


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run that was interrupted, exactly as if it had never stopped, or go beyond its end."""

    resume: str  # the run directory
    total_steps: int = 0  # a new budget in env steps, above the old one; 0 keeps that
    test_episodes: int = 20  # deterministic episodes at the end; 0 for none
    tensorboard: bool = False  # write event files for TensorBoard as well
    quiet: bool = False  # print nothing but errors
    checkpoint_every: int = 1  # epochs from one checkpoint to the next; 0 for none
    cpus: int = 1  # processes; as many as before
    import_env: str = ""  # module of your own that registers the run's environment; importing it runs its code


def resume(argv: Sequence[str]) -> int:
    """Go on with a run as its config.json says and return the exit code.

    Raises:
        UserError: bad input; nothing has been changed.
    """
    if {"-h", "--help"} & set(argv):
        parse(Resume, ["--help"], "")
    fields = {f.name: f.type for f in dataclasses.fields(Resume)}
    flags = parse_flags(argv, fields)
    several = next((name for name, values in flags.items() if len(values) > 1), None)
    if several:
        raise UserError(f"--{several.replace('_', '-')} takes one value here, not {' '.join(flags[several])}")
    if "cpus" in flags and flags["cpus"] != ["1"]:
        return relaunch(argv, flags["cpus"])
    wanted = parse(Resume, next(grid(flags, fields)), "")
    run_dir = Path(wanted.resume)
    if not run_dir.is_dir():
        raise UserError(f"--resume {run_dir}: there is no such directory")
    old = read_config(run_dir)
    algo = old.get("algo")
    if algo not in algorithm_names():
        raise UserError(f"--resume {run_dir}: its config.json names no algorithm of rlsuite, so it can't be resumed")
    if old.get("custom_env"):
        raise UserError(
            f"--resume {run_dir}: it was trained on an environment function; in Python, "
            "train(config, env_fn, logger=Logger(resume=run_dir))"
        )
    config = saved_settings(old, read_settings(algo)[0])
    if wanted.total_steps and wanted.total_steps < config.total_steps:
        raise UserError(
            f"--total-steps {wanted.total_steps} is below the budget of the run, {config.total_steps} env steps"
        )
    config = dataclasses.replace(config, total_steps=wanted.total_steps or config.total_steps)
    check_module(config.env, wanted.import_env)
    launch = Launch(
        test_episodes=wanted.test_episodes,
        tensorboard=wanted.tensorboard,
        quiet=wanted.quiet,
        checkpoint_every=wanted.checkpoint_every,
    )
    command = dataclasses.make_dataclass("Command", [("config", type(config)), ("launch", Launch)])
    return train_all(algo, [("", command(config, launch))], "", run_dir)


def saved_settings(saved: dict[str, Any], settings_class: type[Any]) -> Any:
    """Settings as config.json holds them; those that it lacks have their defaults.

    Raises:
        UserError: a value of the wrong type.
    """
    values = {}
    for field in dataclasses.fields(settings_class):
        if field.name not in saved:
            if field.default is dataclasses.MISSING:
                raise UserError(f"config.json has no {field.name}")
            continue
        value, kind = saved[field.name], field.type
        if get_origin(kind) is tuple:
            fits = isinstance(value, list) and all(type(item) is int for item in value)
            value = tuple(value) if fits else value
        elif kind is float:
            fits = type(value) is float or (type(value) is int and abs(value) < 10**300)
        else:
            fits = type(value) is (kind if isinstance(kind, type) else str)
        if not fits:
            raise UserError(f"{field.name} in config.json is {str(value)[:60]!r}, of the wrong type")
        values[field.name] = value
    return settings_class(**values)


def relaunch(argv: Sequence[str], cpus: list[str]) -> int:
    """Run the same command line in several processes, before this one has imported anything of MPI.

    Raises:
        UserError: not one whole number, no mpiexec, or this is such a process already.
    """
    if len(cpus) != 1 or not cpus[0].isdigit() or not 1 <= int(cpus[0]) <= 4096:
        raise UserError(f"--cpus takes one number of processes, from 1 to 4096, not {' '.join(cpus)}")
    if mpi.launched_ranks() > 1:
        raise UserError("--cpus starts processes of its own, and this is an MPI job already; leave --cpus out")
    mpiexec = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec")
    if not mpiexec:
        raise UserError('--cpus needs mpiexec: pip install "rlsuite[mpi]"')
    rest = list(argv)
    at = next(i for i, word in enumerate(rest) if word.startswith("--cpus"))
    del rest[at : at + (1 if "=" in rest[at] else 2)]
    job = subprocess.Popen([mpiexec, "-n", cpus[0], sys.executable, "-m", "rlsuite.run", *rest])
    while True:
        try:
            return job.wait()
        except KeyboardInterrupt as interrupt:  # the processes save and end; Ctrl-C has reached them already
            if isinstance(interrupt, Terminated):
                job.terminate()


def train_all(algo: str, runs: list[tuple[str, Any]], command: str, resumed: Path | None = None) -> int:
    """Train every run of a grid, one after the other; a run that fails with a NaN does not stop the others."""
    module = import_module(f"rlsuite.algos.{algo}")

    from rlsuite.common.checks import check_config
    from rlsuite.common.envs import make_env
    from rlsuite.common.logger import Logger
    from rlsuite.common.replay import check_memory

    # All of the grid before the first run: its end may be hours away.
    network = inspect.signature(module.train).parameters["actor_critic"].default
    for _, settings in runs:
        config = settings.config
        check_config(config)
        env = make_env(config.env, config.env_kwargs)
        network(env.observation_space, env.action_space)
        if hasattr(config, "buffer_size"):
            check_memory(config.buffer_size, config.num_envs, env.observation_space, env.action_space)
        env.close()
        if settings.launch.test_episodes < 0:
            raise UserError(f"--test-episodes is {settings.launch.test_episodes}, but must be 0 or more")
        if settings.launch.checkpoint_every < 0:
            raise UserError(f"--checkpoint-every is {settings.launch.checkpoint_every}, but must be 0 or more")
    code = 0
    for number, (preset, settings) in enumerate(runs, start=1):
        config = settings.config
        launch = dataclasses.replace(settings.launch, quiet=settings.launch.quiet or mpi.rank > 0)
        logger = Logger(
            launch.exp_name,
            launch.data_dir,
            note=launch.note,
            command=command,
            tensorboard=launch.tensorboard,
            quiet=launch.quiet,
            resume=resumed,
            checkpoint_every=launch.checkpoint_every,
        )
        if not launch.quiet:
            count = f"run {number} of {len(runs)}: " if len(runs) > 1 else ""
            print(f"{count}{algo} on {config.env}, seed {config.seed}" + (f", preset {preset}" if preset else ""))
        try:
            ac = module.train(module.Config(**dataclasses.asdict(config)), logger=logger)
            if mpi.rank == 0:
                finish(ac, config, launch, logger)
        except (NonFiniteError, EnvError) as error:
            print(f"rlsuite: {error}{last_policy(logger)}", file=sys.stderr)
            code = 3
            if mpi.size > 1:  # the other ranks are still in this run
                return code
            continue
        except KeyboardInterrupt as interrupt:
            if mpi.rank == 0:
                print(f"\nrlsuite: interrupted{kept(logger)}", file=sys.stderr)
            return 143 if isinstance(interrupt, Terminated) else 130
        finally:
            logger.close()
    return code


def kept(logger: Any) -> str:
    """How to go on, or where the policy of the last whole epoch is, as the end of a sentence; "" if there is none."""
    if logger.run_dir and any((logger.run_dir / "checkpoint").glob("epoch_*")):
        cpus = f" --cpus {mpi.size}" if mpi.size > 1 else ""
        return f"; go on with: python -m rlsuite.run --resume {shlex.quote(str(logger.run_dir))}{cpus}"
    return last_policy(logger)


def last_policy(logger: Any) -> str:
    """Where the policy of the last whole epoch is, as the end of a sentence; "" if there is none."""
    if logger.run_dir and (logger.run_dir / "policy.safetensors").exists():
        return f"; the policy of the last good epoch is in {logger.run_dir}"
    return ""


def finish(ac: Any, config: Any, launch: Launch, logger: Any) -> None:
    """Test the trained policy and say what came out and where it is."""
    from rlsuite.common.envs import episode_stats, evaluate, make_env

    if launch.test_episodes:
        env = make_env(config.env, config.env_kwargs)
        returns, lengths = evaluate(ac, env, launch.test_episodes, config.seed)
        env.close()
        if len(returns) < launch.test_episodes:
            print(
                f"rlsuite: {len(returns)} of {launch.test_episodes} test episodes ended: one ran for 100,000 steps; "
                "give the environment a time limit",
                file=sys.stderr,
            )
        if not returns:
            return
        stats = episode_stats(returns, lengths)
        logger.save_result({"TestEpisodes": len(returns), **stats})
        if not launch.quiet:
            print(
                f"final return {stats['AverageEpRet']:.1f} ± {stats['StdEpRet']:.1f} "
                f"(min {stats['MinEpRet']:.1f}, max {stats['MaxEpRet']:.1f}; "
                f"{len(returns)} deterministic test episodes)"
            )
    if not launch.quiet:
        print(f"plot it:  python -m rlsuite.plot {shlex.quote(str(logger.run_dir))}")
        print(f"watch it: python -m rlsuite.play {shlex.quote(str(logger.run_dir))} --render")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; bad input becomes one line and exit code 2.

    One of several processes that stops with an error takes the others with it: they would wait for it for ever.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if in_main_thread else None
    try:
        code = _main(sys.argv[1:] if argv is None else argv)
    except Exception:
        if mpi.size == 1:
            raise
        print(f"rank {mpi.rank} of {mpi.size}:\n{traceback.format_exc()}", end="", file=sys.stderr, flush=True)
        code = 1
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)
    if code:
        mpi.abort(code)
    return code


def _terminate(number: int, frame: Any) -> None:
    raise Terminated


def _complain(text: str) -> None:
    """Print an error, once where all ranks have the same."""
    if mpi.rank > 0:
        time.sleep(1)  # rank 0 may be about to say the same and to end all
    where = f" (rank {mpi.rank})" if mpi.rank > 0 else ""
    print(f"rlsuite: {text}{where}", file=sys.stderr, flush=True)


def _main(argv: Sequence[str]) -> int:
    try:
        return run(argv)
    except UserError as error:
        _complain(f"{error}")
        return 2
    except KeyboardInterrupt as interrupt:
        print("\nrlsuite: interrupted", file=sys.stderr)
        return 143 if isinstance(interrupt, Terminated) else 130
    except MemoryError as error:
        print(
            f"rlsuite: not enough memory ({error}); lower --steps-per-epoch, --buffer-size or --hidden-sizes",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, most likely; the epochs before it are whole
        _complain(f"{error.strerror or error}: {error.filename or 'output'}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
