"""What a user sees who trains on a terminal, with Ctrl-C in the end."""

import re
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("termios", reason="terminals of POSIX")

from rlsuite.rundir.runs import find_runs, read_progress
from tests.conftest import small_command
from tests.terminal import on_terminal

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec") or "mpiexec"
RUN = (sys.executable, "-m", "rlsuite.run")
HEADER = "Epoch  EpRet"
LONG = {"total_steps": 10**7, "data_dir": "data"}


def three_epochs(text: str) -> bool:
    """Whether three rows and the bar are to be seen."""
    return bool(re.search(rf"{HEADER}.*\n( +\d+  .*\n){{3,}}.* steps  .* left", text))


def is_one_table(lines: list[str]) -> bool:
    """Header, rows of successive epochs, and a bar, each once."""
    (header,) = (at for at, line in enumerate(lines) if HEADER in line)
    (bar,) = (at for at, line in enumerate(lines) if " steps  " in line)
    epochs = [int(line.split()[0]) for line in lines[header + 1 : bar]]
    return epochs == list(range(epochs[0], epochs[0] + len(epochs)))


@pytest.mark.parametrize("width", [60, 80, 100])
def test_ctrl_c_leaves_one_table_and_says_how_to_go_on(width: int, tmp_path: Path) -> None:
    words = small_command("dqn", **LONG)
    code, lines = on_terminal(tmp_path, width, *RUN, *words, ctrl_c=three_epochs)
    assert code == 130
    assert is_one_table(lines), lines
    (run,) = find_runs([tmp_path / "data"])
    said = f"rlsuite: interrupted; go on with: python -m rlsuite.run --resume {run.relative_to(tmp_path)}"
    assert "".join(lines).endswith(said)
    assert not any("^C" in line for line in lines)
    (header,) = (line for line in lines if HEADER in line)
    assert "TestEpRet" in header
    assert ("ExplVar" in header) == (width > 60)


def test_the_bar_moves_before_the_first_epoch_has_ended(tmp_path: Path) -> None:
    words = small_command("random", **LONG, steps_per_epoch=10**7)
    code, lines = on_terminal(tmp_path, 80, *RUN, *words, ctrl_c=lambda text: bool(re.search(r"[1-9]\d* / ", text)))
    assert code == 130
    (bar,) = (line for line in lines if " steps  " in line)
    assert re.search(r"[1-9][\d,]* / 10,000,000 steps  \S+ left", bar), bar
    (run,) = find_runs([tmp_path / "data"])
    assert "".join(lines).endswith(f"go on with: python -m rlsuite.run --resume {run.relative_to(tmp_path)}")


def test_ctrl_c_in_a_grid_names_the_run_and_what_is_left(tmp_path: Path) -> None:
    words = small_command("vpg", total_steps=100_000, data_dir="data", seed=(0, 1), lam=(0.9, 0.95))
    code, lines = on_terminal(tmp_path, 80, *RUN, *words, ctrl_c=three_epochs)
    assert code == 130
    assert is_one_table(lines), lines
    (run,) = find_runs([tmp_path / "data"])
    said = "".join(lines)
    assert f"rlsuite: interrupted in {run.relative_to(tmp_path)}rlsuite: 4 of 4 runs are left (--seed 0" in said
    assert said.count("go on with") == 1


@pytest.mark.parametrize("start", ["--cpus", "mpiexec"])
def test_several_processes_show_what_one_shows(start: str, tmp_path: Path) -> None:
    """Nor does a finished epoch get lost, though only every hundredth is saved as a rule."""
    words = [*RUN, *small_command("ppo", **LONG, num_envs=1, checkpoint_every=100)]
    words = [*words, "--cpus", "2"] if start == "--cpus" else [MPIEXEC, "-n", "2", *words]
    code, lines = on_terminal(tmp_path, 80, *words, ctrl_c=three_epochs)
    assert code == 130
    # mpiexec writes lines of its own after Ctrl-C. A table that is drawn right then stands below the one before.
    last = max(at for at, line in enumerate(lines) if HEADER in line)
    assert is_one_table(lines[last:]), lines
    (run,) = find_runs([tmp_path / "data"])
    said = f"rlsuite: interrupted; go on with: python -m rlsuite.run --resume {run.relative_to(tmp_path)} --cpus 2"
    assert "".join(lines).endswith(said)
    assert "abort(" not in "".join(lines).lower()
    last = len(read_progress(run)["Epoch"])
    kept = {path.name for path in (run / "checkpoint").iterdir()}
    assert kept == {f"epoch_{last:06d}_rank_{rank}.safetensors" for rank in range(2)}
