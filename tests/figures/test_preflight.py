"""The page of an environment before the training."""

import gymnasium as gym
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from rlsuite.analysis.preflight import advise, measure
from rlsuite.envs.recording import record
from rlsuite.figures.preflight import COLUMNS, FACED, MARKED, MOST, _histogram, draw_preflight, order
from tests.analysis.wrong_environments import Unscaled


def test_what_is_wrong_comes_first_in_another_colour_and_shares_add_up() -> None:
    recording = record(Unscaled, 500, constant_steps=50)
    measured = measure(recording)
    advice = [each.text for each in advise(measured)]
    assert order(measured) == [1, 0]
    fig = Figure()
    draw_preflight(fig, "Unscaled", "500 steps, in 2.1 s", recording, measured, advice)
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in fig.axes]
    assert [title.split(":")[0] for title in titles[COLUMNS + 1 :]] == ["component 1", "component 0"]
    for ax, color in zip(fig.axes[COLUMNS + 1 :], (MARKED, FACED), strict=True):
        assert np.isclose(sum(bar.get_height() for bar in ax.patches), 1)
        assert {bar.get_facecolor() for bar in ax.patches} == {to_rgba(color)}
    said = " ".join(text.get_text().replace("\n", " ") for text in fig.texts)
    assert advice[0] in said
    assert "500 steps, in 2.1 s" in said


def test_of_many_components_only_some_have_histograms() -> None:
    recording = record(Unscaled, 100, constant_steps=50)
    many = recording.random._replace(
        **{name: np.tile(getattr(recording.random, name), 20) for name in ("obs", "next_obs")}
    )
    wide = {name: np.tile(getattr(recording, name), 20) for name in ("low", "high", "numeric")}
    recording = recording._replace(random=many, constant=(), **wide)
    fig = Figure()
    draw_preflight(fig, "Many", "", recording, measure(recording), [])
    assert len(fig.axes) == COLUMNS + 1 + MOST


def test_bars_of_whole_numbers_are_equally_fair() -> None:
    ax = Figure().add_subplot()
    _histogram(ax, np.repeat(np.arange(8, 75), 3), FACED)  # uniform, and all bars but the last hold as many numbers
    heights = np.array([bar.get_height() for bar in ax.patches])
    assert np.allclose(heights[:-1], 3 / 67)
    assert np.isclose(heights.sum(), 1)


def test_a_single_component_and_a_single_number_have_one_tick() -> None:
    recording = record(lambda: gym.make("FrozenLake-v1", max_episode_steps=50), 300, constant_steps=50)
    recording = recording._replace(random=recording.random._replace(rew=np.full(300, 1000.0)))
    fig = Figure()
    draw_preflight(fig, "", "", recording, measure(recording), [])
    fig.canvas.draw()
    for ax, tick in ((fig.axes[COLUMNS], 0), (fig.axes[0], 1000)):
        low, high = ax.get_xlim()
        assert [each for each in ax.get_xticks() if low <= each <= high] == [tick]


def test_lines_at_10_leave_room_for_small_values() -> None:
    fig = Figure()
    recording = record(Unscaled, 500, constant_steps=50)
    draw_preflight(fig, "", "", recording, measure(recording), [])
    low, high = fig.axes[1].get_xlim()
    assert -10 < low < high < 10
