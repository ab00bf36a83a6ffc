"""The door to the ladder: what it says of algorithms that are right, broken, or no algorithms."""

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsuite import probe
from rlsuite.algos import a2c, dqn

A2C = Path(a2c.__file__).read_text()
KNOWING = """
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Config:
    env: str
    env_kwargs: str
    seed: int


class Knowing:
    mode = staticmethod(lambda obs: np.zeros(len(obs), np.int64))
    value = staticmethod(lambda obs: {value})


def train(config, logger=None):
    {body}
    return Knowing()
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and see which temporary ones are left."""
    (tmp_path / "work").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def left(tmp_path: Path) -> list[str]:
    """What was written, besides files of algorithms."""
    return [
        path.name for path in tmp_path.rglob("*") if path.suffix != ".py" and path.name not in ("work", "temporary")
    ]


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def test_a_sound_algorithm_passes_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["a2c", "--only", "OneStep", "DelayedReward", "Context", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    rows = re.findall(r"^pass (\S+) .* return \S+ +[\d.]+$", out, re.M)
    assert rows == ["OneStep", "DelayedReward", "Context"]
    assert re.search(
        r"^pass DelayedReward +value travels back a step +V 0.5 1, return ≥ 1 +V ±0.00, return 1 +\d", out, re.M
    )
    assert out.endswith("\nAll 3 pass.\n")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "only", "first", "said"),
    [
        (
            "next_val, buf.terminated",
            "0 * next_val, buf.terminated",
            "OneStep DelayedReward Target",
            "DelayedReward",
            "the critic doesn't bootstrap over two steps: look at the targets' gamma and the terminated mask",
        ),
        ("return -(logp * adv)", "return (logp * adv)", "OneStep Target", "Target", "the sign of its loss"),
        ("mse_loss(val, ret)", "mse_loss(val, 2 * ret)", "OneStep", "OneStep", "the critic alone"),
    ],
    ids=["bootstrap", "sign", "loss"],
)
def test_of_a_broken_algorithm_in_a_file_the_first_rung_that_fails_says_what(
    old: str, new: str, only: str, first: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert A2C.count(old) == 1
    file = write("my_a2c.py", A2C.replace(old, new))
    assert probe.main([file, "--only", *only.split()]) == 1
    out = capsys.readouterr().out
    verdicts = re.findall(r"^(pass|FAIL) (\S+) ", out, re.M)
    assert next(name for verdict, name in verdicts if verdict == "FAIL") == first
    assert [name for _, name in verdicts] == only.split()  # those that stand on it are tried as well
    assert f"The first is {first}: " in out
    assert said in out.splitlines()[-1]


def test_a_file_needs_no_more_than_settings_and_train(capsys: pytest.CaptureFixture[str]) -> None:
    file = write("knowing.py", KNOWING.format(value="np.where(obs[:, 0] == 0, 0.5, 1.0)", body="pass"))
    assert probe.main([file, "--only", "OneStep", "DelayedReward", "Offset", "--seed", "0", "1"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^pass (\S+ s\d)", out, re.M) == [
        "OneStep s0",
        "OneStep s1",
        "DelayedReward s0",
        "DelayedReward s1",
    ]


def test_an_error_of_the_algorithm_is_a_rung_that_fails_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    file = write("dividing.py", KNOWING.format(value="1", body="1 / 0"))
    assert probe.main([file, "--only", "OneStep"]) == 1
    assert "ZeroDivisionError: division by zero (dividing.py, line 20)" in capsys.readouterr().out


def test_columns_are_those_of_the_last_epoch_and_their_means_without_what_is_not_there(tmp_path: Path) -> None:
    class Still:
        mode = staticmethod(lambda obs: np.zeros(len(obs), np.int64))

    run = tmp_path / "work" / "run"
    run.mkdir()
    (run / "progress.txt").write_text("Epoch\tKL\tPiLR\tLogStd\n1\t0.5\tnan\t1\n2\t0.1\tnan\tnan\n")
    measured = probe.measure(Still(), probe.RUNGS[0], run)
    assert measured.ret == 1
    assert measured.columns["KL"] == 0.1
    assert measured.columns["mean KL"] == 0.3
    assert "PiLR" not in measured.columns
    assert np.isnan(measured.columns["LogStd"])  # that is a fault
    assert measured.val is measured.q is None


def test_a_rung_about_columns_needs_one_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    text = KNOWING.format(value="1", body="pass").replace("seed: int", "seed: int\n    max_grad_norm: float")
    assert probe.main([write("unlogged.py", text), "--only", "Clipped"]) == 2
    assert "it does not log the columns that they are about" in capsys.readouterr().err


def test_a_setting_that_is_refused_leaves_a_rung_out(capsys: pytest.CaptureFixture[str]) -> None:
    text = KNOWING.format(value="np.ones(len(obs))", body="pass").replace(
        "seed: int", "seed: int\n    polyak: float = 0.5"
    )
    text = text.replace(
        "class Knowing", "    def __post_init__(self):\n        assert self.polyak < 1, 'polyak'\n\n\nclass Knowing"
    )
    assert probe.main([write("strict.py", text), "--only", "OneStep", "Frozen"]) == 0
    assert re.findall(r"^pass (\S+)", capsys.readouterr().out, re.M) == ["OneStep"]


def test_an_interrupt_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(config: Any, logger: Any) -> None:
        Path(logger.data_dir, "half").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(a2c, "train", train)
    assert probe.main(["a2c"]) == 130
    assert left(tmp_path) == []


def test_actions_that_an_algorithm_does_not_take_are_left_out() -> None:
    names = [
        rung.name for rung in probe.RUNGS if rung.name in ("Context", "Context-continuous", "Temperature", "Bonus")
    ]
    assert [r.rung.name for r in probe.climb(dqn, [0], names)] == ["Context"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: ALGO_OR_FILE"),
        (["pppo"], "unknown algorithm 'pppo'; there are a2c, "),
        (["missing.py"], "there is no file missing.py"),
        (["broken.py"], "broken.py can't be imported: SyntaxError: "),
        (["raising.py"], "raising.py can't be imported: KeyError: 3 (raising.py, line 2)"),
        (["empty.py"], "empty.py has no Config: an algorithm's file has Config and train"),
        (["plain.py"], "Config in plain.py is no dataclass"),
        (["demanding.py"], "none of these rungs is for this algorithm: Config can't be made of env, "),
        (["ppo", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["ppo", "--only", "Nope"], "--only Nope: the rungs are OneStep, ObservedReward, "),
        (["ppo", "--only", "Temperature"], "none of these rungs is for this algorithm: it lacks the settings"),
        (
            ["dqn", "--only", "Target-continuous"],
            "none of these rungs is for this algorithm: dqn needs Discrete actions",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    argv: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("broken.py", "def train(:\n")
    write("raising.py", "table = {}\ntable[3]\n")
    write("empty.py", "")
    write("plain.py", "class Config:\n    pass\n\n\ndef train(config):\n    pass\n")
    write("demanding.py", KNOWING.format(value="1", body="pass").replace("seed: int", "seed: int\n    secret: int"))
    assert probe.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"rlsuite: {said}")
    assert captured.err.count("\n") == 1
    assert left(tmp_path) == []
