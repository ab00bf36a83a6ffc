"""The action distributions against torch.distributions."""

import math

import numpy as np
import pytest
import torch

from rlsuite.common.distributions import NEVER, Categorical, Gaussian, MultiCategorical, SquashedGaussian

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


COUNTS = [2, 5, 3]


def pieces(seed=0, size=50):
    """Logits (B, n) of each of three components, as leaves."""
    torch.manual_seed(seed)
    return [(3 * torch.randn(size, n) + 7).requires_grad_() for n in COUNTS]


def joined(logits):
    n = max(part.shape[1] for part in logits)
    padded = [torch.nn.functional.pad(part, (0, n - part.shape[1]), value=NEVER) for part in logits]
    return MultiCategorical(torch.stack(padded, 1))


def independent(logits):
    return [torch.distributions.Categorical(logits=part) for part in logits]


class Joint:
    """Independent components of torch's own."""

    def __init__(self, logits):
        self.parts = independent(logits)

    def sample(self):
        return torch.stack([part.sample() for part in self.parts], 1)

    def log_prob(self, act):
        return sum(part.log_prob(a) for part, a in zip(self.parts, act.T, strict=True))

    def entropy(self):
        return sum(part.entropy() for part in self.parts)

    def kl(self, other):
        pairs = zip(self.parts, other.parts, strict=True)
        return sum(torch.distributions.kl_divergence(p, q) for p, q in pairs)


def multi_categoricals(seed=0):
    logits = [part.detach() for part in pieces(seed)]
    return joined(logits), Joint(logits)


@pytest.mark.parametrize("what", ["log_prob", "entropy", "kl", "kl the other way"])
def test_a_joint_choice_and_its_gradients_equal_those_of_independent_components(what):
    ours, theirs, others = pieces(0), pieces(0), pieces(1)
    act = Joint(others).sample()
    value = {
        "log_prob": lambda p, q: p.log_prob(act),
        "entropy": lambda p, q: p.entropy(),
        "kl": lambda p, q: p.kl(q),
        "kl the other way": lambda p, q: q.kl(p),
    }[what]
    result, expected = value(joined(ours), joined(others)), value(Joint(theirs), Joint(others))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(50)
    for part, other in zip(
        torch.autograd.grad((weights * result).sum(), ours),
        torch.autograd.grad((weights * expected).sum(), theirs),
        strict=True,
    ):
        torch.testing.assert_close(part, other, rtol=1e-4, atol=1e-5)
        assert part.abs().max() > 0.01


def test_joint_samples_have_the_frequencies_of_independent_components_and_no_action_that_there_is_not():
    logits = [part.detach()[:1] for part in pieces(size=1)]
    pi = joined(logits)
    act = MultiCategorical(pi.logits.expand(200_000, -1, -1)).sample()
    assert (act.dtype, act.shape) == (np.int64, (200_000, 3))
    joint = torch.as_tensor(act) @ torch.tensor([1, 2, 10])
    p = [part[0].softmax(0) for part in logits]
    expected = torch.einsum("a,b,c->cba", *p).flatten()
    freq = joint.bincount(minlength=30) / len(act)
    assert (freq - expected).abs().max() < 0.006  # five standard errors
    assert pi.mode().tolist() == [[int(part.argmax()) for part in logits]]


@pytest.mark.parametrize("make", [categoricals, gaussians, multi_categoricals])
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


@pytest.mark.parametrize("make", [categoricals, gaussians, multi_categoricals])
def test_log_prob_refuses_actions_of_another_shape(make):
    pi, theirs = make()
    act = theirs.sample()
    with pytest.raises(AssertionError):
        pi.log_prob(act[:, None] if act.ndim == 1 else act[:, 0])
    if act.ndim == 2:
        with pytest.raises(AssertionError):
            pi.log_prob(act[:, :-1])


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


MID, WIDTH = torch.tensor([-1.0, 5, 0]), torch.tensor([2.0, 5, 0.1])


def squashed(seed=0, dtype=torch.float32):
    """Ours, and the tanh of a Gaussian in torch, which is in half widths of the bounds."""
    torch.manual_seed(seed)
    mu, log_std = torch.randn(50, 3, dtype=dtype), 0.5 * torch.randn(50, 3, dtype=dtype) - 0.5
    normal, tanh = torch.distributions.Normal(mu, log_std.exp()), torch.distributions.TanhTransform()
    in_half_widths = torch.distributions.Independent(torch.distributions.TransformedDistribution(normal, [tanh]), 1)
    return SquashedGaussian(mu, log_std, MID.to(dtype), WIDTH.to(dtype)), in_half_widths


def test_squashed_log_prob_equals_that_of_a_transformed_distribution():
    ours, theirs = squashed(dtype=torch.float64)
    act = 0.9 * (2 * torch.rand(50, 3, dtype=torch.float64) - 1)
    torch.testing.assert_close(ours.log_prob(ours.mid + ours.width * act), theirs.log_prob(act))
    sampled, logp = ours.rsample()
    torch.testing.assert_close(logp, theirs.log_prob((sampled - ours.mid) / ours.width))


def test_squashed_log_prob_stays_exact_where_tanh_rounds_to_one():
    """In float32 tanh(20) is 1, and ln(1 - tanh²(20)) would be -inf; it is 2 ln 2 - 2 · 20 to all digits."""
    pi = SquashedGaussian(torch.tensor([[20.0]]), torch.tensor([[-20.0]]), torch.zeros(1), torch.ones(1))
    mu = pi.mu.requires_grad_()
    torch.manual_seed(0)
    act, logp = pi.rsample()
    torch.manual_seed(0)
    z = torch.randn(1, 1)
    assert act.item() == 1
    assert logp.item() == pytest.approx(-0.5 * z.item() ** 2 + 20 - 0.5 * math.log(2 * math.pi) - 2 * math.log(2) + 40)
    (grad,) = torch.autograd.grad(logp.sum(), mu)
    assert grad.item() == pytest.approx(2)
    assert torch.isfinite(pi.log_prob(torch.ones(1, 1))).all()


def test_squashed_samples_are_those_of_the_distribution_within_its_bounds():
    torch.manual_seed(1)
    mu, std = torch.tensor([0.5, -0.3, 1.0]), torch.tensor([0.5, 1.0, 0.2])
    pi = SquashedGaussian(mu.expand(200_000, 3), std.log().expand(200_000, 3), MID, WIDTH)
    act, (drawn, logp) = torch.from_numpy(pi.sample()), pi.rsample()
    for sample in (act, drawn):
        share = (sample - MID) / WIDTH
        assert share.abs().max() <= 1
        u = share.clamp(-1 + 1e-6, 1 - 1e-6).atanh()
        torch.testing.assert_close(u.median(0).values, mu, rtol=0, atol=0.02)
        for quantile, sigmas in ((0.1587, -1), (0.8413, 1)):
            torch.testing.assert_close(u.quantile(quantile, 0), mu + sigmas * std, rtol=0, atol=0.02)
    np.testing.assert_allclose(pi.mode()[0], MID + WIDTH * mu.tanh(), rtol=1e-5)
    # The entropy of the distribution of the tanh of one of the dimensions, by the integral over a grid.
    grid = torch.linspace(-1 + 5e-5, 1 - 5e-5, 20_000, dtype=torch.float64)
    total = 0.0
    for m, s in zip(mu.double(), std.double(), strict=True):
        density = torch.distributions.Normal(m, s).log_prob(grid.atanh()) - torch.log1p(-grid.square())
        total -= float((density.exp() * density).sum() * (grid[1] - grid[0]))
    assert -logp.mean().item() == pytest.approx(total, abs=0.02)


def test_squashed_gradients_flow_through_the_action_and_its_density():
    pi, _ = squashed(dtype=torch.float64)
    mu, log_std = pi.mu.requires_grad_(), pi.log_std.requires_grad_()

    def value(mu, log_std):
        torch.manual_seed(3)
        act, logp = SquashedGaussian(mu, log_std, pi.mid, pi.width).rsample()
        return (act * torch.tensor([1.0, 2, 3])).sum() + logp.sum()

    assert torch.autograd.gradcheck(value, (mu[:4].detach().requires_grad_(), log_std[:4].detach().requires_grad_()))


def test_squashed_kl_is_that_of_the_gaussians_before_the_squashing():
    (p, tp), (q, tq) = squashed(0), squashed(1)
    normals = (torch.distributions.Normal(d.mu, d.log_std.exp()) for d in (p, q))
    torch.testing.assert_close(p.kl(q), torch.distributions.kl_divergence(*normals).sum(-1), rtol=1e-4, atol=1e-4)
    act = tp.sample((100_000,)).clamp(-1 + 1e-6, 1 - 1e-6)
    estimate = (tp.log_prob(act) - tq.log_prob(act)).mean(0)  # of the squashed ones themselves
    torch.testing.assert_close(p.kl(q), estimate, rtol=0.1, atol=0.1)
