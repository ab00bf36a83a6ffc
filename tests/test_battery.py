"""The battery: what it trains, and what it says of returns that are worse than the kept ones."""

import sys
from pathlib import Path
from typing import Any

import pytest

import rlsuite
from rlsuite.run import jobs_of

EXPERIMENTS = Path(rlsuite.__file__).parents[1] / "experiments"


@pytest.fixture
def battery(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    import battery

    yield battery
    for name in ("battery", "tables"):
        sys.modules.pop(name, None)


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
