"""Sweeps, with trainings that are only pretended but for one."""

import csv
import dataclasses
import importlib
import json
import math
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from scipy import stats

from rlsuite import pool
from rlsuite.figures.style import save_figure
from rlsuite.run import jobs_of
from tests.conftest import source_environment

ROOT = Path(__file__).parents[1]
WORDS = ["ppo", "--env", "CartPole-v1", "--total-steps", "1000"]
SEARCH = ["--search", "pi_lr=1e-4..1e-2:log", "gamma=0.9..0.999:1-log", "hidden_sizes=8,8|16", "train_iters=1..4"]


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script, with all that it writes in a temporary folder."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    module = importlib.import_module("sweep")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    monkeypatch.setattr(module, "draw", lambda *_: None)
    monkeypatch.setattr(importlib.import_module("sweep_results"), "SHUFFLES", 5)
    monkeypatch.chdir(tmp_path)
    return module


class Trainings:
    """In the place of processes that train: write a run whose return is a function of its settings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ret: Callable[[Any], float] = lambda config: -config.pi_lr):
        self.ret, self.seeds, self.codes = ret, list[int](), dict[int, list[int]]()
        monkeypatch.setattr(pool, "train_apart", self)

    def write(self, words: list[str], epochs: list[float], finished: bool) -> Path:
        (job,) = jobs_of(words[: words.index("--job")])
        run = Path(job.launch.data_dir) / job.launch.exp_name / f"2000-01-01_00-00-00_s{job.config.seed}"
        run.mkdir(parents=True, exist_ok=True)
        command = shlex.join(["python", "-m", "rlsuite.run", *words[: words.index("--job")]])
        facts = {"command": command, "ranks": 1, "git_commit": "abc", "exp_name": job.launch.exp_name}
        saved = {**dataclasses.asdict(job.config), "stop_at": job.launch.stop_at, **facts}
        (run / "config.json").write_text(json.dumps(saved))
        rows = [f"{(i + 1) * job.config.total_steps / 10:.0f}\t{ret}\n" for i, ret in enumerate(epochs)]
        (run / "progress.txt").write_text("TotalEnvInteracts\tAverageEpRet\n" + "".join(rows))
        if finished:
            result = {"TestEpisodes": 1, "AverageEpRet": -0.5 if words[0] == "random" else self.ret(job.config)}
            (run / "result.json").write_text(json.dumps(result))
        return run

    def __call__(self, words: list[str], running: Any) -> pool.Ending:
        seed = int(words[words.index("--seed") + 1])
        if words[0] == "random":
            self.write(words, [], True)
            return pool.Ending(0, "")
        self.seeds.append(seed)
        code = self.codes.get(seed, []).pop(0) if self.codes.get(seed) else 0
        self.write(words, [1.0] * 10, not code)
        return pool.Ending(code, "said")


def main(sweep: Any, *words: str) -> int:
    code: int = sweep.main([*WORDS, *SEARCH, *words])
    return code


def rows(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "data" / "sweep_ppo_CartPole-v1.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("text", "ends", "drawn", "words"),
    [
        ("pi_lr=1e-4..1e-2:log", (1e-4, 1e-2), 0.001234567, ["--pi-lr", "0.00123457"]),
        ("gamma=0.9..0.999:1-log", (0.001, 0.1), 0.02, ["--gamma", "0.98"]),
        ("log-std-init=-2..0", (-2, 0), -1.5, ["--log-std-init", "-1.5"]),
        ("train_iters=2..20:log", (2, 20), 7, ["--train-iters", "7"]),
        ("hidden_sizes=8,8|16", (0, 0), "8,8", ["--hidden-sizes", "8", "8"]),
        ("normalize_obs=True|False", (0, 0), "True", ["--normalize-obs", "True"]),
        ("gamma", (0.001, 0.1), 0.1, ["--gamma", "0.9"]),
    ],
)
def test_what_is_drawn_and_what_is_trained_with(
    text: str, ends: tuple[float, float], drawn: Any, words: list[str], sweep: Any
) -> None:
    axis = sweep.axis_of("ppo", "CartPole-v1", text)
    assert axis.ends == ends
    assert axis.words(drawn) == words
    jobs_of([*WORDS, *words])


def test_default_ranges_are_of_settings_that_exist_and_hold_what_is_used(sweep: Any) -> None:
    space, searched = importlib.import_module("sweep_space"), set()
    for algo in ("vpg", "a2c", "ppo", "trpo", "dqn", "ddpg", "td3", "sac", "cem"):
        env = "Pendulum-v1" if algo in ("ddpg", "td3", "sac") else "CartPole-v1"
        (job,) = jobs_of([algo, "--env", env, "--preset", "none"])
        axes = space.default_axes(algo, env, job.config, ["--lam", "0.9"])
        for axis in axes:
            value = getattr(job.config, axis.name)
            assert value not in (0, math.inf)
            assert axis.name != "lam"
        for end in (0, -1):
            words = [word for axis in axes for word in axis.words((axis.choices or axis.ends)[end])]
            jobs_of([algo, "--env", env, *words])
        searched |= {axis.name for axis in axes}
    # The entropy bonus is off by default everywhere.
    assert set(space.DEFAULTS) - searched == {"ent_coef", "lam"}


def test_random_search_is_uniform_on_its_scale_and_the_same_each_time(sweep: Any) -> None:
    axes = [sweep.axis_of("ppo", "CartPole-v1", text) for text in SEARCH[1:]]

    def draws() -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=sweep.RandomSearch())
        trials = [study.ask() for _ in range(300)]
        for trial in reversed(trials):  # whichever comes first
            for axis in axes:
                axis.draw(trial)
        return [trial.params for trial in trials]

    params = draws()
    assert params == draws()
    rates, one_minus = (np.log10([each[name] for each in params]) for name in ("pi_lr", "1-gamma"))
    assert stats.kstest((rates + 4) / 2, "uniform").pvalue > 0.01
    assert stats.kstest((one_minus + 3) / 2, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(rates, one_minus)[0, 1]) < 0.2
    assert {each["train_iters"] for each in params} == {1, 2, 3, 4}
    assert 100 < sum(each["hidden_sizes"] == "16" for each in params) < 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--search", "pi_lr=1e-2..1e-4"], "the range must go up"),
        (["--search", "pi_lr=0..1:log"], "log needs LOW > 0"),
        (["--search", "gamma=0.9..1:1-log"], "1-log HIGH < 1"),
        (["--search", "gamma=0.5..1.5"], "--gamma is 1.5, but must be from 0 to 1"),
        (["--search", "train_iters=1.5..3"], "train_iters is a whole number"),
        (["--search", "activation=tanh|swish"], "swish"),
        (["--search", "hidden_sizes=8..16"], "give hidden_sizes=A|B"),
        (["--search", "learning_rate=0..1"], "here it is --pi-lr and --vf-lr"),
        (["--search", "seed=0..9"], "not seed"),
        (["--search", "lam", "lam=0..1"], "--lam is given twice"),
        (["--search", "lam", "--lam", "0.9"], "--lam is given twice"),
        (["--lam", "0.9", "0.95"], "give them to --search"),
        (["--seed", "0"], "--seed is not for a sweep"),
        (["--seed=0"], "--seed is not for a sweep"),
        (["--test-episodes", "0"], "of its test episodes"),
        (["--trials", "0"], "are 1 or more"),
        (["--name", "a/b"], "a plain name"),
        (["--batch", "3"], "unknown flag --batch"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: list[str], said: str, sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main([*WORDS, *words]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert (err.count("\n"), out, list(tmp_path.iterdir())) == (1, "", [])


def test_another_sweep_of_the_same_name_is_refused(
    sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings = Trainings(monkeypatch)
    assert main(sweep, "--trials", "2") == 0
    assert main(sweep, "--trials", "2", "--num-envs", "4") == 2
    assert "holds a sweep with other settings" in capsys.readouterr().err
    assert len(trainings.seeds) == 2


def test_each_trial_is_trained_once_on_seeds_of_its_own(
    sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = Trainings(monkeypatch, lambda config: config.seed % 2 * 10.0)
    assert main(sweep, "--trials", "4", "--jobs", "3", "--seeds", "2") == 0
    assert sorted(trainings.seeds) == list(range(1000, 1008))
    found = rows(tmp_path)
    assert sorted(row["trial"] for row in found) == ["0", "1", "2", "3"]
    assert {(row["state"], row["return"], row["returns of seeds"]) for row in found} == {("complete", "5", "0 10")}
    for row in found:
        command, second = row["command"].split(" && ")
        (job,) = jobs_of(shlex.split(command)[3:])
        assert f"{job.config.pi_lr:.6g}" == row["pi_lr"]
        assert 1 - job.config.gamma == pytest.approx(float(row["1-gamma"]), abs=1e-6)
        assert ",".join(map(str, job.config.hidden_sizes)) == row["hidden_sizes"]
        assert f"{job.config.train_iters}" == row["train_iters"]
        seed = 1000 + 2 * int(row["trial"])
        assert second == command.replace(f"--seed {seed} ", f"--seed {seed + 1} ")
        assert row["commit"] == "abc"
    # More trials are added to those that there are.
    assert main(sweep, "--trials", "5", "--seeds", "2") == 0
    assert trainings.seeds[8:] == [1008, 1009]


def test_what_a_killed_sweep_left_is_gone_on_with_and_what_another_trains_is_left_alone(
    sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings = Trainings(monkeypatch)
    plan, _ = sweep.plan_of([*WORDS, *SEARCH, "--trials", "4"])
    study = sweep.open_study(plan)
    (dead, lock_of_dead), (alive, lock_of_alive) = (sweep.take(plan, study, set()) for _ in range(2))
    assert (dead.number, alive.number) == (0, 1)
    sweep.release(lock_of_dead)  # as the system does when a process dies
    assert main(sweep, "--trials", "4", "--jobs", "2") == 0
    assert sorted(trainings.seeds) == [1000, 1002, 1003]
    assert "left" not in capsys.readouterr().err
    sweep.release(lock_of_alive)
    assert main(sweep, "--trials", "4") == 0
    assert trainings.seeds[3:] == [1001]
    found = rows(tmp_path)
    assert [row["trial"] for row in found] == ["0", "1", "2", "3"]
    for trial in (dead, alive):
        assert found[trial.number]["pi_lr"] == f"{trial.params['pi_lr']:.6g}"


def test_a_training_that_was_killed_is_left_and_one_whose_settings_fail_is_the_worst(
    sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings = Trainings(monkeypatch, lambda config: 5.0)
    trainings.codes = {1001: [3], 1002: [-9]}
    assert main(sweep, "--trials", "4") == 3
    assert "1 of 4 trials are left; go on with: " in capsys.readouterr().err
    assert main(sweep, "--trials", "4") == 0
    assert trainings.seeds == [1000, 1001, 1002, 1003, 1002]
    assert [row["state"] for row in rows(tmp_path)] == ["complete", "fail", "complete", "complete"]
    results = importlib.import_module("sweep_results")
    assert list(results.returns_of([{"return": "3"}, {"return": "nan"}, {"return": "1"}])) == [3, 1, 1]
    assert list(results.returns_of([{"return": "3"}, {"return": "nan"}], random=-2)) == [3, -2]


def test_a_trial_below_the_median_is_pruned_while_it_trains(
    sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = Trainings(monkeypatch, lambda config: 1.0)
    ended: list[bool] = []

    class Process:
        def __init__(self) -> None:
            self.stdin, self.closed = self, threading.Event()

        def close(self) -> None:
            self.closed.set()

    def train(words: list[str], running: Any) -> pool.Ending:
        if words[words.index("--seed") + 1] != "1010":
            return trainings(words, running)
        running[0] = process = Process()
        trainings.write(words, [0.5] * 4, False)
        ended.append(process.closed.wait(10))
        return pool.Ending(143, "")

    monkeypatch.setattr(pool, "train_apart", train)
    assert main(sweep, "--trials", "12", "--prune") == 0
    assert ended == [True]
    found = rows(tmp_path)
    assert [row["state"] for row in found] == ["complete"] * 10 + ["pruned", "complete"]
    assert found[10]["return"] == "0.5"
    assert "--seed 1010" in found[10]["command"]


def test_returns_are_read_at_tenths_of_the_budget(sweep: Any, tmp_path: Path) -> None:
    lines = ["TotalEnvInteracts\tAverageEpRet", "15\t1", "25\tnan", "38\t3", "40\t4", "57\t5"]
    (tmp_path / "progress.txt").write_text("\n".join(lines) + "\n")
    assert sweep.at_tenths(tmp_path, 100) == {2: 1, 3: 1, 4: 4, 5: 4}


@pytest.mark.filterwarnings("ignore:Argument ``normalize``")
def test_the_setting_that_decides_is_the_most_important(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    results = importlib.import_module("sweep_results")
    monkeypatch.setattr(results, "SHUFFLES", 40)
    study = optuna.create_study(sampler=sweep.RandomSearch())
    axes = [sweep.axis_of("ppo", "CartPole-v1", text) for text in SEARCH[1:]]
    for _ in range(60):
        trial = study.ask()
        for axis in axes:
            axis.draw(trial)
        study.tell(trial, 0.0)
    returns = np.array([-abs(math.log10(trial.params["1-gamma"]) + 2) for trial in study.trials])
    weights = results.importances(study, returns)
    assert next(iter(weights)) == "1-gamma"
    assert weights["1-gamma"].share > 0.5
    assert weights["1-gamma"].chance == 0
    assert min(weights[name].chance for name in ("pi_lr", "hidden_sizes", "train_iters")) > 0.05
    assert sum(each.share for each in weights.values()) == pytest.approx(1)


def test_sensitivity_counts_from_random_play() -> None:
    results = importlib.import_module("sweep_results")
    # From -100 to 0, 90% of the way is -10.
    first, second = results.sensitivity(np.array([-200.0, -11, -10, 0]), -100.0)
    assert first == "50% of 4 random configurations come 90% of the way from -100, random play, to 0, the best."
    assert second == "Quantiles of their returns: 0% -200, 10% -143.3, 25% -58.25, 50% -10.5, 75% -7.5, 90% -3, 100% 0"
    assert results.sensitivity(np.array([0.0, 89, 100]), math.nan)[0].startswith("33% of 3 ")


def test_the_figure_has_a_panel_for_each_setting_the_most_important_first(
    sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(
        "rlsuite.figures.style.save_figure", lambda fig, path: figures.append(fig) or save_figure(fig, path)
    )
    Trainings(monkeypatch, lambda config: config.pi_lr)
    monkeypatch.setattr(sweep, "draw", importlib.import_module("sweep_results").draw)
    assert main(sweep, "--trials", "8") == 0
    assert (tmp_path / "data" / "sweep_ppo_CartPole-v1.png").read_bytes().startswith(b"\x89PNG")
    importance, distribution, *panels, _, _ = figures[0].axes
    titles = {ax.get_title(loc="left").split(" · ")[0]: ax for ax in panels}
    scales = {"pi_lr": "log", "1-gamma": "log", "hidden_sizes": "linear", "train_iters": "linear"}
    assert {name: ax.get_xscale() for name, ax in titles.items()} == scales
    assert [text.get_text() for text in importance.get_yticklabels()] == [*titles][::-1]
    assert all(ax.lines[-1].get_linestyle() == ":" and set(ax.lines[-1].get_ydata()) == {-0.5} for ax in panels)
    complete = titles["pi_lr"].lines[0]
    assert list(complete.get_xdata()) == pytest.approx(list(complete.get_ydata()))
    assert list(distribution.lines[0].get_ydata()) == sorted(complete.get_ydata(), reverse=True)
    low, high = titles["1-gamma"].get_xlim()
    assert low < 0.001 < 0.1 < high


@pytest.mark.slow
def test_a_whole_sweep_that_is_killed_and_started_again(tmp_path: Path, python: Any) -> None:
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    small = ["--steps-per-epoch", "100", "--num-envs", "1", "--rollout-len", "50", "--test-episodes", "1"]
    words = ["experiments/sweep.py", *WORDS, *small, "--search", "pi_lr=1e-4..1e-2:log", "--trials", "2"]
    folder = tmp_path / "data" / "sweep_ppo_CartPole-v1"
    first = subprocess.Popen([sys.executable, *words], cwd=tmp_path, env=source_environment())
    while not list(folder.glob("*/*/checkpoint/epoch_*")):
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    result = python(tmp_path, *words)
    assert result.returncode == 0, result.stderr
    assert len(list(folder.glob("trial_000/*/config.json"))) == 1
    found = rows(tmp_path)
    assert [row["state"] for row in found] == ["complete"] * 2
    for row in found:
        (saved,) = folder.glob(f"trial_00{row['trial']}/*/result.json")
        assert float(row["return"]) == pytest.approx(json.loads(saved.read_text())["AverageEpRet"], abs=1e-4)
    assert "come 90% of the way from" in result.stdout
