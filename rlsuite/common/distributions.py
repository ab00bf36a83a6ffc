"""The action distributions, as plain tuples of tensors: torch.distributions would cost more than the networks.

shape letters: B samples, d action dimensions, n discrete actions, k components of MultiDiscrete actions
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite.common import diagnostics

NEVER = -1e9
"""the logit of an action that does not exist: its probability is exactly 0, and 0 · NEVER is 0 (0 · -inf is NaN)"""


class Categorical(NamedTuple):
    """A distribution over n actions: logits (B, n) float32, not necessarily normalised."""

    logits: Tensor

    def sample(self) -> NDArray[np.int64]:
        """Actions (B,) int64, by the Gumbel-max trick: argmaxᵢ(zᵢ - ln eᵢ), eᵢ ~ Exp(1), is softmax(z)-distributed."""
        # In numpy, which has far less to do before it computes a few numbers.
        noise = np.log(torch.empty(self.logits.shape).exponential_().numpy())
        act: NDArray[np.int64] = (self.logits.numpy(force=True) - noise).argmax(-1)
        return act

    def mode(self) -> NDArray[np.int64]:
        """The most probable actions (B,) int64."""
        return self.logits.argmax(-1).numpy(force=True)

    def log_prob(self, act: Tensor) -> Tensor:
        """Log-probabilities ln π(a|s) = z_a - log Z (B,), nats, for act (B,) int64."""
        assert act.shape == self.logits.shape[:1], (act.shape, self.logits.shape)
        return -nn.functional.cross_entropy(self.logits, act, reduction="none")  # all of it in one operation

    def entropy(self) -> Tensor:
        """Entropies (B,), nats."""
        return diagnostics.categorical_entropy(self.logits)

    def kl(self, other: "Categorical") -> Tensor:
        """KL(self ‖ other) (B,), nats."""
        return diagnostics.categorical_kl(self.logits, other.logits)


class MultiCategorical(NamedTuple):
    """k independent choices at once: logits (B, k, n) float32, n the largest number of actions of any component.

    A component with fewer actions has `NEVER` in the places of the others. What is a product over components for
    probabilities is a sum for their logarithms, and so for entropy and KL.
    """

    logits: Tensor

    def sample(self) -> NDArray[np.int64]:
        """Actions (B, k) int64, each component as `Categorical` does it."""
        return Categorical(self.logits).sample()

    def mode(self) -> NDArray[np.int64]:
        """The most probable actions (B, k) int64."""
        return self.logits.argmax(-1).numpy(force=True)

    def log_prob(self, act: Tensor) -> Tensor:
        """Log-probabilities Σⱼ ln πⱼ(aⱼ|s) (B,), nats, for act (B, k) int64."""
        assert act.shape == self.logits.shape[:2], (act.shape, self.logits.shape)
        return -nn.functional.cross_entropy(self.logits.transpose(1, 2), act, reduction="none").sum(-1)

    def entropy(self) -> Tensor:
        """Entropies (B,), nats."""
        return diagnostics.categorical_entropy(self.logits).sum(-1)

    def kl(self, other: "MultiCategorical") -> Tensor:
        """KL(self ‖ other) (B,), nats."""
        return diagnostics.categorical_kl(self.logits, other.logits).sum(-1)


class Gaussian(NamedTuple):
    """A diagonal Gaussian over actions in environment units: mu (B, d) float32, log_std = ln σ (B, d) float32."""

    mu: Tensor
    log_std: Tensor

    def sample(self) -> NDArray[np.float32]:
        """Actions (B, d) float32, not clipped to any bounds."""
        return torch.randn_like(self.mu).mul_(self.log_std.exp()).add_(self.mu).numpy(force=True)

    def mode(self) -> NDArray[np.float32]:
        """The means (B, d)."""
        return self.mu.numpy(force=True)

    def log_prob(self, act: Tensor) -> Tensor:
        """Log-densities Σᵢ [ -½ ((aᵢ - μᵢ)/σᵢ)² - ln σᵢ - ½ ln 2π ] (B,), nats, for act (B, d)."""
        assert act.shape == self.mu.shape, (act.shape, self.mu.shape)
        z = (act - self.mu) * (-self.log_std).exp()
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropies (B,), nats."""
        return diagnostics.gaussian_entropy(self.log_std)

    def kl(self, other: "Gaussian") -> Tensor:
        """KL(self ‖ other) (B,), nats."""
        return diagnostics.gaussian_kl(self.mu, self.log_std, other.mu, other.log_std)


class SquashedGaussian(NamedTuple):
    """A diagonal Gaussian whose samples u are squashed into finite bounds: a = mid + width tanh(u).

    Log-densities are of actions in half widths of the bounds, tanh(u), so that they do not depend on the units.
    """

    mu: Tensor
    """mean of u (B, d) float32"""
    log_std: Tensor
    """ln σ of u (B, d) float32"""
    mid: Tensor
    """centre of the bounds (d,)"""
    width: Tensor
    """their half widths (d,)"""

    def rsample(self) -> tuple[Tensor, Tensor]:
        """Actions (B, d) in environment units, and their log-densities (B,), nats; gradients flow through both.

            ln π(a|s) = Σᵢ [ ln N(uᵢ; μᵢ, σᵢ²) - ln(1 - tanh²(uᵢ)) ]

        Source: Haarnoja et al. 2018, "Soft Actor-Critic", appendix C, eq. 21.
        """
        noise = torch.randn_like(self.mu)
        u = self.mu + self.log_std.exp() * noise
        return self.mid + self.width * u.tanh(), self._log_density(noise, u)

    def log_prob(self, act: Tensor) -> Tensor:
        """Log-densities (B,), nats, for act (B, d) within the bounds; at a bound, of what is just within."""
        assert act.shape == self.mu.shape, (act.shape, self.mu.shape)
        u = ((act - self.mid) / self.width).clamp(-1 + 6e-8, 1 - 6e-8).atanh()
        return self._log_density((u - self.mu) * (-self.log_std).exp(), u)

    def _log_density(self, z: Tensor, u: Tensor) -> Tensor:
        """Log-densities (B,) of samples u = μ + σ z (B, d)."""
        # ln(1 - tanh²(u)) without the difference, of which nothing is left where tanh(u) rounds to 1.
        log_slope = 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi) - log_slope).sum(-1)

    def sample(self) -> NDArray[np.float32]:
        """Actions (B, d) float32 within the bounds, up to rounding, environment units."""
        u = torch.randn_like(self.mu).mul_(self.log_std.exp()).add_(self.mu)
        return (self.mid + self.width * u.tanh()).numpy(force=True)

    def mode(self) -> NDArray[np.float32]:
        """The actions that the means are squashed into (B, d): the medians of the distribution, not its modes."""
        return (self.mid + self.width * self.mu.tanh()).numpy(force=True)

    def kl(self, other: "SquashedGaussian") -> Tensor:
        """KL(self ‖ other) (B,), nats: that of the Gaussians, because the squashing is the same one-to-one mapping."""
        return diagnostics.gaussian_kl(self.mu, self.log_std, other.mu, other.log_std)


Distribution = Categorical | MultiCategorical | Gaussian
