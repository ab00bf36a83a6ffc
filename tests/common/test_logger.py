"""What the logger writes besides what the doors' own tests read."""

import json
import math
import os
import sys

import pytest

from rlsuite.algos import dqn, ppo
from rlsuite.common.logger import Logger
from rlsuite.errors import UserError
from rlsuite.run import main
from rlsuite.rundir.files import lock

CONFIG = ppo.Config("CartPole-v1")


def test_tensorboard_gets_every_finite_number_at_its_env_step_and_in_its_group(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = Logger(data_dir=tmp_path, tensorboard=True, quiet=True)
    logger.start("ppo", CONFIG, 1000)
    for steps, ret in ((100, math.nan), (200, 7.0)):
        logger.log_epoch({"Epoch": steps // 100, "AverageEpRet": ret, "KL": 0.5, "TotalEnvInteracts": steps, "X": 1})
    logger.close()
    events = EventAccumulator(str(logger.run_dir))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("return/AverageEpRet")] == [(200, 7.0)]
    assert [(e.step, e.value) for e in events.Scalars("policy/KL")] == [(100, 0.5), (200, 0.5)]
    tags = ["return/AverageEpRet", "policy/KL", "other/X"]
    tags += [f"time/{name}" for name in ("Epoch", "TotalEnvInteracts", "Time", "StepsPerSec")]
    assert sorted(events.Tags()["scalars"]) == sorted(tags)


def test_tensorboard_that_is_not_installed_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"rlsuite\[tensorboard\]"):
        Logger(data_dir=tmp_path, tensorboard=True).start("ppo", CONFIG, 1000)
    assert not list(tmp_path.iterdir())


def test_columns_must_not_change_within_a_run(tmp_path):
    logger = Logger(data_dir=tmp_path, quiet=True)
    logger.start("ppo", CONFIG, 1000)
    logger.log_epoch({"Epoch": 1, "TotalEnvInteracts": 1})
    with pytest.raises(UserError, match="KL"):
        logger.log_epoch({"Epoch": 2, "TotalEnvInteracts": 2, "KL": 0.0})
    logger.close()


def test_a_row_can_be_read_as_soon_as_it_is_logged(tmp_path):
    logger = Logger(data_dir=tmp_path, quiet=True)
    logger.start("ppo", CONFIG, 1000)
    logger.log_epoch({"Epoch": 1, "TotalEnvInteracts": 1})
    header, row = (logger.run_dir / "progress.txt").read_text().splitlines()
    logger.close()
    assert dict(zip(header.split("\t"), row.split("\t"), strict=True))["Epoch"] == "1"


def rows_of(path):
    header, *rows = (path / "progress.txt").read_text().splitlines()
    return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]


def test_a_logger_can_write_one_run_after_the_other(tmp_path):
    logger = Logger(data_dir=tmp_path, quiet=True)
    first = logger.start("ppo", CONFIG, 1000)
    logger.log_epoch({"Epoch": 1, "TotalEnvInteracts": 500, "KL": 0.5})
    logger.log_epoch({"Epoch": 2, "TotalEnvInteracts": 1000, "KL": 0.5})
    logger.close()
    second = logger.start("dqn", dqn.Config("Acrobot-v1"), 100_000)  # another algorithm: other columns
    logger.log_epoch({"Epoch": 1, "TotalEnvInteracts": 50, "Epsilon": 1.0})
    state = logger.state_dict()
    third = logger.start("ppo", CONFIG, 1000)  # without close in between, and in the folder of the first
    os.close(lock(second))  # nobody holds it any more
    with pytest.raises(UserError):
        lock(third)
    logger.log_epoch({"Epoch": 1, "TotalEnvInteracts": 10})
    logger.close()
    assert [run.parent.name for run in (first, second, third)] == [
        "ppo_CartPole-v1",
        "dqn_Acrobot-v1",
        "ppo_CartPole-v1",
    ]
    assert len({first, second, third}) == 3
    assert [row["TotalEnvInteracts"] for row in rows_of(first)] == ["500", "1000"]
    assert [(row["TotalEnvInteracts"], row["Epsilon"]) for row in rows_of(second)] == [("50", "1")]
    assert all(float(row["StepsPerSec"]) > 0 for run in (first, second, third) for row in rows_of(run))
    assert [list(row) for row in rows_of(third)] == [["Epoch", "TotalEnvInteracts", "Time", "StepsPerSec"]]
    assert state["bytes"] == (second / "progress.txt").stat().st_size
    algos = [json.loads((run / "config.json").read_text())["algo"] for run in (first, second, third)]
    assert algos == ["ppo", "dqn", "ppo"]


def test_a_name_of_ones_own_holds_for_every_run_of_a_logger(tmp_path):
    logger = Logger("my experiment", tmp_path, quiet=True)
    runs = [logger.start("ppo", CONFIG, 1000) for _ in range(2)]
    logger.close()
    assert runs[0] != runs[1]
    assert {run.parent for run in runs} == {tmp_path / "my experiment"}


@pytest.mark.parametrize("name", ["a/b", "..", "a\0b"])
def test_a_name_that_is_no_folder_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(UserError, match="plain folder name"):
        Logger(name, tmp_path / "data").start("ppo", CONFIG, 1000)
    assert not list(tmp_path.iterdir())


def test_settings_and_facts_are_kept(tmp_path):
    logger = Logger(data_dir=tmp_path, quiet=True, note="why", command="python x", checkpoint_every=3)
    run = logger.start("ppo", CONFIG, 1000, network="m.Net", custom_env=True)
    logger.close()
    config = json.loads((run / "config.json").read_text())
    expected = {
        "algo": "ppo",
        "env": "CartPole-v1",
        "gamma": 0.99,
        "network": "m.Net",
        "custom_env": True,
        "note": "why",
    }
    expected |= {"command": "python x", "checkpoint_every": 3, "ranks": 1, "exp_name": "ppo_CartPole-v1"}
    assert {name: config[name] for name in expected} == expected


def test_numbers_are_written_to_seven_digits_and_counts_whole(tmp_path):
    logger = Logger(data_dir=tmp_path, quiet=True)
    run = logger.start("ppo", CONFIG, 1000)
    logger.log_epoch({"Epoch": 1, "KL": 1 / 3, "LossV": 123456789.0, "TotalEnvInteracts": 123456789, "X": math.nan})
    logger.close()
    (row,) = rows_of(run)
    assert [row[name] for name in ("KL", "LossV", "TotalEnvInteracts", "X")] == [
        "0.3333333",
        "1.234568e+08",
        "123456789",
        "nan",
    ]


def test_time_and_speed_are_those_of_the_epoch(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    logger = Logger(data_dir=tmp_path, quiet=True)
    run = logger.start("ppo", CONFIG, 1000)
    for now, steps in ((102.0, 500), (106.0, 900)):  # noqa: B007 - read by the clock
        logger.log_epoch({"Epoch": 1, "TotalEnvInteracts": steps})
    logger.close()
    assert [(row["Time"], row["StepsPerSec"]) for row in rows_of(run)] == [("2", "250"), ("6", "100")]


def test_say_and_the_line_of_an_epoch_are_printed_unless_quiet(tmp_path, capsys):
    for quiet in (True, False):
        logger = Logger(data_dir=tmp_path, quiet=quiet)
        run = logger.start("ppo", CONFIG, 1000)
        logger.say("a word")
        logger.log_epoch({"Epoch": 1, "AverageEpRet": math.nan, "KL": 0.123456, "TotalEnvInteracts": 500})
        logger.close()
        printed = capsys.readouterr().out.splitlines()
        expected = [str(run), "a word", "epoch 1  steps 500  AverageEpRet -  KL 0.1235"]
        assert printed == ([] if quiet else expected)


def test_the_speed_of_a_resumed_run_is_measured_from_there(tmp_path, train, monkeypatch):
    calls = []

    class Table:
        def __init__(self, total_steps, steps):
            pass

        def show(self, row):
            calls.append("show")

        def resume(self):
            calls.append("resume")

        def close(self, redraw=True):
            pass

    run = train(tmp_path, "random", quiet=True)
    monkeypatch.setattr("rlsuite.common.logger.LiveTable", Table)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["--resume", str(run), "--total-steps", "768"]) == 0
    assert calls == ["resume", "show"]
