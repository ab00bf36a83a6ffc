"""The experiments, as far as they can be tried in a second: what they train takes hours."""

import csv
import importlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlsuite.figures.style import save_figure

ROOT = Path(__file__).parents[1]


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import one of the scripts."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module


@pytest.fixture
def speed(experiment: Callable[[str], Any]) -> Any:
    return experiment("speed")


def test_each_row_of_the_speed_table_has_settings_that_its_algorithm_takes(speed: Any) -> None:
    for row in speed.ROWS:
        config = importlib.import_module(f"rlsuite.algos.{row.algo}").Config
        config(env=row.env, total_steps=row.steps, **row.ours)


def test_two_checkouts_are_compared_by_the_ratio_within_a_round(speed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine becomes ten times as fast in the second round: the medians of either side say nothing then."""
    calls: list[Path] = []

    def run_checkout(checkout: Path, row: Any) -> float:
        calls.append(checkout)
        machine = 10 if len(calls) > 2 else 1
        return machine * (3.0 if checkout == speed.ROOT else 2.0)

    monkeypatch.setattr(speed, "run_checkout", run_checkout)
    other = Path("/other")
    (line,) = speed.compare(speed.ROWS[:1], other, rounds=2)
    assert line["this / other"] == "1.50"
    assert calls == [speed.ROOT, other, other, speed.ROOT]


def test_the_parts_of_a_training_add_up_and_the_clock_leaves_nothing_behind(speed: Any, tmp_path: Path) -> None:
    from rlsuite.envs.stepping import Envs

    row = speed.ROWS[0]._replace(steps=1024)
    before = Envs.step
    with speed.clocked(row.algo) as clock:
        during, begun = Envs.step, time.perf_counter()
        speed.run_ours(row)
        seconds = time.perf_counter() - begun
    assert Envs.step is before is not during
    assert sum(clock.seconds.values()) >= seconds  # each second belongs to one part
    assert sum(speed.shares(clock).values()) == pytest.approx(1)
    assert {"environment", "acting", "learning", "optimiser", "health", "files"} <= set(speed.shares(clock))


def test_the_figure_of_the_scaling_is_drawn_from_its_table(
    tmp_path: Path, experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scaling = experiment("scaling")
    shutil.copy(ROOT / "data" / "scaling.csv", tmp_path)
    monkeypatch.setattr(scaling, "DATA", tmp_path)
    monkeypatch.setattr("sys.argv", ["scaling.py", "--draw"])
    figures: list[Any] = []
    monkeypatch.setattr(scaling, "save_figure", lambda fig, path: figures.append(fig) or save_figure(fig, path))
    scaling.main()
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    with (ROOT / "data" / "scaling.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if "speed-up" in row["what"]]
    drawn = []
    for ax in figures[0].axes:
        ideal, *lines = ax.lines
        assert list(ideal.get_xdata()) == list(ideal.get_ydata())
        assert len({line.get_color() for line in lines} | {ideal.get_color()}) == 5
        drawn += [(ax.get_title(loc="left"), list(line.get_ydata())) for line in lines]
    links = ("this machine", "10 Gbit/s, assumed")
    expected = [
        (link, [float(row["model"]) for row in rows if row["what"].startswith(f"{network}; {link}:")])
        for link in links
        for network in scaling.NETWORKS
    ]
    assert drawn == expected
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == list(scaling.NETWORKS)


@pytest.mark.skipif(sys.platform != "linux", reason="as the experiment")
def test_faults_of_pools_are_counted(
    tmp_path: Path, train: Callable[..., Path], experiment: Callable[[str], Any]
) -> None:
    """Epochs lost, a run in two folders, a finished run that is trained once more, other weights, and none of these."""
    faults = experiment("pool_faults")
    whole = {0: [train(tmp_path / "whole", "ppo", steps_per_epoch=128)]}

    def found(change: Callable[[Path], Any]) -> dict[str, int]:
        folder = tmp_path / change.__name__
        run = folder / "ppo" / "first"
        shutil.copytree(whole[0][0], run)
        memory = faults.Memory()
        memory.look(folder)
        change(run)
        return {name: count for name, count in memory.compare(folder, whole).items() if count}

    def nothing(run: Path) -> None:
        pass

    def lose_two(run: Path) -> None:
        (run / "result.json").unlink()
        (run / "progress.txt").write_text("\n".join((run / "progress.txt").read_text().split("\n")[:-3]) + "\n")

    def begin_another(run: Path) -> None:
        (run.parent / "second").mkdir()
        shutil.copy(run / "config.json", run.parent / "second")

    def train_once_more(run: Path) -> None:
        lines = (run / "progress.txt").read_text().split("\n")
        column = lines[0].split("\t").index("Time")
        cells = lines[1].split("\t")
        cells[column] = "1000"
        (run / "progress.txt").write_text("\n".join([lines[0], "\t".join(cells), *lines[2:]]))

    def train_elsewhere(run: Path) -> None:
        (run / "policy.safetensors").write_bytes(b"other")

    assert found(nothing) == {}
    assert found(lose_two) == {"lost": 2, "twice": 1, "differing": 1}
    assert found(begin_another) == {"twice": 1}
    assert found(train_once_more) == {"twice": 1}
    assert found(train_elsewhere) == {"differing": 1}
    shutil.rmtree(tmp_path / "nothing")
    assert faults.Memory().compare(tmp_path / "nothing", whole)["differing"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="as the experiment")
def test_a_process_that_a_job_leaves_behind_is_found_and_ended(
    tmp_path: Path, experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = experiment("pool_faults")
    monkeypatch.setattr(faults, "GRACE", 0.2)
    job = faults.Job(["sh", "-c", "setsid sleep 100 & exit 3"], tmp_path)
    assert job.wait() == 3
    assert faults.left_behind(tmp_path / "other") == 0
    assert faults.left_behind(tmp_path) == 1
    assert faults.left_behind(tmp_path) == 0


def test_a_part_of_the_faults_replaces_its_lines_in_the_table(tmp_path: Path, experiment: Callable[[str], Any]) -> None:
    faults = experiment("faults")
    result, path = faults.Result, tmp_path / "faults.csv"
    path.write_text("fault,cases,lost,differing,tracebacks,refused\nold,3,0,1,0,2\npool,9,9,9,9,9\nall,12,9,10,9,11\n")
    sums = faults.publish([result("pool", 4, twice=0, left=1)], path, part=True)
    assert sums == result("all", 7, 0, 1, 0, 2, 0, 1)
    lines = ["fault,cases,lost,differing,tracebacks,refused,twice,left", "old,3,0,1,0,2,,", "pool,4,0,0,0,0,0,1"]
    assert path.read_text().splitlines() == [*lines, "all,7,0,1,0,2,0,1"]
    assert faults.publish([result("pool", 4)], path, part=False) == result("all", 4, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def ladder(experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    module = experiment("ladder")
    monkeypatch.setattr(module, "TABLE", tmp_path / "ladder.csv")
    return module


def test_a_fault_counts_if_it_changes_what_is_learned_and_is_caught_where_sound_algorithms_pass(ladder: Any) -> None:
    lines = [
        ("", "", "ppo", "0", "OneStep", "pass", "", "aa", "1"),
        ("", "", "ppo", "0", "Target", "fail", "return 0", "bb", "1"),
        ("caught", "f", "ppo", "0", "OneStep", "fail", "V is off by 1", "cc", "1"),
        ("missed", "f", "ppo", "0", "OneStep", "pass", "", "cc", "1"),
        ("a false alarm", "f", "ppo", "0", "OneStep", "pass", "", "aa", "1"),
        ("a false alarm", "f", "ppo", "0", "Target", "fail", "return 0", "dd", "1"),
        ("of a column", "f", "ppo", "0", "OneStep", "pass", "", "aa", "1"),
        ("of a column", "f", "ppo", "0", "Target", "fail", "return 0", "bb", "1"),
    ]
    with ladder.TABLE.open("w", newline="") as file:
        csv.writer(file).writerows([ladder.COLUMNS, *lines])
    said = ladder.table()
    assert "| ppo | 1 | 1 of 2 | 2 | Target 1 |" in said[0]
    assert said[2] == "1 of 3 faults that change what is learned are found (33%); 1 more change nothing."
    assert said[4].endswith("| OneStep | 1 |")
    assert said[-2:] == ["- missed (f)", "- a false alarm (f)"]


def test_a_fault_is_compared_with_the_sound_algorithm_of_the_same_rung_and_seed(ladder: Any) -> None:
    def row(fault: str, seed: int, rung: str, verdict: str, weights: str) -> dict[str, str]:
        return dict(zip(ladder.COLUMNS, (fault, "f", "ppo", f"{seed}", rung, verdict, "", weights, "1"), strict=True))

    sound = [
        row("", 0, "OneStep", "pass", "aa"),
        row("", 0, "Target", "pass", "bb"),
        row("", 1, "Target", "fail", "cc"),
    ]
    fault = next(fault for fault in ladder.MUTANTS if fault.name.startswith("ppo: max"))
    own = [row(fault.name, 0, "OneStep", "pass", "aa"), row(fault.name, 1, "OneStep", "fail", "dd")]
    task = ladder.Task(fault, "ppo", (0, 1), [*sound, *own])
    assert [task.own(seed) for seed in (0, 1, 2)] == [own[:1], own[1:], []]
    assert [task.changed(each) for each in own] == [False, True]
    assert [task.caught(each) for each in own] == [False, True]
    assert not task.caught(row(fault.name, 0, "Target", "fail", "ee"))  # a sound seed fails it, too
    assert not task._replace(fault=None).caught(own[1])


def test_a_climb_leaves_out_rungs_that_have_their_lines_and_ends_where_a_fault_is_caught(
    ladder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlsuite import probe
    from rlsuite.algos import a2c

    asked: list[list[str]] = []

    def climb(module: Any, seeds: Any, only: list[str]) -> Iterator[Any]:
        asked.append(only)
        for rung in probe.RUNGS:
            if rung.name in only and rung.name in ("OneStep", "Target", "Context"):
                faults = ["return 0"] * (rung.name == "Target")
                yield probe.Result(rung, seeds[0], faults, "", "", 0.0, "")

    monkeypatch.setattr(probe, "climb", climb)
    monkeypatch.setattr(a2c, "train", a2c.train)
    fault = next(fault for fault in ladder.MUTANTS if fault.name.startswith("a2c: the critic has no loss"))
    line = dict(zip(ladder.COLUMNS, (fault.name, "f", "a2c", "0", "OneStep", "pass", "", "", "1"), strict=True))
    task = ladder.Task(fault, "a2c", (0,), [line])
    assert [row["rung"] for row in ladder.rungs(task, 0)] == ["Target"]
    assert "OneStep" not in asked[0]
    rungs = [row["rung"] for row in ladder.rungs(task._replace(fault=None), 0)]
    assert list(dict.fromkeys(rungs)) == ["OneStep", "Target", "Context"]


def test_faults_wait_for_the_sound_algorithm(ladder: Any) -> None:
    with pytest.raises(SystemExit, match="the sound a2c must climb first"):
        ladder.work(list(ladder.tasks(1, "a2c: the critic has no loss", "faults")), 1)


def test_a_fault_is_shown_by_its_algorithm_or_by_one_that_uses_what_it_lies_in(ladder: Any) -> None:
    by_name = {fault.name: ladder.algorithm_of(fault) for fault in ladder.MUTANTS}
    assert by_name["vpg: the critic learns advantages"] == "vpg"
    assert by_name["a2c: the critic's gradient flows into its targets"] == "a2c"  # in common/buffer.py
    assert by_name["replay: the oldest transition is never drawn"] == "dqn"
    assert by_name["rmsprop: a decay of 0.9"] == "a2c"
    assert by_name["squashed samples are not spread over the bounds"] == "sac"
    assert by_name["Bonferroni's correction instead of Holm's"] == ""
    tasks = list(ladder.tasks(2, "sac", "sound"))
    assert [(task.name, task.algo, task.seeds) for task in tasks] == [("", "sac", (0,)), ("", "sac", (1,))]


def test_the_page_about_probes_shows_the_table_of_the_sound_algorithms(experiment: Callable[[str], Any]) -> None:
    lines = experiment("ladder").table()
    table = lines[0]
    assert "| sac | 10 |" in table
    assert table in (ROOT / "docs" / "probes.md").read_text()
