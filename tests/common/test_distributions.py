"""The two action distributions against torch.distributions."""

import math

import numpy as np
import pytest
import torch

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
    assert act.dtype == np.int64
    freq = torch.as_tensor(act).bincount(minlength=4) / len(act)
    assert (freq - logits.softmax(0)).abs().max() < 0.006  # five standard errors


def test_gaussian_samples_have_the_mean_and_deviation():
    torch.manual_seed(0)
    mu, std = torch.tensor([1.0, -20.0]), torch.tensor([0.1, 3.0])
    act = torch.as_tensor(Gaussian(mu.expand(100_000, 2), std.log().expand(100_000, 2)).sample())
    assert ((act.mean(0) - mu) / std).abs().max() < 0.02
    assert (act.std(0) / std - 1).abs().max() < 0.02
    assert torch.corrcoef(act.T)[0, 1].abs() < 0.02


def test_mode_is_the_most_probable_action():
    assert Categorical(torch.tensor([[0.0, 3, 1], [-1, -3, -2]])).mode().tolist() == [1, 0]
    pi, _ = gaussians()
    for step in (-0.01, 0.01):
        assert (pi.log_prob(torch.as_tensor(pi.mode())) > pi.log_prob(torch.as_tensor(pi.mode() + step))).all()


@pytest.mark.parametrize("make", [categoricals, gaussians])
def test_log_prob_refuses_actions_of_another_shape(make):
    pi, theirs = make()
    act = theirs.sample()
    with pytest.raises(AssertionError):
        pi.log_prob(act[:, None] if act.ndim == 1 else act[:, 0])


def test_categorical_log_prob_equals_z_a_minus_log_Z():
    pi = Categorical(torch.tensor([[1.0, 2.0, 4.0]]).log())
    assert pi.log_prob(torch.tensor([1])).item() == pytest.approx(math.log(2 / 7), rel=1e-6)


def test_log_densities_by_hand():
    pi = Gaussian(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(2)]]))
    expected = -0.5 * 1 - 0.5 * 2.25 - math.log(2) - math.log(2 * math.pi)
    assert pi.log_prob(torch.tensor([[2.0, 3.0]])).item() == pytest.approx(expected, rel=1e-6)


def test_extreme_logits_stay_finite():
    pi = Categorical(torch.tensor([[1000.0, -1000.0]]))
    assert pi.entropy().item() == pytest.approx(0, abs=1e-6)
    assert pi.log_prob(torch.tensor([1])).item() == -2000
    assert pi.kl(Categorical(torch.zeros(1, 2))).item() == pytest.approx(math.log(2), rel=1e-6)
