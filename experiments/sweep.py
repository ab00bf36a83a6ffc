"""Which settings matter, and how sensitive an algorithm is: `python experiments/sweep.py ppo --env CartPole-v1`.

Uniform random search (extra `sweep`), with TPE and pruning as options. Each trial trains in a process of its own, on
seeds from 1000 on, which are never reported. Its return is the mean of the final test episodes. What is searched:

    --search pi_lr=1e-4..1e-2:log gamma=0.9..0.999:1-log hidden_sizes=64,64|256,256 lam

A range is uniform, uniform in its logarithm (log), or in that of 1 - value (1-log); | separates choices. A name alone
stands for its range in sweep_space.py. Without --search, all settings that have one there are searched, except what is
switched off: 0 or infinite. All other flags are settings of every training, on top of its preset.

The journal and the runs go to data/sweep_<name>/. Started again, a sweep goes on where it was; started several times,
on this host or on others, its processes share the work. At the end come a table of the best trials, which setting
mattered, and how many random configurations are good: data/sweep_<name>.csv, data/sweep_<name>.png.

Sources: Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization"; Watanabe et al. 2023, "PED-ANOVA:
Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces".
"""

import argparse
import json
import math
import os
import shlex
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tables import DATA, ROOT, write_table

from rlsuite import pool
from rlsuite.errors import ArgumentParser, UserError
from rlsuite.launching import FINISHED, Terminated, algorithm_names, check_environments, earlier, signal_code
from rlsuite.run import jobs_of
from rlsuite.rundir.files import lock
from rlsuite.rundir.runs import read_config, read_object, read_progress
from rlsuite.rundir.summaries import RETURN, TEST_RETURN, number
from rlsuite.runs import digits
from rlsuite.settings import flag

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import Trial, TrialState
    from sweep_results import draw, importances, returns_of, sensitivity, table, which_mattered
    from sweep_space import Axis, axis_of, default_axes
except ModuleNotFoundError as error:
    if error.name != "optuna":
        raise
    print('rlsuite: a sweep needs Optuna: pip install -e ".[sweep]"', file=sys.stderr)
    sys.exit(2)

FIRST_SEED = 1000
SEEDS = ["--seed", "0", "1", "2", "3", "4", "--jobs", "2"]
OURS = {"seed", "data_dir", "exp_name", "quiet", "job", "cpus"}  # flags that the sweep itself sets or forbids


class Plan(NamedTuple):
    """One sweep."""

    name: str
    algo: str
    env: str
    fixed: list[str]
    """flags of every training"""
    axes: list[Axis]
    trials: int
    seeds: int
    """per trial"""
    sampler: str
    prune: bool

    @property
    def folder(self) -> Path:
        """Of the journal and the runs."""
        return Path("data") / f"sweep_{self.name}"

    def task(self, label: str, seed: int, settings: Sequence[str], algo: str = "") -> pool.Task:
        """One training; raises UserError for settings that do not go together."""
        where = ["--seed", f"{seed}", "--data-dir", f"{self.folder}", "--exp-name", label, "--quiet"]
        words = [algo or self.algo, "--env", self.env, *([] if algo else self.fixed), *settings, *where]
        command = shlex.join(["python", "-m", "rlsuite.run", *words])
        return pool.Task(jobs_of(words)[0], f"{label}, seed {seed}", command, [*words, "--job", "1"])


def plan_of(argv: Sequence[str] | None = None) -> tuple[Plan, int]:
    """The sweep that a command line asks for, and how many trainings at a time; raises UserError for bad input."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = ArgumentParser(description=__doc__, formatter_class=formatter, allow_abbrev=False)
    parser.add_argument("algo", choices=[name for name in algorithm_names() if name != "random"])
    parser.add_argument("--env", required=True, help="Gymnasium id")
    parser.add_argument("--trials", type=int, default=60, help="configurations in all [60]")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time in this process [1]")
    parser.add_argument("--search", nargs="+", metavar="NAME=RANGE", help="what to search [see above]")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each configuration, to be averaged [1]")
    parser.add_argument("--sampler", choices=["random", "tpe"], default="random", help="how to search [random]")
    parser.add_argument("--prune", action="store_true", help="end trials that are below the median of those before")
    parser.add_argument("--name", help="of the sweep [<algo>_<env>]")
    args, fixed = parser.parse_known_args(argv)
    fixed = [part for word in fixed for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if min(args.trials, args.jobs, args.seeds) < 1:
        raise UserError("--trials, --jobs and --seeds are 1 or more")
    if refused := [word for word in fixed if word.startswith("--") and word[2:].replace("-", "_") in OURS]:
        raise UserError(f"{refused[0]} is not for a sweep")
    jobs = jobs_of([args.algo, "--env", args.env, *fixed])
    if len(jobs) > 1:
        raise UserError("a setting has several values: give them to --search, as name=A|B")
    check_environments(import_module(f"rlsuite.algos.{args.algo}"), jobs)
    if not jobs[0].launch.test_episodes:
        raise UserError("--test-episodes 0: a trial's return is that of its test episodes")
    default = default_axes(args.algo, args.env, jobs[0].config, fixed)
    axes = [axis_of(args.algo, args.env, text) for text in args.search] if args.search else default
    if not axes:
        raise UserError("there is nothing to search; see --search in --help")
    for axis in axes:
        if flag(axis.name) in fixed or [other.name for other in axes].count(axis.name) > 1:
            raise UserError(f"{flag(axis.name)} is given twice")
        for end in axis.choices or axis.ends:
            jobs_of([args.algo, "--env", args.env, *fixed, *axis.words(end)])
    name = args.name or f"{args.algo}_{args.env}".replace("/", "_").replace(":", "_")
    if Path(name).name != name:
        raise UserError(f"--name {name!r} must be a plain name, without slashes")
    return Plan(name, args.algo, args.env, fixed, axes, args.trials, args.seeds, args.sampler, args.prune), args.jobs


class RandomSearch(optuna.samplers.RandomSampler):
    """Draws by the number of the trial: neither a restart nor the order of the trials changes what is tried."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """One value."""
        sampler = optuna.samplers.RandomSampler(seed=zlib.crc32(f"{trial.number} {param_name}".encode()))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def open_study(plan: Plan) -> optuna.Study:
    """The sweep's journal, with as many trials as there are to be; raises UserError if it is another sweep's."""
    same = json.dumps(plan._replace(trials=0, axes=[axis._replace(kind=str(axis.kind)) for axis in plan.axes]))
    plan.folder.mkdir(parents=True, exist_ok=True)
    backend = JournalFileBackend(f"{plan.folder / 'journal.log'}")
    with turn(plan.folder):
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            sampler=optuna.samplers.TPESampler(constant_liar=True) if plan.sampler == "tpe" else RandomSearch(),
            # Steps are tenths of the budget. Before the third a return says little of the last.
            pruner=optuna.pruners.MedianPruner(10, 3) if plan.prune else optuna.pruners.NopPruner(),
            study_name="sweep",
            direction="maximize",
            load_if_exists=True,
        )
        if study.user_attrs.setdefault("plan", same) != same:
            raise UserError(f"{plan.folder} holds a sweep with other settings; give this one a --name, or remove that")
        study.set_user_attr("plan", same)
        for _ in range(len(study.trials), plan.trials):
            study.enqueue_trial({})
    return study


IN_PROCESS = threading.Lock()


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """One thread of one process at a time may choose what to do."""
    with IN_PROCESS:
        while True:
            with suppress(UserError):
                descriptor = lock(folder)
                break
            time.sleep(0.05)
        try:
            yield
        finally:
            release(descriptor)


def release(descriptor: int | None) -> None:
    """Give back what `lock` has taken."""
    if descriptor is not None:
        os.close(descriptor)


def take(plan: Plan, study: optuna.Study, taken: set[int]) -> tuple[Trial, int | None] | None:
    """A trial to train, and the lock on it, which ends with this process; first those whose process has died.

    Args:
        plan: the sweep.
        study: its journal.
        taken: numbers that this process has taken already; one joins them.
    """
    with turn(plan.folder):
        for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
            if frozen.number in taken or frozen.number >= plan.trials:
                continue
            folder = plan.folder / f"trial_{frozen.number:03}"
            folder.mkdir(exist_ok=True)
            try:
                descriptor = lock(folder)
            except UserError:  # another process is at it
                continue
            taken.add(frozen.number)
            left = frozen.state == TrialState.RUNNING
            trial = Trial(study, frozen._trial_id) if left else study.ask()  # asked, it gives the first that waits
            assert trial.number == frozen.number
            for axis in plan.axes:
                axis.draw(trial)
            return trial, descriptor
    return None


def settings_of(plan: Plan, params: Mapping[str, Any]) -> list[str]:
    """A trial's settings on the command line."""
    return [word for axis in plan.axes for word in axis.words(params[axis.label])]


def train_run(
    task: pool.Task, stop: threading.Event, look: Callable[[], bool] = bool
) -> tuple[pool.Ending, Path | None, bool]:
    """Train a run until it is finished, or until a look at it or `stop` ends it; then it saves first.

    Returns:
        How its process ended, the run, and whether it is finished.
    """
    while True:
        running: pool.Running = {}
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(pool.train_apart, task.words, running)
            while not wait([future], 0.5).done:
                if stop.is_set() or look():
                    for process in list(running.values()):
                        assert process.stdin
                        process.stdin.close()
        ending, (run, state) = future.result(), earlier([task.job], task.command)[0]
        if ending.code or state == FINISHED or stop.is_set():
            return ending, run, state == FINISHED
        time.sleep(1)  # left alone by a sweep that was killed, another process is still saving it


def at_tenths(run: Path, budget: int) -> dict[int, float]:
    """The mean return of the last epoch at each tenth of the budget that a run has reached, where there is one."""
    log = read_progress(run)
    steps, found = log.get("TotalEnvInteracts", np.empty(0)), {}
    returns = log.get(TEST_RETURN[0], log.get(RETURN[0], np.empty(0)))
    for tenth in range(1, 10):
        past = returns[10 * steps <= tenth * budget]
        if (10 * steps >= tenth * budget).any() and np.isfinite(past).any():
            found[tenth] = float(past[np.isfinite(past)][-1])
    return found


def hopeless(trial: Trial, task: pool.Task, done: int) -> bool:
    """Report a run's returns to Optuna while it trains, and return whether the trial is to end.

    Args:
        trial: what is reported twice counts once.
        task: its run.
        done: runs of the trial that are finished.
    """
    run, _ = earlier([task.job], task.command)[0]
    with suppress(UserError):  # the log is being written
        for tenth, ret in (at_tenths(run, task.job.config.total_steps) if run else {}).items():
            trial.report(ret, 10 * done + tenth)
    return trial.should_prune()


def train_trial(plan: Plan, trial: Trial, stop: threading.Event) -> tuple[TrialState, str]:
    """Train a trial's runs, and keep in the journal what came of each.

    Returns:
        How it ended, RUNNING if it is to go on another time; and its return, or why there is none.
    """
    settings = settings_of(plan, trial.params)
    runs: list[dict[str, Any]] = []
    for k in range(plan.seeds):
        try:
            with IN_PROCESS:  # the parser of settings is not made for threads
                task = plan.task(f"trial_{trial.number:03}", FIRST_SEED + trial.number * plan.seeds + k, settings)
        except UserError as error:  # settings that do not go together
            return TrialState.FAIL, f"{error}"
        look = partial(hopeless, trial, task, k) if plan.prune else bool
        ending, run, finished = train_run(task, stop, look)
        ret = number(read_object(run / "result.json").get("AverageEpRet")) if run and finished else math.nan
        commit = read_config(run).get("git_commit") if run else ""
        trial.set_user_attr("runs", runs := [*runs, {"return": ret, "commit": commit, "command": task.command}])
        pruned = look()  # what was logged since the last look, too: later trials are compared with it
        if not finished and pruned and ending.code == signal_code(Terminated()):
            return TrialState.PRUNED, "pruned"
        if not finished and ending.code not in (2, 3):  # the machine or a user has ended it, not its settings
            return TrialState.RUNNING, pool.last_line(ending)
        if not math.isfinite(ret):
            return TrialState.FAIL, pool.last_line(ending)
    return TrialState.COMPLETE, f"return {digits(mean_return(runs))}"


def mean_return(runs: Sequence[dict[str, Any]]) -> float:
    """The value of a trial."""
    return float(np.mean([run["return"] for run in runs]))


def work(plan: Plan, study: optuna.Study, taken: set[int], stop: threading.Event) -> None:
    """Train trials one after the other, as long as there are any."""
    while not stop.is_set() and (found := take(plan, study, taken)):
        trial, descriptor = found
        try:
            state, said = train_trial(plan, trial, stop)
            if state != TrialState.RUNNING:
                value = mean_return(trial.user_attrs["runs"]) if state == TrialState.COMPLETE else None
                study.tell(trial.number, value, state)
            if state != TrialState.RUNNING or not stop.is_set():
                print(f"trial {trial.number} of {plan.trials}: {said}", flush=True)
        finally:
            release(descriptor)


def train_all(plan: Plan, study: optuna.Study, jobs: int) -> int:
    """Train what is left of a sweep, so many trials at a time, and return the exit code."""
    stop, taken, code = threading.Event(), set[int](), 0
    with ThreadPoolExecutor(jobs) as executor:
        futures = [executor.submit(work, plan, study, taken, stop) for _ in range(jobs)]
        try:
            wait(futures)
        except KeyboardInterrupt as interrupt:
            stop.set()
            code = signal_code(interrupt)
    for future in futures:
        future.result()
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    # Those that run and were not taken here are another process's.
    ours = [trial.number for trial in left if trial.number in taken or trial.state == TrialState.WAITING]
    if count := sum(trial < plan.trials for trial in ours):
        go_on = shlex.join(["python", *sys.argv])
        print(f"rlsuite: {count} of {plan.trials} trials are left; go on with: {go_on}", file=sys.stderr)
        code = code or 3
    return code


def random_play(plan: Plan) -> float:
    """Mean return of uniformly random actions, NaN where it can't be had."""
    (job,) = jobs_of([plan.algo, "--env", plan.env, *plan.fixed])
    world = ["--env-kwargs", job.config.env_kwargs, "--frame-skip", f"{job.config.frame_skip}"]
    task = plan.task("random", FIRST_SEED, [*world, "--total-steps", "1", "--test-episodes", "100"], algo="random")
    _, run, _ = train_run(task, threading.Event())
    return number(read_object(run / "result.json").get("AverageEpRet")) if run else math.nan


def results(plan: Plan, study: optuna.Study) -> list[dict[str, str]]:
    """A line for each trial that has ended."""
    rows = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)):
        runs = trial.user_attrs.get("runs", [])
        drawn = {axis.label: trial.params[axis.label] for axis in plan.axes}
        rows.append(
            {
                "trial": f"{trial.number}",
                "state": trial.state.name.lower(),
                **{label: value if isinstance(value, str) else f"{value:.6g}" for label, value in drawn.items()},
                # that of a pruned trial is the last that it reported
                "return": f"{math.nan if trial.value is None else trial.value:.6g}",
                "returns of seeds": " ".join(f"{run['return']:.6g}" for run in runs),
                "commit": " ".join(sorted({f"{run['commit']}" for run in runs})),
                "command": " && ".join(run["command"] for run in runs),
            }
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is left, then print and write what came out."""
    os.chdir(ROOT)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    try:
        plan, jobs = plan_of(argv)
        study = open_study(plan)
    except UserError as error:
        print(f"rlsuite: {error}", file=sys.stderr)
        return 2
    code = train_all(plan, study, jobs)
    rows = results(plan, study)
    if len(rows) < 2 or code > 128:
        return code
    random = random_play(plan)
    returns = returns_of(rows, random)
    weights = importances(study, returns)
    print("\n".join(["", *table(rows, [axis.label for axis in plan.axes]), "", *which_mattered(weights), ""]))
    if plan.sampler == "random":  # TPE's configurations are no sample of the space
        print("\n".join(sensitivity(returns, random)))
    best = settings_of(plan, study.trials[int(rows[returns.argmax()]["trial"])].params)
    print("\nThe best of many is the luckiest too; before its return is believed, it is trained again on other seeds:")
    print(shlex.join(["python", "-m", "rlsuite.run", plan.algo, "--env", plan.env, *plan.fixed, *best, *SEEDS]))
    title = f"{plan.algo} on {plan.env}: {len(rows)} configurations by {plan.sampler} search"
    write_table(DATA / f"sweep_{plan.name}.csv", rows)
    ranges = {axis.label: (axis.choices or axis.ends, bool(axis.scale)) for axis in plan.axes}
    draw(DATA / f"sweep_{plan.name}.png", title, rows, random, weights, ranges)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
