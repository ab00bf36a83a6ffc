"""Running statistics, what networks see of observations, and the reward scale."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite import mpi
from rlsuite.common.normalize import ObsEncoder, RewardScaler, merge_moments
from rlsuite.errors import UserError

torch.set_num_threads(1)
BOX = spaces.Box(-np.inf, np.inf, (2, 3), np.float32)
IMAGE = spaces.Box(0, 255, (4, 4, 3), np.uint8)


def observations(seed, count=50):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 2, 3)) * np.arange(1, 7).reshape(2, 3) + 10 * seed).astype(np.float32)


def assert_statistics(encode, data):
    flat = data.reshape(len(data), -1).astype(np.float64)
    np.testing.assert_allclose(encode.mean.numpy(), flat.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(encode.var.numpy(), flat.var(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [(1, 1), (7, 100), (100, 7)])
def test_merge_moments_equals_numpy_over_both_samples(sizes):
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 2, (sizes[0], 4)), rng.normal(-50, 0.1, (sizes[1], 4))
    mean, var = merge_moments(a.mean(0), a.var(0), len(a), b.mean(0), b.var(0), len(b))
    both = np.concatenate([a, b])
    np.testing.assert_allclose(mean, both.mean(0), rtol=1e-12)
    np.testing.assert_allclose(var, both.var(0), rtol=1e-12)


def test_merge_moments_with_nothing_before_takes_the_new_ones():
    mean, var = merge_moments(np.array([5.0]), np.array([9.0]), 0, np.array([2.0]), np.array([4.0]), 3)
    assert (mean, var) == (2, 4)


@pytest.mark.parametrize("start", [0, -3, 5])
def test_discrete_observations_become_one_hot_counted_from_their_start(start):
    encode = ObsEncoder(spaces.Discrete(4, start=start), normalize=True)
    obs = torch.arange(4) + start
    assert torch.equal(encode(obs), torch.eye(4))
    encode.update(obs.numpy())
    assert torch.equal(encode(obs), torch.eye(4))


def test_observations_are_flattened():
    obs = torch.tensor(observations(1))
    x = ObsEncoder(BOX, normalize=False)(obs)
    assert x.dtype == torch.float32
    assert torch.equal(x, obs.reshape(50, 6))


def test_images_are_divided_by_255_and_plain_bytes_are_not():
    image = torch.arange(48, dtype=torch.uint8).reshape(1, 4, 4, 3)
    torch.testing.assert_close(ObsEncoder(IMAGE, normalize=False)(image), torch.arange(48.0)[None] / 255)
    encode = ObsEncoder(spaces.Box(0, 255, (5,), np.uint8), normalize=False)
    assert encode(torch.tensor([[0, 1, 2, 254, 255]], dtype=torch.uint8)).tolist() == [[0, 1, 2, 254, 255]]


def test_statistics_of_images_are_those_of_their_features():
    obs = np.random.default_rng(0).integers(0, 256, (200, 4, 4, 3)).astype(np.uint8)
    encode = ObsEncoder(IMAGE, normalize=True)
    encode.update(obs)
    assert_statistics(encode, obs / 255)
    x = encode(torch.tensor(obs))
    assert x.mean(0).abs().max() < 1e-4
    assert (x.std(0, correction=0) - 1).abs().max() < 1e-3


def test_statistics_are_those_of_all_observations_so_far():
    encode = ObsEncoder(BOX, normalize=True)
    parts = [observations(seed, count) for seed, count in ((0, 50), (1, 1), (2, 300))]
    for i, part in enumerate(parts):
        encode.update(part)
        assert_statistics(encode, np.concatenate(parts[: i + 1]))
    assert encode.count == 351


def test_statistics_are_those_of_all_ranks(monkeypatch):
    encode, others = ObsEncoder(BOX, normalize=True), [observations(seed, 20 * seed) for seed in (1, 2)]
    moments = [(x.reshape(-1, 6).mean(0), x.reshape(-1, 6).var(0), len(x)) for x in others]
    monkeypatch.setattr(mpi, "gather_objects", lambda value: [value, *moments])
    encode.update(observations(3))
    assert_statistics(encode, np.concatenate([observations(3), *others]))
    assert encode.count == 110


def test_features_equal_x_minus_mean_over_std():
    encode = ObsEncoder(BOX, normalize=True)
    obs = observations(2)
    encode.update(obs)
    flat = obs.reshape(50, 6)
    expected = (flat - flat.mean(0)) / flat.std(0)
    np.testing.assert_allclose(encode(torch.tensor(obs)).numpy(), expected, atol=1e-4)
    np.testing.assert_array_equal(encode(obs), encode(torch.tensor(obs)))
    np.testing.assert_allclose(encode.standardize(torch.tensor(flat)).numpy(), expected, atol=1e-4)


def test_features_are_clipped_to_10():
    encode = ObsEncoder(BOX, normalize=True)
    encode.update(observations(0))
    extreme = torch.full((2, 2, 3), 1e6) * torch.tensor([1.0, -1.0]).reshape(2, 1, 1)
    assert encode(extreme).tolist() == [[10.0] * 6, [-10.0] * 6]


def test_an_observation_that_never_changes_becomes_0():
    encode = ObsEncoder(BOX, normalize=True)
    obs = np.full((20, 2, 3), 7, np.float32)
    encode.update(obs)
    assert encode(torch.tensor(obs)).abs().max() == 0


def test_without_normalize_observations_stay_as_they_are_and_nothing_is_counted():
    encode = ObsEncoder(BOX, normalize=False)
    obs = observations(2)
    encode.update(obs)
    assert torch.equal(encode(obs), torch.tensor(obs).reshape(50, 6))
    assert encode.count == 0
    assert torch.equal(encode.mean, torch.zeros(6))


def test_statistics_move_by_update_only():
    encode = ObsEncoder(BOX, normalize=True)
    encode.update(observations(1))
    before = {name: tensor.clone() for name, tensor in encode.named_buffers()}
    first = encode(observations(2))
    for seed in range(3, 6):
        encode.train()(observations(seed))
        encode.eval()(torch.tensor(observations(seed)))
    assert torch.equal(encode(observations(2)), first)
    for name, tensor in encode.named_buffers():
        assert torch.equal(tensor, before[name])
    encode.update(observations(2))
    assert not torch.equal(encode(observations(2)), first)


def test_update_takes_a_whole_rollout():
    encode, flat = ObsEncoder(BOX, normalize=True), ObsEncoder(BOX, normalize=True)
    encode.update(observations(1).reshape(10, 5, 2, 3))
    flat.update(observations(1))
    for ours, expected in zip(encode.buffers(), flat.buffers(), strict=True):
        assert torch.equal(ours, expected)
    assert encode.count == 50


def test_a_variance_too_large_for_float32_stays_finite():
    encode = ObsEncoder(BOX, normalize=True)
    encode.update(np.array([-3e38, 3e38], np.float32)[:, None, None].repeat(2, 1).repeat(3, 2))
    assert encode.var.isfinite().all()
    assert encode(observations(0)).isfinite().all()


def test_statistics_travel_in_the_state_dict():
    encode, other = ObsEncoder(BOX, normalize=True), ObsEncoder(BOX, normalize=True)
    encode.update(observations(1))
    other.load_state_dict(encode.state_dict())
    assert torch.equal(other(torch.tensor(observations(2))), encode(torch.tensor(observations(2))))
    other.update(observations(3))
    assert_statistics(other, np.concatenate([observations(1), observations(3)]))


def test_features_are_on_the_device_of_the_encoder():
    encode = ObsEncoder(BOX, normalize=True).to("meta")
    assert encode(observations(0)).device.type == "meta"


@pytest.mark.parametrize("space", [spaces.Dict(a=spaces.Discrete(2)), spaces.MultiDiscrete([2, 3])])
def test_other_observation_spaces_are_refused_with_a_way_out(space):
    with pytest.raises(UserError, match=r"FlattenObservation"):
        ObsEncoder(space, normalize=False)


def scaler(num_envs, gamma, active=True):
    return RewardScaler(SimpleNamespace(scale_reward=active, num_envs=num_envs, gamma=gamma))


def test_reward_scaler_divides_by_the_deviation_of_R():
    rng = np.random.default_rng(0)
    scale, returns = scaler(2, 0.9), []
    running = [0.0, 0.0]
    for _ in range(3):
        rew, done = rng.normal(4, 3, (20, 2)).astype(np.float32), rng.random((20, 2)) < 0.2
        scaled = scale(rew, done)
        for t in range(20):
            for n in range(2):
                running[n] = 0.9 * running[n] + float(rew[t, n])
                returns.append(running[n])
                if done[t, n]:
                    running[n] = 0.0
        np.testing.assert_allclose(scaled, rew / np.std(returns), rtol=1e-5)
        assert scaled.dtype == np.float32


def test_reward_scaler_starts_R_at_0_after_the_end_of_an_episode():
    scale = scaler(1, 0.5)
    done = np.array([[False], [True], [False]])
    scale(np.array([[4.0], [2.0], [1.0]], np.float32), done)
    assert scale.var == pytest.approx(np.var([4, 4, 1]))
    scale(np.array([[3.0]], np.float32), np.array([[False]]))
    assert scale.var == pytest.approx(np.var([4, 4, 1, 3.5]))


def test_reward_scaler_never_shifts():
    rng = np.random.default_rng(0)
    rew = np.concatenate([rng.normal(100, 1, (50, 1)), np.zeros((10, 1)), -np.ones((10, 1))]).astype(np.float32)
    scaled = scaler(1, 0.99)(rew, np.zeros(rew.shape, bool))
    np.testing.assert_array_equal(np.sign(scaled), np.sign(rew))
    assert (scaled[50:60] == 0).all()
    assert np.ptp(scaled[:50] / rew[:50]) < 1e-6


def test_reward_scaler_clips_to_10_and_survives_rewards_that_never_change():
    rew = np.zeros((1000, 1), np.float32)
    rew[500], rew[501] = 1e4, -1e4
    scaled = scaler(1, 0.0)(rew, np.zeros(rew.shape, bool))
    assert (scaled[500, 0], scaled[501, 0]) == (10, -10)
    same = scaler(1, 0.0)(np.ones((10, 1), np.float32), np.zeros((10, 1), bool))
    assert same.tolist() == [[10]] * 10
    none = scaler(1, 0.0)(np.zeros((10, 1), np.float32), np.zeros((10, 1), bool))
    assert none.tolist() == [[0]] * 10


def test_reward_scaler_does_nothing_unless_asked():
    scale, rew = scaler(1, 0.9, active=False), np.array([[4.0], [-2.0]], np.float32)
    np.testing.assert_array_equal(scale(rew, np.zeros((2, 1), bool)), rew)
    assert scale.count == 0


def test_reward_scaler_goes_on_from_its_state():
    rng = np.random.default_rng(0)
    rollouts = [(rng.normal(2, 3, (9, 2)).astype(np.float32), rng.random((9, 2)) < 0.2) for _ in range(4)]
    whole, first, second = scaler(2, 0.9), scaler(2, 0.9), scaler(2, 0.9)
    for part in rollouts[:2]:
        whole(*part)
        first(*part)
    state = first.state_dict()
    second.load_state_dict(state)
    first(*rollouts[3])  # what has been taken from the state does not follow its source
    for part in rollouts[2:]:
        np.testing.assert_array_equal(second(*part), whole(*part))
    with pytest.raises(ValueError, match="2 environments, not 3"):
        scaler(3, 0.9).load_state_dict(state)
