"""The page of an environment before the training."""

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from rlsuite.analysis.preflight import advise, measure
from rlsuite.envs.recording import record
from rlsuite.figures.preflight import COLUMNS, FACED, MARKED, MOST, draw_preflight, order
from tests.analysis.wrong_environments import Unscaled


def test_what_is_wrong_comes_first_in_another_colour_and_shares_add_up() -> None:
    recording = record(Unscaled, 500, constant_steps=50)
    measured = measure(recording)
    advice = advise(measured)
    assert order(measured) == [1, 0]
    fig = Figure()
    draw_preflight(fig, "Unscaled", recording, measured, advice)
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in fig.axes]
    assert [title.split(":")[0] for title in titles[COLUMNS + 1 :]] == ["component 1", "component 0"]
    for ax, color in zip(fig.axes[COLUMNS + 1 :], (MARKED, FACED), strict=True):
        assert np.isclose(sum(bar.get_height() for bar in ax.patches), 1)
        assert {bar.get_facecolor() for bar in ax.patches} == {to_rgba(color)}
    assert any(advice[0].text in text.get_text().replace("\n", " ") for text in fig.texts)


def test_of_many_components_only_some_have_histograms() -> None:
    recording = record(Unscaled, 100, constant_steps=50)
    many = recording.random._replace(
        **{name: np.tile(getattr(recording.random, name), 20) for name in ("obs", "next_obs")}
    )
    wide = {name: np.tile(getattr(recording, name), 20) for name in ("low", "high", "numeric")}
    recording = recording._replace(random=many, constant=(), **wide)
    fig = Figure()
    draw_preflight(fig, "Many", recording, measure(recording), [])
    assert len(fig.axes) == COLUMNS + 1 + MOST
