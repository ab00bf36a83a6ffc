"""The battery: what it trains, and what it says of returns that are worse than the kept ones or than published ones."""

import csv
import importlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlsuite
from rlsuite.errors import UserError
from rlsuite.run import jobs_of
from rlsuite.rundir.references import read_references, settings_digest

EXPERIMENTS = Path(rlsuite.__file__).parents[1] / "experiments"
MODULES = ("battery", "cells", "curves", "full", "published", "tables")


@pytest.fixture
def battery(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    import battery

    yield battery
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def full(battery: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The whole battery, in a folder of its own."""
    full, published = importlib.import_module("full"), importlib.import_module("published")
    monkeypatch.setattr(full, "ROOT", tmp_path)
    monkeypatch.setattr(full, "LINES", tmp_path / "results.csv")
    monkeypatch.setattr(published, "PAGE", tmp_path / "results.md")
    monkeypatch.setattr(published, "README", tmp_path / "README.md")
    monkeypatch.chdir(tmp_path)
    return full


def lines_of(full: Any, name: str, returns: list[float], **changed: str) -> list[dict[str, str]]:
    """A line that is as good as new for each seed of a cell."""
    (cell,) = full.chosen([name])
    lines = []
    for seed, ret in enumerate(returns):
        values = (name, cell.algo, cell.environment, f"{seed}", f"{cell.budget}", f"{ret}", "1", "100", "360")
        made = (full.stamp(cell.algo), full.preset_stamp(cell), "abc", full.Training(cell, seed).command)
        lines.append(dict(zip(full.COLUMNS, (*values, *made), strict=True)) | changed)
    return lines


def rows(commit: str = "abc", **cells: list[float]) -> list[dict[str, str]]:
    """A line for each return, as `results` makes them."""
    return [
        {"algorithm": algo, "environment": "CartPole-v1", "seed": f"{seed}", "return": f"{ret}", "commit": commit}
        for algo, returns in cells.items()
        for seed, ret in enumerate(returns)
    ]


def test_every_cell_is_a_training_that_there_is(battery: Any) -> None:
    runs = battery.runs_of(2)
    assert len(runs) == 2 * len(battery.SMALL)
    assert {run.algo for run in runs} >= {"vpg", "a2c", "trpo", "ppo", "dqn", "ddpg", "td3", "sac", "cem", "random"}
    assert len({run.command for run in runs}) == len(runs)
    for run in runs[: len(battery.SMALL)]:
        (job,) = jobs_of(run.words)
        assert (job.config.env, job.config.seed) == (run.env, run.seed)


def test_a_cell_that_is_worse_is_named_and_chance_is_not(battery: Any) -> None:
    old = rows(ppo=[500, 490, 495, 500, 498], dqn=[200, 300, 250, 260, 240], random=[22, 23, 21, 22, 22])
    new = rows("def", ppo=[400, 410, 395, 405, 400], dqn=[310, 190, 255, 270, 230], random=[9, 9, 9, 9, 9])
    lines, worse = battery.comparison(old, new)
    assert worse
    assert lines[0] == "kept: of commit abc; now: of commit def"
    assert lines[-1] == "worse: ppo CartPole-v1"
    assert [line.split()[0] for line in lines[1:-1]] == ["ppo", "dqn"]
    assert battery.comparison(new, old)[1] is False
    assert battery.comparison(old, old)[1] is False


def test_cells_that_only_one_side_has_are_not_compared(battery: Any) -> None:
    lines, worse = battery.comparison(rows(ppo=[1, 2, 3]), rows(ppo=[1, 2, 3], dqn=[1, 2, 3]))
    assert (len(lines), worse) == (3, False)


def test_the_table_says_when_commits_are_mixed(battery: Any) -> None:
    mixed = [*rows("a" * 40, ppo=[1.0, 2.0]), *rows("b" * 40 + "+", dqn=[1.0])]
    assert "of several commits, so cells may differ for that reason: aaaaaaa, bbbbbbb+" in battery.table(mixed)[-1]
    assert battery.table(rows(ppo=[1.0, 2.0, 6.0]))[1].split() == [
        *("ppo", "CartPole-v1", "3", "3", "-3.572", "9.572"),  # 3 ± 4.3027 · 2.6458 / √3
        *("1", "2", "6"),
    ]


def test_a_line_for_each_finished_run(battery: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery, "ROOT", tmp_path)
    monkeypatch.setattr(battery, "SMALL", [("random", "CartPole-v1", "--total-steps 400 --test-episodes 2")])
    monkeypatch.setattr(battery, "FIGURE", tmp_path / "battery.png")
    monkeypatch.chdir(tmp_path)
    runs = battery.runs_of(2)
    assert battery.train(runs, 2) == 0
    found = battery.results(runs)
    assert [(row["algorithm"], row["seed"], row["env steps"]) for row in found] == [
        ("random", "0", "400"),
        ("random", "1", "400"),
    ]
    assert all(float(row["return"]) > 0 and row["commit"] and "torch" in row["versions"] for row in found)
    assert battery.results(battery.runs_of(3)) == found
    battery.draw([*found, *rows(ppo=[30.0, 40.0, 50.0])])
    assert (tmp_path / "battery.png").stat().st_size > 5000


# ---- the whole battery


def test_each_cell_is_a_training_with_settings_that_there_are_and_cheap_ones_come_first(full: Any) -> None:
    cells = full.CELLS
    assert len({cell.name for cell in cells}) == len(cells) > 90
    assert [cell.hours for cell in cells] == sorted(cell.hours for cell in cells)
    for cell in cells:
        (job,) = jobs_of(full.Training(cell, 7).words)
        place = full.chosen([cell.name])[0] and importlib.import_module("cells").PLACES[cell.place]
        assert (job.config.env, job.config.env_kwargs, job.config.seed) == (place.env, place.kwargs, 7)
        assert job.config.total_steps == cell.budget > 0
        assert job.launch.test_episodes == (500 if "FrozenLake" in cell.name or cell.algo == "random" else 100)
    assert {cell.seeds for cell in cells if cell.name.endswith("-1M")} == {1}


def test_only_chooses_a_cell_of_that_name_or_all_with_that_word(full: Any) -> None:
    assert [cell.name for cell in full.chosen(["sac_HalfCheetah-v5"])] == ["sac_HalfCheetah-v5"]
    assert {cell.place for cell in full.chosen(["FrozenLake"])} == {"FrozenLake-v1"}
    assert full.chosen([]) == full.CELLS
    with pytest.raises(UserError, match="--only NoSuch: no cell"):
        full.chosen(["NoSuch"])


def test_a_stamp_changes_with_the_code_and_not_with_what_is_said_of_it(full: Any, tmp_path: Path) -> None:
    package = tmp_path / "package"
    for folder in ("algos", "common", "envs", "figures"):
        (package / folder).mkdir(parents=True)

    def stamp(file: str, text: str) -> str:
        (package / file).write_text(text)
        full.stamp.cache_clear()
        value: str = full.stamp("x", package)
        return value

    stamp("algos/x.py", "def f(a):\n    return a + 1\n")
    stamp("envs/e.py", "E = 1\n")
    first = stamp("common/c.py", "class C:\n    b: int = 2\n")
    said = '"""C."""\n# a comment\nclass C:\n    """It."""\n\n    b: int = 2  # two\n    """Two\n    lines."""\n'
    assert stamp("common/c.py", said) == first
    assert stamp("algos/y.py", "other = 1\n") == stamp("figures/z.py", "other = 1\n") == first
    assert stamp("common/c.py", "class C:\n    b: int = 3\n") != first
    assert stamp("common/c.py", said) == first
    assert stamp("envs/e.py", "E = 2\n") != first
    assert stamp("envs/e.py", "E = 1\n") == first
    assert stamp("algos/x.py", "def f(a):\n    return a - 1\n") != first
    assert stamp("algos/x.py", "def f(a):\n    return a + 1\n") == first == "047828e5"  # under any version of Python
    full.stamp.cache_clear()


def test_a_line_replaces_that_of_the_same_cell_and_seed_and_no_other(full: Any) -> None:
    full.publish(lines_of(full, "ppo_CartPole-v1", [400.0, 500.0]))
    full.publish(lines_of(full, "cem_CartPole-v1", [100.0]))
    full.publish(lines_of(full, "ppo_CartPole-v1", [450.0]))
    full.publish([])
    with full.LINES.open(newline="") as file:
        lines = [(line["cell"], line["seed"], line["return"]) for line in csv.DictReader(file)]
    assert lines == [
        ("cem_CartPole-v1", "0", "100.0"),
        ("ppo_CartPole-v1", "0", "450.0"),
        ("ppo_CartPole-v1", "1", "500.0"),
    ]


def test_stale_is_what_other_code_another_preset_or_other_settings_have_made(full: Any) -> None:
    (line,) = lines_of(full, "ppo_CartPole-v1", [500.0])
    assert full.stale(line) == full.stale(line | {"commit": "def", "return": "1"}) == ""
    changes = {"stamp": "code", "preset": "preset", "command": "settings", "cell": "cell"}
    assert {column: full.stale(line | {column: "other"}) for column in changes} == changes
    full.publish([line])
    wanted = full.trainings(full.chosen(["ppo_CartPole-v1"]), 2)
    assert [training.seed for training in full.left(wanted)] == [1]
    full.publish([line | {"stamp": "other"}])
    assert [training.seed for training in full.left(wanted)] == [0, 1]


def test_runs_are_trained_once_and_have_a_line_each(
    full: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = full.chosen(["random_CartPole-v1"])[0]._replace(seeds=2, steps=400)
    monkeypatch.setattr(full, "CELLS", [cell])
    wanted = full.trainings([cell])
    assert full.train(wanted, 2) == 0
    before = full.read_lines()
    assert [(line["cell"], line["seed"], line["env steps"], line["episodes"]) for line in before] == [
        ("random_CartPole-v1", "0", "400", "500"),
        ("random_CartPole-v1", "1", "400", "500"),
    ]
    assert [full.stale(line) for line in before] == ["", ""]
    full.LINES.unlink()  # as if the battery had been killed before it could write
    assert full.train(wanted, 2) == 0
    assert full.read_lines() == before
    assert "2 of 2 runs are finished" in capsys.readouterr().out
    assert len(list((full.ROOT / full.RUNS).glob("*/*_s*"))) == 2


def test_a_run_that_was_interrupted_goes_on(full: Any) -> None:
    (training,) = full.trainings(full.chosen(["ppo_FrozenLake-v1"]), 1)
    run = full.ROOT / full.RUNS / training.cell.name / "2026-01-01_00-00-00_s0"
    (run / "checkpoint" / "epoch_3").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"command": training.command}))
    assert full._task(training).words == [
        "--resume",
        f"{run.relative_to(full.ROOT)}",
        "--test-episodes",
        "500",
        "--quiet",
    ]
    (run / "error.json").write_text("{}")
    assert full._task(training).words == [*training.words, "--job", "1"]  # it would fail again
    (run / "error.json").unlink()
    (run / "config.json").write_text(json.dumps({"command": "of other code"}))
    assert full._task(training).words == [*training.words, "--job", "1"]


def test_a_cell_passes_from_98_percent_of_the_way_from_random_play_to_its_reference(full: Any) -> None:
    published = importlib.import_module("published")
    random = lines_of(full, "random_CartPole-v1", [20.0])  # reference 500: 20 + 0.98 · 480 = 490.4

    def result(name: str, returns: list[float]) -> Any:
        return published.results([*random, *lines_of(full, name, returns)])[name]

    assert [result("ppo_CartPole-v1", [ret] * 10).passed for ret in (490.5, 490.3)] == [True, False]
    assert result("ppo_CartPole-v1", [490.5] * 9).passed is None  # a seed is missing
    assert result("ppo_CartPole-v1", [500.0, 260.0]).score == pytest.approx(0.75)
    assert result("vpg_CartPole-v1", [500.0] * 10).passed is None  # nobody publishes one
    made = result("ppo_CartPole-v1", [500, 480, 490, 500, 20, 490, 500, 480, 490, 500])
    assert (made.mean.value, min(made.returns), made.random, made.whole) == (445, 20, 20, True)
    assert made.iqm == pytest.approx((480 + 490 * 3 + 500 * 2) / 6)  # without the two lowest and the two highest
    assert made.mean.low < 445 < made.mean.high
    assert published.results(lines_of(full, "ppo_CartPole-v1", [500.0]))["ppo_CartPole-v1"].random == 25.9
    repeated = result("sac_MountainCarContinuous-v0", [95.0] * 10)
    assert repeated.steps * 8 > repeated.cell.reference.steps > repeated.steps
    assert published.verdict(repeated) == "yes ‡"
    assert published.verdict(result("ddpg_HalfCheetah-v5", [7000.0] * 3)) == "no §"
    mixed = lines_of(full, "ppo_CartPole-v1", [500.0, 500.0, 0.0])
    mixed[2]["stamp"] = "other"
    made = published.results([*random, *mixed])["ppo_CartPole-v1"]
    assert (made.returns, made.changed) == ([500, 500], [])  # a stale seed is not averaged with new ones


def test_the_page_and_the_table_say_what_passes_what_is_stale_and_what_is_left_out(
    full: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = importlib.import_module("published")
    monkeypatch.setitem(published.NOTES, "dqn_CartPole-v1", "seed 1 fell.")
    lines = [
        *lines_of(full, "random_CartPole-v1", [20.0]),
        *lines_of(full, "ppo_CartPole-v1", [500.0] * 10),
        *lines_of(full, "dqn_CartPole-v1", [500.0] * 9 + [20.0], stamp="other"),
        *lines_of(full, "vpg_CartPole-v1", [500.0, 490.0]),
        *lines_of(full, "ppo_Pendulum-v1", [-160.0] * 10),
        *lines_of(full, "a2c_Pendulum-v1", [-160.0] * 3),
    ]
    (full.ROOT / "README.md").write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    published.write(lines)
    page, readme = (full.ROOT / "results.md").read_text(), (full.ROOT / "README.md").read_text()
    assert "**2 of 2 cells pass**" in page
    assert "5 of 89 cells have been run, in 3.6 hours" in page  # 36 runs of 360 seconds
    assert "† stale: code changed since" in page
    rows = {
        line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in page.splitlines() if "|" in line
    }
    assert rows["dqn †"][1:7] == ["50,000", "10", "452.0", "308.0 to 500.0", "500.0", "20.0"]
    assert rows["dqn †"][8:] == ["20.0", "500 (Zoo, 50,000 steps)", "0.900", "no"]
    assert (rows["vpg"][2], rows["vpg"][9:]) == ("2 of 10, few", ["none", "–", "–"])
    assert rows["a2c"][2] == "3 of 10, few"
    assert rows["ppo"][-1] == "yes ‡"  # of Pendulum, with more steps than the reference
    assert "- dqn †: seed 1 fell." in page
    left_out = page.split("## Left out")[1]
    assert "- a2c_CartPole-v1: " in left_out
    assert "dqn_CartPole-v1" not in left_out
    assert readme.startswith("before\n<!-- results -->\n| algorithm | environment |")
    assert readme.endswith("<!-- end of results -->\nafter\n")
    assert "| dqn † | CartPole-v1 | 50,000 | 10 | 452.0 | 20.0 | 20.0 | 500 (Zoo) | no |" in readme
    assert "| vpg | CartPole-v1 | 500,000 | 2 of 10 | 495.0 | 490.0 | 20.0 | – | – |" in readme
    published.write([])
    assert "No line yet" in (full.ROOT / "README.md").read_text()


def test_curves_are_kept_of_cells_that_pass_and_whose_seeds_are_all_there(full: Any, tmp_path: Path) -> None:
    curves, published = importlib.import_module("curves"), importlib.import_module("published")
    path, name = tmp_path / "curves.csv", "cem_CartPole-v1"
    lines = lines_of(full, name, [500.0] * 10)
    for line in lines:
        run = full.ROOT / full.RUNS / name / f"2026-01-01_00-00-00_s{line['seed']}"
        run.mkdir(parents=True)
        config = {"command": line["command"], "algo": "cem", "env": "CartPole-v1", "seed": int(line["seed"])}
        (run / "config.json").write_text(json.dumps(config))
        rows = [f"{100 * step}\t{step + 0.1 * int(line['seed'])}" for step in range(1, 121)]
        (run / "progress.txt").write_text("\n".join(["TotalEnvInteracts\tAverageEpRet", *rows]) + "\n")
    curves.write_curves(published.results(lines), path)
    (reference,) = read_references(path)
    assert (reference.cell, reference.algo, reference.env, reference.runs) == (name, "cem", "CartPole-v1", 10)
    assert reference.settings == settings_digest({**config, "seed": 3})
    assert len(reference.steps) == 50
    np.testing.assert_allclose(reference.mean, reference.steps / 100 + 0.45, rtol=1e-4)
    width = 2.2622 * math.sqrt(10 * 0.01 * 8.25 / 9 / 10)  # t of 9 degrees of freedom · s / √10
    np.testing.assert_allclose(reference.mean - reference.low, width, atol=0.006)
    pages = curves.draw_pages(published.results(lines), lines, tmp_path / "pages")
    assert [page.name for page in pages] == ["CartPole-v1.png"]
    kept = path.read_text()
    for run in (full.ROOT / full.RUNS / name).iterdir():
        (run / "config.json").write_text("{}")  # the runs are elsewhere
    curves.write_curves(published.results(lines), path)
    assert path.read_text() == kept
    curves.write_curves(published.results(lines_of(full, name, [100.0] * 10)), path)
    assert len(path.read_text().splitlines()) == 1
    curves.write_curves(published.results(lines[:9]), path)
    assert len(path.read_text().splitlines()) == 1


def test_flags_of_the_other_battery_are_one_line(
    battery: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (["--full", "--keep"], "--compare and --keep go with --small"),
        (["--small", "--count"], "--compare and --keep go with --small"),
        (["--full", "--only", "NoSuch"], "--only NoSuch: no cell"),
        (["--full", "--seeds", "0"], "--seeds and --jobs take"),
    ):
        monkeypatch.setattr("sys.argv", ["battery.py", *words])
        with pytest.raises(SystemExit) as end:
            battery.main()
        assert end.value.code == 2
        assert said in capsys.readouterr().err


def test_tables_and_pages_train_nothing_and_part_of_the_battery_writes_no_tables(
    battery: Any, full: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    published, curves = importlib.import_module("published"), importlib.import_module("curves")
    monkeypatch.setattr(battery, "ROOT", full.ROOT)
    monkeypatch.setattr(full, "train", lambda wanted, jobs: done.append("train") or 0)
    monkeypatch.setattr(published, "write", lambda lines: done.append("tables"))
    monkeypatch.setattr(curves, "write_curves", lambda results: done.append("curves"))
    asked = {"--table": "tables curves", "--pages x": "", "--count": "", "--only a2c_CartPole-v1": "train"}
    for words, expected in {**asked, "": "train tables curves"}.items():
        done.clear()
        monkeypatch.setattr("sys.argv", ["battery.py", "--full", *words.split()])
        assert battery.main() == 0
        assert done == expected.split(), words


def test_count_says_the_hours_that_are_left(full: Any) -> None:
    (cell,) = full.chosen(["ddpg_Pendulum-v1"])
    full.publish(lines_of(full, "ddpg_Pendulum-v1", [-150.0] * 4))  # 360 seconds each, so 6 are 0.6 hours
    lines = full.count(full.trainings([cell]))
    assert lines == [f"{cell.name:<34}   6 runs    0.60 h", "1 cells, 6 runs, 0.6 hours of one core"]
