"""The networks of maximum-entropy learning: a policy squashed into its bounds, two critics, and a temperature.

shape letters: B samples, d action dimensions, F features that the networks see
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite.common.actor_critic import MLP, mid_and_width
from rlsuite.common.distributions import SquashedGaussian
from rlsuite.common.normalize import ObsEncoder
from rlsuite.common.q_networks import TwinQ, finite_box

Array = NDArray[Any]
MIN_LOG_STD, MAX_LOG_STD = -20.0, 2.0
"""of the Gaussian before the squashing; wider ones only press all actions against the bounds"""


class SquashedPolicy(MLP):
    """π(a|s) within finite bounds: features (B, F) -> SquashedGaussian, whose μ and ln σ both depend on the state."""

    mid: Tensor
    width: Tensor

    def __init__(self, features: int, act_space: spaces.Box, hidden_sizes: Sequence[int], activation: str) -> None:
        """The small last layer starts in the middle of the bounds, with σ = 1: nearly uniform over them."""
        super().__init__([features, *hidden_sizes, 2 * math.prod(act_space.shape)], activation, out_gain=0.01)
        mid, width = mid_and_width(act_space)
        self.register_buffer("mid", mid)
        self.register_buffer("width", width)

    def forward(self, x: Tensor) -> SquashedGaussian:
        """The action distributions at features x (B, F)."""
        mu, log_std = self.outputs(x).chunk(2, dim=1)
        return SquashedGaussian(mu, log_std.clamp(MIN_LOG_STD, MAX_LOG_STD), self.mid, self.width)


class Temperature(nn.Module):
    """α, what one nat of entropy is worth in units of reward."""

    def __init__(self, alpha: float) -> None:
        """`log_alpha` is the parameter: the log keeps α positive."""
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))

    def forward(self) -> Tensor:
        """α ()."""
        return self.log_alpha.exp()


class SoftActorCritic(nn.Module):
    """π(a|s), Q1(s, a), Q2(s, a) and α, with separate networks, behind one encoder.

    `encode` turns observations (B, *obs_shape) into features (B, F), `pi` features into a `SquashedGaussian`, `q`
    features and actions into values (2, B); `alpha` returns α. `act`, `mode`, `value` and `action_value` go from
    arrays to arrays through these same modules. To use another network, pass a class with the same constructor and
    members as `train(..., actor_critic=YourClass)`; a subclass is the easiest. `pi`, `q` and `alpha` must not
    share parameters, because each has an optimiser of its own.
    """

    value_label = "soft V(s)"

    def __init__(self, obs_space: spaces.Space[Any], act_space: spaces.Space[Any], config: Any) -> None:
        """Make the networks.

        Args:
            obs_space: of the environment.
            act_space: of the environment.
            config: settings, of which `hidden_sizes`, `activation`, `normalize_obs` and `alpha` are read.

        Raises:
            UserError: actions that are not a Box of floats with finite bounds.
        """
        super().__init__()
        box = finite_box(act_space)
        self.obs_space, self.act_space = obs_space, act_space
        self.encode = ObsEncoder(obs_space, config.normalize_obs)
        self.pi = SquashedPolicy(self.encode.features, box, config.hidden_sizes, config.activation)
        self.q = TwinQ(self.encode.features, box, config.hidden_sizes, config.activation)
        self.alpha = Temperature(config.alpha)

    @torch.inference_mode()
    def act(self, obs: Array) -> Array:
        """Sampled actions (B, d) float32 for observations (B, *obs_shape)."""
        pi: SquashedGaussian = self.pi(self.encode(obs))
        return pi.sample()

    @torch.inference_mode()
    def act_and_logp(self, obs: Array) -> tuple[Array, Array]:
        """Sampled actions (B, d) float32 and their log-densities (B,) float32, nats, for obs (B, *obs_shape)."""
        pi: SquashedGaussian = self.pi(self.encode(obs))
        act, logp = pi.rsample()
        return act.cpu().numpy(), logp.cpu().numpy()

    @torch.inference_mode()
    def mode(self, obs: Array) -> Array:
        """The actions that μ is squashed into (B, d) float32, for observations (B, *obs_shape)."""
        pi: SquashedGaussian = self.pi(self.encode(obs))
        return pi.mode()

    @torch.inference_mode()
    def value(self, obs: Array) -> Array:
        """Soft values Q(s, a) - α ln π(a|s) (B,) float32 of one sampled action a each, for obs (B, *obs_shape)."""
        x = self.encode(obs)
        act, logp = self.pi(x).rsample()
        val: Tensor = self.q(x, act).amin(0) - self.alpha() * logp
        return val.cpu().numpy()

    @torch.inference_mode()
    def action_value(self, obs: Array, act: Array) -> Array:
        """The smaller Q(s, a) (B,) float32 for observations (B, *obs_shape) and actions act (B, d) float32."""
        x = self.encode(obs)
        q: Tensor = self.q(x, torch.as_tensor(act, device=x.device)).amin(0)
        return q.cpu().numpy()
