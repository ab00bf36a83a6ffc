"""Policies, snapshots and episodes survive the way to disk and back, and damage is a UserError."""

import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rlsuite.common.actor_critic import ActorCritic
from rlsuite.envs.episodes import Episode
from rlsuite.envs.making import make_env
from rlsuite.errors import UserError
from rlsuite.rundir.files import read_safetensors
from rlsuite.rundir.policies import (
    BEST_POLICY,
    load_best_policy,
    load_episode,
    load_snapshot,
    load_weights,
    policy_arrays,
    save_best_policy,
    save_episodes,
    save_policy,
    save_snapshot,
    saved_epochs,
)

OBS = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
EPISODES = {
    "best": Episode(2**32 - 1, np.array([0, 1, 1]), 0.1 + 0.2),
    "worst": Episode(0, np.array([1]), -math.pi),
}


def network(env_id: str = "CartPole-v1", sizes: tuple[int, ...] = (8, 8), seed: int = 0) -> ActorCritic:
    """One whose normaliser has seen something."""
    env = make_env(env_id)
    torch.manual_seed(seed)
    config = SimpleNamespace(hidden_sizes=sizes, activation="tanh", normalize_obs=True, log_std_init=-0.5)
    ac = ActorCritic(env.observation_space, env.action_space, config)
    ac.encode.update(np.random.default_rng(seed).normal(3, 7, (123, ac.encode.features)).astype(np.float32))
    return ac


def assert_equal_networks(a: torch.nn.Module, b: torch.nn.Module) -> None:
    theirs = b.state_dict()
    assert list(a.state_dict()) == list(theirs)
    for name, tensor in a.state_dict().items():
        assert theirs[name].dtype == tensor.dtype, name
        assert torch.equal(theirs[name], tensor), name


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_policy_comes_back_bit_for_bit_with_its_normaliser(env_id: str, tmp_path: Path) -> None:
    ac, other = network(env_id), network(env_id, seed=1)
    save_policy(tmp_path, ac)
    load_weights(other, read_safetensors(tmp_path / "policy.safetensors")[0])
    assert_equal_networks(ac, other)
    assert other.encode.count == 123
    x = np.random.default_rng(2).normal(size=(30, ac.encode.features)).astype(np.float32)
    np.testing.assert_array_equal(other.mode(x), ac.mode(x))
    for encode in (ac.encode, other.encode):  # statistics go on from there
        encode.update(x)
    assert_equal_networks(ac, other)
    assert other.encode.count == 153


def test_weights_are_copied_into_the_parameters_that_an_optimiser_holds() -> None:
    ac, other = network(), network(seed=1)
    held = list(other.parameters())
    load_weights(other, policy_arrays(ac))
    for mine, theirs in zip(held, ac.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    "arrays",
    [
        policy_arrays(network(sizes=(16, 8))),
        policy_arrays(network(sizes=(8,))),
        policy_arrays(network("Acrobot-v1")),
        policy_arrays(network()) | {"encode.count": np.array(1.0)},
        policy_arrays(network()) | {"more": np.zeros(1)},
        {},
    ],
    ids=["wider", "shallower", "other-environment", "other-type", "more", "nothing"],
)
def test_weights_of_another_network_are_refused(arrays: dict[str, np.ndarray]) -> None:
    ac = network()
    before = policy_arrays(ac)
    with pytest.raises(ValueError, match="expected"):
        load_weights(ac, arrays)
    for name, array in policy_arrays(ac).items():
        np.testing.assert_array_equal(array, before[name])


def test_policy_safetensors_is_that_of_the_last_save(tmp_path: Path) -> None:
    ac, other = network(), network(seed=1)
    save_policy(tmp_path, ac)
    save_policy(tmp_path, other)
    load_weights(ac, read_safetensors(tmp_path / "policy.safetensors")[0])
    assert_equal_networks(ac, other)
    assert [path.name for path in tmp_path.iterdir()] == ["policy.safetensors"]


def test_a_snapshot_is_the_weights_and_the_states_of_its_epoch(tmp_path: Path) -> None:
    first, second = network(), network(seed=1)
    save_snapshot(tmp_path, 1, 30, first, OBS)
    save_snapshot(tmp_path, 12, 60, second, OBS[:5])
    assert saved_epochs(tmp_path, "snapshots") == [1, 12]
    for epoch, ac, obs in ((1, first, OBS), (12, second, OBS[:5])):
        weights, kept = load_snapshot(tmp_path, epoch)
        np.testing.assert_array_equal(kept, obs)
        other = network(seed=2)
        load_weights(other, weights)
        assert_equal_networks(other, ac)


def test_a_snapshot_keeps_evenly_spaced_states(tmp_path: Path) -> None:
    obs = np.arange(4 * 5000, dtype=np.float32).reshape(5000, 4)
    save_snapshot(tmp_path, 1, 5000, network(), obs)
    _, kept = load_snapshot(tmp_path, 1)
    assert len(kept) == 2048
    rows = kept[:, 0] / 4
    assert (rows[0], rows[-1]) == (0, 4999)
    assert set(np.diff(rows)) == {2, 3}
    assert kept.dtype == np.float32


def test_episodes_come_back_as_they_were(tmp_path: Path) -> None:
    save_episodes(tmp_path, 7, EPISODES)
    for which, episode in EPISODES.items():
        seed, actions, ret = load_episode(tmp_path, 7, which)
        assert (seed, ret) == (episode.seed, episode.ret)
        assert actions.dtype == episode.actions.dtype
        np.testing.assert_array_equal(actions, episode.actions)


def test_continuous_actions_come_back_bit_for_bit(tmp_path: Path) -> None:
    actions = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    save_episodes(tmp_path, 1, {"best": Episode(1, actions, 2.0)})
    loaded = load_episode(tmp_path, 1, "best").actions
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, actions)


def test_an_epoch_without_episodes_leaves_no_file(tmp_path: Path) -> None:
    save_episodes(tmp_path, 1, {})
    assert list(tmp_path.iterdir()) == []
    assert saved_epochs(tmp_path, "episodes") == []
    with pytest.raises(UserError, match="none has been saved yet"):
        load_episode(tmp_path, 1, "best")


def test_a_missing_episode_names_the_epochs_there_are(tmp_path: Path) -> None:
    for epoch in (2, 11):
        save_episodes(tmp_path, epoch, {"best": EPISODES["best"]})
    with pytest.raises(UserError, match="epochs 2 to 11"):
        load_episode(tmp_path, 3, "best")
    with pytest.raises(UserError, match="no worst episode"):
        load_episode(tmp_path, 2, "worst")


def test_a_missing_snapshot_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"epoch_000001\.safetensors does not exist"):
        load_snapshot(tmp_path, 1)


def test_files_of_something_else_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    for name in ("epoch_x.safetensors", "epoch_-1.safetensors", "epoch_1.safetensors.tmp", "notes.txt"):
        (tmp_path / "snapshots" / name).touch()
    assert saved_epochs(tmp_path, "snapshots") == []


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.999])
def test_truncated_files_are_user_errors(share: float, tmp_path: Path) -> None:
    save_snapshot(tmp_path, 1, 30, network(), OBS)
    save_episodes(tmp_path, 1, EPISODES)
    for folder, read in (
        ("snapshots", lambda: load_snapshot(tmp_path, 1)),
        ("episodes", lambda: load_episode(tmp_path, 1, "best")),
    ):
        path = tmp_path / folder / "epoch_000001.safetensors"
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(UserError, match="can't be read"):
            read()


def test_a_snapshot_that_is_none_is_a_user_error(tmp_path: Path) -> None:
    save_episodes(tmp_path, 1, EPISODES)
    os.rename(tmp_path / "episodes", tmp_path / "snapshots")
    with pytest.raises(UserError, match="no snapshot"):
        load_snapshot(tmp_path, 1)


def test_the_old_policy_stays_if_writing_fails_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_policy(tmp_path, network())
    old = (tmp_path / "policy.safetensors").read_bytes()

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_policy(tmp_path, network(seed=1))
    assert (tmp_path / "policy.safetensors").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["policy.safetensors"]


def test_a_best_policy_says_of_which_epoch_it_is(tmp_path: Path) -> None:
    ac = network()
    save_best_policy(tmp_path, ac, 7, -0.25)
    arrays, epoch, ret = load_best_policy(tmp_path)
    assert (epoch, ret) == (7, -0.25)
    assert arrays.keys() == policy_arrays(ac).keys()
    first = (tmp_path / BEST_POLICY).read_bytes()
    save_best_policy(tmp_path, ac, 7, -0.25)
    assert (tmp_path / BEST_POLICY).read_bytes() == first
    save_policy(tmp_path, ac)
    (tmp_path / "policy.safetensors").rename(tmp_path / BEST_POLICY)  # which says nothing of an epoch
    with pytest.raises(UserError, match=r"policy_best\.safetensors does not say of which epoch"):
        load_best_policy(tmp_path)
