"""Advantages and returns against closed forms and stable-baselines3, and the storage of rollouts."""

import copy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import RolloutBuffer, discounted_returns, gae, plan_epochs, storage_dtype
from rlsuite.common.normalize import RewardScaler

torch.set_num_threads(1)
OBS = spaces.Box(-5, 5, (3,), np.float32)


def random_rollout(seed, steps=30, num_envs=4, ends=0.15):
    """A rollout whose next_val is the next row's val, save at truncations and in the last row."""
    rng = np.random.default_rng(seed)
    rew, val, final = (rng.normal(size=(steps, num_envs)).astype(np.float32) for _ in range(3))
    terminated, truncated = (rng.random((steps, num_envs)) < ends for _ in range(2))
    next_val = np.concatenate([val[1:], final[-1:]])
    next_val[truncated] = final[truncated]
    return rew, val, next_val, terminated, truncated


def deltas(rew, val, next_val, terminated, gamma):
    return rew + gamma * np.where(terminated, 0, next_val) - val


def closed_form(rew, val, next_val, terminated, truncated, gamma, lam):
    """adv_t = Σ_{k ≥ t, same episode} (γλ)^(k-t) δ_k, written as a double sum."""
    delta = deltas(*(a.astype(np.float64) for a in (rew, val, next_val)), terminated, gamma)
    adv = np.zeros_like(delta)
    for n in range(rew.shape[1]):
        for t in range(len(rew)):
            for k in range(t, len(rew)):
                same_episode = not (terminated[t:k, n] | truncated[t:k, n]).any()
                adv[t, n] += (gamma * lam) ** (k - t) * delta[k, n] * same_episode
    return adv


def n_step_mixture(rew, val, next_val, terminated, truncated, gamma, lam):
    """adv_t = (1-λ) Σ_k λ^(k-1) A^(k), the last k taking the rest; A^(k) = Σ_l<k γ^l rew_{t+l} + γ^k V - val_t."""
    adv = np.zeros(rew.shape)
    for n in range(rew.shape[1]):
        for t in range(len(rew)):
            ends = np.flatnonzero(terminated[t:, n] | truncated[t:, n])
            steps = int(ends[0]) + 1 if len(ends) else len(rew) - t
            for k in range(1, steps + 1):
                last = t + k - 1
                reward = sum(gamma**i * float(rew[t + i, n]) for i in range(k))
                boot = 0.0 if terminated[last, n] else gamma**k * float(next_val[last, n])
                weight = lam ** (k - 1) * (1 if k == steps else 1 - lam)
                adv[t, n] += weight * (reward + boot - float(val[t, n]))
    return adv


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("reference", [closed_form, n_step_mixture])
@pytest.mark.parametrize("seed", range(3))
def test_gae_equals_the_closed_form(reference, lam, seed):
    rollout = random_rollout(seed)
    np.testing.assert_allclose(gae(*rollout, 0.9, lam), reference(*rollout, 0.9, lam), atol=1e-5)


def test_gae_recursion_by_hand():
    rew, val, next_val = (np.array(row, np.float32)[:, None] for row in ([1, 2, 3], [4, 0, 2], [0, 2, 8]))
    none = np.zeros((3, 1), bool)
    # δ = (1 + 0 - 4, 2 + 1 - 0, 3 + 4 - 2) = (-3, 3, 5); adv_2 = 5, adv_1 = 3 + 5/4, adv_0 = -3 + 4.25/4
    np.testing.assert_allclose(gae(rew, val, next_val, none, none, 0.5, 0.5)[:, 0], [-1.9375, 4.25, 5])


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("kind", ["terminated", "truncated", "both"])
def test_gae_bootstraps_at_a_truncation_and_not_at_a_termination(kind, row):
    rew, val = np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)
    next_val = np.full((4, 1), 8, np.float32)
    end = np.zeros((4, 1), bool)
    end[row] = True
    none = np.zeros_like(end)
    terminated, truncated = {"terminated": (end, none), "truncated": (none, end), "both": (end, end)}[kind]
    adv = gae(rew, val, next_val, terminated, truncated, 0.5, 1.0)[:, 0]
    at_end = 1.0 if kind != "truncated" else 1 + 0.5 * 8
    assert adv[row] == at_end
    if row > 0:
        assert adv[row - 1] == 1 + 0.5 * 8 + 0.5 * at_end
    if row < 3:
        assert (
            adv[row + 1] == gae(rew[row + 1 :], val[row + 1 :], next_val[row + 1 :], *[none[row + 1 :]] * 2, 0.5, 1)[0]
        )


def test_gae_with_lam_0_is_the_td_error_δ():
    rew, val, next_val, terminated, truncated = random_rollout(0)
    adv = gae(rew, val, next_val, terminated, truncated, 0.9, 0.0)
    np.testing.assert_allclose(adv, deltas(rew, val, next_val, terminated, 0.9), atol=1e-6)


def test_gae_with_lam_1_is_the_discounted_return_minus_the_value():
    rew, val, next_val, terminated, truncated = random_rollout(1)
    ret = discounted_returns(rew, next_val, terminated, truncated, 0.9)
    np.testing.assert_allclose(gae(rew, val, next_val, terminated, truncated, 0.9, 1.0), ret - val, atol=1e-5)


def test_gae_with_lam_1_is_the_k_step_return_minus_the_value():
    rew, val, next_val = (np.array(row, np.float32)[:, None] for row in ([1, 2, 4], [3, 5, 7], [5, 7, 16]))
    none = np.zeros((3, 1), bool)
    # the last V(s_{t+k}) is 16
    expected = [1 + 2 / 2 + 4 / 4 + 16 / 8 - 3, 2 + 4 / 2 + 16 / 4 - 5, 4 + 16 / 2 - 7]
    np.testing.assert_allclose(gae(rew, val, next_val, none, none, 0.5, 1.0)[:, 0], expected)


def test_gae_treats_each_environment_alone():
    together = gae(*random_rollout(2), 0.9, 0.8)
    for n in range(together.shape[1]):
        alone = gae(*(a[:, n : n + 1] for a in random_rollout(2)), 0.9, 0.8)
        np.testing.assert_array_equal(together[:, n : n + 1], alone)


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_gae_equals_stable_baselines3(seed, lam):
    sb3 = pytest.importorskip("stable_baselines3.common.buffers")
    gamma = 0.97
    rew, val, next_val, terminated, truncated = random_rollout(seed)
    steps, num_envs = rew.shape
    done = terminated | truncated
    other = sb3.RolloutBuffer(steps, OBS, spaces.Discrete(2), "cpu", gae_lambda=lam, gamma=gamma, n_envs=num_envs)
    zeros = np.zeros(num_envs)
    for t in range(steps):
        # There the bootstrap at a time limit is part of the reward.
        rew_t = rew[t] + gamma * next_val[t] * (truncated[t] & ~terminated[t])
        starts = done[t - 1] if t else zeros
        other.add(np.zeros((num_envs, 3)), zeros, rew_t, starts, torch.tensor(val[t]), torch.zeros(num_envs))
    other.compute_returns_and_advantage(torch.tensor(next_val[-1]), done[-1])
    adv = gae(rew, val, next_val, terminated, truncated, gamma, lam)
    np.testing.assert_allclose(adv, other.advantages, atol=1e-5)
    np.testing.assert_allclose(adv + val, other.returns, atol=1e-5)


def test_gae_refuses_arrays_of_different_shapes():
    rew, val, next_val, terminated, truncated = random_rollout(0)
    with pytest.raises(AssertionError):
        gae(rew[:, :1], val, next_val, terminated, truncated, 0.9, 0.9)


def test_discounted_returns_by_hand():
    rew = np.array([[1, 1], [2, 1], [4, 1], [8, 1]], np.float32)
    boot = np.array([[99, 99], [16, 99], [99, 99], [32, 99]], np.float32)
    terminated, truncated = np.zeros((4, 2), bool), np.zeros((4, 2), bool)
    truncated[1, 0] = True  # bootstraps from 16; the last row of that environment still runs: from 32
    terminated[2, 1] = terminated[3, 1] = True
    ret = discounted_returns(rew, boot, terminated, truncated, 0.5)
    np.testing.assert_array_equal(ret[:, 0], [1 + 10 / 2, 2 + 16 / 2, 4 + 24 / 2, 8 + 32 / 2])
    np.testing.assert_array_equal(ret[:, 1], [1.75, 1.5, 1, 1])


def test_discounted_returns_at_both_ends_at_once_is_a_termination():
    one = np.ones((1, 1), np.float32)
    yes, no = np.ones((1, 1), bool), np.zeros((1, 1), bool)
    assert discounted_returns(one, 4 * one, yes, yes, 0.5) == 1
    assert discounted_returns(one, 4 * one, no, yes, 0.5) == 3


def fill(buf, rng, steps, truncations=(), terminations=(), obs_space=OBS):
    """Store random steps; returns the final observations by (t, n) and the observation after the last step."""
    num_envs = buf.rew.shape[1]

    def sample():
        return np.stack([obs_space.sample() for _ in range(num_envs)])

    obs, finals = sample(), {}
    for t in range(buf.t, buf.t + steps):
        next_obs = sample()
        ends = [np.array([(t, n) in where for n in range(num_envs)]) for where in (terminations, truncations)]
        act = rng.normal(size=(num_envs, *buf.act.shape[2:])) if buf.act.ndim > 2 else rng.integers(0, 2, num_envs)
        buf.store(obs, act, rng.normal(size=num_envs), next_obs, *ends)
        finals |= {(t, n): next_obs[n] for n in range(num_envs)}
        done = ends[0] | ends[1]
        obs = np.where(done[:, None], sample(), next_obs) if obs.ndim == 2 else next_obs
    return finals, obs


def make(act_space, num_envs=2, steps=8, scaler=None):
    torch.manual_seed(0)
    OBS.seed(0)
    ac = ActorCritic(OBS, act_space, (16,))
    return ac, RolloutBuffer(steps * num_envs, num_envs, OBS, act_space, scaler)


BOX = spaces.Box(-2, 1, (2,), np.float32)


@pytest.mark.parametrize("act_space", [spaces.Discrete(2), BOX])
def test_finish_rollout_evaluates_the_data_by_the_policy_that_collected_it(act_space):
    ac, buf = make(act_space)
    fill_rng = np.random.default_rng(0)
    truncations, terminations = {(2, 0), (7, 1)}, {(4, 0)}
    finals, last_obs = fill(buf, fill_rng, 8, truncations, terminations)
    batch = buf.finish_rollout(ac, last_obs, 0.9, 0.8)

    val = ac.value(torch.tensor(buf.obs.reshape(-1, 3))).numpy().reshape(8, 2)
    np.testing.assert_allclose(buf.val, val, atol=1e-6)

    def value(obs):
        return ac.value(torch.tensor(obs)[None]).item()

    for t in range(8):
        for n in range(2):
            expected = value(last_obs[n]) if t == 7 else val[t + 1, n]
            if (t, n) in truncations:
                expected = value(finals[t, n])
            if (t, n) not in terminations:
                assert buf.boot[t, n] == pytest.approx(expected, abs=1e-6)

    adv = gae(buf.rew, buf.val, buf.boot, buf.terminated, buf.truncated, 0.9, 0.8)
    np.testing.assert_array_equal(buf.adv, adv)
    np.testing.assert_array_equal(batch.adv.numpy(), adv.reshape(-1))  # time-major
    np.testing.assert_array_equal(batch.ret.numpy(), (adv + buf.val).reshape(-1))

    pi = ac.pi(torch.tensor(buf.obs.reshape(-1, 3)))
    if isinstance(act_space, spaces.Discrete):
        dist = torch.distributions.Categorical(logits=pi.logits)
        logp = dist.log_prob(torch.tensor(buf.act.reshape(-1)))
        entropy = dist.entropy()
    else:
        dist = torch.distributions.Normal(pi.mu, pi.log_std.exp())
        logp = dist.log_prob(torch.tensor(buf.act.reshape(-1, 2))).sum(-1)
        entropy = dist.entropy().sum(-1)
    torch.testing.assert_close(batch.logp, logp)
    np.testing.assert_allclose(buf.entropy.reshape(-1), entropy.detach().numpy(), rtol=1e-5)
    assert not any(t.requires_grad for t in (batch.x, batch.adv, batch.ret, batch.logp, *batch.pi))


def test_later_rollouts_of_an_epoch_leave_the_earlier_ones_as_they_were():
    ac, buf = make(spaces.Discrete(2))
    rng = np.random.default_rng(0)
    _, last_obs = fill(buf, rng, 3, truncations={(1, 0), (2, 1)})
    first = buf.finish_rollout(ac, last_obs, 0.9, 0.8)
    stored = {name: getattr(buf, name)[:3].copy() for name in ("val", "boot", "adv", "entropy", "rew")}
    old = copy.deepcopy(ac)
    with torch.no_grad():
        for p in ac.parameters():
            p.mul_(1.5)
    finals, last_obs = fill(buf, rng, 5, truncations={(4, 0)})
    second = buf.finish_rollout(ac, last_obs, 0.9, 0.8)

    assert (len(first.adv), len(second.adv)) == (6, 10)
    for name, array in stored.items():
        np.testing.assert_array_equal(getattr(buf, name)[:3], array)
    np.testing.assert_allclose(buf.val[:3].reshape(-1), old.value(torch.tensor(buf.obs[:3].reshape(-1, 3))), atol=1e-6)
    np.testing.assert_allclose(buf.val[3:].reshape(-1), ac.value(torch.tensor(buf.obs[3:].reshape(-1, 3))), atol=1e-6)
    assert buf.boot[4, 0] == pytest.approx(ac.value(torch.tensor(finals[4, 0])[None]).item(), abs=1e-6)
    assert buf.states().shape == (16, 3)


def test_only_with_graph_do_gradients_flow_through_a_batch():
    ac, buf = make(spaces.Discrete(2))
    _, last_obs = fill(buf, np.random.default_rng(0), 8)
    batch = buf.finish_rollout(ac, last_obs, 0.9, 0.8)
    assert not any(part.requires_grad for part in (batch.val, batch.logp, batch.pi.logits))
    buf.clear()
    _, last_obs = fill(buf, np.random.default_rng(0), 8)
    buf.with_graph = True
    batch = buf.finish_rollout(ac, last_obs, 0.9, 0.8)
    assert not any(part.requires_grad for part in (batch.adv, batch.ret))
    for module, ours, again in (
        (ac.v, batch.val, ac.v(batch.x)),
        (ac.pi, batch.logp, ac.pi(batch.x).log_prob(batch.act)),
        (ac.pi, batch.pi.entropy(), ac.pi(batch.x).entropy()),
    ):
        params = list(module.parameters())
        for a, b in zip(
            torch.autograd.grad(ours.sum(), params, retain_graph=True),
            torch.autograd.grad(again.sum(), params),
            strict=True,
        ):
            assert torch.equal(a, b)
            assert a.abs().sum() > 0


def test_clear_starts_an_epoch_without_traces_of_the_last_one():
    ac, used = make(spaces.Discrete(2))
    _, last_obs = fill(used, np.random.default_rng(0), 8, truncations={(1, 0), (5, 1)})
    used.finish_rollout(ac, last_obs, 0.9, 0.8)
    used.clear()
    fresh = make(spaces.Discrete(2))[1]
    for buf in (used, fresh):
        OBS.seed(1)
        _, last_obs = fill(buf, np.random.default_rng(1), 4, truncations={(2, 1)})
        buf.finish_rollout(ac, last_obs, 0.9, 0.8)
    assert len(used.states()) == 8
    for name in ("obs", "act", "rew", "val", "boot", "adv", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(used, name)[:4], getattr(fresh, name)[:4])


def test_rewards_are_scaled_once_with_the_ends_of_their_rollout():
    ac, buf = make(spaces.Discrete(2), scaler=RewardScaler(2, 0.9))
    rng, alone = np.random.default_rng(0), RewardScaler(2, 0.9)
    for rows in (slice(0, 3), slice(3, 8)):
        _, last_obs = fill(buf, rng, rows.stop - rows.start, truncations={(1, 0)}, terminations={(5, 1)})
        raw = buf.rew[rows].copy()
        buf.finish_rollout(ac, last_obs, 0.9, 0.8)
        np.testing.assert_array_equal(buf.rew[rows], alone(raw, buf.terminated[rows] | buf.truncated[rows]))
    adv = gae(buf.rew[3:], buf.val[3:], buf.boot[3:], buf.terminated[3:], buf.truncated[3:], 0.9, 0.8)
    np.testing.assert_array_equal(buf.adv[3:], adv)


def test_bytes_stay_bytes_until_they_reach_the_network():
    space = spaces.Box(0, 255, (4, 4), np.uint8)
    space.seed(0)
    ac, buf = ActorCritic(space, spaces.Discrete(2), (8,)), RolloutBuffer(12, 2, space, spaces.Discrete(2))
    _, last_obs = fill(buf, np.random.default_rng(0), 6, truncations={(2, 1)}, obs_space=space)
    batch = buf.finish_rollout(ac, last_obs, 0.9, 0.8)
    assert buf.obs.dtype == buf.states().dtype == np.uint8
    torch.testing.assert_close(batch.x, torch.tensor(buf.obs.reshape(12, 16)).float() / 255)


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (spaces.Box(0, 255, (2,), np.uint8), np.uint8),
        (spaces.Discrete(3), np.int64),
        (spaces.Box(0, 9, (2,), np.int32), np.int64),
        (spaces.Box(0, 1, (2,), np.float64), np.float32),
    ],
)
def test_storage_dtype(space, dtype):
    assert storage_dtype(space) is dtype


@settings(deadline=None, max_examples=100, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 5000), st.integers(1, 8), st.integers(1, 40), st.integers(1, 6))
def test_plan_epochs_meets_the_budget_exactly(steps, num_envs, rollout_len, rollouts):
    total, per_epoch = steps * num_envs, rollouts * rollout_len * num_envs
    epochs = list(plan_epochs(total, num_envs, per_epoch, rollout_len))
    assert sum(sum(epoch) for epoch in epochs) * num_envs == total
    assert all(epoch == [rollout_len] * rollouts for epoch in epochs[:-1])
    *whole, last = epochs[-1]
    assert whole == [rollout_len] * len(whole)
    assert 1 <= last <= rollout_len
    assert len(epochs[-1]) <= rollouts


def test_bootstrap_values_what_truncations_and_the_last_step_led_to():
    buf, value = make(BOX)[1], lambda obs: obs.sum(1)
    fill(buf, np.random.default_rng(1), 8, {(1, 1)})
    buf.clear()
    finals, last_obs = fill(buf, np.random.default_rng(0), 6, {(2, 0), (5, 1)}, {(2, 0), (3, 1)})
    buf.boot[:] = 99
    buf.bootstrap(value, last_obs, torch.device("cpu"))
    expected = np.full((8, 2), 99, np.float32)
    expected[2, 0], expected[5] = finals[2, 0].sum(), [last_obs[0].sum(), finals[5, 1].sum()]
    assert last_obs[1].sum() != finals[5, 1].sum()
    np.testing.assert_allclose(buf.boot, expected, rtol=1e-6)


@pytest.mark.parametrize("act_space", [spaces.Discrete(2), BOX])
def test_probe_takes_evenly_spaced_samples_with_their_actions(act_space):
    buf = make(act_space, steps=60)[1]
    fill(buf, np.random.default_rng(0), 50)
    obs, act = buf.obs[:50].reshape(100, 3), buf.act[:50].reshape(100, *buf.act.shape[2:])
    for most, which in ((2048, np.arange(100)), (100, np.arange(100)), (12, np.arange(12) * 9)):
        seen, taken = buf.probe(torch.device("cpu"), most)
        np.testing.assert_array_equal(seen.numpy(), obs[which])
        np.testing.assert_array_equal(taken.numpy(), act[which])
        assert taken.dtype == (torch.int64 if act_space != BOX else torch.float32)
