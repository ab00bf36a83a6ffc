"""Devices, threads and products of torch: chosen by the size of an update, written down, and taken from there."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rlsuite import mpi
from rlsuite.algos import dqn, ppo
from rlsuite.common import device
from rlsuite.common.device import MOST_THREADS, WORTH_ONEDNN, WORTH_THREADS, in_use, set_up_torch, use
from rlsuite.common.logger import Logger
from rlsuite.errors import UserError
from rlsuite.rundir.runs import read_config

LARGE = ppo.Config("-", hidden_sizes=(256, 256))


@pytest.fixture(autouse=True)
def nothing_stays_chosen() -> Iterator[None]:
    before = in_use()
    yield
    use(before)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of them."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)


def threads(config: ppo.Config, samples: int) -> int:
    set_up_torch(config, samples)
    return torch.get_num_threads()


def test_it_knows_its_devices() -> None:
    def chosen(name: str) -> torch.device:
        return set_up_torch(ppo.Config("-", device=name))

    assert chosen("cpu") == torch.device("cpu")
    assert chosen("auto").type in ("cpu", "cuda", "mps")
    for unknown in ("tpu", "", "cpu:x"):
        with pytest.raises(UserError, match="use"):
            chosen(unknown)
    with pytest.raises(UserError, match="train takes settings"):
        set_up_torch(SimpleNamespace(device="cpu", torch_threads=1))


def test_large_updates_get_the_cores_and_small_ones_a_thread(cores: None) -> None:
    enough = WORTH_THREADS // 256**2
    assert threads(LARGE, enough) == 3
    assert threads(LARGE, enough - 1) == 1
    assert threads(ppo.Config("-", hidden_sizes=(64, 256, 64)), enough) == 1  # the largest product of two widths counts
    assert threads(ppo.Config("-", hidden_sizes=(64, 256, 64)), 4 * enough) == 3
    assert threads(ppo.Config("-", hidden_sizes=()), 10**9) == threads(LARGE, 0) == 1


def test_a_number_of_threads_is_taken_as_it_is(cores: None) -> None:
    for number in (1, 2):
        config = ppo.Config("-", hidden_sizes=(256, 256), torch_threads=number)
        assert threads(config, 10**6) == threads(config, 1) == number


def test_processes_share_the_cores(cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for ranks, each in ((1, 3), (2, 1), (8, 1)):
        monkeypatch.setattr(mpi, "size", ranks)
        assert threads(LARGE, 10**6) == each


def test_what_torch_itself_is_told_counts(cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads(LARGE, 10**6) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads(LARGE, 10**6) == 3


def test_a_large_machine_is_not_taken_whole(cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert threads(LARGE, 10**6) == MOST_THREADS


@pytest.mark.parametrize("keeps", [True, False])
def test_onednn_is_called_where_it_pays_and_keeps_float32(monkeypatch: pytest.MonkeyPatch, keeps: bool) -> None:
    monkeypatch.setattr(device, "_onednn_keeps_float32", lambda: keeps)
    enough = -(-WORTH_ONEDNN // 256**2)
    for samples, products in ((enough, "medium" if keeps else "highest"), (enough - 1, "highest")):
        set_up_torch(LARGE, samples)
        assert in_use()["float32_products"] == products


def test_rounding_to_bfloat16_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Coarse(torch.Tensor):
        def __matmul__(self, other: torch.Tensor) -> torch.Tensor:
            plain = self.as_subclass(torch.Tensor)
            plain = plain.bfloat16().float() if plain.dtype == torch.float32 else plain
            return plain @ other.as_subclass(torch.Tensor)

    draw = torch.randn
    assert device._onednn_keeps_float32() in (True, False)
    monkeypatch.setattr(torch, "randn", lambda *a, **k: [part.as_subclass(Coarse) for part in draw(*a, **k)])
    assert not device._onednn_keeps_float32()


def test_a_resumed_run_has_the_threads_that_it_began_with(tmp_path: Path) -> None:
    config = ppo.Config("CartPole-v1", total_steps=128, steps_per_epoch=64, num_envs=2, rollout_len=32)
    ppo.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    (path,) = tmp_path.glob("*/*/config.json")
    saved = read_config(path.parent)
    assert saved["torch"] == {"threads": 1, "float32_products": "highest"}
    for chosen in ({"threads": 2, "float32_products": "medium"}, None):  # one from before there was a choice, too
        path.write_text(json.dumps({**saved, "torch": chosen}))
        use({"threads": 1, "float32_products": "highest"})
        ppo.train(config, logger=Logger(resume=path.parent, quiet=True))
        assert in_use() == chosen or (chosen is None and in_use() == saved["torch"])
    path.write_text(json.dumps({**saved, "torch": {"threads": "two"}}))
    with pytest.raises(UserError, match="has no threads and products"):
        ppo.train(config, logger=Logger(resume=path.parent, quiet=True))


def test_the_size_of_an_update_is_that_of_its_batch(cores: None, tmp_path: Path) -> None:
    config = dqn.Config("CartPole-v1", total_steps=8, start_steps=4, update_after=4, hidden_sizes=(256, 256))
    for batch_size, number in ((4, 1), (64, 3)):
        one = dqn.Config(**{**config.__dict__, "batch_size": batch_size, "num_test_episodes": 0})
        dqn.train(one, logger=Logger(data_dir=tmp_path / f"{batch_size}", quiet=True))
        (path,) = (tmp_path / f"{batch_size}").glob("*/*/config.json")
        assert read_config(path.parent)["torch"]["threads"] == number
