"""Policies and value functions.

shape letters: B samples, d action dimensions, n discrete actions, k components of MultiDiscrete actions,
F features that the networks see
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite.common.activations import ACTIVATIONS
from rlsuite.common.distributions import NEVER, Categorical, Distribution, Gaussian, MultiCategorical
from rlsuite.common.normalize import ObsEncoder
from rlsuite.errors import UserError

Array = NDArray[Any]


class MLP(nn.Module):
    """Fully connected layers, with an activation after each but the last: what every network here is made of.

    Subclasses say in `forward` what their outputs mean. A layer that is replaced or inserted in `layers` acts and
    trains. The activation is a function and no module, because calling a module takes longer than what a network this
    small computes.
    """

    def __init__(
        self, sizes: Sequence[int], activation: str = "tanh", out_gain: float = 1.0, orthogonal: bool = True
    ) -> None:
        """Make the layers.

        Args:
            sizes: widths, from the input to the output.
            activation: "tanh" or "relu".
            out_gain: scale of the last layer's orthogonal weights.
            orthogonal: weights that keep the norm of what passes, and zero biases; else torch's smaller uniform ones.
        """
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        linear = [nn.Linear(fan_in, fan_out) for fan_in, fan_out in itertools.pairwise(sizes)]
        if orthogonal:
            for layer in linear:
                nn.init.orthogonal_(layer.weight, gain=out_gain if layer is linear[-1] else 2**0.5)
                nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(linear)

    def outputs(self, x: Tensor) -> Tensor:
        """Outputs (B, n) for inputs x (B, F)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        out: Tensor = last(x)
        return out


def expect_actions(act_space: spaces.Space[Any]) -> None:
    """Raise UserError for actions that are neither Discrete nor a Box of floats."""
    if isinstance(act_space, spaces.Discrete):
        return
    if not (isinstance(act_space, spaces.Box) and np.issubdtype(act_space.dtype, np.floating)):
        raise UserError(
            f"action space {act_space} is not supported here; Discrete and Box of floats are: make it one of them "
            "with a gymnasium.ActionWrapper"
        )


def mid_and_width(act_space: spaces.Space[Any]) -> tuple[Tensor, Tensor]:
    """Centre and half width (d,) float32 of each action's bounds; 0 and 1 where a bound is infinite.

    Raises:
        UserError: actions that are not a Box of floats.
    """
    expect_actions(act_space)
    assert isinstance(act_space, spaces.Box), act_space
    low = torch.as_tensor(act_space.low, dtype=torch.float64).flatten()
    high = torch.as_tensor(act_space.high, dtype=torch.float64).flatten()
    bounded = low.isfinite() & high.isfinite()
    mid = torch.where(bounded, (low + high) / 2, 0).float()
    return mid, torch.where(bounded & (high > low), (high - low) / 2, 1).float()


class CategoricalPolicy(MLP):
    """π(a|s) over n actions: features (B, F) -> Categorical, whose logits are the outputs."""

    def __init__(self, features: int, act_space: spaces.Discrete, hidden_sizes: Sequence[int], activation: str) -> None:
        """The small last layer makes the first policy near uniform: maximum entropy, so nothing is ruled out yet."""
        super().__init__([features, *hidden_sizes, int(act_space.n)], activation, out_gain=0.01)

    def forward(self, x: Tensor) -> Categorical:
        """The action distributions at features x (B, F)."""
        return Categorical(self.outputs(x))


class MultiCategoricalPolicy(MLP):
    """π(a|s) of k components with their own numbers of actions: features (B, F) -> MultiCategorical.

    Given the state the components are independent. One network has the logits of all as its outputs.
    """

    place: Tensor

    def __init__(
        self, features: int, act_space: spaces.MultiDiscrete, hidden_sizes: Sequence[int], activation: str
    ) -> None:
        """`place` (k, n) says which output is which logit; the output after the last stands for what there is not."""
        counts = [int(n) for n in act_space.nvec.flat]
        super().__init__([features, *hidden_sizes, sum(counts)], activation, out_gain=0.01)
        place = torch.full((len(counts), max(counts)), sum(counts))
        for row, n, end in zip(place, counts, itertools.accumulate(counts), strict=True):
            row[:n] = torch.arange(end - n, end)
        self.register_buffer("place", place, persistent=False)  # it follows from the space

    def forward(self, x: Tensor) -> MultiCategorical:
        """The action distributions at features x (B, F)."""
        padded = nn.functional.pad(self.outputs(x), (0, 1), value=NEVER)
        return MultiCategorical(padded.index_select(1, self.place.flatten()).view(-1, *self.place.shape))


class GaussianPolicy(MLP):
    """π(a|s) over d continuous actions: features (B, F) -> Gaussian, with a σ that does not depend on the state.

        μ = mid + width · outputs(x),   ln σ = ln width + log_std

    mid and width are the centre and half width of each dimension's bounds (0 and 1 where a bound is infinite). So the
    first policy covers the bounds, whatever their units.
    """

    mid: Tensor
    width: Tensor

    def __init__(
        self, features: int, act_space: spaces.Box, hidden_sizes: Sequence[int], activation: str, log_std_init: float
    ) -> None:
        """`log_std` is a parameter: the log keeps σ positive and makes its gradient scale-free."""
        super().__init__([features, *hidden_sizes, math.prod(act_space.shape)], activation, out_gain=0.01)
        mid, width = mid_and_width(act_space)
        self.register_buffer("mid", mid)
        self.register_buffer("width", width)
        self.log_std = nn.Parameter(torch.full((len(mid),), log_std_init))

    def forward(self, x: Tensor) -> Gaussian:
        """The action distributions at features x (B, F)."""
        mu = self.mid + self.width * self.outputs(x)
        return Gaussian(mu, (self.width.log() + self.log_std).expand_as(mu))


class ValueFunction(MLP):
    """V(s): features (B, F) -> (B,)."""

    def __init__(self, features: int, hidden_sizes: Sequence[int], activation: str) -> None:
        """One output, squeezed: a (B, 1) that meets a (B,) would broadcast to (B, B) without a word."""
        super().__init__([features, *hidden_sizes, 1], activation)

    def forward(self, x: Tensor) -> Tensor:
        """Values (B,) at features x (B, F)."""
        return self.outputs(x).squeeze(-1)


class ActorCritic(nn.Module):
    """A policy and a value function with separate networks, behind one encoder.

    `encode` turns observations (B, *obs_shape), arrays or tensors, into features (B, F). `pi` and `v` take features and
    return a `Distribution` and values (B,). `act`, `mode` and `value` go from arrays to arrays through these same
    modules, so that what trains is what acts. To use another network, pass a class with the same constructor and
    members as `train(..., actor_critic=YourClass)`; a subclass is the easiest. `pi` and `v` must not share parameters,
    because each has an optimiser of its own.
    """

    value_label = "V(s)"

    def __init__(self, obs_space: spaces.Space[Any], act_space: spaces.Space[Any], config: Any) -> None:
        """Make the networks.

        Args:
            obs_space: of the environment.
            act_space: of the environment.
            config: settings, of which `hidden_sizes`, `activation`, `normalize_obs` and `log_std_init` are read.

        Raises:
            UserError: observations that are neither Box nor Discrete, or actions that are neither Discrete nor
                MultiDiscrete nor a Box of floats.
        """
        super().__init__()
        self.obs_space, self.act_space = obs_space, act_space
        self.encode = ObsEncoder(obs_space, config.normalize_obs)
        features, sizes, activation = self.encode.features, config.hidden_sizes, config.activation
        self.pi: nn.Module
        if isinstance(act_space, spaces.Discrete):
            self.pi = CategoricalPolicy(features, act_space, sizes, activation)
        elif isinstance(act_space, spaces.MultiDiscrete):
            self.pi = MultiCategoricalPolicy(features, act_space, sizes, activation)
        elif isinstance(act_space, spaces.Box) and np.issubdtype(act_space.dtype, np.floating):
            self.pi = GaussianPolicy(features, act_space, sizes, activation, config.log_std_init)
        else:
            raise UserError(
                f"action space {act_space} is not supported; Discrete, MultiDiscrete and Box of floats are: make it "
                "one of them with a gymnasium.ActionWrapper, MultiBinary(n) for example MultiDiscrete([2] * n)"
            )
        self.v = ValueFunction(features, sizes, activation)

    @torch.inference_mode()
    def act(self, obs: Array) -> Array:
        """Sampled actions (B,) int64, (B, k) int64 or (B, d) float32 for observations (B, *obs_shape)."""
        pi: Distribution = self.pi(self.encode(obs))
        return pi.sample()

    @torch.inference_mode()
    def mode(self, obs: Array) -> Array:
        """The most probable actions, shaped as those of `act`."""
        pi: Distribution = self.pi(self.encode(obs))
        return pi.mode()

    @torch.inference_mode()
    def value(self, obs: Array) -> Array:
        """V(s) (B,) float32 for observations (B, *obs_shape)."""
        val: Tensor = self.v(self.encode(obs))
        return val.cpu().numpy()
