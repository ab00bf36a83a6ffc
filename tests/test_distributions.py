"""The two action distributions against torch.distributions, and the policies that return them."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.checks import UserError
from rlsuite.common.distributions import Categorical, Gaussian

torch.set_num_threads(1)


def categoricals():
    torch.manual_seed(0)
    logits = 3 * torch.randn(50, 5) + 7  # not normalised
    return Categorical(logits), torch.distributions.Categorical(logits=logits)


def gaussians(seed=0):
    torch.manual_seed(seed)
    mu, log_std = 2 * torch.randn(50, 3), torch.randn(50, 3)
    normal = torch.distributions.Normal(mu, log_std.exp())
    return Gaussian(mu, log_std), torch.distributions.Independent(normal, 1)


@pytest.mark.parametrize("make", [categoricals, gaussians])
def test_log_prob_and_entropy_equal_torch_distributions(make):
    ours, theirs = make()
    act = theirs.sample()
    torch.testing.assert_close(ours.log_prob(act), theirs.log_prob(act))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_kl_equals_torch_distributions_in_both_directions(kind):
    if kind == "categorical":
        p, tp = categoricals()
        logits = torch.randn(50, 5)
        q, tq = Categorical(logits), torch.distributions.Categorical(logits=logits)
    else:
        (p, tp), (q, tq) = gaussians(0), gaussians(1)
    kl_divergence = torch.distributions.kl_divergence
    torch.testing.assert_close(p.kl(q), kl_divergence(tp, tq), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(q.kl(p), kl_divergence(tq, tp), rtol=1e-5, atol=1e-5)
    assert p.kl(p).abs().max() < 1e-6


def test_gumbel_max_samples_have_the_softmax_frequencies():
    torch.manual_seed(0)
    logits = torch.tensor([1.0, 0.0, -2.0, 1.5])
    act = Categorical(logits.expand(200_000, 4)).sample()
    assert act.dtype == torch.int64
    freq = act.bincount(minlength=4) / len(act)
    assert (freq - logits.softmax(0)).abs().max() < 0.006  # five standard errors


def test_gaussian_samples_have_the_mean_and_deviation():
    torch.manual_seed(0)
    mu, std = torch.tensor([1.0, -20.0]), torch.tensor([0.1, 3.0])
    act = Gaussian(mu.expand(100_000, 2), std.log().expand(100_000, 2)).sample()
    assert ((act.mean(0) - mu) / std).abs().max() < 0.02
    assert (act.std(0) / std - 1).abs().max() < 0.02
    assert torch.corrcoef(act.T)[0, 1].abs() < 0.02


def test_mode_is_the_most_probable_action():
    assert Categorical(torch.tensor([[0.0, 3, 1], [-1, -3, -2]])).mode().tolist() == [1, 0]
    pi, _ = gaussians()
    for step in (-0.01, 0.01):
        assert (pi.log_prob(pi.mode()) > pi.log_prob(pi.mode() + step)).all()


@pytest.mark.parametrize("make", [categoricals, gaussians])
def test_log_prob_refuses_actions_of_another_shape(make):
    pi, theirs = make()
    act = theirs.sample()
    with pytest.raises(AssertionError):
        pi.log_prob(act[:, None] if act.ndim == 1 else act[:, 0])


def test_log_densities_by_hand():
    pi = Gaussian(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(2)]]))
    expected = -0.5 * 1 - 0.5 * 2.25 - math.log(2) - math.log(2 * math.pi)
    assert pi.log_prob(torch.tensor([[2.0, 3.0]])).item() == pytest.approx(expected, rel=1e-6)


def test_extreme_logits_stay_finite():
    pi = Categorical(torch.tensor([[1000.0, -1000.0]]))
    assert pi.entropy().item() == pytest.approx(0, abs=1e-6)
    assert pi.log_prob(torch.tensor([1])).item() == -2000
    assert pi.kl(Categorical(torch.zeros(1, 2))).item() == pytest.approx(math.log(2), rel=1e-6)


OBS = spaces.Box(-1, 1, (3,), np.float32)


def test_gaussian_policy_has_μ_mid_plus_width_net_and_ln_σ_ln_width_plus_log_std():
    low, high = np.array([-3, 0, -np.inf, 0], np.float32), np.array([1, 10, np.inf, np.inf], np.float32)
    ac = ActorCritic(OBS, spaces.Box(low, high), (8,), log_std_init=-0.7)
    mid, width = torch.tensor([-1.0, 5, 0, 0]), torch.tensor([2.0, 5, 1, 1])
    x = 100 * torch.randn(20, 3)
    pi = ac.pi(x)
    torch.testing.assert_close(pi.mu, mid + width * ac.pi.net(x))
    torch.testing.assert_close(pi.log_std, (width.log() - 0.7).expand(20, 4))


def test_the_first_policy_has_near_maximum_entropy():
    torch.manual_seed(0)
    x = torch.randn(100, 3)
    pi = ActorCritic(OBS, spaces.Discrete(5)).pi(x)
    assert (math.log(5) - pi.entropy()).max() < 1e-3
    pi = ActorCritic(OBS, spaces.Box(-2, 2, (2,))).pi(x)
    assert pi.mu.abs().max() < 0.1


def test_act_mode_and_value_take_observations_and_return_one_row_each():
    torch.manual_seed(0)
    for act_space, shape in ((spaces.Discrete(5), (7,)), (spaces.Box(-2, 2, (2, 3)), (7, 6))):
        ac, obs = ActorCritic(OBS, act_space, normalize_obs=True), torch.randn(7, 3)
        ac.encode.update(5 + obs.numpy())
        pi = ac.pi(ac.encode(obs))
        assert ac.act(obs).shape == ac.mode(obs).shape == shape
        assert torch.equal(ac.mode(obs), pi.mode())
        torch.testing.assert_close(ac.value(obs), ac.v(ac.encode(obs)).detach())
        assert ac.value(obs).shape == (7,)
        torch.manual_seed(1)
        act = ac.act(obs)
        torch.manual_seed(1)
        assert torch.equal(act, pi.sample())


@pytest.mark.parametrize(
    "space", [spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(3), spaces.Box(0, 9, (2,), np.int64)]
)
def test_other_action_spaces_are_refused_with_a_way_out(space):
    with pytest.raises(UserError, match=r"ActionWrapper"):
        ActorCritic(OBS, space)
