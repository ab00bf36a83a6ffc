"""The door to figures: files, refusals and what it waits for. The figures themselves are tested in tests/figures."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from matplotlib.figure import Figure

from rlsuite import plot
from rlsuite.errors import UserError
from rlsuite.rundir import references
from rlsuite.rundir.columns import TITLES
from rlsuite.rundir.references import Reference

nan = np.nan


def make_run(path: Path, columns: dict[str, Any] | None = None, **config: Any) -> Path:
    """A run of three epochs, with columns replaced by `columns`."""
    steps = np.array([100.0, 200.0, 300.0])
    table: dict[str, Any] = {"Epoch": steps / 100, "TotalEnvInteracts": steps, "EpLen": steps, "Entropy": 1 / steps}
    table |= {"AverageEpRet": steps / 10, "KL": 0.01 * steps, "ExplainedVariance": steps / 300, "ValueBias": -steps}
    table |= columns or {}
    rows = zip(*table.values(), strict=True)
    lines = ["\t".join(table), *("\t".join(str(float(value)) for value in row) for row in rows)]
    path.mkdir(parents=True)
    (path / "progress.txt").write_text("\n".join(lines) + "\n")
    defaults = {"algo": "ppo", "exp_name": "exp", "env": "CartPole-v1", "seed": 0, "note": ""}
    (path / "config.json").write_text(json.dumps(defaults | config))
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that bad arguments give."""
    assert plot.main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rlsuite: ")
    assert err.count("\n") == 1
    return err


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


def test_a_run_that_repeats_another_is_not_drawn_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[list[str]]] = []
    monkeypatch.setattr(
        plot, "draw_dashboard", lambda _, groups, *__: drawn.append([[r.name for r in g.runs] for g in groups]) or []
    )
    make_run(tmp_path / "a", git_commit="abc")
    again = make_run(tmp_path / "b", git_commit="abc")
    make_run(tmp_path / "c", git_commit="abc", seed=1)
    assert plot.main([str(tmp_path)]) == 0
    assert drawn.pop() == [["a", "c"]]
    line = f"rlsuite: 1 run repeats another (same settings, seed and commit), not drawn: {again}\n"
    assert capsys.readouterr().err == line
    make_run(tmp_path / "d", git_commit="abc", seed=1)
    assert plot.main([str(tmp_path)]) == 0
    assert drawn.pop() == [["a", "c"]]
    assert capsys.readouterr().err.startswith(
        "rlsuite: 2 runs repeat others (same settings, seed and commit), not drawn"
    )
    assert plot.main([str(tmp_path), "--table"]) == 0
    assert "commit), not counted: " in capsys.readouterr().err
    assert plot.main([str(again)]) == 0
    assert (drawn.pop(), capsys.readouterr().err) == ([["b"]], "")


def test_spinning_up_directory(tmp_path: Path) -> None:
    run = tmp_path / "su_s0"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"exp_name": "su", "seed": 0, "ac_kwargs": {"hidden_sizes": [64]}}))
    (run / "progress.txt").write_text("Epoch\tAverageEpRet\tEpLen\tTotalEnvInteracts\n0\t20.1\t20.1\t4000\n")
    assert plot.main([str(run)]) == 0


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
    columns = {name: huge for name in [*TITLES, "Undescribed"]}
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


def test_a_dashboard_does_not_wait_for_torch_and_gymnasium(tmp_path: Path) -> None:
    code = "import sys, rlsuite.plot; assert rlsuite.plot.main([sys.argv[1]]) == 0;"
    code += "print({'torch', 'gymnasium'} & set(sys.modules))"
    run = str(make_run(tmp_path / "r"))
    done = subprocess.run([sys.executable, "-c", code, run], capture_output=True, text=True)
    assert done.stdout.endswith("\nset()\n"), done.stderr


def test_a_solved_task_is_drawn(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"r{s}", {"ExplainedVariance": [0.5, nan, nan]}, seed=s) for s in range(2)]
    other = make_run(tmp_path / "other", {"ExplainedVariance": [nan] * 3}, pi_lr=1)
    for paths in [runs[:1], runs, [*runs, other]]:
        out = tmp_path / f"{len(paths)}.svg"
        assert plot.main([*map(str, paths), "--out", str(out)]) == 0
        # A letter of an SVG is a shape; the text stands in a comment beside it.
        assert "<!-- nothing left to explain -->" in out.read_text()


def test_x_and_smooth(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "r", {"Time": [1, 2, 3]})
    assert "nearest: Time" in refused(capsys, run, "--x", "Tim")
    assert "from 1 up, not 0" in refused(capsys, run, "--smooth", "0")
    assert "leave them out with --value-map" in refused(capsys, run, "--value-map", "--smooth", "2")
    out = tmp_path / "figure.svg"
    assert plot.main([str(run), "--x", "Time", "--smooth", "2", "--out", str(out)]) == 0
    assert "<!-- time (s) -->" in out.read_text()
    assert "mean of the last 2 epochs -->" in out.read_text()


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "r")
    assert plot.main([str(run), "--table"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("group  n  final return")
    out = tmp_path / "t.csv"
    assert plot.main([str(run), "--table", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{printed}{out}\n"
    assert out.read_text().splitlines() == ["group,n,final,low,high,best,area,random", "exp,1,30.0,,,30.0,20.0,"]
    assert sorted(os.listdir(run)) == ["config.json", "progress.txt"]
    assert "must end in .csv" in refused(capsys, run, "--table", "--out", tmp_path / "t.png")
    assert "can't write" in refused(capsys, run, "--table", "--out", tmp_path / "no" / "t.csv")
    assert "--table draws nothing, and --x is" in refused(capsys, run, "--table", "--x", "Time")
    (tmp_path / "link.csv").symlink_to(out)
    assert "is a link" in refused(capsys, run, "--table", "--out", tmp_path / "link.csv")


def test_legend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k, (algo, env) in enumerate([("ppo", "Walk"), ("vpg", "Walk"), ("ppo", "Swim")]):
        make_run(tmp_path / f"r{k}", algo=algo, env=env, exp_name=f"{algo}_{env}")
    out = tmp_path / "figure.svg"
    assert plot.main([str(tmp_path), "--legend", "with a clip", "without", "--out", str(out)]) == 0
    drawn = out.read_text()
    assert "<!-- with a clip (1 seed) -->" in drawn
    assert "<!-- without (1 seed) -->" in drawn
    assert "<!-- Swim -->" in drawn
    assert "ppo" not in drawn
    capsys.readouterr()
    assert plot.main([str(tmp_path), "--legend", "with a clip", "without", "--table"]) == 0
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:4]]
    assert rows == ["with a clip, Walk", "without, Walk", "with a clip, Swim"]
    assert "a name for each group (ppo; vpg): 2, not 3\n" in refused(capsys, tmp_path, "--legend", *"abc")
    assert "two groups the same name" in refused(capsys, tmp_path, "--legend", "a", "a")
    assert "leave them out with --value-map" in refused(capsys, tmp_path, "--value-map", "--legend", "a")


def test_a_run_that_is_alone_has_its_name_in_the_legend(tmp_path: Path) -> None:
    out = tmp_path / "figure.svg"
    assert plot.main([str(make_run(tmp_path / "r")), "--legend", "mine", "--out", str(out)]) == 0
    assert "<!-- mine (1 seed) -->" in out.read_text()


def test_groups_without_data_are_left_out_and_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for lr in (1, 2, 3):
        make_run(tmp_path / f"{lr}", pi_lr=lr)
    for lr in (1, 3):
        (tmp_path / f"{lr}" / "progress.txt").write_text("Epoch\tTotalEnvInteracts\n")
    assert plot.main([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (
        f"{tmp_path / 'dashboard.png'}\n",
        "rlsuite: no epoch finished yet, not drawn: pi_lr=1; pi_lr=3\n",
    )
    assert plot.main([str(tmp_path), "--x", "KL"]) == 0
    assert "no epoch finished yet, or no column KL, not drawn: pi_lr=1" in capsys.readouterr().err
    assert plot.main([str(tmp_path / "2")]) == 0
    assert capsys.readouterr().err == ""


# The value map


PLANE = spaces.Box(-1, 1, (2,))


def fake_snapshots(monkeypatch: pytest.MonkeyPatch, space: spaces.Space[Any], epochs: list[int]) -> list[int]:
    """Put networks made of one sum in the place of a run's; return how many the door asks for at most."""
    asked: list[int] = []

    def load_snapshots(run: Path, most: int) -> list[types.SimpleNamespace]:
        asked.append(most)
        if not epochs:
            raise UserError(f"{run} has no snapshots")
        ac = types.SimpleNamespace(obs_space=space, act_space=spaces.Discrete(2), value_label="V(s)")
        ac.value, ac.mode = (lambda obs: obs.sum(axis=1)), (lambda obs: (obs[:, 0] > 0).astype(np.int64))
        obs = np.zeros((2, *(space.shape or ())), dtype=np.float32)
        return [types.SimpleNamespace(epoch=epoch, obs=obs, ac=ac) for epoch in epochs]

    fake = types.ModuleType("rlsuite.loading")
    fake.load_snapshots = load_snapshots  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rlsuite.loading", fake)
    return asked


def test_value_map_writes_at_most_six_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "r", env="Plane-v0")
    asked = fake_snapshots(monkeypatch, PLANE, [1, 2])
    assert plot.main([str(run), "--value-map"]) == 0
    assert asked == [6]
    assert (run / "value_map.png").read_bytes().startswith(b"\x89PNG")


def test_value_map_that_cannot_be_drawn_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "a")
    fake_snapshots(monkeypatch, spaces.Box(-1, 1, (4,)), [1])
    assert "two numbers; CartPole-v1 has Box" in refused(capsys, run, "--value-map")
    fake_snapshots(monkeypatch, PLANE, [])
    assert "no snapshots" in refused(capsys, run, "--value-map")
    assert "one of them" in refused(capsys, run, "--value-map", "--value", "KL")
    assert "--import-env no_such_module" in refused(capsys, run, "--value-map", "--import-env", "no_such_module")


def test_the_value_map_of_an_experiment_is_that_of_its_newest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = make_run(tmp_path / "2026-01-02_00-00-00_s0", env="Plane-v0")
    new = make_run(tmp_path / "2026-01-03_00-00-00_s0", env="Plane-v0")
    asked: list[Path] = []
    fake_snapshots(monkeypatch, PLANE, [1, 2])
    monkeypatch.setattr(plot, "_snapshots", lambda run, made=plot._snapshots: asked.append(run) or made(run))
    assert plot.main([str(tmp_path), "--value-map"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'value_map.png'}\n"
    assert err == f"rlsuite: of the 2 runs in {tmp_path} this is the newest: {new}\n"
    assert plot.main([str(old), "--value-map"]) == 0
    assert capsys.readouterr().err == ""
    assert asked == [new, old]


@pytest.mark.parametrize("env", ["MountainCar-v0", "Pendulum-v1"])
def test_value_map_of_a_trained_run(tmp_path: Path, env: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rlsuite.algos import ppo
    from rlsuite.common.logger import Logger

    small = {"num_envs": 2, "steps_per_epoch": 256, "rollout_len": 64, "minibatch_size": 64, "train_iters": 1}
    ppo.train(ppo.Config(env=env, total_steps=512, **small), logger=Logger(data_dir=tmp_path, quiet=True))
    (run,) = (progress.parent for progress in tmp_path.rglob("progress.txt"))
    assert plot.main([str(run), "--value-map"]) == 0
    assert (run / "value_map.png").read_bytes().startswith(b"\x89PNG")
    for snapshot in (run / "snapshots").iterdir():
        snapshot.unlink()
    capsys.readouterr()
    assert "no snapshots" in refused(capsys, run, "--value-map")


@pytest.mark.parametrize("algo", ["cem", "random"])
def test_without_a_critic_there_is_a_dashboard_and_no_value_map(
    algo: str, tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, algo, env="Pendulum-v1")
    assert plot.main([str(run)]) == 0
    assert (run / "dashboard.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    message = refused(capsys, run, "--value-map")
    assert f"a value map shows what a critic believes, and the networks of {run} have none" in message


def test_the_published_curve_is_drawn_behind_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = np.array([100.0, 200.0, 300.0])
    settings = ("ppo_CartPole-v1", "ppo", "CartPole-v1", "{}", "", 10)
    known = (Reference(*settings, steps, steps / 5, steps / 6, steps / 4),)
    monkeypatch.setattr(references, "read_references", lambda: known)
    monkeypatch.setattr(plot, "read_references", lambda: known)
    figures: list[Figure] = []
    monkeypatch.setattr(plot, "save_figure", lambda fig, path: figures.append(fig))

    def drawn(fig: Figure) -> list[bool]:
        return [any(np.array_equal(line.get_ydata(), steps / 5) for line in ax.lines) for ax in fig.axes]

    run, other = make_run(tmp_path / "r"), make_run(tmp_path / "o", env="A")
    assert plot.main([f"{run}", f"{other}", "--reference", "--value", "AverageEpRet", "Entropy"]) == 0
    assert drawn(figures[0]) == [True, False, False, False]
    assert "ppo_CartPole-v1 (10 seeds)" in figures[0].texts[1].get_text().replace("\n", " ")
    assert plot.main([f"{run}", "--reference"]) == 0
    assert [ax.get_title(loc="left") for ax in figures[1].axes] == [TITLES["AverageEpRet"]]
    assert plot.main([f"{run}"]) == 0
    assert not any(drawn(figures[2]))
    capsys.readouterr()
    said = refused(capsys, other, "--reference")
    assert "no published curve of ppo on A; there are: ppo_CartPole-v1" in said
    assert "--reference is about drawing" in refused(capsys, run, "--reference", "--table")
    assert "name it in --value too" in refused(capsys, run, "--reference", "--value", "KL")
    assert "leave --value-map and --x out" in refused(capsys, run, "--reference", "--x", "Time")
