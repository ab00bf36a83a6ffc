"""Running statistics, what networks see of observations, and the reward scale."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.common.checks import UserError
from rlsuite.common.normalize import ObsEncoder, RewardScaler, merge_moments

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


def test_features_equal_x_minus_mean_over_std():
    encode = ObsEncoder(BOX, normalize=True)
    obs = observations(2)
    encode.update(obs)
    flat = obs.reshape(50, 6)
    expected = (flat - flat.mean(0)) / flat.std(0)
    np.testing.assert_allclose(encode(torch.tensor(obs)).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(encode.standardized(obs), expected, atol=1e-4)


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


def test_statistics_are_kept_but_not_applied_without_normalize():
    encode = ObsEncoder(BOX, normalize=False)
    obs = observations(2)
    encode.update(obs)
    assert torch.equal(encode(torch.tensor(obs)), torch.tensor(obs).reshape(50, 6))
    assert np.abs(encode.standardized(obs).mean(0)).max() < 1e-4


def test_warm_start_holds_until_the_first_update_and_is_not_counted():
    encode = ObsEncoder(BOX, normalize=True)
    encode.warm_start(observations(1))
    assert_statistics(encode, observations(1))
    assert encode.count == 0
    encode.warm_start(observations(2))
    assert_statistics(encode, observations(2))
    encode.update(observations(3))
    assert_statistics(encode, observations(3))
    encode.warm_start(observations(4))
    assert_statistics(encode, observations(3))
    encode.update(observations(5))
    assert_statistics(encode, np.concatenate([observations(3), observations(5)]))


def test_statistics_travel_in_the_state_dict():
    encode, other = ObsEncoder(BOX, normalize=True), ObsEncoder(BOX, normalize=True)
    encode.update(observations(1))
    other.load_state_dict(encode.state_dict())
    assert torch.equal(other(torch.tensor(observations(2))), encode(torch.tensor(observations(2))))
    other.update(observations(3))
    assert_statistics(other, np.concatenate([observations(1), observations(3)]))


@pytest.mark.parametrize("space", [spaces.Dict(a=spaces.Discrete(2)), spaces.MultiDiscrete([2, 3])])
def test_other_observation_spaces_are_refused_with_a_way_out(space):
    with pytest.raises(UserError, match=r"FlattenObservation"):
        ObsEncoder(space, normalize=False)


def test_reward_scaler_divides_by_the_deviation_of_R():
    rng = np.random.default_rng(0)
    scale, returns = RewardScaler(2, 0.9), []
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
    scale = RewardScaler(1, 0.5)
    done = np.array([[False], [True], [False]])
    scale(np.array([[4.0], [2.0], [1.0]], np.float32), done)
    assert scale.var == pytest.approx(np.var([4, 4, 1]))
    scale(np.array([[3.0]], np.float32), np.array([[False]]))
    assert scale.var == pytest.approx(np.var([4, 4, 1, 3.5]))


def test_reward_scaler_never_shifts():
    rng = np.random.default_rng(0)
    rew = np.concatenate([rng.normal(100, 1, (50, 1)), np.zeros((10, 1)), -np.ones((10, 1))]).astype(np.float32)
    scaled = RewardScaler(1, 0.99)(rew, np.zeros(rew.shape, bool))
    np.testing.assert_array_equal(np.sign(scaled), np.sign(rew))
    assert (scaled[50:60] == 0).all()
    assert np.ptp(scaled[:50] / rew[:50]) < 1e-6


def test_reward_scaler_clips_to_10_and_survives_rewards_that_never_change():
    rew = np.zeros((1000, 1), np.float32)
    rew[500], rew[501] = 1e4, -1e4
    scaled = RewardScaler(1, 0.0)(rew, np.zeros(rew.shape, bool))
    assert (scaled[500, 0], scaled[501, 0]) == (10, -10)
    same = RewardScaler(1, 0.0)(np.ones((10, 1), np.float32), np.zeros((10, 1), bool))
    assert same.tolist() == [[10]] * 10
    none = RewardScaler(1, 0.0)(np.zeros((10, 1), np.float32), np.zeros((10, 1), bool))
    assert none.tolist() == [[0]] * 10
