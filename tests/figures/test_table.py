"""The table of groups, against numbers worked out by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rlsuite.analysis.statistics import bootstrap_interval
from rlsuite.errors import UserError
from rlsuite.figures.table import area_under_curve, csv_of, lines_of, tabulate
from rlsuite.rundir.runs import group_by_settings

nan = np.nan
MakeRun = Callable[..., Path]


def test_a_row_per_group(tmp_path: Path, make_run: MakeRun) -> None:
    finals = [1.0, 2.0, 6.0]
    runs = [make_run(tmp_path / f"a{s}", {"AverageEpRet": [0, 9 + s, v]}, seed=s) for s, v in enumerate(finals)]
    runs.append(make_run(tmp_path / "b", {"AverageEpRet": [4, nan, 5]}, pi_lr=2))
    runs.append(make_run(tmp_path / "c", {"AverageEpRet": [nan] * 3}, pi_lr=3))
    first, second, third = tabulate(group_by_settings(runs))
    width = 4.302652729911275 * (7 / 3) ** 0.5
    area = np.mean([(0 + 2 * (9 + s) + v) / 4 for s, v in enumerate(finals)])
    assert first[1:] == pytest.approx((3, 3, 3 - width, 3 + width, 11, area, nan), nan_ok=True)
    assert second[1:] == pytest.approx((1, 5, nan, nan, 5, 4.5, nan), nan_ok=True)
    assert third[1:] == pytest.approx((0, nan, nan, nan, nan, nan, nan), nan_ok=True)


def test_the_final_return_is_that_of_the_test_episodes(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "a", {"AverageTestEpRet": [7, 1, 1]})
    (row,) = tabulate(group_by_settings([run]))
    assert (row.final, row.best, row.area) == (1, 7, 2.5)
    (run / "result.json").write_text(json.dumps({"AverageEpRet": 50.0, "StdEpRet": 0.0}))
    (row,) = tabulate(group_by_settings([run]))
    assert (row.final, row.best, row.area) == (50, 7, 2.5)


def test_from_ten_runs_on_the_interval_is_from_the_bootstrap(tmp_path: Path, make_run: MakeRun) -> None:
    finals = [float(seed**2) for seed in range(10)]
    runs = [make_run(tmp_path / f"{s}", {"AverageEpRet": [0, 0, v]}, seed=s) for s, v in enumerate(finals)]
    (row,) = rows = tabulate(group_by_settings(runs))
    assert (row.low, row.high) == bootstrap_interval(np.array(finals)[:, None])
    assert "from, to: 95% t-interval of that mean; from 10 runs on by bootstrap" in lines_of(rows)


def test_a_damaged_run_is_not_left_out_without_a_word(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    (runs[1] / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"b: result.json is not valid JSON"):
        tabulate(group_by_settings(runs))


def test_random_play_has_a_column_where_a_run_knows_it(tmp_path: Path, make_run: MakeRun) -> None:
    groups = group_by_settings([make_run(tmp_path / f"{s}", seed=s, random_play={"return": 4 * s}) for s in (1, 2)])
    (row,) = tabulate(groups)
    assert row.random == 6
    head, line, *_, last = lines_of([row])
    assert (head.split()[-1], line.split()[-1]) == ("random", "6")
    assert last == "random: mean return of random play at the start"


def test_the_area_is_weighted_by_steps() -> None:
    log = {"TotalEnvInteracts": np.array([0.0, 1, 11]), "AverageEpRet": np.array([0.0, 2, 4])}
    assert area_under_curve(log) == pytest.approx((1 * 1 + 3 * 10) / 11)
    assert area_under_curve({name: column[:1] for name, column in log.items()}) == 0
    assert np.isnan(area_under_curve({}))


def test_lines_and_csv(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / f"a{s}", {"AverageEpRet": [0, 0, 1e5 + s]}, seed=s) for s in range(3)]
    rows = tabulate(group_by_settings([*runs, make_run(tmp_path / "b", exp_name="b, c")]))
    lines = lines_of(rows)
    assert [line.split()[:3] for line in lines[:2]] == [["group", "n", "final"], ["exp", "3", "100000"]]
    assert lines[2].split() == ["b,", "c", "1", "30", "-", "-", "30", "20"]
    assert "from, to: 95% t-interval of that mean; fewer than 3 runs: no interval; fewer than 5 runs are few" in lines
    header, first, second = csv_of(rows).splitlines()
    assert header == "group,n,final,low,high,best,area,random"
    assert [float(cell) for cell in first.split(",")[1:-1]] == pytest.approx(rows[0][1:-1])
    assert second == '"b, c",1,30.0,,,30.0,20.0,'
