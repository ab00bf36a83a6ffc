"""The door to an environment before training: its page, its flags that can be pasted, and its refusals."""

import re
import shlex
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from rlsuite import preflight, run
from rlsuite.analysis.preflight import Advice
from rlsuite.flags import pasted
from tests.analysis.wrong_environments import Point


def test_the_page_is_printed_and_drawn_and_its_first_command_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.png"
    argv = [
        "--env",
        "MountainCar-v0",
        "--env-kwargs",
        '{"max_episode_steps": 100}',
        "--steps",
        "300",
        "--frame-skip",
        "2",
    ]
    assert preflight.main([*argv, "--gamma", "0.98", "--total-steps", "300", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert out.read_bytes().startswith(b"\x89PNG")
    assert text.endswith(f"\n{out}\n")
    assert re.match(r"MountainCar-v0: 300 steps of random play, and constant actions, in \d+\.\d s\n", text)
    assert re.search(r"^preflight took \d+\.\d s$", text, re.M)
    assert "horizon      1/(1-gamma) = 50 steps" in text
    assert re.search(r"^- unscaled: component 1 has mean .*: --normalize-obs$", text, re.M)
    first, second = re.findall(r"^python -m rlsuite\.run (.*)$", text, re.M)
    assert first.startswith("ppo --env MountainCar-v0 ")
    assert second.startswith("dqn --env MountainCar-v0 ")
    assert "--scale-reward" in first
    assert "--scale-reward" not in second  # DQN has no such setting
    for word in ("--frame-skip 2", "--gamma 0.98", "--normalize-obs", """--env-kwargs '{"max_episode_steps": 100}'"""):
        assert word in first
    small = ["--data-dir", str(tmp_path), "--steps-per-epoch", "150", "--test-episodes", "1", "--preset", "none"]
    assert run.main([*shlex.split(first), *small]) == 0


def test_advised_arguments_of_the_environment_are_added_to_the_given_ones() -> None:
    advice = [Advice("a", "", {"env_kwargs": {"max_episode_steps": 1000}}), Advice("b", "", {"normalize_obs": True})]
    flags = pasted(advice, '{"size": 3}')
    assert flags == {"env_kwargs": '{"max_episode_steps": 1000, "size": 3}', "normalize_obs": None}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: --env"),
        (["--env", "Nope-v0"], "environment Nope-v0 can't be made"),
        (["--env", "CartPole-v1", "--gamma", "2"], "--gamma must be from 0 to 1, not 2.0"),
        (["--env", "CartPole-v1", "--gamma", "nan"], "--gamma must be from 0 to 1, not nan"),
        (["--env", "CartPole-v1", "--steps", "0"], "--steps must be at least 1, not 0"),
        (["--env", "CartPole-v1", "--frame-skip", "0"], "--frame-skip must be at least 1, not 0"),
        (["--env", "CartPole-v1", "--total-steps", "-1"], "--total-steps must be at least 1, not -1"),
        (["--env", "CartPole-v1", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--env", "CartPole-v1", "--env-kwargs", "["], "--env-kwargs must be a JSON object"),
        (["--env", "CartPole-v1", "--out", "page.jpg"], "the file name must end in .png"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    argv: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert preflight.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rlsuite: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_environment_that_fails_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Faulty(Point):
        def move(self, action: Any) -> None:
            raise RuntimeError("gripper\nlost")

    gym.register("Faulty-v0", entry_point=Faulty)
    try:
        assert preflight.main(["--env", "Faulty-v0", "--out", str(tmp_path / "page.png")]) == 3
    finally:
        gym.registry.pop("Faulty-v0")
    err = capsys.readouterr().err
    assert err == "rlsuite: the environment failed under random play: RuntimeError: gripper lost\n"
    assert list(tmp_path.iterdir()) == []
