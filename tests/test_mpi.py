"""Several processes, really started: they train as one."""

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ALGORITHMS, small_command

import rlsuite
from rlsuite.common.checkpoint import load_policy
from rlsuite.common.optim import FlatOptimizer, adam
from rlsuite.common.runs import find_runs, read_config, read_progress
from rlsuite.run import main

MPIEXEC = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec") or "mpiexec"


def ranks(count: int, folder: Path, code: str, *argv: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in `count` processes."""
    environment = {**os.environ, "PYTHONPATH": str(Path(rlsuite.__file__).parents[1])}
    words = [MPIEXEC, "-n", str(count), sys.executable, "-c", textwrap.dedent(code), *argv]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)


STEP = """
import sys, torch
from rlsuite.common import mpi
from rlsuite.common.optim import FlatOptimizer, adam

torch.manual_seed(mpi.rank)  # other weights on each rank, until the optimiser makes them those of rank 0
net = torch.nn.Linear(3, 2)
opt = FlatOptimizer("Loss", net, adam)
opt.lr = 0.1
data = torch.load("data.pt", weights_only=True).chunk(mpi.size)[mpi.rank]
norms = [opt.step((net(x) ** 2).mean()) for x in data.unbind(1)]
torch.save({"flat": opt.flat, "grad": opt.grad, "norms": torch.tensor(norms)}, f"rank{mpi.rank}.pt")
"""


@pytest.mark.parametrize("count", [2, 4])
def test_ranks_take_the_gradient_of_one_rank_on_the_joined_batch(count: int, tmp_path: Path) -> None:
    data = torch.randn(8, 3, 3, generator=torch.Generator().manual_seed(0))  # samples, steps, features
    torch.save(data, tmp_path / "data.pt")
    assert ranks(count, tmp_path, STEP).returncode == 0
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    opt = FlatOptimizer("Loss", net, adam)
    opt.lr = 0.1
    norms = [opt.step((net(x) ** 2).mean()) for x in data.unbind(1)]
    for rank in range(count):
        theirs = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        torch.testing.assert_close(theirs["grad"], opt.grad, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(theirs["flat"], opt.flat, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(theirs["norms"], torch.tensor(norms), rtol=1e-6, atol=1e-6)


TRAIN = """
import hashlib, json, sys
from rlsuite.common import mpi, resume
from rlsuite.common.checkpoint import policy_arrays, save_epoch
from rlsuite.run import main

for words in json.loads(sys.argv[1]):

    def spy(run_dir, epoch, last_epoch, env_steps, ac, *rest):
        digest = hashlib.sha256(b"".join(a.tobytes() for a in policy_arrays(ac).values())).hexdigest()
        everywhere = mpi.gather_objects(digest)
        assert len(everywhere) == mpi.size > 1 and len(set(everywhere)) == 1, everywhere
        save_epoch(run_dir, epoch, last_epoch, env_steps, ac, *rest)

    resume.save_epoch = spy
    assert main([*words, "--quiet"]) == 0
"""
SPLIT = {"normalize_obs": "True", "steps_per_epoch": 512, "total_steps": 1024, "num_envs": 1}


@pytest.mark.parametrize("count", [2, 4])
def test_networks_are_bit_equal_on_all_ranks_after_every_epoch(count: int, tmp_path: Path) -> None:
    import json

    words = [small_command(algo, data_dir=tmp_path, **SPLIT) for algo in ALGORITHMS]
    result = ranks(count, tmp_path, TRAIN, json.dumps(words))
    assert result.returncode == 0, result.stderr
    runs = {read_config(run)["algo"]: run for run in find_runs([tmp_path])}
    assert sorted(runs) == sorted(ALGORITHMS)
    for run in runs.values():
        table = read_progress(run)
        assert table["TotalEnvInteracts"].tolist() == [512, 1024]
        assert read_config(run)["ranks"] == count
        assert np.isfinite(table["Entropy"]).all()
        load_policy(run)


POOL = """
import math
from rlsuite.common import mpi
from rlsuite.common.envs import Envs, make_env
from rlsuite.common.health import Averages

envs = Envs(lambda: make_env(["rlsuite/OneStep-v0", "rlsuite/ConstantReward-v0"][mpi.rank]), 1, seed=0)
envs.reset()
assert len(set(mpi.gather_objects(envs.ep_seed[0]))) == 2


def epoch(*steps):
    for _ in range(steps[mpi.rank]):
        envs.step(envs.act_space.sample() * mpi.np.ones(1, int))
    return envs.end_epoch()


stats, episodes = epoch(3, 20)  # returns 1, 1, 1 and 20
assert (stats["AverageEpRet"], stats["MaxEpRet"], stats["MinEpRet"], stats["EpLen"]) == (23 / 4, 20, 1, 23 / 4), stats
assert (episodes["best"].ret, episodes["worst"].ret, len(episodes["best"].actions)) == (20, 1, 20)
stats, episodes = epoch(2, 19)  # no episode of rank 1 ends
assert (stats["AverageEpRet"], episodes["best"].ret) == (1, 1)
stats, episodes = epoch(0, 0)
assert math.isnan(stats["AverageEpRet"]) and episodes == {}

stats = Averages("never")
stats.add(3 - mpi.rank, Loss=mpi.rank)  # weights 3 and 2, values 0 and 1
stats.add_max(Ratio1=mpi.rank)
means = stats.means()
assert math.isnan(means.pop("never")) and means == {"Loss": 2 / 5, "Ratio1": 1}, means
"""


def test_statistics_are_pooled_also_with_a_rank_that_finishes_no_episode(tmp_path: Path) -> None:
    result = ranks(2, tmp_path, POOL)
    assert result.returncode == 0, result.stderr


FAULT = """
import os, signal, sys
import gymnasium as gym
from rlsuite.common import mpi
from rlsuite.run import main
from rlsuite.common.envs import Envs

step = Envs.step
def faulty(self, act):
    if mpi.rank == 1 and self.total_steps >= 700:
        if sys.argv[1] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("the simulation has exploded")
    return step(self, act)
Envs.step = faulty
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_rank_that_dies_ends_all_and_leaves_the_last_epoch(how: str, tmp_path: Path) -> None:
    words = small_command("ppo", data_dir=tmp_path, **{**SPLIT, "total_steps": 51200})
    result = ranks(2, tmp_path, FAULT, how, *words)
    assert result.returncode != 0
    if how == "raise":
        assert "rank 1 of 2" in result.stderr
        assert "the simulation has exploded" in result.stderr
    (run,) = find_runs([tmp_path])
    assert read_progress(run)["Epoch"].tolist() == [1]
    load_policy(run)


KILLED = """
import os, signal, sys
from rlsuite.common import mpi
from rlsuite.common.envs import Envs
from rlsuite.run import main

step = Envs.step

def die(self, act):
    if mpi.rank == 1 and self.rank == 1 and self.total_steps == 800:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, act)

Envs.step = die
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("algo", ["ppo", "ddpg"])
def test_after_a_rank_is_killed_all_go_on_exactly(algo: str, tmp_path: Path) -> None:
    go = "import sys; from rlsuite.run import main; sys.exit(main(sys.argv[1:]))"
    settings = {**SPLIT, "steps_per_epoch": 256, "test_episodes": 0}
    assert ranks(2, tmp_path, go, *small_command(algo, data_dir=tmp_path / "whole", **settings)).returncode == 0
    assert ranks(2, tmp_path, KILLED, *small_command(algo, data_dir=tmp_path / "cut", **settings)).returncode != 0
    (run,), (whole,) = find_runs([tmp_path / "cut"]), find_runs([tmp_path / "whole"])
    assert read_progress(run)["Epoch"].tolist() == [1, 2, 3]

    assert main(["--resume", str(run)]) == 2  # one process is not two
    again = ranks(2, tmp_path, go, "--resume", str(run), "--test-episodes", "0")
    assert again.returncode == 0, again.stderr
    ours, theirs = read_progress(run), read_progress(whole)
    for name in ours.keys() - {"Time", "StepsPerSec"}:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert (run / "policy.safetensors").read_bytes() == (whole / "policy.safetensors").read_bytes()


def test_equal_seeds_and_ranks_write_equal_bytes(tmp_path: Path) -> None:
    digests = []
    for name in "ab":
        words = small_command("ddpg", data_dir=tmp_path / name, **SPLIT)
        assert ranks(2, tmp_path, "import sys; from rlsuite.run import main; sys.exit(main(sys.argv[1:]))", *words)
        (run,) = find_runs([tmp_path / name])
        digests.append(hashlib.sha256((run / "policy.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_cpus_starts_the_processes_itself(tmp_path: Path, python: Any) -> None:
    words = small_command("ppo", data_dir=tmp_path, **SPLIT, note="two words", cpus=2)
    assert python(tmp_path, "-m", "rlsuite.run", *words).returncode == 0
    (run,) = find_runs([tmp_path])
    assert (read_config(run)["ranks"], read_config(run)["note"]) == (2, "two words")


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
    code = """
    from rlsuite.common import mpi
    open(f"rank{mpi.rank}", "w").write(str(mpi.size))  # a file each: what processes print may run together
    """
    assert ranks(2, tmp_path, code).returncode == 0
    assert [path.read_text() for path in sorted(tmp_path.glob("rank*"))] == ["2", "2"]


def test_what_can_not_be_split_over_the_ranks_is_refused(tmp_path: Path) -> None:
    words = small_command("ddpg", data_dir=tmp_path / "data", **{**SPLIT, "batch_size": 17})
    result = ranks(2, tmp_path, "import sys; from rlsuite.run import main; sys.exit(main(sys.argv[1:]))", *words)
    assert result.returncode == 2
    assert result.stderr.count("--batch-size 17 can't be split evenly over 2 processes; try 18") == 1
    assert not (tmp_path / "data").exists()


def test_one_process_never_imports_mpi4py(tmp_path: Path, python: Any) -> None:
    words = small_command("ppo", data_dir=tmp_path, quiet="True")
    code = f"import sys; from rlsuite.run import main; main({words}); print('mpi4py' in sys.modules)"
    assert python(tmp_path, "-c", code).stdout.splitlines()[-1] == "False"
