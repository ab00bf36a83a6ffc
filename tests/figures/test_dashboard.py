import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from rlsuite.errors import UserError
from rlsuite.figures.dashboard import draw_dashboard
from rlsuite.figures.style import COLORS, STYLE, save_figure
from rlsuite.rundir.columns import TITLES
from rlsuite.rundir.files import lock
from rlsuite.rundir.runs import group_by_settings

nan = np.nan
SIX = ("AverageEpRet", "Entropy", "KL", "ExplainedVariance", "EpLen", "ValueBias")
MakeRun = Callable[..., Path]
BAND = "mean over seeds · band: 95% t-interval of the mean · faint: each seed"


def draw(*runs: Path, columns: tuple[str, ...] = SIX, **options: Any) -> Figure:
    fig = Figure()
    with matplotlib.style.context(["default", STYLE]):
        draw_dashboard(fig, group_by_settings(runs), columns, **options)
    return fig


def texts(fig: Figure) -> str:
    legend = [text for legend in fig.legends for text in legend.get_texts()]
    return "\n".join(text.get_text() for text in [*fig.texts, *legend])


def test_one_run_shows_the_range_of_its_episodes(tmp_path: Path, make_run: MakeRun) -> None:
    fig = draw(make_run(tmp_path / "r", note="why $x_{?"))
    assert [ax.get_title(loc="left") for ax in fig.axes] == [TITLES[column] for column in SIX]
    assert fig.axes[0].get_title(loc="left") == "return"
    line, band = fig.axes[0].lines[0], fig.axes[0].collections[0].get_paths()[0].vertices
    np.testing.assert_array_equal(line.get_xydata(), [[100, 10], [200, 20], [300, 30]])
    assert {(100, 5), (300, 15), (100, 20), (300, 60)} <= {tuple(point) for point in np.asarray(band)}
    assert not fig.axes[1].collections
    assert "exp · CartPole-v1" in texts(fig)
    assert "note: why $x_{?" in texts(fig)
    assert not fig.legends


def test_random_play_is_a_dotted_line_in_the_panels_of_returns(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [
        make_run(tmp_path / f"{env}{seed}", env=env, seed=seed, **({"random_play": {"return": ret}} if ret else {}))
        for env, seed, ret in (("A", 0, 4.0), ("A", 1, 6.0), ("B", 0, -7.0), ("C", 0, None))
    ]
    fig = draw(*runs, columns=("AverageEpRet", "MinEpRet", "Entropy"))
    dotted = [[line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"] for ax in fig.axes]
    assert dotted == [[5], [5], [], [-7], [-7], [], [], [], []]
    assert "dotted: random play" in texts(fig)
    assert "random play" not in texts(draw(*runs, columns=("Entropy",)))
    assert "random play" not in texts(draw(runs[-1]))


def test_seeds_are_one_curve_and_groups_differ_in_colour_and_line(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / f"{lr}_{s}", {"KL": [s, s, s]}, pi_lr=lr, seed=s) for lr in (1, 2) for s in (1, 2, 6)]
    fig = draw(*runs, columns=("KL",))
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["pi_lr=1 (3 seeds)", "pi_lr=2 (3 seeds)"]
    means = [line for line in fig.axes[0].lines if line.get_linewidth() > 1]
    assert [np.asarray(line.get_ydata()).tolist() for line in means] == [[3, 3, 3], [3, 3, 3]]
    assert len({line.get_color() for line in means}) == len({line.get_linestyle() for line in means}) == 2
    assert len(fig.axes[0].lines) == 2 + 6
    assert len(fig.axes[0].collections) == 2


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([1, 1], "one run per line"),
        ([2], "each seed a line · fewer than 3 seeds: no interval"),
        ([3], f"{BAND} · fewer than 5 seeds are few"),
        ([5], BAND),
        ([5, 1], f"{BAND} · fewer than 3 seeds: no interval"),
        ([2, 4], f"{BAND} · fewer than 3 seeds: no interval · fewer than 5 seeds are few"),
    ],
)
def test_the_subtitle_says_what_the_band_is(counts: list[int], words: str, tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / f"{lr}_{s}", pi_lr=lr, seed=s) for lr, n in enumerate(counts) for s in range(n)]
    assert draw(*runs, columns=("KL",)).texts[1].get_text().replace("\n", " ") == words


def test_below_three_seeds_each_is_a_line_and_there_is_no_band(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / f"r{s}", {"Entropy": [s, s, s]}, seed=s) for s in (1, 2, 6)]
    two, three = (draw(*runs[:n], columns=("Entropy",)).axes[0] for n in (2, 3))
    assert [np.asarray(line.get_ydata()).tolist() for line in two.lines] == [[1, 1, 1], [2, 2, 2]]
    assert {line.get_linewidth() for line in two.lines} == {1.2}
    assert not two.collections
    assert np.asarray(three.lines[-1].get_ydata()).tolist() == [3, 3, 3]
    (band,) = three.collections
    heights, width = np.asarray(band.get_paths()[0].vertices)[:, 1], 4.302652729911275 * (7 / 3) ** 0.5
    assert (heights.min(), heights.max()) == pytest.approx((3 - width, 3 + width))


def test_the_same_seed_twice_is_not_called_two_seeds(tmp_path: Path, make_run: MakeRun) -> None:
    assert "exp (2 runs)" in texts(draw(*(make_run(tmp_path / name) for name in "ab")))


def test_panels_without_values_say_so(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "r", {"Entropy": None, "KL": [nan] * 3})
    fig = draw(run, columns=("AverageEpRet", "KL"))
    assert [ax.texts[0].get_text() if ax.texts else "" for ax in fig.axes] == ["", "no values"]
    with pytest.raises(UserError, match="there is no column 'Entropy'"):
        draw(run, columns=("Entropy",))
    columns = dict.fromkeys(["AverageEpRet", *SIX])
    fig = draw(make_run(tmp_path / "nothing", columns), columns=())
    assert [ax.texts[0].get_text() for ax in fig.axes] == ["not logged"]


def test_kl_is_logarithmic_where_it_is_positive(tmp_path: Path, make_run: MakeRun) -> None:
    ax = draw(make_run(tmp_path / "a", {"KL": [-1, 0, 0.1]})).axes[2]
    assert ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [nan, nan, 0.1])
    assert draw(make_run(tmp_path / "b", {"KL": [0, 0, 0]})).axes[2].get_yscale() == "linear"


def test_a_kl_of_zero_is_marked_below_a_logarithmic_axis(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / f"r{k}", {"KL": v}, pi_lr=k) for k, v in enumerate([[0, 0, 0.1], [0.2] * 3, [0] * 3])]
    (ax,) = draw(*runs, columns=("KL",)).axes
    assert ax.get_title(loc="left") == "KL divergence (nats), ▼ = 0"
    first, third = (line for line in ax.lines if line.get_marker() == "v")
    assert [list(line.get_xdata()) for line in (first, third)] == [[100, 200], [100, 200, 300]]
    assert [line.get_color() for line in (first, third)] == [COLORS[0], COLORS[2]]
    assert first.get_ydata()[0] == 0 < third.get_ydata()[0]  # one does not cover the other
    (plain,) = draw(runs[1], columns=("KL",)).axes
    assert plain.get_title(loc="left") == "KL divergence (nats)"


def test_a_band_that_reaches_zero_is_drawn_to_the_edge_of_a_logarithmic_axis(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / f"r{s}", {"KL": [0.1, v, 0.1]}, seed=s) for s, v in enumerate([0.01, 0.1, 0.9])]
    (ax,) = draw(*runs, columns=("KL",)).axes
    (band,) = ax.collections
    (path,) = band.get_paths()
    x, y = np.asarray(path.vertices).T
    assert {100, 200, 300} <= set(x)
    assert y.min() == pytest.approx(ax.get_ylim()[0])
    assert 0.005 < y.min() < 0.01
    assert ax.get_ylim()[1] < 10


def test_several_seeds_keep_their_worst_and_best_episode_visible(tmp_path: Path, make_run: MakeRun) -> None:
    columns = [{"MinEpRet": [s, -s, s], "MaxEpRet": [10 * s, 20 * s, 5 * s]} for s in (1, 2, 3)]
    runs = [make_run(tmp_path / f"r{s}", c, seed=s) for s, c in enumerate(columns)]
    fig = draw(*runs, columns=("AverageEpRet",))
    envelope, band = fig.axes[0].collections
    assert {(100, 1), (200, -3), (300, 1), (100, 30), (200, 60)} <= set(map(tuple, envelope.get_paths()[0].vertices))
    assert envelope.get_alpha() < band.get_alpha()
    assert "palest: from each epoch's worst episode to its best" in texts(fig).replace("\n", " ")
    assert "palest" not in texts(draw(*runs, columns=("KL",)))


def test_q_is_drawn_against_the_observed_return(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "r", {"QVals": [1, 2, 3], "ReturnMean": [4, 5, 6]})
    (ax,) = draw(run, columns=("QVals",)).axes
    assert ax.get_title(loc="left") == "Q (thick), observed return (thin)"
    by_width = {line.get_linewidth(): list(line.get_ydata()) for line in ax.lines}
    assert by_width == {1.8: [1, 2, 3], 1: [4, 5, 6]}
    (ax,) = draw(make_run(tmp_path / "s", {"QVals": [1, 2, 3]}), columns=("QVals",)).axes
    assert ax.get_title(loc="left") == "predicted Q"


def test_another_column_to_draw_against(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "r", {"Time": [5, 6, 8], "ExplainedVariance": [0, 1, nan], "KL": [0, 1, 2]})
    curve, explained, kl = draw(run, columns=("AverageEpRet", "ExplainedVariance", "KL"), x="Time").axes
    np.testing.assert_array_equal(curve.lines[0].get_xydata(), [[5, 10], [6, 20], [8, 30]])
    assert {5, 6, 8} <= set(np.asarray(curve.collections[0].get_paths()[0].vertices)[:, 0])
    assert [path.get_extents().extents.tolist() for path in shades(explained)[0].get_paths()] == [[6, 0, 8, 1]]
    assert list(kl.lines[-1].get_xdata()) == [5]
    assert curve.get_xlabel() == "time (s)"
    with pytest.raises(UserError, match="there is no column 'Tme'; nearest: Time"):
        draw(run, x="Tme")


def test_smoothed_curves_say_so(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "r", {"QVals": [2, 4, 8], "ReturnMean": [0, 2, 4]})
    fig = draw(run, columns=("AverageEpRet", "QVals"), smooth=2)
    assert "each point: mean of the last 2 epochs" in texts(fig).replace("\n", " ")
    np.testing.assert_array_equal(fig.axes[0].lines[0].get_ydata(), [10, 15, 25])
    assert [list(line.get_ydata()) for line in fig.axes[1].lines] == [[2, 3, 6], [0, 1, 3]]
    assert (200, 30) in set(map(tuple, fig.axes[0].collections[0].get_paths()[0].vertices))  # of 20 and 40
    assert "each point" not in texts(draw(run))


def test_explained_variance_is_cut_at_minus_one_and_says_so(tmp_path: Path, make_run: MakeRun) -> None:
    ax = draw(make_run(tmp_path / "r", {"ExplainedVariance": [-1e9, -0.5, 0.5]})).axes[3]
    assert ax.get_ylim() == pytest.approx((-1.05, 1.1))
    assert ax.get_yticklabels()[0].get_text() == "≤ −1"
    assert [np.asarray(line.get_ydata()).tolist() for line in ax.lines[1:]] == [[0, 0], [1, 1]]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [-1, -0.5, 0.5])
    assert not ax.texts


def test_one_epoch_is_a_visible_point(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "r")
    lines = (run / "progress.txt").read_text().splitlines(keepends=True)
    (run / "progress.txt").write_text("".join(lines[:2]) + lines[2][:9])
    assert draw(run).axes[0].lines[0].get_marker() == "o"


def test_a_value_between_missing_ones_is_a_visible_point(tmp_path: Path, make_run: MakeRun) -> None:
    line = draw(make_run(tmp_path / "r", {"KL": [0, 0.1, 0]})).axes[2].lines[0]
    assert (line.get_marker(), line.get_markevery()) == ("o", [1])
    assert draw(make_run(tmp_path / "whole")).axes[2].lines[0].get_marker() == ""


def test_spinning_up_directory(tmp_path: Path) -> None:
    run = tmp_path / "su_s0"
    run.mkdir()
    (run / "config.json").write_text('{"exp_name": "su", "seed": 0, "ac_kwargs": {"hidden_sizes": [64]}}')
    (run / "progress.txt").write_text(
        "Epoch\tAverageEpRet\tStdEpRet\tMaxEpRet\tMinEpRet\tEpLen\tVVals\tTotalEnvInteracts\tEntropy\tKL\tTime\n"
        "0\t20.1\t3.2\t40.0\t9.0\t20.1\t0.1\t4000\t0.68\t0.001\t2.5\n"
        "1\t30.1\t3.2\t50.0\t9.0\t30.1\t0.1\t8000\t0.66\t0.002\t5.0\n"
    )
    axes = draw(run, columns=()).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["return", "entropy (nats)", "KL divergence (nats)"]
    assert not any(ax.texts for ax in axes)


# Where nothing is left to explain


def shades(ax: Any) -> list[Any]:
    """What marks the epochs with nothing to explain, one for each run: drawn over shares of the panel's height."""
    return [c for c in ax.collections if c.get_transform() != ax.transData and c.get_paths()]


def panel(*runs: Path) -> tuple[Any, list[str], list[list[tuple[float, ...]]]]:
    """The panel of ExplainedVariance, its texts, and of each run that is marked the (x0, y0, x1, y1) of its marks."""
    (ax,) = draw(*runs, columns=("ExplainedVariance",)).axes
    marks = [[tuple(path.get_extents().extents.tolist()) for path in shade.get_paths()] for shade in shades(ax)]
    return ax, [text.get_text() for text in ax.texts], marks


def test_epochs_with_nothing_to_explain_are_shaded_and_break_the_curve(tmp_path: Path, make_run: MakeRun) -> None:
    ax, said, marks = panel(make_run(tmp_path / "r", {"ExplainedVariance": [0.5, nan, 0.8]}))
    assert said == ["nothing left to explain"]
    assert marks == [[(100, 0, 200, 1)]]  # the second epoch, over the whole height
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[100, 0.5], [200, nan], [300, 0.8]])
    assert ax.lines[0].get_marker() == "o"


def test_values_below_minus_one_are_cut_beside_epochs_with_nothing_to_explain(
    tmp_path: Path, make_run: MakeRun
) -> None:
    ax, said, marks = panel(make_run(tmp_path / "r", {"ExplainedVariance": [-40, 0.5, nan]}))
    assert said == ["nothing left to explain"]
    assert marks == [[(200, 0, 300, 1)]]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [-1, 0.5, nan])
    assert ax.get_yticklabels()[0].get_text() == "≤ −1"


def test_nothing_to_explain_from_the_first_epoch_to_the_last(tmp_path: Path, make_run: MakeRun) -> None:
    ax, said, marks = panel(make_run(tmp_path / "r", {"ExplainedVariance": [nan] * 3}))
    assert said == ["nothing left to explain"]
    assert marks == [[(0, 0, 300, 1)]]
    assert ax.get_xlim()[0] <= 0
    assert ax.get_xlim()[1] >= 300


@pytest.mark.parametrize("bias", [[nan] * 3, None])
def test_no_critic_is_not_nothing_to_explain(tmp_path: Path, make_run: MakeRun, bias: Any) -> None:
    _, said, marks = panel(make_run(tmp_path / "r", {"ExplainedVariance": [nan] * 3, "ValueBias": bias}))
    assert (said, marks) == (["no values"], [])


def test_seeds_are_paler_than_all_of_them_together(tmp_path: Path, make_run: MakeRun) -> None:
    values = [[0.5, nan, nan], [0.6, 0.7, nan], [0.1, 0.9, nan]]
    runs = [make_run(tmp_path / f"r{seed}", {"ExplainedVariance": v}, seed=seed) for seed, v in enumerate(values)]
    ax, said, marks = panel(*runs)
    assert said == ["nothing left to explain"]
    assert marks == [[(100, 0, 300, 1)], [(200, 0, 300, 1)], [(200, 0, 300, 1)]]
    mean = next(line for line in ax.lines if line.get_linewidth() == 1.8)
    np.testing.assert_allclose(mean.get_ydata(), [0.4, 0.8, nan])  # of the seeds that have something to explain
    seeds = [1 - shade.get_alpha() for shade in shades(ax)]
    (alone,) = (shade.get_alpha() for shade in shades(panel(runs[0])[0]))
    assert 1 - np.prod(seeds) == pytest.approx(alone)


def test_the_text_stands_where_most_seeds_have_nothing_to_explain(tmp_path: Path, make_run: MakeRun) -> None:
    values = [[nan, 0.5, nan], [0.6, 0.7, nan]]
    ax, _, _ = panel(*(make_run(tmp_path / f"r{s}", {"ExplainedVariance": v}, seed=s) for s, v in enumerate(values)))
    x = ax.texts[0].get_position()[0]
    left, right = ax.get_xlim()
    assert 200 < left + x * (right - left) < 300


def test_of_several_groups_each_has_a_bar_below_the_curves(tmp_path: Path, make_run: MakeRun) -> None:
    values = [[-9, 0.5, nan], [0.5, 0.6, 0.7], [0.5, nan, nan]]
    runs = [make_run(tmp_path / f"r{k}", {"ExplainedVariance": v}, pi_lr=k) for k, v in enumerate(values)]
    ax, said, marks = panel(*runs)
    assert said == ["nothing left to explain"]
    (first,), (second,) = marks
    assert (first[0], first[2], second[0], second[2]) == (200, 300, 100, 300)
    assert first[1] == 0
    assert first[3] == second[1]
    colors = [to_hex(shade.get_facecolor()[0]).upper() for shade in shades(ax)]
    assert colors == [COLORS[0], COLORS[2]]
    low, high = ax.get_ylim()
    assert low + second[3] * (high - low) < -1  # where the first curve is cut
    assert ax.texts[0].get_position()[1] > second[3]


def test_bars_of_many_groups_leave_room_for_the_curves(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / f"r{k}", {"ExplainedVariance": [0, 1, nan]}, pi_lr=k) for k in range(20)]
    ax, _, marks = panel(*runs)
    assert len(marks) == 20
    assert max(bar[3] for (bar,) in marks) <= 0.26
    low, high = ax.get_ylim()
    assert (0 - low) / (high - low) < 0.5


@pytest.mark.parametrize("steps", [[0, 0, 0], [-100, -200, -300], [nan, -np.inf, 1e300]])
def test_steps_that_make_no_sense_are_not_marked(tmp_path: Path, make_run: MakeRun, steps: list[float]) -> None:
    run = make_run(tmp_path / "r", {"ExplainedVariance": [nan] * 3, "TotalEnvInteracts": steps})
    assert panel(run)[1:] == (["no values"], [])


def test_many_marks_are_drawn_to_a_file(tmp_path: Path, make_run: MakeRun) -> None:
    steps = np.arange(1.0, 2001)
    table = dict.fromkeys(["Epoch", "AverageEpRet", "MinEpRet", "MaxEpRet", "EpLen", "Entropy", "KL"])
    table |= {"TotalEnvInteracts": steps, "ExplainedVariance": np.where(steps % 2, 0.5, nan), "ValueBias": steps}
    save_figure(draw(make_run(tmp_path / "r", table), columns=()), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


# Environments


def headings(fig: Figure) -> list[str]:
    return [text.get_text() for ax in fig.axes for text in ax.texts if text.get_fontweight() == "bold"]


def test_each_environment_has_a_row_of_panels_of_its_own(tmp_path: Path, make_run: MakeRun) -> None:
    made = [("a", "ppo", "Walk", [1, 2, 3]), ("b", "vpg", "Swim", [4, 5, 6]), ("c", "ppo", "Swim", [7, 8, 9])]
    runs = [make_run(tmp_path / n, {"KL": kl}, algo=algo, env=env, exp_name=n) for n, algo, env, kl in made]
    fig = draw(*runs, columns=("KL", "EpLen"))
    assert headings(fig) == ["Walk", "Swim"]
    tops = [ax.get_position().y0 for ax in fig.axes]
    assert tops[0] == tops[1] > tops[2] == tops[3]
    assert [ax.get_title(loc="left") for ax in fig.axes] == [TITLES["KL"], TITLES["EpLen"]] * 2
    drawn = [
        [(to_hex(line.get_color()).upper(), list(line.get_ydata())) for line in ax.lines if line.get_xdata().size]
        for ax in fig.axes[::2]
    ]
    assert drawn == [[(COLORS[0], [1, 2, 3])], [(COLORS[0], [7, 8, 9]), (COLORS[1], [4, 5, 6])]]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["ppo (1 seed)", "vpg (1 seed)"]
    assert fig.texts[0].get_text() == "Walk, Swim"


def test_the_legend_says_where_there_are_other_seeds(tmp_path: Path, make_run: MakeRun) -> None:
    counts = {"Walk": 1, "Swim": 2, "Fly": 2}
    runs = [make_run(tmp_path / f"{env}{s}", env=env, seed=s) for env, n in counts.items() for s in range(n)]
    (entry,) = draw(*runs, columns=("KL",)).legends[0].get_texts()
    assert entry.get_text() == "ppo (Walk: 1 seed; 2 environments: 2 seeds)"


def test_one_panel_of_each_environment_stands_beside_the_others(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / env, env=env) for env in ("Walk", "Swim", "Fly", "Dive")]
    fig = draw(*runs, columns=("KL",))
    places = [ax.get_position() for ax in fig.axes]
    assert len({place.y0 for place in places[:3]}) == 1
    assert places[0].x0 < places[1].x0 < places[2].x0
    assert (places[3].x0, places[3].y0 < places[0].y0) == (places[0].x0, True)
    assert headings(fig) == ["Walk", "Swim", "Fly", "Dive"]


def test_several_environments_have_three_panels_each_chosen_for_them(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / "a", env="Walk"), make_run(tmp_path / "b", {"Entropy": [nan] * 3}, env="Swim")]
    axes, alone = draw(*runs, columns=()).axes, draw(runs[0], columns=()).axes
    titles = [ax.get_title(loc="left") for ax in axes]
    first, second = ["AverageEpRet", "Entropy", "KL"], ["AverageEpRet", "KL", "ValueBias"]
    assert titles == [TITLES[column] for column in [*first, *second]]
    assert len(alone) == 5
    assert axes[0].collections[0].get_alpha() < alone[0].collections[0].get_alpha()  # no interval, and not like one


def test_panels_of_an_environment_begin_at_zero_and_end_together(tmp_path: Path, make_run: MakeRun) -> None:
    late = {"TotalEnvInteracts": [500, 600, 700], "Time": [5, 6, 7], "Entropy": [nan, nan, 1]}
    runs = [make_run(tmp_path / "a", late, env="Walk"), make_run(tmp_path / "b", {"Time": [1, 2, 3]}, env="Swim")]
    for x, ends in (("TotalEnvInteracts", (700, 300)), ("Time", (7, 3))):
        limits = [ax.get_xlim() for ax in draw(*runs, x=x, columns=("Entropy", "KL")).axes]
        assert [left for left, _ in limits] == [0] * 4
        assert [right for _, right in limits] == pytest.approx([1.02 * end for end in ends for _ in range(2)])
    left, right = draw(runs[1], columns=("AverageEpRet",), x="KL").axes[0].get_xlim()
    assert 0.9 < left < 1 < 3 < right  # what does not count up from 0 has no reason to begin there


# What is not finished


def test_how_far_a_run_is_that_is_not_finished(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / f"r{s}", seed=s, total_steps=100_000) for s in range(3)]
    held = lock(runs[0])
    assert held is not None
    assert "seed 0 · running: 300 of 100k steps · band" in texts(draw(runs[0])).replace("\n", " ")
    assert "exp (3 seeds, 1 running: 300 of 100k steps, 2 stopped: 300 of 100k steps)" in texts(draw(*runs))
    os.close(held)
    assert "exp (3 seeds, 3 stopped: 300 of 100k steps)" in texts(draw(*runs))
    (runs[0] / "error.json").write_text('{"error": "LossPi is nan"}')
    assert "seed 0 · failed: 300 of 100k steps" in texts(draw(runs[0]))
    (runs[0] / "error.json").unlink()
    (runs[0] / "result.json").write_text('{"AverageEpRet": 1}')
    assert "seed 0 · band" in texts(draw(runs[0]))
    assert "seed 0 · band" in texts(draw(make_run(tmp_path / "whole", total_steps=300)))
    further = [
        make_run(tmp_path / f"f{s}", {"TotalEnvInteracts": [1, 2, s]}, seed=s, total_steps=1e6) for s in (70, 51234)
    ]
    assert "exp (2 seeds, 2 stopped: 70–51.2k of 1M steps)" in texts(draw(*further))


def test_groups_without_an_epoch_are_left_out_and_returned(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / f"r{seed}", seed=seed) for seed in range(3)]
    runs.append(make_run(tmp_path / "other", pi_lr=1.0))
    for run in runs[2:]:
        (run / "progress.txt").write_text("Epoch\tTotalEnvInteracts\n")
    fig, groups = Figure(), group_by_settings(runs)
    with matplotlib.style.context(["default", STYLE]):
        assert draw_dashboard(fig, groups, ("KL",)) == groups[1:]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["exp (2 seeds, 1 without an epoch yet)"]


def test_labels_that_differ_only_at_their_end_stay_different(tmp_path: Path, make_run: MakeRun) -> None:
    runs = [make_run(tmp_path / end, net="layers." * 30 + end) for end in "ab"]
    entries = [text.get_text() for text in draw(*runs, columns=("KL",)).legends[0].get_texts()]
    assert [entry[-10:] for entry in entries] == ["a (1 seed)", "b (1 seed)"]
    assert max(map(len, entries)) <= 55
