"""The door to testing an algorithm: `python -m rlsuite.probe ALGO_OR_FILE [--seed 0 1 2]`."""

import dataclasses
import importlib.util
import json
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from rlsuite.analysis.ladder import TESTS, Measured, Rung, faults, settings_of, shown
from rlsuite.analysis.rungs import RUNGS
from rlsuite.common.logger import Logger
from rlsuite.envs.evaluation import evaluate
from rlsuite.envs.making import configured_env
from rlsuite.errors import ArgumentParser, UserError, exit_code
from rlsuite.launching import algorithm_names
from rlsuite.loading import SavedEnv
from rlsuite.rundir.runs import read_progress


class Result(NamedTuple):
    """A rung, tried with one seed."""

    rung: Rung
    seed: int
    faults: list[str]
    """none if it is passed"""
    known: str
    """what is right"""
    shown: str
    """what was measured"""
    seconds: float
    look: str
    """at what, if it is not passed"""


def _arguments(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(
        prog="python -m rlsuite.probe",
        description="Train an algorithm on tasks of known answers, the easiest first, and say what part of it is broken"
        " where one fails. Exit code 0 if all pass, 1 if one fails.",
    )
    help_algo = "a file of rlsuite/algos, or a path to one of your own, with Config and train; importing it runs it"
    parser.add_argument("algo", metavar="ALGO_OR_FILE", help=help_algo)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one or more [0]")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="RUNG", help="these rungs, by the names that are printed"
    )
    args = parser.parse_args(argv)
    if min(args.seed) < 0:
        raise UserError(f"--seed must be at least 0, not {min(args.seed)}")
    if unknown := set(args.only) - {rung.name for rung in RUNGS}:
        names = dict.fromkeys(rung.name for rung in RUNGS)
        raise UserError(f"--only {' '.join(sorted(unknown))}: the rungs are {', '.join(names)}")
    return args


def algorithm(name: str) -> ModuleType:
    """An algorithm of the suite's by its name, or one in a file.

    Raises:
        UserError: there is none, the file can't be imported, or lacks what an algorithm has.
    """
    if not name.endswith(".py"):
        if name not in algorithm_names():
            raise UserError(f"unknown algorithm {name!r}; there are {', '.join(algorithm_names())}, or a file my.py")
        return import_module(f"rlsuite.algos.{name}")
    path = Path(name)
    if not path.is_file():
        raise UserError(f"there is no file {name}")
    spec = importlib.util.spec_from_file_location(f"probed_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    sys.path.insert(0, str(path.resolve().parent))  # as if the file were started
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing is left beside the file
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{name} can't be imported: {_where(error)}") from error
    finally:
        sys.dont_write_bytecode = writes
    for part in ("Config", "train"):
        if not hasattr(module, part):
            raise UserError(f"{name} has no {part}: an algorithm's file has Config and train, see rlsuite/algos/ppo.py")
    if not dataclasses.is_dataclass(module.Config):
        raise UserError(f"Config in {name} is no dataclass: its fields are the settings, see rlsuite/algos/ppo.py")
    return module


def _where(error: BaseException) -> str:
    """An error of foreign code and its line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({Path(last.filename).name}, line {last.lineno})"


def climb(module: ModuleType, seeds: Sequence[int], only: Sequence[str] = ()) -> Iterator[Result]:
    """Try all rungs, or only those, whose actions the algorithm takes, the easiest first.

    Raises:
        UserError: it takes none.
    """
    done: set[str] = set()
    refused = ""
    for rung in RUNGS:
        if only and rung.name not in only:
            continue
        if rung.instead in done or (rung.needs and rung.needs not in known_settings(module)):
            continue
        for seed in seeds:
            try:
                result = attempt(module, rung, seed)
            except UserError as error:
                refused = f"{error}"
                break
            if not result:
                refused = "it does not log the columns that they are about"
                break
            yield result
            done.add(rung.name)
    if not done:
        refused = refused or "it lacks the settings that they need"
        raise UserError(f"none of these rungs is for this algorithm: {refused}")


def known_settings(module: ModuleType) -> list[str]:
    """The settings that an algorithm has."""
    return [field.name for field in dataclasses.fields(module.Config)]


def attempt(module: ModuleType, rung: Rung, seed: int) -> Result | None:
    """Train on a rung, in a folder that is gone afterwards, and compare with what is known.

    Returns:
        None if what the rung is about is not in the log.

    Raises:
        UserError: the algorithm does not take the actions of the probe, or the settings.
    """
    chosen = settings_of(rung, known_settings(module))
    try:
        config = module.Config(rung.env_id, env_kwargs=json.dumps(rung.kwargs), seed=seed, **chosen)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise UserError(f"Config can't be made of env, env_kwargs, seed and {', '.join(chosen)}: {said}") from error
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            logger = Logger(data_dir=folder, quiet=True, checkpoint_every=0)
            measured = measure(module.train(config, logger=logger), rung, Path(folder))
        except Exception as error:
            if isinstance(error, UserError) and not any(Path(folder).iterdir()):
                raise  # before anything was created: it does not begin at all
            said = _where(error)
            return Result(rung, seed, [said], rung.known(), said, time.perf_counter() - begun, "that line")
    if rung.needs and rung.columns and not rung.val and not set(rung.columns) & set(measured.columns):
        return None
    known, seconds = rung.known(measured.columns), time.perf_counter() - begun
    return Result(rung, seed, faults(rung, measured), known, shown(rung, measured), seconds, rung.broken)


def measure(ac: Any, rung: Rung, folder: Path) -> Measured:
    """What the networks that `train` returned do and believe, and what the run below a folder has logged."""
    env = configured_env(SavedEnv(rung.env_id, json.dumps(rung.kwargs)))
    ret = float(np.mean(evaluate(ac.mode, env, TESTS, seed=0)[0]))
    env.close()
    columns: dict[str, float] = {}
    for path in folder.rglob("progress.txt"):  # one, unless the algorithm keeps no log
        for name, column in read_progress(path.parent).items():
            if np.isnan(column).all():
                continue  # an algorithm does not have it
            columns |= {name: float(column[-1]), f"mean {name}": float(column.mean())}
    obs = np.array(rung.obs, None if rung.obs and isinstance(rung.obs[0], int) else np.float32)
    val = ac.value(obs) if len(obs) and hasattr(ac, "value") else None
    return Measured(ret, val, action_values(ac, obs, rung.act) if len(rung.act) else None, columns)


def action_values(ac: Any, obs: Any, act: Sequence[Any]) -> Any:
    """Q(s, a) (S, A) of networks that have it, in one of two forms; None of others."""
    if hasattr(ac, "values"):
        return ac.values(obs)[:, list(act)]
    if hasattr(ac, "action_value"):
        return np.stack([ac.action_value(obs, np.full((len(obs), 1), a, np.float32)) for a in act], 1)
    return None


def row(*cells: str) -> str:
    """A line of the table."""
    return " ".join(cell.ljust(width) for cell, width in zip(cells, (4, 19, 31, 31, 27, 5), strict=True)).rstrip()


def probe(args: Namespace) -> bool:
    """Climb, printing a line for each rung, and say what is broken; whether all is well.

    Raises:
        UserError: no such algorithm, or no probe for it.
    """
    module = algorithm(args.algo)
    results: list[Result] = []
    for result in climb(module, args.seed, args.only):
        if not results:
            print(row("", "rung", "isolates", "known", "measured (± largest error)", "s"))
        results.append(result)
        rung = result.rung
        name = rung.name + (f" s{result.seed}" if len(args.seed) > 1 else "")
        verdict = "FAIL" if result.faults else "pass"
        print(row(verdict, name, rung.isolates, result.known, result.shown, f"{result.seconds:.1f}"), flush=True)
    failed = [result for result in results if result.faults]
    if not failed:
        print(f"\nAll {len(results)} pass.")
        return True
    first = failed[0]
    print(f"\n{len(failed)} of {len(results)} fail. The first is {first.rung.name}: {'; '.join(first.faults)}.")
    print(f"Look here first: {first.look}.")
    return False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; bad input becomes one line and exit code 2."""
    try:
        return 0 if probe(_arguments(argv)) else 1
    except UserError as error:
        print("rlsuite:", " ".join(str(error).split()), file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
