"""Action-value functions, and the deterministic policy that climbs one.

shape letters: B samples, d action dimensions, n discrete actions, F features that the networks see
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite.common.actor_critic import MLP, mid_and_width
from rlsuite.common.normalize import ObsEncoder
from rlsuite.errors import UserError

Array = NDArray[Any]


class DiscreteQ(MLP):
    """Q(s, ·) of n actions: features (B, F) -> (B, n)."""

    def __init__(self, features: int, n: int, hidden_sizes: Sequence[int], activation: str, dueling: bool) -> None:
        """With `dueling`, one more output: the state's value.

        Small weights: the larger the initial weights, the more a step on Q(s, a) moves Q(s', ·) with it, and the sooner
        bootstrapping runs away.
        """
        super().__init__([features, *hidden_sizes, n + dueling], activation, orthogonal=False)
        self.dueling = dueling

    def forward(self, x: Tensor) -> Tensor:
        """Values of all actions (B, n) at features x (B, F).

        Dueling: Q(s, a) = V(s) + A(s, a) - mean over a' of A(s, a'). What is common to all actions is learned from each
        of them. The heads here are single layers on shared ones, into which the gradient is not scaled down.

        Source: Wang et al. 2016, "Dueling Network Architectures for Deep Reinforcement Learning", eq. 9.
        """
        q = self.outputs(x)
        if self.dueling:
            val, adv = q[:, :1], q[:, 1:]
            q = val + adv - adv.mean(1, keepdim=True)
        return q


class QNetwork(nn.Module):
    """Q(s, a) of discrete actions and its greedy policy, behind an encoder.

    `encode` turns observations (B, *obs_shape) into features (B, F), `q` features into (B, n). `values`, `mode` and
    `value` go from arrays to arrays through these same modules. To use another network, pass a class with the same
    constructor and members as `train(..., actor_critic=YourClass)`; a subclass is the easiest.
    """

    value_label = "max Q(s, a)"

    def __init__(self, obs_space: spaces.Space[Any], act_space: spaces.Space[Any], config: Any) -> None:
        """Make the network.

        Args:
            obs_space: of the environment.
            act_space: of the environment.
            config: settings, of which `hidden_sizes`, `activation`, `normalize_obs` and `dueling` are read.

        Raises:
            UserError: actions that are not Discrete, or an observation space that is not supported.
        """
        super().__init__()
        if not isinstance(act_space, spaces.Discrete):
            continuous = isinstance(act_space, spaces.Box) and np.issubdtype(act_space.dtype, np.floating)
            fitting = "gymnasium.ActionWrapper"
            if continuous:
                fitting = "ppo, trpo, a2c, vpg, cem or, within finite bounds, sac, td3 or ddpg"
            elif isinstance(act_space, spaces.MultiDiscrete):
                fitting = "ppo, trpo, a2c or vpg"
            raise UserError(f"dqn needs Discrete actions, and this environment's are {act_space}; use {fitting}")
        self.obs_space, self.act_space = obs_space, act_space
        self.encode = ObsEncoder(obs_space, config.normalize_obs)
        n = int(act_space.n)
        self.q = DiscreteQ(self.encode.features, n, config.hidden_sizes, config.activation, config.dueling)

    @torch.inference_mode()
    def values(self, obs: Array) -> Array:
        """Q(s, ·) (B, n) float32 for observations (B, *obs_shape)."""
        q: Tensor = self.q(self.encode(obs))
        return q.cpu().numpy()

    def mode(self, obs: Array) -> Array:
        """Greedy actions argmax_a Q(s, a) (B,) int64 for observations (B, *obs_shape)."""
        act: Array = self.values(obs).argmax(1)
        return act

    def value(self, obs: Array) -> Array:
        """Values of the greedy policy, max_a Q(s, a) (B,) float32, for observations (B, *obs_shape)."""
        val: Array = self.values(obs).max(1)
        return val


def finite_box(act_space: spaces.Space[Any]) -> spaces.Box:
    """The space of actions, if it is a Box of floats with finite bounds.

    Raises:
        UserError: it is not; names the algorithms that fit.
    """
    if not (isinstance(act_space, spaces.Box) and np.issubdtype(act_space.dtype, np.floating)):
        discrete = isinstance(act_space, spaces.Discrete)
        fitting = "dqn, ppo, trpo, a2c, vpg or cem" if discrete else "gymnasium.ActionWrapper"
        if isinstance(act_space, spaces.MultiDiscrete):
            fitting = "ppo, trpo, a2c or vpg"
        raise UserError(
            f"this algorithm needs continuous actions, and this environment's are {act_space}; use {fitting}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        span = act_space.high.astype(np.float32) - act_space.low.astype(np.float32)
    if not (np.isfinite(span) & (span > 0)).all():
        raise UserError(
            "this algorithm needs finite bounds low < high for every action, and this environment's are "
            f"{act_space}; give it bounds with gymnasium.wrappers.TransformAction, or use ppo, trpo, a2c, vpg or cem"
        )
    return act_space


class DeterministicPolicy(MLP):
    """μ(s) = mid + width · tanh(outputs(s)): features (B, F) -> actions (B, d) within their bounds.

    mid and width are the centre and half width of each dimension's bounds.
    """

    mid: Tensor
    width: Tensor

    def __init__(self, features: int, act_space: spaces.Box, hidden_sizes: Sequence[int], activation: str) -> None:
        """The small last layer starts in the middle of the bounds, where tanh is steep."""
        super().__init__([features, *hidden_sizes, math.prod(act_space.shape)], activation, out_gain=0.01)
        mid, width = mid_and_width(act_space)
        self.register_buffer("mid", mid)
        self.register_buffer("width", width)

    def forward(self, x: Tensor) -> Tensor:
        """Actions (B, d) at features x (B, F)."""
        return self.mid + self.width * self.outputs(x).tanh()


def action_bounds(act_space: spaces.Space[Any]) -> tuple[Array, Array, Array]:
    """Lower bounds, upper bounds and half widths (d,) float32 of the actions, in environment units."""
    assert isinstance(act_space, spaces.Box)
    low, high = (bound.reshape(-1).astype(np.float64) for bound in (act_space.low, act_space.high))
    return low.astype(np.float32), high.astype(np.float32), ((high - low) / 2).astype(np.float32)


class ContinuousQ(MLP):
    """Q(s, a): features (B, F) and actions (B, d) -> (B,)."""

    mid: Tensor
    scale: Tensor

    def __init__(self, features: int, act_space: spaces.Box, hidden_sizes: Sequence[int], activation: str) -> None:
        """The network sees actions in half widths of their bounds, so that their units do not matter."""
        super().__init__([features + math.prod(act_space.shape), *hidden_sizes, 1], activation)
        mid, width = mid_and_width(act_space)
        self.register_buffer("mid", mid)
        self.register_buffer("scale", 1 / width)

    def forward(self, x: Tensor, act: Tensor) -> Tensor:
        """Values (B,) at features x (B, F) and actions act (B, d)."""
        return self.outputs(torch.cat([x, (act - self.mid) * self.scale], 1)).squeeze(-1)


class MuQNetwork(nn.Module):
    """μ(s) and Q(s, a) with separate networks, behind one encoder.

    `encode` turns observations (B, *obs_shape) into features (B, F), `pi` features into actions (B, d), `q` features
    and actions into values (B,). `mode`, `value` and `action_value` go from arrays to arrays through these same
    modules. To use another network, pass a class with the same constructor and members (`pi` with its buffers `mid` and
    `width` (d,)) as `train(..., actor_critic=YourClass)`; a subclass is the easiest. `pi` and `q` must not share
    parameters, because each has an optimiser of its own.
    """

    value_label = "Q(s, μ(s))"

    def __init__(self, obs_space: spaces.Space[Any], act_space: spaces.Space[Any], config: Any) -> None:
        """Make the networks.

        Args:
            obs_space: of the environment.
            act_space: of the environment.
            config: settings, of which `hidden_sizes`, `activation` and `normalize_obs` are read.

        Raises:
            UserError: actions that are not a Box of floats with finite bounds.
        """
        super().__init__()
        box = finite_box(act_space)
        self.obs_space, self.act_space = obs_space, act_space
        self.encode = ObsEncoder(obs_space, config.normalize_obs)
        self.pi = DeterministicPolicy(self.encode.features, box, config.hidden_sizes, config.activation)
        self.q: nn.Module = ContinuousQ(self.encode.features, box, config.hidden_sizes, config.activation)

    @torch.inference_mode()
    def mode(self, obs: Array) -> Array:
        """Actions μ(s) (B, d) float32 for observations (B, *obs_shape)."""
        mu: Tensor = self.pi(self.encode(obs))
        return mu.cpu().numpy()

    @torch.inference_mode()
    def value(self, obs: Array) -> Array:
        """Values of the policy, Q(s, μ(s)) (B,) float32, for observations (B, *obs_shape)."""
        x = self.encode(obs)
        q: Tensor = self.q(x, self.pi(x))
        return q.cpu().numpy()

    @torch.inference_mode()
    def action_value(self, obs: Array, act: Array) -> Array:
        """Q(s, a) (B,) float32 for observations (B, *obs_shape) and actions act (B, d) float32."""
        x = self.encode(obs)
        q: Tensor = self.q(x, torch.as_tensor(act, device=x.device))
        return q.cpu().numpy()


class TwinQ(nn.Module):
    """Two critics with nothing in common but their inputs: features (B, F) and actions (B, d) -> values (2, B)."""

    def __init__(self, features: int, act_space: spaces.Box, hidden_sizes: Sequence[int], activation: str) -> None:
        """They start from different weights, and so err in different places."""
        super().__init__()
        self.q1 = ContinuousQ(features, act_space, hidden_sizes, activation)
        self.q2 = ContinuousQ(features, act_space, hidden_sizes, activation)

    def forward(self, x: Tensor, act: Tensor) -> Tensor:
        """Values (2, B) at features x (B, F) and actions act (B, d)."""
        return torch.stack([self.q1(x, act), self.q2(x, act)])


class MuTwinQNetwork(MuQNetwork):
    """As `MuQNetwork`, but `q` returns the values (2, B) of two critics, of which `action_value` is the smaller one."""

    value_label = "min Q(s, μ(s))"
    q: TwinQ

    def __init__(self, obs_space: spaces.Space[Any], act_space: spaces.Space[Any], config: Any) -> None:
        """As `MuQNetwork`; raises the same."""
        super().__init__(obs_space, act_space, config)
        box = finite_box(act_space)
        self.q = TwinQ(self.encode.features, box, config.hidden_sizes, config.activation)

    @torch.inference_mode()
    def value(self, obs: Array) -> Array:
        """The smaller of both critics' values of the policy (B,) float32, for observations (B, *obs_shape)."""
        x = self.encode(obs)
        q: Tensor = self.q(x, self.pi(x)).amin(0)
        return q.cpu().numpy()

    @torch.inference_mode()
    def action_value(self, obs: Array, act: Array) -> Array:
        """The smaller Q(s, a) (B,) float32 for observations (B, *obs_shape) and actions act (B, d) float32."""
        x = self.encode(obs)
        q: Tensor = self.q(x, torch.as_tensor(act, device=x.device)).amin(0)
        return q.cpu().numpy()
