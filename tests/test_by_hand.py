"""A person plays: keys become actions, nothing is rendered, and every end is a clean one."""

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

pygame = pytest.importorskip("pygame")

from rlsuite import by_hand, preflight  # noqa: E402
from rlsuite.envs.episodes import RANDOM_STEPS, episode_seed  # noqa: E402
from rlsuite.figures.bars import Window  # noqa: E402

Script = list[list[Any]]
SHOW = Window.show
START, ESCAPE = ["+space", "-space"], ["+escape"]


class Counted(gym.Env):
    """Episodes of 3 steps; a reward is the action; the observation counts steps."""

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 20}  # noqa: RUF012 - as Gymnasium has it
    observation_space: spaces.Space[Any] = spaces.Box(-5, 5, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(4)
    actions: list[int] = []  # noqa: RUF012 - of all of them
    seeds: list[int | None] = []  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        assert render_mode is None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.seeds.append(seed)
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        self.time += 1
        return np.full(2, self.time, np.float32), float(action), self.time == 3, False, {}

    def render(self) -> Any:
        raise AssertionError("rendered")


class Wide(Counted):
    observation_space = spaces.Box(-5, 5, (41,), np.float32)


class Faulty(Counted):
    def step(self, action: Any) -> Any:
        if pygame.display.get_init():
            raise ValueError("gripper\nlost")
        return super().step(action)


@pytest.fixture(autouse=True)
def environments() -> Iterator[None]:
    classes = (Counted, Wide, Faulty)
    for each in classes:
        gym.register(f"{each.__name__}-v0", each)
    yield
    for each in classes:
        gym.registry.pop(f"{each.__name__}-v0")


Player = Callable[..., tuple[int, list[list[str]]]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Player:
    """Play an environment with a script: what happens on the keyboard after each frame, and then escape."""

    def call(script: Script, *words: str, env: str = "Counted-v0", frame_ms: int = 10) -> tuple[int, list[list[str]]]:
        frames: list[list[str]] = []
        left = list(script)

        def show_and_press(self: Window, obs: Any, lines: Any) -> None:
            SHOW(self, obs, lines)
            if not frames:
                Counted.actions.clear()
                Counted.seeds[:] = Counted.seeds[-1:]
            frames.append([*lines, *obs.astype(str)])
            for event in left.pop(0) if left else ESCAPE:
                if isinstance(event, BaseException):
                    raise event
                if event == "x":
                    pygame.event.post(pygame.event.Event(pygame.QUIT))
                    continue
                kind = pygame.KEYDOWN if event[0] == "+" else pygame.KEYUP
                pygame.event.post(pygame.event.Event(kind, key=pygame.key.key_code(event[1:])))

        class Clock:
            def tick(self, _: float) -> int:
                return frame_ms

        monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(Window, "show", show_and_press)
        monkeypatch.setattr(pygame.time, "Clock", Clock)
        return preflight.main(["--env", env, "--by-hand", "--steps", "60", *words]), frames

    return call


def test_each_key_is_a_step_and_the_returns_stand_beside_that_of_random_play(
    play: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [["+2", "-2"], ["+3"], ["+1"]]
    code, frames = play([START, *keys, START, ["+3"], ["+3"], ["-3", "-1", "+2"], START, ["+2"]], "--fps", "0")
    assert code == 0
    assert Counted.actions == [2, 3, 1, 3, 3, 2, 2]
    assert Counted.seeds == [episode_seed(0, RANDOM_STEPS, 0, k) for k in range(3)]
    out = capsys.readouterr()
    assert re.fullmatch(r"you: 6, 8; random play: \d\.?\d*\n", out.out)
    assert out.err == ""
    assert frames[0] == ["episode 1   step 0   reward 0   return 0", "space: go on", "0.0", "0.0"]
    assert frames[2] == ["episode 1   step 1   reward 2   return 2", "action 2", "1.0", "1.0"]
    assert frames[4] == ["episode 1   step 3   reward 1   return 6", "space: the next episode", "3.0", "3.0"]
    assert frames[5][0] == "episode 2   step 0   reward 0   return 0"
    assert not pygame.display.get_init()


def test_in_real_time_keys_are_held_and_a_step_takes_its_time(play: Player) -> None:
    code, _ = play([START, *[[]] * 4, ["+2"], *[[]] * 4, ["-2", "+3", "-3"], *[[]] * 4, START, *[[]] * 5])
    assert code == 0
    assert Counted.actions == [0, 2, 3, 0]  # 20 a second are one in 5 frames of 10 ms; a tap between them counts, too
    play([START, *[[]] * 20], "--fps", "10")
    assert len(Counted.actions) == 2


def test_space_pauses(play: Player) -> None:
    _, frames = play([START, [], START, *[[]] * 5, START, []], "--fps", "100")
    assert len(Counted.actions) == 4 - 1
    assert [frame[1] for frame in frames[3:8]] == ["space: go on"] * 5
    play([START, ["+1", "-1"], START, ["+2", "-2"], [], START, [], ["+3"]], "--fps", "0")
    assert Counted.actions == [1, 3]


@pytest.mark.parametrize("end", [["+escape"], ["x"], [KeyboardInterrupt()]])
def test_every_end_closes_the_window(end: list[Any], play: Player, capsys: pytest.CaptureFixture[str]) -> None:
    code, frames = play([START, ["+1"], end], "--fps", "0")
    assert (code, len(frames)) == (0, 3)
    assert not pygame.display.get_init()
    out = capsys.readouterr()
    assert out.out.startswith("you: no finished episode; random play: ")
    assert out.err == ""


def test_real_time() -> None:
    env = Counted()
    assert by_hand.pace(env, 0.1) == 20
    env.metadata = {}
    assert by_hand.pace(env, 0.1) == 10
    assert by_hand.pace(env, None) == by_hand.SMOOTH
    env.observation_space = spaces.Discrete(3)
    assert by_hand.pace(env, 0.1) == 0


@pytest.mark.parametrize(
    ("env", "words", "said", "code"),
    [
        ("Wide-v0", [], "--by-hand shows images, or up to 40 numbers, and each observation here has 41", 2),
        ("Faulty-v0", [], "the environment failed while it was played: ValueError: gripper lost", 3),
        ("Counted-v0", ["--out", "page.png"], "--by-hand draws no page; leave --out out", 2),
        ("Counted-v0", ["--fps", "-1"], "--fps goes with --by-hand, and must be at least 0", 2),
        ("Counted-v0", ["--fps", "nan"], "--fps goes with --by-hand, and must be at least 0", 2),
    ],
)
def test_refusals_are_one_line(
    env: str, words: list[str], said: str, code: int, play: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play([START, *[[]] * 20], *words, env=env)[0] == code
    assert capsys.readouterr() == ("", f"rlsuite: {said}\n")
    assert not pygame.display.get_init()


def test_without_a_display_nothing_is_made(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(preflight, "configured_env", lambda _: pytest.fail("made"))
    assert preflight.main(["--env", "Counted-v0", "--by-hand"]) == 2
    assert capfd.readouterr() == ("", "rlsuite: --by-hand needs a display, and there is none here\n")


def test_a_display_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    assert preflight.main(["--env", "Counted-v0", "--by-hand", "--steps", "60"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"rlsuite: --by-hand can't open a window here: .*\n", err)
    assert not pygame.display.get_init()
