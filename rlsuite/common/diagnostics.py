"""The numbers that show whether a run is healthy, as pure functions with their formulas. All are in nats."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.float32] | NDArray[np.float64]


def categorical_entropy(logits: Tensor) -> Tensor:
    """Entropy of softmax(logits).

        H = log Z - Σᵢ pᵢ zᵢ,   p = softmax(z),   Z = Σᵢ exp(zᵢ);   at most ln n

    Args:
        logits: z (..., n) float32.

    Returns:
        (...) float32, nats.
    """
    return logits.logsumexp(-1) - (logits.softmax(-1) * logits).sum(-1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Differential entropy of a diagonal Gaussian; negative for a narrow one.

        H = Σᵢ ( ½ ln 2πe + ln σᵢ )

    Args:
        log_std: ln σ (B, d) float32.

    Returns:
        (B,) float32, nats.
    """
    return (0.5 * math.log(2 * math.pi * math.e) + log_std).sum(-1)


def categorical_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(p ‖ q) = Σᵢ pᵢ (ln pᵢ - ln qᵢ), from logits, not from samples.

    Args:
        logits_p: (..., n) float32.
        logits_q: (..., n) float32.

    Returns:
        (...) float32, nats.
    """
    logp, logq = logits_p.log_softmax(-1), logits_q.log_softmax(-1)
    return (logp.exp() * (logp - logq)).sum(-1)


def gaussian_kl(mu_p: Tensor, log_std_p: Tensor, mu_q: Tensor, log_std_q: Tensor) -> Tensor:
    """KL(p ‖ q) of diagonal Gaussians.

        KL = Σᵢ [ ln(σ'ᵢ/σᵢ) + (σᵢ² + (μᵢ - μ'ᵢ)²) / (2σ'ᵢ²) - ½ ]        (σ, μ of p; σ', μ' of q)

    Args:
        mu_p: (B, d) float32, and so are the others.
        log_std_p: ln σ.
        mu_q: μ'.
        log_std_q: ln σ'.

    Returns:
        (B,) float32, nats.
    """
    var_ratio = (2 * (log_std_p - log_std_q)).exp()
    shift = ((mu_p - mu_q) / log_std_q.exp()).square()
    return (log_std_q - log_std_p + 0.5 * (var_ratio + shift - 1)).sum(-1)


def greedy_entropy(epsilon: float, n: int) -> float:
    """Entropy of an ε-greedy policy over n actions; it depends on ε alone.

        H = -g ln g - (n-1) o ln o,   g = 1 - ε + ε/n (the greedy action),   o = ε/n (each other one)

    Returns:
        Nats; 0 for ε = 0 or a single action.
    """
    g, o = 1 - epsilon + epsilon / n, epsilon / n
    return -g * math.log(g) - ((n - 1) * o * math.log(o) if o > 0 and n > 1 else 0.0)


def greedy_kl(flips: float, epsilon: float, n: int) -> float:
    """Mean KL of two ε-greedy policies over n actions whose greedy actions differ in a share `flips` of the states.

        KL = flips (g - o) ln(g/o),   g = 1 - ε + ε/n,   o = ε/n,   ε floored at 0.01, without which it is infinite

    Returns:
        Nats.
    """
    epsilon = max(epsilon, 0.01)
    g, o = 1 - epsilon + epsilon / n, epsilon / n
    return flips * (g - o) * math.log(g / o)


def noise_entropy(std: FloatArray) -> float:
    """Entropy of Gaussian exploration noise: Σᵢ ½ ln(2πe σᵢ²), σ (d,) in environment units. Nats."""
    return float(np.sum(0.5 * np.log(2 * np.pi * np.e * np.square(std, dtype=np.float64))))


def noise_kl(mu_p: Tensor, mu_q: Tensor, std: Tensor) -> Tensor:
    """KL of two Gaussians with the same σ: how many noise widths the mean has moved, squared and halved.

        KL = Σᵢ (μᵢ - μ'ᵢ)² / (2σᵢ²)

    Args:
        mu_p: μ (B, d) float32.
        mu_q: μ' (B, d) float32.
        std: σ (d,) float32.

    Returns:
        (B,) float32, nats.
    """
    return (0.5 * ((mu_p - mu_q) / std).square()).sum(-1)


def correlation(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Pearson's correlation of two arrays of one shape, from -1 to 1; NaN where either hardly varies."""
    assert x.shape == y.shape, (x.shape, y.shape)
    x, y = x.astype(np.float64) - x.mean(dtype=np.float64), y.astype(np.float64) - y.mean(dtype=np.float64)
    scale = float(x.std() * y.std())
    return float((x * y).mean()) / scale if min(x.std(), y.std()) > 1e-8 else math.nan


def explained_variance(val: FloatArray, ret: FloatArray) -> float:
    """How much of the returns' variance the critic predicts.

        1 - Var(G - V) / Var(G);   1 is perfect, 0 no better than a constant, negative worse

    Args:
        val: V, any shape.
        ret: G, the same shape.

    Returns:
        The share. NaN where there is nothing to explain: Var(G) < 1e-8, or a standard deviation of G below 1% of the
        mean of |G|. Every critic looks sick on a task that is solved.
    """
    assert val.shape == ret.shape, (val.shape, ret.shape)
    val, ret = val.astype(np.float64), ret.astype(np.float64)
    var = ret.var()
    if var < 1e-8 or var**0.5 < 0.01 * np.abs(ret).mean():
        return math.nan
    return float(1 - (ret - val).var() / var)


def frequency_entropy(counts: NDArray[np.int64]) -> float:
    """Entropy of the frequencies f of what was counted: -Σᵢ fᵢ ln fᵢ, f = counts / Σ counts.

    Of actions: ln n, all equally often, whatever the state; 0, always the same one; between, perhaps random among a
    subset.

    Args:
        counts: (n,) int64, how often each of n actions or states occurred.

    Returns:
        Nats.
    """
    freq = counts[counts > 0] / counts.sum()
    return float(-(freq * np.log(freq)).sum())


def histograms(act: FloatArray, low: FloatArray, high: FloatArray, bins: int = 16) -> NDArray[np.int64]:
    """How often each dimension of the actions falls into each of `bins` equal bins over its bounds.

    Args:
        act: (K, d); values outside the bounds count in the end bins.
        low: (d,) finite.
        high: (d,) finite.
        bins: per dimension, so that the entropy of all of them is at most d ln(bins).

    Returns:
        Counts (d, bins) int64.
    """
    width = np.where(high > low, high - low, 1)
    index = ((act - low) / width * bins).astype(np.int64).clip(0, bins - 1)
    return np.stack([np.bincount(column, minlength=bins) for column in index.T])


def state_entropy(obs: FloatArray, k: int = 3, max_states: int = 512) -> float:
    """Kozachenko-Leonenko estimate of the differential entropy of the visited states: a trend, not a value.

        Ĥ = ψ(K) - ψ(k) + ln c_d + d/K Σᵢ ln rᵢ

    with rᵢ the distance of state i to its k-th nearest neighbour and c_d the volume of the d-dimensional unit ball.

    Args:
        obs: (K, d), standardised by statistics that never change, so that epochs can be compared.
        k: which neighbour.
        max_states: at most so many, evenly spaced over the rows, take part.

    Returns:
        Nats, or NaN for fewer than k + 1 states. States that coincide count as 1e-6 apart.

    Source: Kraskov, Stögbauer, Grassberger 2004, "Estimating mutual information", eq. 20 (Euclidean norm).
    """
    if len(obs) > max_states:
        obs = obs[np.linspace(0, len(obs) - 1, max_states).astype(np.int64)]
    count, dim = obs.shape
    if count <= k:
        return math.nan
    x = torch.as_tensor(obs, dtype=torch.float32)
    # The exact difference form: the faster matrix-product form loses small distances to rounding.
    dist = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    radius = dist.kthvalue(k + 1, dim=1).values.clamp_min(1e-6).double()  # the nearest is the state itself
    log_ball = 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim + 1)
    psi = torch.digamma(torch.tensor([float(count), float(k)], dtype=torch.float64))
    return float(psi[0] - psi[1] + log_ball + dim * radius.log().mean())
