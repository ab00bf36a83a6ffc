"""Films of episodes: what is in their frames, and what is said about them."""

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image, ImageDraw

pytest.importorskip("imageio_ffmpeg")

from rlsuite.errors import UserError
from rlsuite.figures.film import BACKGROUND, FONT_SIZES, INK, Film


class Pictures(gym.Env):
    """Reward 1.25 for each of 25 steps; its picture is `frame`, made darker at every step."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def __init__(self, frame: Any = None, fps: float | None = 10) -> None:
        self.frame = np.full((20, 40, 3), 200, np.uint8) if frame is None else frame
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps}
        self.render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.time = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.time += 1
        return 0, 1.25, self.time == 25, False, {}

    def render(self) -> Any:
        return self.frame - self.frame.dtype.type(self.time)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been written into frames."""
    written: list[str] = []
    write = ImageDraw.ImageDraw.multiline_text

    def record(self: Any, xy: Any, text: str, **options: Any) -> None:
        written.append(text)
        write(self, xy, text, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "multiline_text", record)
    return written


def test_a_frame_says_step_action_and_return_so_far(tmp_path: Path, texts: list[str]) -> None:
    env = Film(Pictures(), tmp_path / "film.gif")
    env.reset()
    for action in (1, 0, np.array([-0.5, 1, 0.123], np.float32), np.array([3, 4])):
        env.step(action)
    env.reset()
    env.step(1)
    assert texts == [
        "step 0      return 0.00\naction -",
        "step 1      return 1.25\naction 1",
        "step 2      return 2.50\naction 0",
        "step 3      return 3.75\naction -0.50  1.00  0.12",
        "step 4      return 5.00\naction 3 4",
        "step 0      return 0.00\naction -",
        "step 1      return 1.25\naction 1",
    ]


@pytest.mark.parametrize(
    ("shape", "scale"), [((40, 40), 6), ((10, 10), 24), ((256, 256), 1), ((401, 601), 1), ((900, 1600), 1)]
)
def test_pictures_of_every_size_stay_whole_above_a_text_that_can_be_read(
    shape: tuple[int, int], scale: int, tmp_path: Path
) -> None:
    frame = np.random.default_rng(0).integers(1, 256, (*shape, 3), np.uint8)
    env = Film(Pictures(frame), tmp_path / "film.mp4")
    env.reset()
    shown = np.asarray(env.picture("-0.12 " * 50))
    height, width = scale * shape[0], scale * shape[1]
    np.testing.assert_array_equal(shown[:height:scale, :width:scale], frame)
    np.testing.assert_array_equal(shown[scale - 1 : height : scale, scale - 1 : width : scale], frame)
    assert (shown.shape[0] % 2, shown.shape[1] % 2) == (0, 0)
    assert shown.shape[1] - width in (0, 1)
    strip = Image.fromarray(shown[height:]).convert("L")
    paper, ink = Image.new("RGB", (1, 1), BACKGROUND).convert("L"), Image.new("RGB", (1, 1), INK).convert("L")
    assert strip.getextrema() == (paper.getpixel((0, 0)), ink.getpixel((0, 0)))
    rows, columns = (np.asarray(strip) > 128).any(1).nonzero()[0], (np.asarray(strip) > 128).any(0).nonzero()[0]
    assert np.ptp(rows) + 1 >= 2 * FONT_SIZES[0]
    assert rows[0] > 0
    assert rows[-1] < strip.height - 1
    assert columns[0] > 0
    assert strip.width / 2 < columns[-1] < strip.width - 1


def test_a_picture_of_numbers_from_0_to_1_is_one_of_bytes(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (240, 240, 3)).astype(np.float64)
    env = Film(Pictures(frame / 255), tmp_path / "film.mp4")
    env.reset()
    assert np.abs(np.asarray(env.first)[:240].astype(float) - frame).max() <= 1


def film(path: Path, fps: float | None = 10, episodes: int = 1) -> None:
    env = Film(Pictures(fps=fps), path)
    env.reset()
    for _ in range(episodes):
        for _ in range(25):
            env.step(0)
        env.reset()
    env.close()
    env.close()


@pytest.mark.parametrize(
    ("name", "fps", "frames", "seconds"),
    [("a.gif", 10, 26, 2.6), ("a.GIF", 125, 26, 0.52), ("a.mp4", 125, 26, 0.208), ("-a.mp4", None, 52, 52 / 30)],
)
def test_it_is_as_long_as_it_says(
    name: str, fps: float | None, frames: int, seconds: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from imageio_ffmpeg import read_frames

    film(tmp_path / name, fps, episodes=frames // 26)
    out, err = capfd.readouterr()
    assert out == f"{tmp_path / name}: {frames} frames, {seconds:.1f} seconds\n"
    assert err == ""
    reader = read_frames(tmp_path / name)
    assert next(reader)["fps"] == pytest.approx(frames / seconds, rel=1e-3)
    assert len(list(reader)) == frames


def test_a_terminal_is_told_how_far_the_film_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    film(tmp_path / "film.mp4")
    told = [f"\r\x1b[Kfilming film.mp4: {frames} frames" for frames in (10, 20)]
    assert capsys.readouterr().err == "".join([*told, "\r\x1b[K"])


def test_without_a_frame_there_is_no_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = Film(Pictures(), tmp_path / "film.mp4")
    env.reset()
    env.close()
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match=r'needs a package that is missing: pip install "rlsuite\[video\]"'):
        Film(Pictures(), tmp_path / "film.mp4")
