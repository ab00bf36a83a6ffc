import json
import os
import subprocess
import sys
import types
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib.style
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import rlsuite.common
from rlsuite import plot
from rlsuite.common import figures
from rlsuite.common.runs import group_by_settings

nan = np.nan


def make_run(path: Path, columns: dict[str, Any] | None = None, **config: Any) -> Path:
    """A run of three epochs, with columns replaced by `columns`, or left out where they are None there."""
    steps = np.array([100.0, 200.0, 300.0])
    table: dict[str, Any] = {"Epoch": steps / 100, "TotalEnvInteracts": steps, "AverageEpRet": steps / 10}
    table |= {"MinEpRet": steps / 20, "MaxEpRet": steps / 5, "EpLen": steps, "Entropy": 1 / steps}
    table |= {"KL": 0.01 * steps, "ExplainedVariance": steps / 300, "ValueBias": -steps}
    table = {name: column for name, column in (table | (columns or {})).items() if column is not None}
    rows = zip(*table.values(), strict=True)
    lines = ["\t".join(table), *("\t".join(str(float(value)) for value in row) for row in rows)]
    path.mkdir(parents=True)
    (path / "progress.txt").write_text("\n".join(lines) + "\n")
    defaults = {"algo": "ppo", "exp_name": "exp", "env": "CartPole-v1", "seed": 0, "note": ""}
    (path / "config.json").write_text(json.dumps(defaults | config))
    return path


def draw(*runs: Path, columns: tuple[str, ...] = tuple(figures.PANELS)) -> Figure:
    fig = Figure()
    with matplotlib.style.context(["default", figures.STYLE]):
        figures.draw_dashboard(fig, group_by_settings(runs), columns)
    return fig


def texts(fig: Figure) -> str:
    legend = [text for legend in fig.legends for text in legend.get_texts()]
    return "\n".join(text.get_text() for text in [*fig.texts, *legend])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that bad arguments give."""
    assert plot.main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rlsuite: ")
    assert err.count("\n") == 1
    return err


def column(run: Any, **columns: Any) -> dict[str, np.ndarray]:
    return {"TotalEnvInteracts": np.array(run, dtype=float)} | {k: np.array(v, float) for k, v in columns.items()}


# The numbers


def test_bootstrap_band_of_equal_seeds_has_no_width() -> None:
    lo, hi = figures.bootstrap_band(np.array([[1.0, 2.0]] * 4))
    np.testing.assert_allclose([lo, hi], [[1, 2], [1, 2]], rtol=1e-12)


def test_bootstrap_band_against_all_resamples() -> None:
    values = np.array([0.0, 1.0, 5.0, 9.0])
    means = np.array([np.mean(drawn) for drawn in product(values, repeat=4)])  # each equally likely
    lo, hi = figures.bootstrap_band(values[:, None], resamples=200_000)
    np.testing.assert_allclose([lo[0], hi[0]], np.percentile(means, [2.5, 97.5]), atol=1e-9)
    lo, hi = figures.bootstrap_band(values[:, None], resamples=200_000, level=0.5)
    np.testing.assert_allclose([lo[0], hi[0]], np.percentile(means, [25, 75]), atol=1e-9)


def test_bootstrap_band_draws_only_from_the_seeds_that_are_there() -> None:
    values = np.array([[0.0, 0.0, 7.0], [1.0, 1.0, nan], [50.0, nan, nan]])
    lo, hi = figures.bootstrap_band(values)
    np.testing.assert_allclose(lo[:2], [0, 0])
    np.testing.assert_allclose(hi[:2], [50, 1])
    assert np.isnan([lo[2], hi[2]]).all()


def test_bootstrap_band_is_reproducible_and_covers_the_mean() -> None:
    values = np.random.default_rng(0).normal(size=(5, 50))
    lo, hi = figures.bootstrap_band(values)
    np.testing.assert_array_equal(figures.bootstrap_band(values), (lo, hi))
    assert ((lo < values.mean(axis=0)) & (values.mean(axis=0) < hi)).all()


def test_aggregate_interpolates_between_the_rows_of_a_run() -> None:
    curve = figures.aggregate([column([0, 10], KL=[0, 10]), column([0, 5, 10], KL=[4, 4, 4])], "KL")
    np.testing.assert_array_equal(curve.x, [0, 5, 10])
    np.testing.assert_allclose(curve.mean, [2, 4.5, 7])
    np.testing.assert_allclose(curve.lo, [0, 4, 4])
    np.testing.assert_allclose(curve.hi, [4, 5, 10])


def test_aggregate_of_unequal_lengths_averages_the_runs_that_reach_a_step() -> None:
    curve = figures.aggregate([column([1, 2, 3], KL=[1, 1, 1]), column([2], KL=[5])], "KL")
    np.testing.assert_array_equal(curve.mean, [1, 3, 1])
    np.testing.assert_array_equal(curve.hi, [nan, 5, nan])


def test_aggregate_skips_rows_without_a_finite_value() -> None:
    run = column([1, 2, 3, nan, 5, 6], KL=[1, nan, 3, 9, np.inf, 1e300])
    curve = figures.aggregate([run], "KL")
    np.testing.assert_array_equal(curve.x, [1, 3])
    np.testing.assert_array_equal(curve.mean, [1, 3])
    both = figures.aggregate([run, column([1, 2, 3], KL=[0, 0, 0])], "KL")
    np.testing.assert_array_equal(both.mean, [0.5, 1, 1.5])


def test_aggregate_of_nothing_is_empty() -> None:
    for runs in [], [column([1, 2])], [column([1], KL=[nan])]:
        assert figures.aggregate(runs, "KL").x.size == 0


def test_aggregate_bounds_the_points_of_a_curve() -> None:
    x = np.arange(5000)
    curve = figures.aggregate([column(x, KL=2 * x), column(x + 0.5, KL=2 * x + 1)], "KL")
    assert curve.x.size == figures.MAX_POINTS
    np.testing.assert_allclose(curve.mean, 2 * curve.x, atol=1e-9)


# The dashboard


def test_one_run_shows_the_range_of_its_episodes(tmp_path: Path) -> None:
    fig = draw(make_run(tmp_path / "r", note="why $x_{?"))
    assert [ax.get_title(loc="left") for ax in fig.axes] == list(figures.PANELS.values())
    assert fig.axes[0].get_title(loc="left") == "return"
    line, band = fig.axes[0].lines[0], fig.axes[0].collections[0].get_paths()[0].vertices
    np.testing.assert_array_equal(line.get_xydata(), [[100, 10], [200, 20], [300, 30]])
    assert {(100, 5), (300, 15), (100, 20), (300, 60)} <= {tuple(point) for point in np.asarray(band)}
    assert not fig.axes[1].collections
    assert "exp · CartPole-v1" in texts(fig)
    assert "note: why $x_{?" in texts(fig)
    assert not fig.legends


def test_seeds_are_one_curve_and_groups_differ_in_colour_and_line(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"{lr}_{s}", {"KL": [s, s, s]}, pi_lr=lr, seed=s) for lr in (1, 2) for s in (1, 2, 6)]
    fig = draw(*runs, columns=("KL",))
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["pi_lr=1 (3 seeds)", "pi_lr=2 (3 seeds)"]
    means = [line for line in fig.axes[0].lines if line.get_linewidth() > 1]
    assert [np.asarray(line.get_ydata()).tolist() for line in means] == [[3, 3, 3], [3, 3, 3]]
    assert len({line.get_color() for line in means}) == len({line.get_linestyle() for line in means}) == 2
    assert len(fig.axes[0].lines) == 2 + 6
    assert len(fig.axes[0].collections) == 2


def test_the_same_seed_twice_is_not_called_two_seeds(tmp_path: Path) -> None:
    assert "exp (2 runs)" in texts(draw(*(make_run(tmp_path / name) for name in "ab")))


def test_panels_without_values_say_so(tmp_path: Path) -> None:
    fig = draw(make_run(tmp_path / "r", {"Entropy": None, "KL": [nan] * 3}))
    assert [ax.texts[0].get_text() if ax.texts else "" for ax in fig.axes] == [
        "",
        "not logged",
        "no values yet",
        "",
        "",
        "",
    ]


def test_kl_is_logarithmic_where_it_is_positive(tmp_path: Path) -> None:
    ax = draw(make_run(tmp_path / "a", {"KL": [-1, 0, 0.1]})).axes[2]
    assert ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [nan, nan, 0.1])
    assert draw(make_run(tmp_path / "b", {"KL": [0, 0, 0]})).axes[2].get_yscale() == "linear"


def test_explained_variance_is_cut_at_minus_one_and_says_so(tmp_path: Path) -> None:
    ax = draw(make_run(tmp_path / "r", {"ExplainedVariance": [-1e9, -0.5, 0.5]})).axes[3]
    assert ax.get_ylim() == pytest.approx((-1.05, 1.1))
    assert ax.get_yticklabels()[0].get_text() == "≤ −1"
    assert [np.asarray(line.get_ydata()).tolist() for line in ax.lines[1:]] == [[0, 0], [1, 1]]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [-1, -0.5, 0.5])


def test_one_epoch_is_a_visible_point(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    lines = (run / "progress.txt").read_text().splitlines(keepends=True)
    (run / "progress.txt").write_text("".join(lines[:2]) + lines[2][:9])
    assert draw(run).axes[0].lines[0].get_marker() == "o"


def test_runs_that_have_not_begun_are_left_out(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"r{seed}", seed=seed) for seed in range(3)]
    runs.append(make_run(tmp_path / "other", pi_lr=1.0))
    for run in runs[2:]:
        (run / "progress.txt").write_text("Epoch\tTotalEnvInteracts\n")
    fig = draw(*runs, columns=("KL",))
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["exp (2 seeds)"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (100_000, "100k"), (2_500, "2.5k"), (-1_500_000, "−1.5M"), (0.01, "0.01"), (2e9, "2B")],
)
def test_tick(value: float, text: str) -> None:
    assert figures.tick_label(value) == text


# The door


def test_writes_dashboard_png_into_the_directory_given_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "exp" / "r0")
    make_run(tmp_path / "exp" / "r1", seed=1)
    other = make_run(tmp_path / "other")
    assert plot.main([str(tmp_path / "exp"), str(other)]) == 0
    written = tmp_path / "exp" / "dashboard.png"
    assert capsys.readouterr().out == f"{written}\n"
    assert written.read_bytes().startswith(b"\x89PNG")
    assert len(os.listdir(tmp_path / "exp")) == 3
    assert len(os.listdir(other)) == 2


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".SVG", b"<?xml"), (".pdf", b"%PDF")])
def test_suffix_chooses_the_format_and_equal_data_give_equal_files(tmp_path: Path, suffix: str, magic: bytes) -> None:
    runs = [make_run(tmp_path / f"r{s}", {"KL": [s, 2 * s, s]}, seed=s) for s in (1, 2, 3)]
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        assert plot.main([*map(str, runs), "--value", "KL", "--out", str(file)]) == 0
    assert files[0].read_bytes().startswith(magic)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_spinning_up_directory(tmp_path: Path) -> None:
    run = tmp_path / "su_s0"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"exp_name": "su", "seed": 0, "ac_kwargs": {"hidden_sizes": [64]}}))
    (run / "progress.txt").write_text(
        "Epoch\tAverageEpRet\tStdEpRet\tMaxEpRet\tMinEpRet\tEpLen\tVVals\tTotalEnvInteracts\tEntropy\tKL\tTime\n"
        "0\t20.1\t3.2\t40.0\t9.0\t20.1\t0.1\t4000\t0.68\t0.001\t2.5\n"
        "1\t30.1\t3.2\t50.0\t9.0\t30.1\t0.1\t8000\t0.66\t0.002\t5.0\n"
    )
    assert plot.main([str(run)]) == 0
    assert [bool(ax.texts) for ax in draw(run).axes] == [False, False, False, True, False, True]


def test_unknown_column_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "r")
    assert "'entropi'; nearest: Entropy" in refused(capsys, run, "--value", "entropi")
    assert "it has: AverageEpRet, Ent" in refused(capsys, run, "--value", "zzz").replace("EpLen, ", "")
    assert not (run / "dashboard.png").exists()


def test_bad_paths_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    run = make_run(tmp_path / "run")
    assert "does not exist" in refused(capsys, tmp_path / "no\nwhere")
    assert "no progress.txt" in refused(capsys, tmp_path / "empty")
    assert "is a file" in refused(capsys, run / "progress.txt")
    assert "required: DIR" in refused(capsys)
    assert "unrecognized" in refused(capsys, run, "--colour", "red")


@pytest.mark.parametrize("progress", ["", "Epoch\tTotalEnvInteracts\n", "Epoch\n1\n", "a b c\nd\ne\n", "\0\1\n\2\n"])
def test_bad_progress_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], progress: str) -> None:
    run = make_run(tmp_path / "r")
    (run / "progress.txt").write_text(progress)
    assert "progress.txt" in refused(capsys, run)
    assert sorted(os.listdir(run)) == ["config.json", "progress.txt"]


def test_bad_config_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "r")
    (run / "config.json").write_text("[]")
    assert "config.json" in refused(capsys, run)


def test_strange_values_are_drawn(tmp_path: Path) -> None:
    huge = [1e308, -1e308, 1e99]
    columns = {name: huge for name in [*figures.PANELS, "MinEpRet", "MaxEpRet", "TotalEnvInteracts"]}
    strange: dict[str, Any] = {"exp_name": "_\ud800$x_{\n\u4e2d$", "env": {"a": 1}, "seed": [1], "note": ["$\\frac{$"]}
    run = make_run(tmp_path / "r", columns, **strange)
    other = make_run(tmp_path / "s", {name: [np.inf, nan, 1e-320] for name in columns}, exp_name="_", pi_lr=1e999)
    assert plot.main([str(run), str(other)]) == 0


def test_out_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "r")
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert "must end in .png, .svg, .pdf" in refused(capsys, run, "--out", tmp_path / "x.jpeg")
    assert "can't write" in refused(capsys, run, "--value", "KL", "--out", tmp_path / "no" / "x.png")
    assert "can't write" in refused(capsys, run, "--value", "KL", "--out", run / "progress.txt" / "x.png")
    assert "can't write" in refused(capsys, run, "--value", "KL", "--out", tmp_path / "folder.png")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert "No space left" in refused(capsys, run, "--value", "KL")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_write_keeps_the_old_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "r")
    (run / "dashboard.png").write_bytes(b"old")

    def broken(self: Figure, name: Path, **_: object) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", broken)
    assert plot.main([str(run)]) == 2
    assert (run / "dashboard.png").read_bytes() == b"old"
    assert len(os.listdir(run)) == 3


def test_show_without_a_display_is_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    done = door(str(run), "--show", DISPLAY="", WAYLAND_DISPLAY="", MPLBACKEND="agg")
    assert done.returncode == 2
    assert done.stderr.startswith("rlsuite: --show needs a display")
    assert done.stderr.count("\n") == 1


def door(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rlsuite.plot", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=120)


def test_the_door_from_outside(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    done = door(str(run))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{run / 'dashboard.png'}\n", "")
    (run / "progress.txt").write_text("x\ny\n")
    done = door(str(run))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    done = door("--help")
    assert done.returncode == 0
    assert "--value-map" in done.stdout


def test_help_does_not_wait_for_matplotlib_and_torch() -> None:
    code = "import sys, rlsuite.plot; print({'torch', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# The value map


class FakeCritic(torch.nn.Module):
    """V(s) = epoch * (first observation + 10 * last observation)."""

    def __init__(self, space: gym.Space[Any], epoch: int) -> None:
        super().__init__()
        self.obs_space, self.epoch = space, epoch
        self.act_space, self.value_label = gym.spaces.Discrete(3), "V(s)"

    def value(self, obs: torch.Tensor) -> torch.Tensor:
        assert obs.dtype == torch.float32
        assert obs.shape[1:] == self.obs_space.shape
        return self.epoch * (obs[:, 0] + 10 * obs[:, -1])

    def mode(self, obs: torch.Tensor) -> torch.Tensor:
        return (obs[:, -1] > 0).long() + (obs[:, 0] > 1)


def fake_snapshots(monkeypatch: pytest.MonkeyPatch, space: gym.Space[Any], obs: Any, epochs: list[int]) -> None:
    fake = types.SimpleNamespace(
        snapshot_epochs=lambda run: epochs,
        load_snapshot=lambda run, epoch: (FakeCritic(space, epoch), np.array(obs, dtype=np.float32)),
    )
    monkeypatch.setitem(sys.modules, "rlsuite.common.checkpoint", fake)
    monkeypatch.setattr(rlsuite.common, "checkpoint", fake, raising=False)


PLANE = gym.spaces.Box(np.array([0, -np.inf], np.float32), np.array([2, np.inf], np.float32))


def test_value_map_writes_at_most_six_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "r", env="Plane-v0")
    fake_snapshots(monkeypatch, PLANE, [[0.5, -1], [0.5, 1], [1.5, 1]], list(range(1, 12)))
    fig = Figure()
    figures.draw_value_map(fig, run)
    titles = [ax.get_title() for ax in fig.axes[:6]]
    assert titles == ["epoch 1\n100 steps", "epoch 3\n300 steps", "epoch 5", "epoch 7", "epoch 9", "epoch 11"]
    assert plot.main([str(run), "--value-map"]) == 0
    assert (run / "value_map.png").read_bytes().startswith(b"\x89PNG")


def test_value_maps_put_the_first_observation_on_x() -> None:
    obs = np.array([[0.01, -1], [0.01, 1], [1.99, 1], [1.99, 1]])
    sides, values, actions, visits = figures.value_maps("", [(FakeCritic(PLANE, 1), obs)])
    np.testing.assert_allclose(sides, [(0, 2), (-1.1, 1.1)])  # bounds where there are some, else 5% around the data
    np.testing.assert_allclose(values[0, 0, [0, -1]], [-11, -9], rtol=1e-5)
    np.testing.assert_allclose(values[0, -1, [0, -1]], [11, 13], rtol=1e-5)
    assert actions[0, [0, -1, 0, -1], [0, 0, -1, -1]].tolist() == [0, 1, 1, 2]
    assert visits[0, 1, 0] == visits[0, -2, 0] == 25
    assert visits[0, -2, -1] == 50
    assert visits[0].sum() == 100


def test_value_map_of_pendulum_is_over_angle_and_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = gym.make("Pendulum-v1").observation_space
    obs = np.array([[0.0, 1.0, -4.0]])  # a quarter turn to the left
    sides, values, _, visits = figures.value_maps("Pendulum-v1", [(FakeCritic(space, 1), obs)])
    np.testing.assert_allclose(sides, [(-np.pi, np.pi), (-8, 8)])
    np.testing.assert_allclose(values[0, 0, [0, 50, 100]], [-81, -79, -81], rtol=1e-5)
    assert visits[0, 10, 30] == 100
    fake_snapshots(monkeypatch, space, obs, [1])
    assert plot.main([str(make_run(tmp_path / "r", env="Pendulum-v1")), "--value-map"]) == 0


def test_value_map_that_cannot_be_drawn_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "a")
    fake_snapshots(monkeypatch, gym.make("CartPole-v1").observation_space, np.zeros((2, 4)), [1])
    assert "two numbers; CartPole-v1 has Box" in refused(capsys, run, "--value-map")
    fake_snapshots(monkeypatch, gym.spaces.Discrete(3), np.zeros(2), [1])
    assert "has Discrete(3)" in refused(capsys, run, "--value-map")
    fake_snapshots(monkeypatch, PLANE, np.zeros((2, 3)), [1])
    assert "not of the shape (2,)" in refused(capsys, run, "--value-map")
    fake_snapshots(monkeypatch, PLANE, [], [])
    assert "no snapshots" in refused(capsys, run, "--value-map")
    assert "one of them" in refused(capsys, run, "--value-map", "--value", "KL")
    make_run(tmp_path / "b")
    assert f"give one, such as {run}" in refused(capsys, tmp_path, "--value-map")


def test_value_map_of_a_constant_critic_that_has_seen_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_snapshots(monkeypatch, PLANE, np.zeros((0, 2)), [0])
    assert plot.main([str(make_run(tmp_path / "r")), "--value-map"]) == 0
