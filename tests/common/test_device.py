"""Devices, and the number of torch's threads: chosen by the size of an update, written down, and taken from there."""

import ctypes
import dataclasses
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlsuite import mpi
from rlsuite.algos import dqn, ppo
from rlsuite.common import device
from rlsuite.common.device import LARGE, MOST_THREADS, set_up_torch
from rlsuite.common.logger import Logger
from rlsuite.errors import UserError
from rlsuite.rundir.runs import read_config

WIDE = ppo.Config("-", hidden_sizes=(256, 256))
ENOUGH = LARGE // 256**2


@pytest.fixture(autouse=True)
def nothing_stays_chosen() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of them."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)


def threads(config: ppo.Config, samples: int) -> int:
    set_up_torch(dataclasses.replace(config, minibatch_size=samples), "minibatch_size")
    return torch.get_num_threads()


def test_it_knows_its_devices() -> None:
    def chosen(name: str) -> torch.device:
        return set_up_torch(ppo.Config("-", device=name))

    assert chosen("cpu") == torch.device("cpu")
    assert chosen("auto").type == ("cuda" if torch.cuda.is_available() else chosen("auto").type)
    for unknown in ("tpu", "", "cpu:x"):
        with pytest.raises(UserError, match="use"):
            chosen(unknown)
    with pytest.raises(UserError, match="train takes settings"):
        set_up_torch(SimpleNamespace(device="cpu", torch_threads=1))


def test_large_updates_get_the_cores_and_small_ones_a_thread(cores: None) -> None:
    assert threads(WIDE, ENOUGH) == 3
    assert threads(WIDE, ENOUGH - 1) == 1
    uneven = ppo.Config("-", hidden_sizes=(64, 128, 256, 64))
    assert threads(uneven, 2 * ENOUGH) == 3  # the largest product of two counts
    assert threads(uneven, 2 * ENOUGH - 1) == 1
    assert threads(ppo.Config("-", hidden_sizes=(64, 64)), 10**6) == 1  # they would wait for each other
    assert threads(ppo.Config("-", hidden_sizes=()), 10**9) == 1
    set_up_torch(WIDE)
    assert torch.get_num_threads() == 1
    set_up_torch(dataclasses.replace(WIDE, rollout_len=ENOUGH // 2, num_envs=2), "rollout_len", "num_envs")
    assert torch.get_num_threads() == 3


def test_a_number_of_threads_is_taken_as_it_is(cores: None) -> None:
    for number in (1, 2):
        config = ppo.Config("-", hidden_sizes=(256, 256), torch_threads=number)
        assert threads(config, 10**6) == threads(config, 1) == number


def test_processes_share_the_cores(cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for ranks, each in ((1, 3), (2, 1), (8, 1)):
        monkeypatch.setattr(mpi, "size", ranks)
        assert threads(WIDE, 10**6) == each


def test_what_torch_itself_is_told_counts(cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for told, number in (("2", 2), ("16", 16), ("many", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert threads(WIDE, 10**6) == number


def test_threads_spin_briefly_unless_told_otherwise() -> None:
    program = "import os, rlsuite; print(os.environ['GOMP_SPINCOUNT'])"
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    for told, found in (({}, "3000\n"), ({"GOMP_SPINCOUNT": "7"}, "7\n")):
        command = [sys.executable, "-c", program]
        assert subprocess.run(command, env={**environment, **told}, capture_output=True, text=True).stdout == found


def test_a_large_machine_is_not_taken_whole(cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert threads(WIDE, 10**6) == MOST_THREADS


def test_freed_memory_is_kept_for_large_updates_only(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    library = SimpleNamespace(mallopt=lambda what, value: told.append(what))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    threads(WIDE, ENOUGH - 1)
    assert told == []
    threads(WIDE, ENOUGH)
    assert told == [-1, -3]
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())  # another C library
    threads(WIDE, ENOUGH)


def test_the_work_of_a_gpu_needs_no_threads(cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_device", lambda _: torch.device("cuda"))
    assert threads(WIDE, 10**6) == 1


def test_a_resumed_run_has_the_threads_that_it_began_with(tmp_path: Path) -> None:
    config = ppo.Config("CartPole-v1", total_steps=128, steps_per_epoch=64, num_envs=2, rollout_len=32)
    ppo.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    (path,) = tmp_path.glob("*/*/config.json")
    saved = read_config(path.parent)
    assert saved["num_threads"] == 1
    for entry, number in ((2, 2), (None, 1), ("two", 1), (-1, 1)):  # None: a run from before there was a choice
        path.write_text(json.dumps({**saved, "num_threads": entry}))
        torch.set_num_threads(3)
        ppo.train(config, logger=Logger(resume=path.parent, quiet=True))
        assert torch.get_num_threads() == number


def test_the_size_of_an_update_is_that_of_its_batch(cores: None, tmp_path: Path) -> None:
    config = dqn.Config("CartPole-v1", total_steps=8, start_steps=4, update_after=4, hidden_sizes=(256, 256))
    for batch_size, number in ((4, 1), (64, 3)):
        one = dqn.Config(**{**config.__dict__, "batch_size": batch_size, "num_test_episodes": 0})
        dqn.train(one, logger=Logger(data_dir=tmp_path / f"{batch_size}", quiet=True))
        (path,) = (tmp_path / f"{batch_size}").glob("*/*/config.json")
        assert read_config(path.parent)["num_threads"] == number


ROLLOUT = ("rollout_len", "num_envs")
BATCHES = {"vpg": ROLLOUT, "a2c": ROLLOUT, "trpo": ROLLOUT, "ppo": ("minibatch_size",), "cem": (), "random": ()}


@pytest.mark.parametrize("algo", ["vpg", "a2c", "trpo", "ppo", "dqn", "ddpg", "td3", "sac", "cem", "random"])
def test_each_algorithm_says_what_makes_up_a_batch(algo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"rlsuite.algos.{algo}")
    said: list[tuple[str, ...]] = []

    def stop(config: Any, *batch: str) -> None:
        said.append(batch)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "set_up_torch", stop)
    with pytest.raises(KeyboardInterrupt):
        module.train(module.Config("-"))
    assert said == [BATCHES.get(algo, ("batch_size",))]
