"""Policies and value functions.

shape letters: B samples, d action dimensions, n discrete actions, F features that the networks see
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlsuite.common.checks import UserError
from rlsuite.common.distributions import Categorical, Distribution, Gaussian
from rlsuite.common.normalize import ObsEncoder

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class Layers(nn.Sequential):
    """`nn.Sequential` of linear layers with one activation between them, in one call.

    With networks this small, calling a module takes longer than what it computes. A layer or parameter that is replaced
    afterwards is not seen: build another `Layers`.
    """

    def __init__(self, *layers: nn.Module, activation: str) -> None:
        """The activations are among the layers, and called "tanh" or "relu"."""
        super().__init__(*layers)
        self.activation = torch.tanh if activation == "tanh" else torch.relu
        # A plain list: a module searches for its parameters anew each time it is asked for one.
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self.hidden = [(layer.weight, layer.bias) for layer in linear[:-1]]
        self.last = linear[-1].weight, linear[-1].bias

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, n) for inputs (B, F)."""
        for weight, bias in self.hidden:
            x = self.activation(nn.functional.linear(x, weight, bias))
        return nn.functional.linear(x, *self.last)

    def __setitem__(self, idx: int, module: nn.Module) -> None:
        """Raises TypeError."""
        raise TypeError("a layer of Layers can't be replaced; build another one with mlp()")


def mlp(sizes: Sequence[int], activation: str = "tanh", out_gain: float = 1.0, orthogonal: bool = True) -> Layers:
    """Fully connected layers.

    Args:
        sizes: widths, from the input to the output.
        activation: "tanh" or "relu", after every layer but the last.
        out_gain: scale of the last layer's orthogonal weights.
        orthogonal: weights that keep the norm of what passes, and zero biases; else torch's smaller uniform ones.
    """
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        layer = nn.Linear(fan_in, fan_out)
        if orthogonal:
            nn.init.orthogonal_(layer.weight, gain=out_gain if last else 2**0.5)
            nn.init.zeros_(layer.bias)
        layers += [layer] if last else [layer, ACTIVATIONS[activation]()]
    return Layers(*layers, activation=activation)


class CategoricalPolicy(nn.Module):
    """π(a|s) over n actions: features (B, F) -> Categorical."""

    def __init__(self, features: int, act_space: spaces.Discrete, hidden_sizes: Sequence[int], activation: str) -> None:
        """The small last layer makes the first policy near uniform: maximum entropy, so nothing is ruled out yet."""
        super().__init__()
        self.logits = mlp([features, *hidden_sizes, int(act_space.n)], activation, out_gain=0.01)

    def forward(self, x: Tensor) -> Categorical:
        """The action distributions at features x (B, F)."""
        return Categorical(self.logits(x))


class GaussianPolicy(nn.Module):
    """π(a|s) over d continuous actions: features (B, F) -> Gaussian, with a σ that does not depend on the state.

        μ = mid + width · net(x),   ln σ = ln width + log_std

    mid and width are the centre and half width of each dimension's bounds (0 and 1 where a bound is infinite), so that
    the first policy covers the bounds whatever their units.
    """

    mid: Tensor
    width: Tensor

    def __init__(
        self, features: int, act_space: spaces.Box, hidden_sizes: Sequence[int], activation: str, log_std_init: float
    ) -> None:
        """`log_std` is a parameter: the log keeps σ positive and makes its gradient scale-free."""
        super().__init__()
        low = torch.as_tensor(act_space.low, dtype=torch.float64).flatten()
        high = torch.as_tensor(act_space.high, dtype=torch.float64).flatten()
        bounded = low.isfinite() & high.isfinite()
        self.register_buffer("mid", torch.where(bounded, (low + high) / 2, 0).float())
        self.register_buffer("width", torch.where(bounded & (high > low), (high - low) / 2, 1).float())
        self.net = mlp([features, *hidden_sizes, len(low)], activation, out_gain=0.01)
        self.log_std = nn.Parameter(torch.full((len(low),), log_std_init))

    def forward(self, x: Tensor) -> Gaussian:
        """The action distributions at features x (B, F)."""
        mu = self.mid + self.width * self.net(x)
        return Gaussian(mu, (self.width.log() + self.log_std).expand_as(mu))


class ValueFunction(nn.Module):
    """V(s): features (B, F) -> (B,)."""

    def __init__(self, features: int, hidden_sizes: Sequence[int], activation: str) -> None:
        """One output, squeezed: a (B, 1) that meets a (B,) would broadcast to (B, B) without a word."""
        super().__init__()
        self.net = mlp([features, *hidden_sizes, 1], activation)

    def forward(self, x: Tensor) -> Tensor:
        """Values (B,) at features x (B, F)."""
        val: Tensor = self.net(x).squeeze(-1)
        return val


class ActorCritic(nn.Module):
    """A policy and a value function with separate networks, behind one encoder.

    `pi` and `v` take features (B, F) and return a `Distribution` and values (B,); `act`, `mode` and `value` take
    observations. To use another network, pass a class with the same constructor and members (`encode`, `pi`, `v`,
    `act`, `mode`, `value`, `obs_space`, `act_space`) as `train(..., actor_critic=YourClass)`; most easily a subclass.
    `pi` and `v` must not share parameters, because each has an optimiser of its own.
    """

    value_label = "V(s)"

    def __init__(
        self,
        obs_space: spaces.Space[Any],
        act_space: spaces.Space[Any],
        hidden_sizes: Sequence[int] = (64, 64),
        activation: str = "tanh",
        normalize_obs: bool = False,
        log_std_init: float = -0.5,
    ) -> None:
        """Raises UserError for an observation or action space that is neither Box nor Discrete."""
        super().__init__()
        self.obs_space, self.act_space = obs_space, act_space
        self.encode = ObsEncoder(obs_space, normalize_obs)
        features = self.encode.features
        self.pi: CategoricalPolicy | GaussianPolicy
        if isinstance(act_space, spaces.Discrete):
            self.pi = CategoricalPolicy(features, act_space, hidden_sizes, activation)
        elif isinstance(act_space, spaces.Box) and np.issubdtype(act_space.dtype, np.floating):
            self.pi = GaussianPolicy(features, act_space, hidden_sizes, activation, log_std_init)
        else:
            raise UserError(
                f"action space {act_space} is not supported; Discrete and Box of floats are: "
                "flatten it with a gymnasium.ActionWrapper"
            )
        self.v = ValueFunction(features, hidden_sizes, activation)

    @torch.inference_mode()
    def act(self, obs: Tensor) -> Tensor:
        """Sampled actions (B,) int64 or (B, d) float32 for observations (B, *obs_shape)."""
        pi: Distribution = self.pi(self.encode(obs))
        return pi.sample()

    @torch.inference_mode()
    def mode(self, obs: Tensor) -> Tensor:
        """The most probable actions, shaped as those of `act`."""
        pi: Distribution = self.pi(self.encode(obs))
        return pi.mode()

    @torch.inference_mode()
    def value(self, obs: Tensor) -> Tensor:
        """V(s) (B,) for observations (B, *obs_shape)."""
        val: Tensor = self.v(self.encode(obs))
        return val
