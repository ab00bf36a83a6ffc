"""What became of a run, as its files say."""

import json
import math
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsuite.errors import UserError
from rlsuite.rundir.files import lock
from rlsuite.rundir.runs import read_config
from rlsuite.rundir.summaries import newest_run, summarize, without_repetitions, write_note

CONFIG = {"algo": "ppo", "env": "CartPole-v1", "seed": 3, "total_steps": 300, "note": "why?"}
CONFIG |= {"started": "2026-01-02 03:04:05"}
HEADER = "Epoch\tAverageEpRet\tStdEpRet\tTotalEnvInteracts\tTime\n"
ROWS = ["1\t10\t1\t100\t1.5\n", "2\t30\t3\t200\t3\n", "3\t20\t2\t300\t4.5\n"]


def make_run(path: Path, rows: Any = ROWS, header: str = HEADER, **config: Any) -> Path:
    path.mkdir(parents=True)
    (path / "progress.txt").write_text(header + "".join(rows))
    (path / "config.json").write_text(json.dumps(CONFIG | config))
    return path


def test_a_finished_run_by_hand(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", random_play={"return": 21.5})
    (run / "result.json").write_text('{"TestEpisodes": 20, "AverageEpRet": 25.5, "StdEpRet": 0.5}')
    summary = summarize(run)
    assert summary._replace(settings={}) == (
        *(run, {}, "3", "finished", "", 300, 300, 25.5, 0.5, 30, 21.5, datetime(2026, 1, 2, 3, 4, 5), 4.5, "why?"),
    )
    assert summary.settings == {"exp_name": tmp_path.name, "algo": "ppo", "env": "CartPole-v1", "total_steps": "300"}


def test_without_a_result_the_return_is_that_of_the_last_epoch_that_has_one(tmp_path: Path) -> None:
    unfinished = "3\tnan\tnan\t300\t4.5\n"
    summary = summarize(make_run(tmp_path / "r", [*ROWS[:2], unfinished]))
    assert (summary.ret, summary.std, summary.steps, summary.best) == (30, 3, 300, 30)


def test_test_episodes_are_what_counts_where_there_are_any(tmp_path: Path) -> None:
    header = "AverageEpRet\tStdEpRet\tAverageTestEpRet\tStdTestEpRet\tTotalEnvInteracts\n"
    summary = summarize(make_run(tmp_path / "r", ["90\t9\t1\t0.1\t100\n", "80\t8\t2\t0.2\t200\n"], header))
    assert (summary.ret, summary.std, summary.best) == (2, 0.2, 2)


@pytest.mark.parametrize("rows", [[], ["1\t1"], ["1\t1", "0\t1\t100\t9"]])
def test_a_run_in_its_first_epoch(tmp_path: Path, rows: list[str]) -> None:
    summary = summarize(make_run(tmp_path / "r", rows))
    assert summary.state == "stopped"
    assert all(math.isnan(x) for x in (summary.steps, summary.ret, summary.best, summary.seconds))


def test_a_row_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    assert summarize(make_run(tmp_path / "r", [*ROWS[:2], ROWS[2][:-1]])).steps == 200
    assert summarize(make_run(tmp_path / "s", [*ROWS[:2], "3\t2\n"])).steps == 200


def test_states(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", ROWS[:2])
    assert summarize(run).state == "stopped"
    (run / "error.json").write_text('{"error": "LossPi is nan"}')
    assert summarize(run)[3:5] == ("failed", "LossPi is nan")
    held = lock(run)
    assert held is not None
    assert summarize(run)[3:5] == ("running", "")
    os.close(held)
    (run / "error.json").unlink()
    assert summarize(run).state == "stopped"
    (run / "result.json").write_text('{"AverageEpRet": 1}')  # it was stopped on purpose, before its budget
    assert summarize(run).state == "finished"
    assert summarize(make_run(tmp_path / "no_test_episodes")).state == "finished"
    assert summarize(make_run(tmp_path / "trained_further", total_steps=301)).state == "stopped"


def test_asking_for_the_state_takes_no_run_from_anybody(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    assert summarize(run).state == "finished"
    assert not (run / "lock").exists()
    held = lock(run)
    assert held is not None
    os.close(held)
    summarize(run)
    again = lock(run)
    assert again is not None
    os.close(again)


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("config.json", "{", "config.json is not valid JSON"),
        ("result.json", "[1]", "result.json holds a JSON list"),
        ("error.json", "\0", "error.json is not valid JSON"),
        ("progress.txt", "AverageEpRet\nmuch\n", "progress.txt is damaged"),
        ("progress.txt", HEADER + "1\t2\t3\t4\t5\t6\n", "progress.txt is damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, file: str, text: str, why: str) -> None:
    run = make_run(tmp_path / "r")
    (run / file).write_text(text)
    summary = summarize(run)
    assert summary.state == "damaged"
    assert summary.why.startswith(why)


def test_the_start_without_config(tmp_path: Path) -> None:
    run = make_run(tmp_path / "2025-05-06_07-08-09_s0", started=None)
    assert summarize(run).started == datetime(2025, 5, 6, 7, 8, 9)
    run = make_run(tmp_path / "mine", started=7)
    os.utime(run / "progress.txt", (1e9, 1e9))
    assert summarize(run).started == datetime.fromtimestamp(1e9 - 4.5)


def test_spinning_up_counts_its_budget_in_epochs(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", total_steps=None, epochs=4, steps_per_epoch=100)
    assert (summarize(run).total_steps, summarize(run).state) == (400, "stopped")


def test_the_newest_run_is_the_one_that_was_started_last(tmp_path: Path) -> None:
    old = make_run(tmp_path / "x" / "2026-01-03_00-00-00_s0", started="2026-01-01 00:00:00")
    new = make_run(tmp_path / "y" / "a", started="2026-01-02 00:00:00")
    assert newest_run([tmp_path]) == (new, f"of the 2 runs in {tmp_path} this is the newest: {new}")
    assert newest_run([old]) == (old, "")
    assert newest_run([tmp_path / "x"]) == (old, "")
    assert newest_run([new, old])[0] == new
    third = make_run(tmp_path / "z" / "2026-01-02_00-00-01_s0", started=None)  # of a version that did not say it
    assert newest_run([tmp_path])[0] == third
    (third / "config.json").write_text("{")  # damage is left to whoever opens it
    (old / "config.json").write_text("{")
    assert newest_run([tmp_path])[0] == old


def test_of_runs_of_the_same_second_the_one_written_last_is_the_newest(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in "cab"]
    for run, written in zip(runs, (20, 30, 10), strict=True):
        os.utime(run / "progress.txt", (written, written))
    assert newest_run([tmp_path])[0] == runs[1]


def names(runs: list[Path]) -> list[str]:
    return [run.name for run in runs]


def test_equal_settings_seed_and_commit_count_once(tmp_path: Path) -> None:
    same = {"git_commit": "abc", "lam": 0.95}
    runs = [
        make_run(tmp_path / "a", ROWS[:2], **same),
        make_run(tmp_path / "b", **same, note="again", started="2026-05-05 00:00:00"),
        make_run(tmp_path / "c", [], **same),
        make_run(tmp_path / "seed", **same | {"seed": 4}),
        make_run(tmp_path / "commit", **same | {"git_commit": "abd"}),
        make_run(tmp_path / "lam", **same | {"lam": 0.9}),
        make_run(tmp_path / "budget", **same | {"total_steps": 400}),
        make_run(tmp_path / "further", ROWS[:1], **same | {"total_steps": 400, "first_total_steps": 300}),
    ]
    counted, repeated = without_repetitions(runs)
    assert names(counted) == ["b", "seed", "commit", "lam", "budget"]
    assert names(repeated) == ["a", "c", "further"]
    assert names(without_repetitions(runs[::-1])[0]) == ["budget", "lam", "commit", "seed", "b"]


@pytest.mark.parametrize(
    ("config", "counted"),
    [
        ({"git_commit": "abc"}, 1),
        ({"git_commit": "abc+"}, 1),
        ({"git_commit": "", "versions": {"rlsuite": "0.1.0"}}, 1),
        ({"versions": {"rlsuite": "0.1.0"}}, 1),
        ({"git_commit": "", "versions": {}}, 2),
        ({}, 2),
        ({"git_commit": "abc", "seed": None}, 2),
    ],
)
def test_only_what_is_known_to_be_equal_is_a_repetition(tmp_path: Path, config: dict[str, Any], counted: int) -> None:
    runs = [make_run(tmp_path / name, **config) for name in "ab"]
    assert len(without_repetitions(runs)[0]) == counted


@pytest.mark.parametrize(
    ("rows", "counted"),
    [
        (ROWS, 1),
        (ROWS[:2], 1),
        ([], 1),
        ([row.replace("1.5", "9.9") for row in ROWS], 1),  # the clock
        ([row.replace("\t30\t", "\t31\t") for row in ROWS], 2),
        ([row.replace("\t30\t", "\tnan\t") for row in ROWS], 2),
    ],
)
def test_where_code_was_not_committed_the_logs_must_be_equal(tmp_path: Path, rows: list[str], counted: int) -> None:
    runs = [make_run(tmp_path / "a", git_commit="abc+"), make_run(tmp_path / "b", rows, git_commit="abc+")]
    assert len(without_repetitions(runs)[0]) == counted
    runs = [make_run(tmp_path / "c", git_commit="abc"), make_run(tmp_path / "d", rows, git_commit="abc")]
    assert len(without_repetitions(runs)[0]) == 1


def test_a_note_changes_nothing_else(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", target_kl=math.inf, sizes=[64, 64], env_kwargs="{}")
    before = read_config(run)
    write_note(run, "it was the learning rate")
    assert read_config(run) == before | {"note": "it was the learning rate"}
    assert list(read_config(run)) == list(before)
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "progress.txt"]


def test_a_note_is_not_written_through_a_link(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    (run / "config.json").rename(tmp_path / "elsewhere.json")
    (run / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(UserError, match="link"):
        write_note(run, "x")
    assert "why?" in (tmp_path / "elsewhere.json").read_text()


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=20).map(lambda more: (HEADER + ROWS[0]).encode() + more)))
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_progress_file_has_a_summary(tmp_path_factory, content):
    run = make_run(tmp_path_factory.mktemp("x") / "r")
    (run / "progress.txt").write_bytes(content)
    assert summarize(run).state in ("finished", "stopped", "damaged")
