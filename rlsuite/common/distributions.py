"""The two action distributions, as plain tuples of tensors: torch.distributions would cost more than the networks.

shape letters: B samples, d action dimensions, n discrete actions
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite.common import diagnostics


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


Distribution = Categorical | Gaussian
