"""Policies, snapshots and episodes survive the way to disk and back, and damage is a UserError."""

import json
import math
import os

import numpy as np
import pytest
import torch
from torch import nn

from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.checkpoint import (
    load_episode,
    load_policy,
    load_snapshot,
    save_episodes,
    save_epoch,
    save_snapshot,
    saved_epochs,
    snapshot_epochs,
    write_atomically,
)
from rlsuite.common.checks import UserError
from rlsuite.common.envs import Episode, make_env

torch.set_num_threads(1)
CONFIG = {"env": "CartPole-v1", "env_kwargs": "{}", "hidden_sizes": [8, 8], "activation": "tanh", "normalize_obs": True}


@pytest.fixture
def run(tmp_path):
    configure(tmp_path)
    return tmp_path


def configure(run, **changes):
    config = {name: value for name, value in (CONFIG | changes).items() if value is not None}
    (run / "config.json").write_text(json.dumps(config))


def network(env_id="CartPole-v1", sizes=(8, 8)):
    env = make_env(env_id)
    torch.manual_seed(0)
    ac = ActorCritic(env.observation_space, env.action_space, sizes, "tanh", True)
    if ac.encode.mean.numel() == 4:
        ac.encode.update(np.random.default_rng(0).normal(3, 7, (123, 4)).astype(np.float32))
    return ac


OBS = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)


def save(run, ac, epoch=1, last=1, obs=OBS, episodes=None):
    save_epoch(run, epoch, last, 30 * epoch, ac, obs, episodes or {})


def assert_equal_networks(a, b):
    theirs = b.state_dict()
    assert list(a.state_dict()) == list(theirs)
    for name, tensor in a.state_dict().items():
        assert theirs[name].dtype == tensor.dtype, name
        assert torch.equal(theirs[name], tensor), name


def test_a_policy_comes_back_bit_for_bit_with_its_normaliser(run):
    ac = network()
    save(run, ac)
    loaded = load_policy(run)
    assert_equal_networks(ac, loaded)
    assert loaded.encode.count == 123
    assert torch.equal(loaded.pi(loaded.encode(torch.tensor(OBS))).logits, ac.pi(ac.encode(torch.tensor(OBS))).logits)


def test_a_gaussian_policy_comes_back_bit_for_bit(run):
    configure(run, env="Pendulum-v1")
    ac = network("Pendulum-v1")
    with torch.no_grad():
        ac.pi.log_std.fill_(0.123)
    save(run, ac, obs=np.zeros((5, 3), np.float32))
    assert_equal_networks(ac, load_policy(run))


def test_statistics_go_on_after_loading(run):
    ac = network()
    save(run, ac)
    loaded = load_policy(run)
    for encode in (ac.encode, loaded.encode):
        encode.update(OBS)
    assert_equal_networks(ac, loaded)
    assert ac.encode.count == 153


def test_policy_safetensors_is_that_of_the_last_epoch(run):
    ac = network()
    save(run, ac, epoch=1, last=2)
    with torch.no_grad():
        ac.pi.logits[0].weight.add_(1)
    save(run, ac, epoch=2, last=2)
    assert_equal_networks(ac, load_policy(run))
    assert not torch.equal(load_snapshot(run, 1)[0].pi.logits[0].weight, ac.pi.logits[0].weight)
    assert_equal_networks(ac, load_snapshot(run, 2)[0])


@pytest.mark.parametrize("last", [1, 2, 5, 6, 7, 13, 100])
def test_snapshots_at_six_epochs_of_a_run_or_at_all_of_a_shorter_one(tmp_path, last):
    for epoch in range(1, last + 1):
        save(tmp_path, nn.Linear(1, 1), epoch, last)
    kept = snapshot_epochs(tmp_path)
    assert len(kept) == min(6, last)
    assert (kept[0], kept[-1]) == (1, last)
    gaps = np.diff(kept)
    assert last == 1 or np.ptp(gaps) <= 1


def test_a_snapshot_keeps_evenly_spaced_states(run):
    obs = np.arange(4 * 5000, dtype=np.float32).reshape(5000, 4)
    save(run, network(), obs=obs)
    _, kept = load_snapshot(run, 1)
    assert len(kept) == 2048
    rows = kept[:, 0] / 4
    assert (rows[0], rows[-1]) == (0, 4999)
    assert set(np.diff(rows)) == {2, 3}
    assert kept.dtype == np.float32


def test_a_snapshot_of_few_states_keeps_them_all(run):
    save_snapshot(run, 3, 90, network(), OBS)
    np.testing.assert_array_equal(load_snapshot(run, 3)[1], OBS)


EPISODES = {
    "best": Episode(2**32 - 1, np.array([0, 1, 1]), 0.1 + 0.2),
    "worst": Episode(0, np.array([1]), -math.pi),
}


def test_episodes_come_back_as_they_were(run):
    save(run, network(), epoch=7, last=9, episodes=EPISODES)
    for which, episode in EPISODES.items():
        seed, actions, ret = load_episode(run, 7, which)
        assert (seed, ret) == (episode.seed, episode.ret)
        assert actions.dtype == episode.actions.dtype
        np.testing.assert_array_equal(actions, episode.actions)


def test_continuous_actions_come_back_bit_for_bit(run):
    actions = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    save_episodes(run, 1, {"best": Episode(1, actions, 2.0)})
    loaded = load_episode(run, 1, "best").actions
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, actions)


def test_an_epoch_without_episodes_leaves_no_file(run):
    save(run, network())
    assert saved_epochs(run, "episodes") == []
    with pytest.raises(UserError, match="none has been saved yet"):
        load_episode(run, 1, "best")


def test_a_missing_episode_names_the_epochs_there_are(run):
    for epoch in (2, 11):
        save_episodes(run, epoch, {"best": EPISODES["best"]})
    with pytest.raises(UserError, match="epochs 2 to 11"):
        load_episode(run, 3, "best")
    with pytest.raises(UserError, match="no worst episode"):
        load_episode(run, 2, "worst")


def test_missing_files_are_user_errors(run):
    with pytest.raises(UserError, match=r"policy\.safetensors does not exist"):
        load_policy(run)
    with pytest.raises(UserError, match="does not exist"):
        load_snapshot(run, 1)


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.999])
def test_truncated_files_are_user_errors(run, share):
    save(run, network(), episodes=EPISODES)
    loads = {
        "policy.safetensors": lambda: load_policy(run),
        "snapshots/epoch_000001.safetensors": lambda: load_snapshot(run, 1),
        "episodes/epoch_000001.safetensors": lambda: load_episode(run, 1, "best"),
    }
    for name, load in loads.items():
        data = (run / name).read_bytes()
        (run / name).write_bytes(data[: int(len(data) * share)])
        with pytest.raises(UserError, match="can't be read"):
            load()


def test_files_of_something_else_are_user_errors(run):
    (run / "policy.safetensors").write_bytes(b"\x80\x04garbage" * 100)
    with pytest.raises(UserError, match="can't be read"):
        load_policy(run)
    save(run, network(), episodes=EPISODES)
    os.replace(run / "episodes" / "epoch_000001.safetensors", run / "snapshots" / "epoch_000001.safetensors")
    with pytest.raises(UserError, match="no snapshot"):
        load_snapshot(run, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_sizes": [16, 8]},
        {"hidden_sizes": [8]},
        {"hidden_sizes": None},
        {"hidden_sizes": 8},
        {"env": "Acrobot-v1"},
        {"env": "Pendulum-v1"},
    ],
)
def test_weights_that_do_not_fit_config_json_are_user_errors(run, changes):
    save(run, network())
    configure(run, **changes)
    for load in (lambda: load_policy(run), lambda: load_snapshot(run, 1)):
        with pytest.raises(UserError, match=r"does not fit its config\.json") as error:
            load()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("own", [{"network": "mine.Wide"}, {"custom_env": True}])
def test_a_policy_of_the_users_own_making_is_refused(run, own):
    save(run, network())
    configure(run, **own)
    with pytest.raises(UserError, match="was trained"):
        load_policy(run)


def test_writing_leaves_nothing_but_the_files(run):
    for epoch in (1, 2):
        save(run, network(), epoch, 2, episodes=EPISODES)
    files = sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file())
    names = [f"{folder}/epoch_00000{epoch}.safetensors" for folder in ("episodes", "snapshots") for epoch in (1, 2)]
    assert files == ["config.json", *names[:2], "policy.safetensors", *names[2:]]


def test_write_atomically_replaces_the_content(tmp_path):
    path = tmp_path / "file"
    for data in (b"a much longer content", b"new"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_old_file_stays_if_writing_fails_half_way(run, monkeypatch):
    save(run, network())
    old = (run / "policy.safetensors").read_bytes()

    def disk_full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    changed = network()
    with torch.no_grad():
        changed.pi.logits[0].weight.zero_()
    with pytest.raises(OSError, match="No space left"):
        save(run, changed)
    assert (run / "policy.safetensors").read_bytes() == old
    assert not list(run.glob(".*"))
    assert_equal_networks(network(), load_policy(run))


def test_the_old_file_stays_if_the_replacement_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError("killed")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="killed"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
