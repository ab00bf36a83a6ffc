"""Windows and films need drivers: which, and that they keep quiet."""

import os
import sys
from types import SimpleNamespace

import pytest

from rlsuite.envs.rendering import drivers, has_display, render_modes

VARIABLES = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER", "MUJOCO_GL")


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, False), ({"DISPLAY": ""}, False), ({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "wayland-0"}, True)],
)
def test_linux_has_a_display_where_a_variable_says_so(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert has_display() is expected


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_a_display(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert has_display()


@pytest.mark.parametrize("metadata", [None, {}, {"render_modes": None}])
def test_an_environment_that_says_nothing_has_no_render_modes(metadata: object) -> None:
    assert render_modes(SimpleNamespace(metadata=metadata)) == []
    assert render_modes(object()) == []


def chosen() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def test_a_film_needs_neither_screen_nor_sound_and_what_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with drivers("rgb_array"):
        assert chosen() == {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "MUJOCO_GL": "egl"}
    assert chosen() == {}
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SDL_AUDIODRIVER", "alsa")
    with drivers("rgb_array"):
        assert chosen() == {"DISPLAY": ":0", "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "alsa"}
    assert chosen() == {"DISPLAY": ":0", "SDL_AUDIODRIVER": "alsa"}


def test_a_window_is_one_that_can_be_seen() -> None:
    with drivers("human"):
        assert chosen() == {"SDL_VIDEODRIVER": "x11,wayland"}
    assert chosen() == {}


def test_what_the_drivers_of_a_film_say_is_dropped_and_nothing_after_it(capfd: pytest.CaptureFixture[str]) -> None:
    with drivers("rgb_array"):
        os.write(2, b"libEGL warning")
    os.write(2, b"heard again")
    assert capfd.readouterr() == ("", "heard again")
    with drivers("human"):
        os.write(2, b"why there is no window")
    assert capfd.readouterr().err == "why there is no window"
