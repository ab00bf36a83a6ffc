"""Advantages and returns against closed forms and stable-baselines3, and the storage of rollouts."""

import copy
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite import mpi
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, evaluate_rollout, gae, minibatches, standardize
from rlsuite.common.health import discounted_returns
from rlsuite.envs.stepping import Envs
from rlsuite.errors import NonFiniteError

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


@pytest.mark.parametrize("lam", [0.0, 0.9])
@pytest.mark.parametrize(("sign", "said"), [(1, "up to 3e+38) or"), (-1, "values (up to 3e+38)")])
def test_gae_names_the_step_whose_advantage_overflows(sign, said, lam):
    rew, val, next_val, terminated, truncated = random_rollout(0)
    (rew if sign > 0 else val)[7, 2] = 3e38
    next_val[7, 2] = sign * 3e38
    terminated[7, 2] = False
    with pytest.raises(NonFiniteError) as error:
        gae(rew, val, next_val, terminated, truncated, 0.9, lam)
    assert "the advantage of step 8 of the rollout in environment 2 is " + ("inf" if sign > 0 else "-inf") in str(error)
    assert said in str(error)


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


BOX = spaces.Box(-2, 1, (2,), np.float32)
IMAGES = spaces.Box(0, 255, (4, 4), np.uint8)


class Nowhere(gym.Env):
    """An environment that is only asked for its spaces."""

    def __init__(self, obs_space, act_space):
        self.observation_space, self.action_space = obs_space, act_space


def make(act_space, obs_space=OBS, num_envs=2, steps=8, **changes):
    """An actor-critic, and a buffer of as many environments."""
    torch.manual_seed(0)
    obs_space.seed(0)
    defaults = {"hidden_sizes": (16,), "activation": "tanh", "normalize_obs": False, "log_std_init": -0.5}
    ac = ActorCritic(obs_space, act_space, SimpleNamespace(**{**defaults, **changes}))
    with torch.no_grad():
        for p in ac.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return ac, RolloutBuffer(steps, Envs(lambda: Nowhere(obs_space, act_space), num_envs, seed=0))


def fill(buf, obs_space=OBS, seed=0, ends=0.2):
    """Store random steps; returns all that was stored, as lists in the order of time."""
    rng, num_envs, stored = np.random.default_rng(seed), buf.rew.shape[1], []

    def sample():
        return np.stack([obs_space.sample() for _ in range(num_envs)])

    obs = sample()
    for _ in range(len(buf.rew)):
        act = rng.normal(size=(num_envs, *buf.act.shape[2:])) if buf.act.ndim > 2 else rng.integers(0, 2, num_envs)
        next_obs, (terminated, truncated) = sample(), rng.random((2, num_envs)) < ends
        step = obs, act.astype(buf.act.dtype), rng.normal(size=num_envs), next_obs, terminated, truncated
        buf.store(*step)
        stored.append(copy.deepcopy(step))
        for array in step:  # an environment may use its arrays again
            array.fill(0)
        obs = stored[-1][3].copy()
        for n in np.flatnonzero(stored[-1][4] | stored[-1][5]):
            obs[n] = obs_space.sample()
    return [np.array(column) for column in zip(*stored, strict=True)]


@pytest.mark.parametrize("obs_space", [OBS, IMAGES, spaces.Discrete(7, start=2)])
@pytest.mark.parametrize("act_space", [spaces.Discrete(2), BOX, spaces.Box(-2, 1, (2, 3), np.float64)])
def test_a_rollout_holds_what_was_stored(obs_space, act_space):
    buf = make(act_space, obs_space)[1]
    columns = fill(buf, obs_space)
    for name, column in zip(("obs", "act", "rew", "next_obs", "terminated", "truncated"), columns, strict=True):
        array = getattr(buf, name)
        np.testing.assert_array_equal(array, column.astype(array.dtype), err_msg=name)
    assert (buf.obs.dtype, buf.next_obs.dtype) == (columns[0].dtype,) * 2
    assert buf.act.dtype == (np.int64 if isinstance(act_space, spaces.Discrete) else np.float32)
    assert buf.t == 8
    with pytest.raises(IndexError):
        buf.store(*(column[0] for column in columns))


def evaluated(act_space, obs_space=OBS, **changes):
    ac, buf = make(act_space, obs_space, **changes)
    fill(buf, obs_space)
    if changes.get("normalize_obs"):
        ac.encode.update(3 * buf.obs + 1)
    with torch.no_grad():
        return ac, buf, *evaluate_rollout(ac, buf)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("act_space", [spaces.Discrete(2), BOX])
def test_evaluate_rollout_is_what_the_networks_make_of_each_step(act_space, normalize):
    ac, buf, x, flat_val, next_val, pi = evaluated(act_space, normalize_obs=normalize)
    val = buf.rows(flat_val)
    for t in range(8):
        np.testing.assert_allclose(val[t], ac.value(buf.obs[t]), atol=1e-5)
        np.testing.assert_allclose(next_val[t], ac.value(buf.next_obs[t]), atol=1e-5)
    assert (val.dtype, next_val.dtype, val.shape, next_val.shape) == (np.float32, np.float32, (8, 2), (8, 2))
    flat = torch.tensor(buf.obs.reshape(16, 3))
    torch.testing.assert_close(x, ac.encode(flat), rtol=0, atol=0)
    for ours, expected in zip(pi, ac.pi(ac.encode(flat)), strict=True):
        torch.testing.assert_close(ours, expected)
    assert not any(part.requires_grad for part in (x, flat_val, *pi))
    # What a truncation led to is not what the next row begins with.
    (done, _) = np.nonzero((buf.truncated & ~buf.terminated)[:-1])
    assert len(done)
    continued = ~(buf.terminated | buf.truncated)[:-1]
    np.testing.assert_allclose(next_val[:-1][continued], val[1:][continued], atol=1e-5)
    assert not np.isclose(next_val[:-1][~continued], val[1:][~continued]).any()


@pytest.mark.parametrize("act_space", [spaces.Discrete(2), BOX])
def test_log_probabilities_of_a_batch_equal_torch_distributions(act_space):
    ac, buf, x, val, next_val, pi_old = evaluated(act_space)
    batch = buf.batch(x, next_val, val, pi_old)
    pi = ac.pi(x)
    if isinstance(act_space, spaces.Discrete):
        expected = torch.distributions.Categorical(logits=pi.logits).log_prob(batch.act)
    else:
        expected = torch.distributions.Normal(pi.mu, pi.log_std.exp()).log_prob(batch.act).sum(-1)
    torch.testing.assert_close(batch.pi.log_prob(batch.act), expected)


@pytest.mark.parametrize("act_space", [spaces.Discrete(2), BOX])
def test_a_batch_is_the_rollout_time_by_time_and_ret_is_adv_plus_val(act_space):
    _, buf, x, flat_val, next_val, pi = evaluated(act_space)
    val = buf.rows(flat_val)
    adv = gae(buf.rew, val, next_val, buf.terminated, buf.truncated, 0.9, 0.8)
    batch = buf.batch(x, adv, flat_val, pi)
    for i, (t, n) in enumerate(np.ndindex(8, 2)):
        torch.testing.assert_close(batch.x[i], torch.tensor(buf.obs[t, n]))
        np.testing.assert_array_equal(batch.act[i].numpy(), buf.act[t, n])
        assert batch.adv[i] == adv[t, n]
        assert batch.ret[i] == adv[t, n] + val[t, n]
    assert batch.pi is pi
    assert batch.val is flat_val
    assert not any(part.requires_grad for part in (batch.adv, batch.ret))


def test_gradients_flow_through_an_evaluated_rollout_as_through_its_networks_and_not_into_the_targets():
    ac, buf = make(spaces.Discrete(2))
    fill(buf)
    x, val, next_val, pi = evaluate_rollout(ac, buf)
    batch = buf.batch(x, gae(buf.rew, buf.rows(val), next_val, buf.terminated, buf.truncated, 0.9, 0.8), val, pi)
    assert not any(part.requires_grad for part in (batch.x, batch.adv, batch.ret))
    for module, ours, again in (
        (ac.v, batch.val, ac.v(x)),
        (ac.pi, batch.pi.log_prob(batch.act), ac.pi(x).log_prob(batch.act)),
        (ac.pi, batch.pi.entropy(), ac.pi(x).entropy()),
    ):
        params = list(module.parameters())
        grads = [torch.autograd.grad(out.sum(), params, retain_graph=True) for out in (ours, again)]
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b)
            assert a.abs().sum() > 0


def test_with_its_graph_a_batch_carries_gradients_in_val_and_pi_and_none_in_its_targets():
    ac, buf = make(spaces.Discrete(2))
    fill(buf)
    x, val, next_val, pi = evaluate_rollout(ac, buf)
    batch = buf.batch(x, next_val, val, pi)
    assert batch.val.requires_grad
    assert batch.pi.logits.requires_grad
    assert not any(part.requires_grad for part in (batch.x, batch.adv, batch.ret))


def test_bytes_stay_bytes_until_they_reach_the_network():
    _, buf, x, *_ = evaluated(spaces.Discrete(2), IMAGES)
    assert buf.obs.dtype == buf.next_obs.dtype == np.uint8
    torch.testing.assert_close(x, torch.tensor(buf.obs.reshape(16, 16)).float() / 255)


def test_a_value_function_of_another_shape_is_refused():
    ac, buf = make(spaces.Discrete(2))
    fill(buf)
    ac.v.forward = ac.v.outputs  # (B, 1)
    with pytest.raises(AssertionError, match=r"\(B,\)"):
        evaluate_rollout(ac, buf)


def test_standardize_subtracts_the_mean_and_divides_by_the_deviation_of_all():
    adv = torch.tensor([1.0, 2, 3, 6])  # mean 3, variance (4 + 1 + 0 + 9) / 4
    torch.testing.assert_close(standardize(adv), torch.tensor([-2.0, -1, 0, 3]) / 3.5**0.5)
    assert torch.equal(standardize(torch.full((3,), 7.0)), torch.zeros(3))


def test_standardize_takes_the_advantages_of_all_ranks(monkeypatch):
    own, other = torch.tensor([1.0, 2]), np.array([3, 6], np.float32)
    monkeypatch.setattr(mpi, "gather", lambda values: np.concatenate([values, other]))
    torch.testing.assert_close(standardize(own), torch.tensor([-2.0, -1]) / 3.5**0.5)


def test_the_mean_of_a_batch_is_that_of_the_samples_of_all_ranks(monkeypatch):
    batch = Batch(*[torch.zeros(4)] * 6)
    values = torch.tensor([1.0, 2, 3, 6], requires_grad=True)
    assert batch.mean(values) == batch.mean(values.mean()) == 3
    monkeypatch.setattr(mpi, "size", 2)
    monkeypatch.setattr(mpi, "gather_objects", lambda value: [value, 5.0])
    assert batch.mean(values) == 4


@pytest.mark.parametrize(
    ("samples", "size", "parts"), [(8, 8, [4, 4]), (8, 7, [3, 3, 2]), (8, 16, [8]), (2, 1, [1, 1])]
)
def test_minibatches_share_their_size_among_the_ranks(monkeypatch, samples, size, parts):
    monkeypatch.setattr(mpi, "size", 2)
    batch = SimpleNamespace(act=torch.zeros(samples), x=torch.zeros(samples, 3))
    assert [len(part) for part in minibatches(batch, size)] == parts


@pytest.mark.parametrize(
    ("samples", "size", "parts"),
    [(8, 8, [8]), (8, 100, [8]), (8, 4, [4, 4]), (27, 8, [7, 7, 7, 6]), (9, 8, [5, 4]), (3, 1, [1, 1, 1]), (1, 1, [1])],
)
def test_minibatches_hold_every_sample_once_in_a_new_order(samples, size, parts):
    batch = SimpleNamespace(act=torch.zeros(samples), x=torch.zeros(samples, 3))
    torch.manual_seed(0)
    one, other = minibatches(batch, size), minibatches(batch, size)
    for indices in (one, other):
        assert [len(part) for part in indices] == parts
        assert torch.cat(list(indices)).sort().values.tolist() == list(range(samples))
    if samples > 3:
        assert not torch.equal(torch.cat(list(one)), torch.cat(list(other)))
