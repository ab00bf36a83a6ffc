"""Several processes, really started: they train as one, and end as one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlsuite
from rlsuite.loading import load
from rlsuite.run import main
from rlsuite.rundir.runs import find_runs, read_config, read_progress
from tests import rank_programs
from tests.conftest import ALGORITHMS, NORMALIZED, OFF_POLICY, small_command, source_environment

MPIEXEC = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec") or "mpiexec"
TIMES = {"Time", "StepsPerSec"}
PAGE = Path(rlsuite.__file__).parents[1] / "docs" / "running.md"


def ranks(count: int, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of rank_programs.py, or what else python can run, in `count` processes."""
    if not words[0].startswith("-"):
        words = (rank_programs.__file__, *words)
    return subprocess.run(
        [MPIEXEC, "-n", str(count), sys.executable, *words],
        cwd=folder,
        env=source_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


@pytest.mark.parametrize("count", [2, 3])
def test_whole_updates_are_those_of_one_rank_with_all_the_data(count: int, tmp_path: Path) -> None:
    """One epoch of every algorithm: networks, statistics of observations, and every column of the log."""
    one, several = tmp_path / "one", tmp_path / "several"
    for folder in (one, several):
        folder.mkdir()
    rank_programs.updates(str(one))
    result = ranks(count, tmp_path, "updates", str(several))
    assert result.returncode == 0, result.stderr
    for name in rank_programs.UPDATES:
        alone = np.load(one / f"{name}_rank0.npz")
        shared = [np.load(several / f"{name}_rank{rank}.npz") for rank in range(count)]
        for key in set(alone) - {"tests"}:
            for arrays in shared:
                np.testing.assert_allclose(arrays[key], alone[key], rtol=1e-5, atol=1e-6, err_msg=f"{name} {key}")
                np.testing.assert_array_equal(arrays[key], shared[0][key], err_msg=f"{name} {key}")
        expected, table = (read_progress(find_runs([folder / name])[0]) for folder in (one, several))
        assert table.keys() == expected.keys()
        for column in table.keys() - TIMES:
            np.testing.assert_allclose(
                table[column], expected[column], rtol=1e-5, atol=1e-6, err_msg=f"{name} {column}"
            )
        if name in OFF_POLICY:  # test episodes are shared out
            assert alone["tests"] == 5 + 1  # rank 0 plays at random too
            assert [arrays["tests"] for arrays in shared] == {2: [3 + 1, 2], 3: [2 + 1, 2, 1]}[count]


def test_no_column_of_these_updates_is_at_rest(tmp_path: Path) -> None:
    """Where a number is 0 or NaN whatever happens, equality says nothing."""
    rank_programs.updates(str(tmp_path))
    tables = {name: read_progress(find_runs([tmp_path / name])[0]) for name in rank_programs.UPDATES}
    found: dict[str, list[float]] = {}
    for table in tables.values():
        for column, values in table.items():
            found.setdefault(column, []).append(abs(values[0]))
    assert [column for column, values in found.items() if not max(values) > 0] == ["Ratio1"]
    assert 1 < tables["ppo"]["StopIter"][0] < rank_programs.PPO["train_iters"]


def test_statistics_shares_and_memory_are_those_of_all_ranks(tmp_path: Path) -> None:
    result = ranks(2, tmp_path, "pooled", str(tmp_path))
    assert result.returncode == 0, result.stderr
    alone = rank_programs.played_tests()
    assert alone["episodes"] == 5
    assert json.loads((tmp_path / "tests.json").read_text()) == alone["stats"]


SPLIT = {"steps_per_epoch": 256, "total_steps": 1024, "num_envs": 1, "test_episodes": 0}


@pytest.mark.slow
def test_random_play_is_that_of_one_rank(tmp_path: Path) -> None:
    words = small_command("ppo", data_dir="data")
    for count in (1, 2):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        done = ranks(count, folder, "-m", "rlsuite.run", *words)
        assert done.returncode == 0, done.stderr
    one, two = (read_config(find_runs([tmp_path / f"{count}"])[0])["random_play"] for count in (1, 2))
    assert one == two
    assert one["episodes"] > 0
    assert done.stdout.count("random play  ") == 1


def test_networks_are_bit_equal_on_all_ranks_after_every_epoch(tmp_path: Path) -> None:
    """And equal seeds and ranks write equal bytes: PPO trains twice."""
    lines = [small_command(algo, data_dir=tmp_path, **SPLIT, **NORMALIZED[algo]) for algo in ALGORITHMS]
    lines.append(small_command("ppo", data_dir=tmp_path, exp_name="again", **SPLIT, **NORMALIZED["ppo"]))
    result = ranks(2, tmp_path, "door", json.dumps(lines))
    assert result.returncode == 0, result.stderr
    runs = {run.parent.name.partition("_")[0]: run for run in find_runs([tmp_path])}
    assert sorted(runs) == sorted([*ALGORITHMS, "again"])
    for run in runs.values():
        table = read_progress(run)
        assert table["TotalEnvInteracts"].tolist() == [256, 512, 768, 1024]
        assert read_config(run)["ranks"] == 2
        assert np.isfinite(table["Entropy"]).all()
        load(run)
    assert_same(runs["again"], runs["ppo"])


def assert_same(one: Path, other: Path) -> None:
    """Two runs of equal seeds, but for the clock."""
    ours, theirs = read_progress(one), read_progress(other)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - TIMES:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert (one / "policy.safetensors").read_bytes() == (other / "policy.safetensors").read_bytes()


@pytest.mark.parametrize("algo", ["ppo", "ddpg", "cem", "random"])
def test_after_a_rank_is_killed_all_go_on_exactly(algo: str, tmp_path: Path) -> None:
    words = small_command(algo, data_dir=tmp_path / "cut", **SPLIT, **NORMALIZED[algo])
    assert ranks(2, tmp_path, "faulty", "kill", *words).returncode != 0
    (run,) = find_runs([tmp_path / "cut"])
    assert read_progress(run)["Epoch"].tolist() == [1, 2]
    load(run)

    assert main(["--resume", str(run)]) == 2  # one process is not two
    whole = small_command(algo, data_dir=tmp_path / "whole", **SPLIT, **NORMALIZED[algo])
    again = ranks(2, tmp_path, "door", json.dumps([["--resume", str(run), "--test-episodes", "0"], whole]))
    assert again.returncode == 0, again.stderr
    assert_same(run, find_runs([tmp_path / "whole"])[0])


def test_a_job_that_is_killed_before_all_ranks_have_their_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    words = small_command("ppo", data_dir=tmp_path / "cut", **SPLIT | {"steps_per_epoch": 512})
    assert ranks(2, tmp_path, "faulty", "kill", *words).returncode != 0
    (run,) = find_runs([tmp_path / "cut"])
    assert read_progress(run)["Epoch"].tolist() == [1]
    (run / "checkpoint" / "epoch_000001_rank_1.safetensors").unlink()
    whole = small_command("ppo", data_dir=tmp_path / "whole", **SPLIT | {"steps_per_epoch": 512})
    again = ranks(2, tmp_path, "door", json.dumps([["--resume", str(run), "--test-episodes", "0"], whole]))
    assert again.returncode == 0, again.stderr
    assert "no epoch was finished: this run starts from its beginning\n" in again.stdout
    assert_same(run, find_runs([tmp_path / "whole"])[0])


def test_a_rank_that_raises_ends_all_and_leaves_the_last_epoch(tmp_path: Path) -> None:
    result = ranks(2, tmp_path, "faulty", "raise", *small_command("ppo", data_dir=tmp_path, **SPLIT))
    assert result.returncode == 1
    assert "the simulation has exploded" in result.stderr
    assert "rank 1 of 2" in result.stderr
    (run,) = find_runs([tmp_path])
    assert read_progress(run)["Epoch"].tolist() == [1, 2]
    load(run)


@pytest.mark.parametrize(
    ("where", "code", "words"),
    [
        ("in training", 3, "rlsuite: environment 0 failed at step 10 of the episode"),
        ("caught", 3, "rlsuite: environment 0 failed at step 10 of the episode"),
        ("before training", 1, "RuntimeError: no such robot (rank 1 of 2)"),
        ("bad input", 2, "rlsuite: no such robot (rank 1 of 2)"),
        ("outside", 1, "ZeroDivisionError: a slip of the user's (rank 1 of 2)"),
        ("interrupted", 130, "rlsuite: interrupted (rank 1 of 2)"),
    ],
)
def test_an_error_on_one_rank_of_a_python_program_ends_all(where: str, code: int, words: str, tmp_path: Path) -> None:
    """Also one that the program would catch: the other ranks wait for a message from this one, which will not come."""
    result = ranks(2, tmp_path, "user_program", where)
    passed = time.time() - float((tmp_path / "when").read_text())
    assert result.returncode == code, result.stderr
    assert result.stderr.count(words) == 1, result.stderr
    assert ("Traceback" in result.stderr) == (code == 1)
    assert passed < 10


def test_all_ranks_stop_early_at_the_same_epoch_and_resume_alike(tmp_path: Path) -> None:
    """Ranks that decided otherwise would wait for each other for ever."""
    words = small_command("ppo", data_dir=tmp_path, env="rlsuite/ConstantReward-v0", stop_at=20, seed=(0, 1))
    result = ranks(2, tmp_path, "-m", "rlsuite.run", *words)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("stopped early, after 256 of 512 env steps") == 2
    for run in find_runs([tmp_path]):
        assert json.loads((run / "result.json").read_text())["StoppedAt"] == 256
        assert read_progress(run)["TotalEnvInteracts"].tolist() == [256]
    again = ranks(2, tmp_path, "-m", "rlsuite.run", "--resume", str(run), "--stop-at", "30")
    assert again.returncode == 0, again.stderr
    assert read_progress(run)["TotalEnvInteracts"].tolist() == [256, 512]


def test_an_interrupt_waits_until_all_ranks_have_saved(tmp_path: Path) -> None:
    words = small_command("ppo", data_dir=tmp_path, **SPLIT, checkpoint_every=100)
    result = ranks(2, tmp_path, "interrupted", *words)
    assert result.returncode == 130
    (run,) = find_runs([tmp_path])
    names = [f"epoch_000002_rank_{rank}.safetensors" for rank in range(2)]
    assert sorted(path.name for path in (run / "checkpoint").iterdir()) == names
    assert f"go on with: python -m rlsuite.run --resume {run} --cpus 2\n" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("on", ["average", "gather"])
def test_an_interrupt_reaches_a_rank_that_waits_for_a_message_which_will_not_come(on: str, tmp_path: Path) -> None:
    result = ranks(2, tmp_path, "waiting", on)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
    assert [(tmp_path / f"rank{rank}").read_text() for rank in range(2)] == ["interrupted, waited briefly"] * 2


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_ranks_with_a_command_that_goes_on(number: int, tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group of processes, SIGTERM the one that was started."""
    words = small_command("ppo", data_dir=tmp_path, total_steps=10**7, steps_per_epoch=256, num_envs=1, cpus=2)
    process = subprocess.Popen(
        [sys.executable, "-m", "rlsuite.run", *words],
        env=source_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a background job inherits that SIGINT is ignored
    )
    try:
        while len(list(tmp_path.glob("*/*/checkpoint/epoch_*"))) < 4:
            assert process.poll() is None
            time.sleep(0.05)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 128 + number
    (run,) = find_runs([tmp_path])
    if number == signal.SIGTERM:  # Ctrl-C also ends MPI's own processes, which may not pass on what a rank says
        assert f"python -m rlsuite.run --resume {run} --cpus 2" in err
    assert "Traceback" not in err
    kept = [{path.name[:12] for path in (run / "checkpoint").glob(f"epoch_*_rank_{rank}.*")} for rank in range(2)]
    rows = len(read_progress(run)["Epoch"])  # the last of which may lack its checkpoint
    assert max(kept[0] & kept[1]) in (f"epoch_{rows:06d}", f"epoch_{rows - 1:06d}")


ROUNDED = "rounded up to whole steps, rollouts and shares of {} processes: "
TINY = {"--total-steps": "90", "--test-episodes": "0", "--preset": "none"}
TINY_OFF_POLICY = {"--steps-per-epoch": "45", "--start-steps": "15", "--update-after": "15", "--num-test-episodes": "0"}


def tiny(line: str, folder: Path) -> list[str]:
    """The words after `python -m rlsuite.run` of a command line, with the smallest of budgets appended."""
    words = line.split("#")[0].partition("rlsuite.run ")[2].split()
    budget = TINY | (TINY_OFF_POLICY if words[0] in OFF_POLICY else {})
    return [*words, *(word for pair in budget.items() for word in pair), "--data-dir", str(folder)]


def page_lines() -> list[str]:
    """What the page tells to run in several processes, without the names of hosts and without repetitions."""
    lines = re.findall(r"^(?:mpiexec|srun) .*rlsuite\.run.*$|^.*rlsuite\.run.* --cpus \d.*$", PAGE.read_text(), re.M)
    return list(
        dict.fromkeys(
            re.sub(r" --cpus \d+", "", line.split("#")[0].partition("rlsuite.run ")[2]).strip()
            for line in lines
            if "--resume" not in line and "mpi4py.futures" not in line  # test_pool.py runs those
        )
    )


def test_the_page_has_lines_for_several_processes() -> None:
    assert len(page_lines()) > 0


@pytest.mark.parametrize("line", page_lines())
def test_what_the_page_says_runs_in_three_processes(line: str, tmp_path: Path) -> None:
    """Batches and buffers that three ranks can't share evenly are rounded up, and said to be, once."""
    if "Cheetah" in line:
        pytest.importorskip("mujoco")
    result = ranks(3, tmp_path, "-m", "rlsuite.run", *tiny(f"rlsuite.run {line}", tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(ROUNDED.format(3)) == result.stdout.count("round") == 1
    assert result.stdout.count("--batch-size 100 -> 102") == ("ddpg" in line)
    (run,) = find_runs([tmp_path])
    table = read_progress(run)
    assert table["TotalEnvInteracts"][-1] >= 90
    assert (table["GradSteps"] > 0).all()


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("vpg --env CartPole-v1 --cpus 2", "--total-steps 90 -> 96, --steps-per-epoch 4000 -> 8000"),
        ("ppo --env HalfCheetah-v5 --cpus 2", "--total-steps 90 -> 96, --steps-per-epoch 2048 -> 4096"),
    ],
)
def test_settings_that_do_not_divide_by_the_processes_train(
    line: str, change: str, tmp_path: Path, python: Any
) -> None:
    """These two lines were refused once. The processes are started by --cpus."""
    if "Cheetah" in line:
        pytest.importorskip("mujoco")
    words = tiny(f"rlsuite.run {line}", tmp_path)
    result = python(tmp_path, "-m", "rlsuite.run", *words, "--note", "two words")
    assert result.returncode == 0, result.stderr
    assert [text for text in result.stdout.splitlines() if text.startswith("round")] == [ROUNDED.format(2) + change]
    (run,) = find_runs([tmp_path])
    assert (read_config(run)["ranks"], read_config(run)["note"]) == (2, "two words")
    assert read_progress(run)["GradSteps"][0] > 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--cpus", "0"], "from 1 to 4096, not 0"), (["--cpus", "2", "3"], "takes one number"), (["--cpus=x"], "not x")],
)
def test_cpus_that_make_no_sense(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ppo", "--env", "CartPole-v1", *words]) == 2
    assert expected in capsys.readouterr().err


def test_cpus_within_an_mpi_job_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    assert main(["ppo", "--env", "CartPole-v1", "--cpus", "2"]) == 2
    assert "this is an MPI job already" in capsys.readouterr().err


@pytest.mark.parametrize("launcher", ["OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_processes_that_mpi_does_not_connect_are_refused(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: Any
) -> None:
    monkeypatch.setenv(launcher, "2")
    result = python(tmp_path, "-m", "rlsuite.run", *small_command("ppo", data_dir=tmp_path / "data"))
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("rlsuite:")]
    assert line.startswith("rlsuite: the launcher started 2 processes, and MPI does not connect them; use")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "data").exists()


def test_what_an_outer_launcher_says_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    # A file each: what processes print may run together.
    code = 'from rlsuite import mpi; open(f"rank{mpi.rank}", "w").write(str(mpi.size))'
    assert ranks(2, tmp_path, "-c", code).returncode == 0
    assert [path.read_text() for path in sorted(tmp_path.glob("rank*"))] == ["2", "2"]


def test_one_process_never_imports_mpi4py(tmp_path: Path, python: Any) -> None:
    words = small_command("ppo", data_dir=tmp_path, quiet="True")
    code = f"import sys; from rlsuite.run import main; main({words}); print('mpi4py' in sys.modules)"
    assert python(tmp_path, "-c", code).stdout.splitlines()[-1] == "False"
