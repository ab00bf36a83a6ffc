"""The door to the table of runs: what it shows, in how much room, and how fast."""

import csv
import json
import math
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rlsuite import runs
from rlsuite.errors import EnvError
from rlsuite.rundir.runs import read_config
from rlsuite.rundir.summaries import Summary, summarize
from tests.conftest import source_environment

CONFIG = {"algo": "ppo", "env": "CartPole-v1", "seed": 0, "total_steps": 200, "lam": 0.95, "note": ""}


def make_run(path: Path, returns: tuple[float, ...] = (10, 30), **config: Any) -> Path:
    """A run with an epoch of 100 steps for each return."""
    path.mkdir(parents=True)
    rows = [f"{i}\t{ret}\t{ret / 10}\t{100 * i}\t{60 * i}\n" for i, ret in enumerate(returns, 1)]
    (path / "progress.txt").write_text("Epoch\tAverageEpRet\tStdEpRet\tTotalEnvInteracts\tTime\n" + "".join(rows))
    (path / "config.json").write_text(json.dumps({**CONFIG, "started": "2026-01-02 03:04:05", **config}))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_run(tmp_path / "exp" / "a", lam=0.95, started="2026-01-01 00:00:00")
    make_run(tmp_path / "exp" / "b", (5,), lam=0.9, seed=1, started="2026-01-03 00:00:00", note="short")
    make_run(tmp_path / "exp" / "c", (), lam=0.95, seed=10, started="2026-01-02 00:00:00")
    (tmp_path / "exp" / "b" / "error.json").write_text('{"error": "LossPi is nan"}')
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, str]]:
    """The rows that the door writes as CSV."""
    assert runs.main([*map(str, words), "--csv"]) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines(keepends=True)))


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert runs.main([*map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("rlsuite: ")


def test_the_table_by_hand(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.main([str(data)]) == 0
    year = datetime.now().year
    start = ["01-01 00:00", "01-02 00:00", "01-03 00:00"] if year == 2026 else [f"2026-01-0{i}" for i in (1, 2, 3)]
    lines = [re.sub("  +", "|", line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "algo|env|seed|lam|state|steps|return|best|started|took|note|run",
        f"ppo|CartPole-v1|0|0.95|finished|200/200|30.0 ± 3.0|30|{start[0]}|2m00s|{data}/exp/a",
        f"ppo|CartPole-v1|10|0.95|stopped|0/200|{start[1]}|{data}/exp/c",
        f"ppo|CartPole-v1|1|0.9|failed: LossPi is nan|100/200|5.00 ± 0.50|5|{start[2]}|1m00s|short|{data}/exp/b",
        "",
        "3 runs: 1 finished, 1 stopped, 1 failed",
    ]


def test_csv_has_all_digits_and_every_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "r", (1, 12.3456789), note='a, "b"\nc')
    (row,) = shown(capsys, tmp_path)
    assert row == {
        **{"algo": "ppo", "env": "CartPole-v1", "seed": "0", "state": "finished", "why": "", "steps": "200"},
        **{"total_steps": "200", "return": "12.3456789", "std": "1.23456789", "best": "12.3456789", "random": ""},
        **{"started": "2026-01-02 03:04:05", "seconds": "120", "note": 'a, "b"\nc', "run": str(run)},
    }


def test_csv_has_a_column_for_each_setting_that_differs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, data)
    assert [row["lam"] for row in rows] == ["0.95", "0.95", "0.9"]
    assert [row["why"] for row in rows] == ["", "", "LossPi is nan"]
    assert [row["return"] for row in rows] == ["30", "", "5"]
    assert list(rows[0])[2:5] == ["seed", "lam", "state"]


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["lam=0.95"], "ac"),
        (["lam=.950"], "ac"),
        (["lam=0.95", "state=finished"], "a"),
        (["algo=ppo", "seed=1"], "b"),
        (["algo=PPO"], "acb"),
        (["total-steps=2e2"], "acb"),
        (["state=failed"], "b"),
        (["note=short"], "b"),
        (["lam=0.95", "lam=0.9"], ""),
    ],
)
def test_where(data: Path, conditions: list[str], names: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert [Path(row["run"]).name for row in shown(capsys, data, "--where", *conditions)] == list(names)


def test_where_several_values_may_be_asked_for_without_brackets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "a", hidden_sizes=[64, 64])
    make_run(tmp_path / "b", hidden_sizes=[64])
    assert len(shown(capsys, tmp_path, "--where", "hidden_sizes=64,64")) == 1
    assert len(shown(capsys, tmp_path, "--where", "hidden_sizes=[64, 64]")) == 1


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "acb"),
        (["--reverse"], "bca"),
        (["--sort", "seed"], "abc"),
        (["--sort", "lam"], "bac"),
        (["--sort", "return"], "bac"),
        (["--sort", "return", "--reverse"], "abc"),
        (["--sort", "run"], "abc"),
        (["--sort", "note"], "bac"),
    ],
)
def test_sort_puts_the_smallest_first_and_what_is_missing_last(
    data: Path, words: list[str], names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [Path(row["run"]).name for row in shown(capsys, data, *words)] == list(names)


def test_bad_arguments_are_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean lam?" in refused(capsys, data, "--sort", "lamb")
    assert "no run has 'zzz'; there are algo, env, " in refused(capsys, data, "--where", "zzz=1")
    assert "conditions such as lam=0.95" in refused(capsys, data, "--where", "lam")
    assert "does not exist" in refused(capsys, data / "nowhere")
    assert "takes one run" in refused(capsys, data, "--note", "x")
    assert "takes one run" in refused(capsys, data / "exp" / "a", data / "exp" / "b", "--note", "x")
    assert "takes one run" in refused(capsys, "--note", "x")
    assert "nothing else" in refused(capsys, data / "exp" / "a", "--note", "x", "--csv")
    assert all(read_config(data / "exp" / name)["note"] != "x" for name in "abc")


def test_nothing_to_show_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.main([str(data), "--where", "lam=0.95", "seed=7"]) == 0
    assert capsys.readouterr().out == "none of 3 runs: lam=0.95 seed=7\n"


@pytest.mark.parametrize("flag", ["--note", "--notes"])
def test_a_note_is_added_changed_and_removed(data: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = data / "exp" / "c"
    for note in ("first", "second", ""):
        assert runs.main([str(run), flag, note]) == 0
        assert read_config(run) == {**CONFIG, "seed": 10, "started": "2026-01-02 00:00:00", "note": note}
        assert note in capsys.readouterr().out
        assert [row["note"] for row in shown(capsys, run)] == [note]


def test_a_run_with_a_new_note_is_resumed_as_before(tmp_path: Path, train: Any) -> None:
    from rlsuite.run import main

    run = train(tmp_path, "ppo", total_steps=256)
    assert runs.main([str(run), "--note", "longer"]) == 0
    assert main(["--resume", str(run), "--total-steps", "512", "--test-episodes", "0"]) == 0
    assert summarize(run)._replace(settings={})[3:7] == ("finished", "", 512, 512)
    assert read_config(run)["note"] == "longer"


def summaries(count: int = 3, **changes: Any) -> list[Summary]:
    return [
        Summary(
            run=Path(f"data/ppo_LunarLander-v3/2026-01-01_00-00-00_s{seed}"),
            settings={"algo": "ppo", "env": "LunarLander-v3", "lam": f"0.9{seed}", "net": "[64, 64, 64, 64, 64, 64]"},
            **{"seed": f"{seed}", "state": "stopped", "why": "", "steps": 99_999.0, "total_steps": 100_000.0},
            **{
                "ret": 12.345,
                "std": 0.5,
                "best": 20.0,
                "random": math.nan,
                "started": datetime(2026, 1, 1),
                "seconds": 4000.0,
            },
            note="is lam to blame, or is it the network that is too large?",
        )._replace(**changes)
        for seed in range(count)
    ]


def test_a_wide_window_shows_all_and_a_narrow_one_what_matters_most() -> None:
    found = summaries()
    whole = runs.table(found, year=2026)
    lengths = {width: max(map(len, runs.table(found, width, 2026))) for width in range(60, 200)}
    assert all(length <= width for width, length in lengths.items())
    assert runs.table(found, max(map(len, whole)), 2026) == whole
    head = runs.table(found, 80, 2026)[0].split()
    assert {"seed", "lam", "state", "steps", "return", "note"} <= set(head)
    assert "run" not in head
    assert runs.table(found, 80, 2026)[-1] == "3 runs of ppo on LunarLander-v3: 3 stopped"


def test_the_reason_of_a_failure_gives_way_to_the_window_and_the_state_does_not() -> None:
    found = summaries(state="failed", why="observation of CartPole-v1 is nan " * 9)
    for width in (50, 60, 80, 120):
        lines = runs.table(found, width)
        assert max(map(len, lines)) <= width
        assert all("failed" in line for line in lines[1:4])


def test_nothing_in_a_file_reaches_the_terminal_as_a_command() -> None:
    (line,) = runs.table(summaries(1, note="\x1b[2Jred\ud800\nnew\tline"))[1:2]
    assert "[2Jred new line" in line
    assert line.isprintable()


def test_random_play_has_a_column_that_gives_way_before_the_state() -> None:
    found = summaries(random=22.9876)
    head, line = runs.table(found, 100, 2026)[:2]
    assert "random" in head
    assert "  23.0" in line or "    23" in line
    assert "random" not in runs.table(found, 60, 2026)[0]


def test_a_column_in_which_nothing_stands_is_left_out() -> None:
    assert "note" not in runs.table(summaries(note=""))[0]


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (500.0, 0.0, "500 ± 0"),
        (0.16, 0.3666, "0.16 ± 0.37"),
        (0.955, 0.0213, "0.955 ± 0.021"),
        (-0.0312, 0.55, "-0.03 ± 0.55"),
        (-0.0312, 0.0, "-0.0312 ± 0"),
        (-0.001, 0.5, "0.00 ± 0.50"),
        (7104.4, 512.3, "7104 ± 512"),
        (-157.81, 88.22, "-158 ± 88"),
        (12345.678, 0.0, "12346 ± 0"),
        (93.44, math.nan, "93.44"),
        (math.nan, math.nan, ""),
        (math.nan, 1.0, ""),
        (math.inf, 1.0, "inf"),
        (1e-9, 1e-10, "1e-09 ± 1e-10"),
    ],
)
def test_returns_keep_the_digits_that_matter(mean: float, std: float, text: str) -> None:
    assert runs.spread(mean, std) == text


def test_a_run_that_failed_says_why_until_it_is_resumed(
    tmp_path: Path, train: Any, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rlsuite.envs.stepping import Envs
    from rlsuite.run import main

    step, count = Envs.step, 0

    def fail(self: Envs, act: Any) -> Any:
        nonlocal count
        count += 1
        if count == 200:
            raise EnvError("the pole has left the cart")
        return step(self, act)

    with monkeypatch.context() as patch:
        patch.setattr(Envs, "step", fail)
        assert main([*command("ppo", data_dir=tmp_path), "--quiet"]) == 3
    capsys.readouterr()
    (row,) = shown(capsys, tmp_path)
    assert (row["state"], row["why"], row["steps"]) == ("failed", "the pole has left the cart", "256")
    assert main(["--resume", row["run"], "--quiet", "--test-episodes", "0"]) == 0
    (row,) = shown(capsys, tmp_path)
    assert (row["state"], row["why"], row["steps"]) == ("finished", "", "512")


def test_two_thousand_runs_are_read_at_once_and_without_torch(tmp_path: Path) -> None:
    names = [f"Column{i}" for i in range(30)]
    rows = [[i, i * 1.2345678, 0.5, *[0.123456] * 30, i * 1000, i * 1.5] for i in range(1, 101)]
    head = "\t".join(["Epoch", "AverageEpRet", "StdEpRet", *names, "TotalEnvInteracts", "Time"])
    progress = "\n".join([head, *("\t".join(map(str, row)) for row in rows), ""])
    settings = {f"setting_{i}": i / 7 for i in range(40)}
    for number in range(2000):
        run = tmp_path / f"exp_{number % 10}" / f"run_{number}"
        run.mkdir(parents=True)
        (run / "progress.txt").write_text(progress)
        (run / "lock").touch()
        (run / "config.json").write_text(json.dumps({**CONFIG, **settings, "seed": number, "lam": number % 3 / 3}))
        (run / "result.json").write_text(f'{{"AverageEpRet": {number}, "StdEpRet": 1.5}}')
    code = "import sys, rlsuite.runs; assert rlsuite.runs.main(sys.argv[1:]) == 0;"
    code += "print({'torch', 'matplotlib', 'gymnasium'} & set(sys.modules))"
    begun = time.monotonic()
    words = [sys.executable, "-c", code, str(tmp_path), "--sort", "return"]
    done = subprocess.run(words, capture_output=True, text=True, env=source_environment(), timeout=120)
    assert time.monotonic() - begun < 20
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "set()"
    assert lines[-1] == "2000 runs: 2000 finished"
    assert lines[2000].split()[2] == "1999"


def test_the_door_from_outside(data: Path, python: Any) -> None:
    done = python(data, "-m", "rlsuite.runs", "exp")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n3 runs: 1 finished, 1 stopped, 1 failed\n")
    done = python(data, "-m", "rlsuite.runs")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("rlsuite: data does not exist")
