"""The health numbers against torch.distributions and hand-computed values."""

import math

import numpy as np
import pytest
import torch

from rlsuite.common.diagnostics import (
    categorical_entropy,
    categorical_kl,
    correlation,
    explained_variance,
    frequency_entropy,
    gaussian_entropy,
    gaussian_kl,
    greedy_entropy,
    greedy_kl,
    histograms,
    noise_entropy,
    noise_kl,
    state_entropy,
)

torch.set_num_threads(1)


def test_categorical_entropy_by_hand():
    p = torch.tensor([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(categorical_entropy(p.log() + 4), torch.tensor([1.5 * math.log(2), math.log(3)]))


def test_correlation_equals_numpy_and_is_nan_where_nothing_varies():
    x, y = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    assert correlation(x, x - 2 * y) == pytest.approx(np.corrcoef(x.ravel(), (x - 2 * y).ravel())[0, 1])
    assert correlation(x, 3 - x) == pytest.approx(-1)
    assert math.isnan(correlation(x, np.ones_like(x)))
    assert math.isnan(correlation(np.ones_like(x), x))


def test_gaussian_entropy_by_hand():
    log_std = torch.tensor([[0.0, math.log(2)], [-3.0, -3.0]])
    expected = math.log(2 * math.pi * math.e) + torch.tensor([math.log(2), -6.0])
    torch.testing.assert_close(gaussian_entropy(log_std), expected)
    assert gaussian_entropy(log_std)[1] < 0


def test_categorical_kl_by_hand():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    assert categorical_kl(p.log() + 1, q.log() - 1).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert categorical_kl(q.log(), p.log()).item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_gaussian_kl_by_hand():
    mu_p, log_std_p = torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2)
    mu_q, log_std_q = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, math.log(2)]])
    # Only the mean differs in the first dimension: 1/2; only σ in the second: ln 2 + 1/8 - 1/2.
    assert gaussian_kl(mu_p, log_std_p, mu_q, log_std_q).item() == pytest.approx(0.5 + math.log(2) + 1 / 8 - 0.5)
    # The other way round the mean counts 1/2 and σ' = 1: -ln 2 + 4/2 - 1/2.
    assert gaussian_kl(mu_q, log_std_q, mu_p, log_std_p).item() == pytest.approx(0.5 - math.log(2) + 1.5)


def test_gaussian_kl_equals_torch_distributions():
    torch.manual_seed(0)
    mu_p, log_p, mu_q, log_q = torch.randn(4, 30, 2)
    p, q = torch.distributions.Normal(mu_p, log_p.exp()), torch.distributions.Normal(mu_q, log_q.exp())
    expected = torch.distributions.kl_divergence(p, q).sum(-1)
    torch.testing.assert_close(gaussian_kl(mu_p, log_p, mu_q, log_q), expected, rtol=1e-5, atol=1e-5)


def test_explained_variance_equals_1_minus_Var_G_minus_V_over_Var_G():
    ret = np.array([0, 1, 2, 3], np.float32)
    assert explained_variance(ret, ret) == 1
    assert explained_variance(ret + 5, ret) == 1  # a bias is not its business
    assert explained_variance(np.full(4, 7, np.float32), ret) == 0
    assert explained_variance(-ret, ret) == pytest.approx(-3)
    assert explained_variance(ret / 2, ret) == pytest.approx(0.75)
    assert explained_variance(np.array([0, 0, 3, 3], np.float32), ret) == pytest.approx(1 - 0.5 / 1.25)


def around(middle, deviation):
    """Returns with this mean and this standard deviation."""
    return np.array([middle - deviation, middle + deviation] * 4)


@pytest.mark.parametrize(
    ("ret", "defined"),
    [
        (around(0, 0.99e-4), False),  # Var(G) on either side of 1e-8
        (around(0, 1.01e-4), True),
        (np.full(8, 0.0), False),
        (around(100, 0.99), False),  # the deviation on either side of 1% of the mean of |G|
        (around(100, 1.01), True),
        (around(-100, 0.99), False),
        (around(-100, 1.01), True),
        (around(500, 4.9), False),  # a solved CartPole
        (np.full(8, 3.0), False),
        (np.array([-100, 100.0]), True),  # the mean of G is 0, that of |G| is not
        (np.array([0.0, 0, 0, 2e-4]), False),  # Var is 0.75e-8, and the deviation 1.7 times the mean of |G|
        (np.array([0.0, 0, 0, 3e-4]), True),
        (np.array([*[1.0] * 9999, 2.0]), False),  # deviation 0.009999, mean 1.0001
        (np.array([*[1.0] * 9999, 2.1]), True),  # deviation 0.010999: the largest is not what counts
    ],
)
def test_explained_variance_is_nan_where_there_is_nothing_to_explain(ret, defined):
    expected = 0.0 if defined else math.nan
    assert explained_variance(np.full(len(ret), 7.0), ret) == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_explained_variance_of_large_returns_loses_no_digits():
    rng = np.random.default_rng(0)
    ret = rng.normal(1e6, 2e4, 1000).astype(np.float32)
    val = (ret + rng.normal(0, 1e4, 1000)).astype(np.float32)
    exact = 1 - np.var(ret.astype(np.float64) - val) / np.var(ret.astype(np.float64))
    assert explained_variance(val, ret) == pytest.approx(exact, abs=1e-12)


def test_explained_variance_refuses_different_shapes():
    with pytest.raises(AssertionError):
        explained_variance(np.zeros((4, 1)), np.zeros(4))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([10, 10, 10, 10], math.log(4)),
        ([0, 0, 0, 20], 0),
        ([0, 8, 0, 8], math.log(2)),
        ([3, 1], 2 * math.log(2) - 0.75 * math.log(3)),
    ],
)
def test_frequency_entropy_equals_minus_Σ_f_ln_f(counts, expected):
    assert frequency_entropy(np.array(counts)) == pytest.approx(expected, abs=1e-12)


def test_histograms_by_hand():
    low, high = np.array([-3.0, 0.0]), np.array([1.0, 8.0])
    act = np.array([[-3.0, 0], [-2.01, 1.9], [-1.99, 2.1], [0.99, 7.9], [-1.5, 2]])
    np.testing.assert_array_equal(histograms(act, low, high, bins=4), [[2, 2, 0, 1], [2, 2, 0, 1]])


def bin_centres(low, high):
    return low + (np.arange(16) + 0.5) / 16 * (high - low)


def test_histograms_of_evenly_spread_actions_have_an_entropy_of_ln_16_in_each_dimension():
    act = np.stack([bin_centres(-3, 1), bin_centres(0, 100)], 1)
    counts = histograms(act, np.array([-3.0, 0.0]), np.array([1.0, 100.0]))
    np.testing.assert_array_equal(counts, np.ones((2, 16)))
    assert sum(map(frequency_entropy, counts)) == pytest.approx(2 * math.log(16))


def test_histograms_count_actions_at_and_beyond_a_bound_in_the_end_bins():
    act = np.array([[-9.0], [-1.0], [-0.99], [0.99], [1.0], [9.0]])
    counts = histograms(act, np.array([-1.0]), np.array([1.0]))
    assert counts.tolist() == [[3, *[0] * 14, 3]]


def test_histograms_equal_those_of_numpy():
    act = np.random.default_rng(0).normal(size=(500, 3))
    low, high = act.min(0), act.max(0)
    for column, counts in zip(act.T, histograms(act, low, high), strict=True):
        np.testing.assert_array_equal(counts, np.histogram(column, 16, (column.min(), column.max()))[0])


@pytest.mark.filterwarnings("error")
def test_histograms_of_bounds_that_coincide_have_one_full_bin():
    assert frequency_entropy(histograms(np.full((5, 1), 2.0), np.array([2.0]), np.array([2.0]))[0]) == 0


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_state_entropy_of_a_standard_normal_is_near_half_d_ln_2πe(dim):
    obs = np.random.default_rng(0).normal(size=(512, dim))
    assert state_entropy(obs) == pytest.approx(dim / 2 * math.log(2 * math.pi * math.e), abs=0.15 * dim)


def test_state_entropy_of_a_uniform_square_is_near_the_log_of_its_area():
    obs = np.random.default_rng(0).uniform(0, 3, size=(512, 2))
    assert state_entropy(obs) == pytest.approx(math.log(9), abs=0.2)


@pytest.mark.parametrize("dim", [1, 3])
def test_state_entropy_shrinks_by_d_ln_2_when_halved(dim):
    obs = np.random.default_rng(1).normal(size=(300, dim))
    assert state_entropy(obs) - state_entropy(obs / 2) == pytest.approx(dim * math.log(2), abs=1e-4)


@pytest.mark.parametrize("k", [1, 3])
def test_state_entropy_equals_the_kozachenko_leonenko_formula(k):
    obs = np.array([0.0, 1, 3, 6, 10])[:, None]
    distances = np.sort(np.abs(obs - obs.T), axis=1)[:, k]
    psi = {1: -0.5772156649015329, 3: 1.5 - 0.5772156649015329, 5: 1 + 1 / 2 + 1 / 3 + 1 / 4 - 0.5772156649015329}
    expected = psi[5] - psi[k] + math.log(2) + np.log(distances).mean()  # the unit ball of one dimension is 2 long
    assert state_entropy(obs, k=k) == pytest.approx(expected, abs=1e-5)


def test_state_entropy_keeps_small_distances_between_large_states():
    obs = 1000 + np.arange(100)[:, None] / 64
    assert state_entropy(obs) == pytest.approx(state_entropy(obs - 1000), abs=1e-3)


def test_state_entropy_of_coinciding_states_is_finite():
    assert math.isfinite(state_entropy(np.zeros((100, 4))))
    assert state_entropy(np.zeros((100, 4))) < state_entropy(1e-3 * np.random.default_rng(0).normal(size=(100, 4)))


def test_state_entropy_of_too_few_states_is_nan():
    obs = np.random.default_rng(0).normal(size=(4, 2))
    assert math.isnan(state_entropy(obs[:3]))
    assert math.isfinite(state_entropy(obs))


def test_state_entropy_takes_evenly_spaced_states_of_many():
    obs = np.random.default_rng(0).normal(size=(1023, 2))
    assert state_entropy(obs) == state_entropy(obs[::2])


def greedy_policies(epsilon, n):
    """Two ε-greedy policies as torch has them, whose greedy actions differ."""
    probs = torch.full((2, n), epsilon / n, dtype=torch.float64)
    probs[0, 0] += 1 - epsilon
    probs[1, -1] += 1 - epsilon
    return [torch.distributions.Categorical(probs=p) for p in probs]


@pytest.mark.parametrize("n", [2, 3, 18])
@pytest.mark.parametrize("epsilon", [0.01, 0.3, 1.0])
def test_greedy_entropy_and_kl_equal_those_of_torch_distributions(epsilon, n):
    p, q = greedy_policies(epsilon, n)
    assert greedy_entropy(epsilon, n) == pytest.approx(p.entropy().item(), rel=1e-9)
    for flips in (0.0, 0.25, 1.0):
        expected = flips * torch.distributions.kl_divergence(p, q).item()
        assert greedy_kl(flips, epsilon, n) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_greedy_entropy_of_a_policy_without_a_choice_is_0():
    assert greedy_entropy(0.0, 4) == greedy_entropy(0.0, 1) == 0
    assert greedy_entropy(0.3, 1) == pytest.approx(0, abs=1e-12)
    assert greedy_entropy(1.0, 4) == pytest.approx(math.log(4))


def test_greedy_kl_takes_ε_to_be_at_least_a_hundredth():
    assert greedy_kl(0.5, 0.0, 4) == greedy_kl(0.5, 0.003, 4) == greedy_kl(0.5, 0.01, 4) < math.inf
    assert greedy_kl(0.5, 0.011, 4) < greedy_kl(0.5, 0.01, 4)
    assert greedy_kl(0.0, 0.0, 1) == 0


def test_noise_entropy_and_kl_equal_those_of_torch_distributions():
    torch.manual_seed(0)
    mu_p, mu_q, std = torch.randn(30, 3), torch.randn(30, 3), torch.tensor([0.1, 1.0, 20.0])
    p, q = (torch.distributions.Independent(torch.distributions.Normal(mu, std), 1) for mu in (mu_p, mu_q))
    assert noise_entropy(std.numpy()) == pytest.approx(p.entropy()[0].item(), rel=1e-5)
    torch.testing.assert_close(noise_kl(mu_p, mu_q, std), torch.distributions.kl_divergence(p, q), rtol=1e-4, atol=1e-5)


def test_noise_kl_of_one_noise_width_in_each_of_three_dimensions_is_3_halves():
    std = torch.tensor([0.5, 1.0, 2.0])
    assert noise_kl(std[None], torch.zeros(1, 3), std).tolist() == [1.5]
