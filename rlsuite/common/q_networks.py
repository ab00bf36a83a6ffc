"""Action-value functions, and the deterministic policy that climbs one.

shape letters: B samples, d action dimensions, n discrete actions, F features that the networks see
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlsuite.common.actor_critic import mlp
from rlsuite.common.checks import UserError
from rlsuite.common.normalize import ObsEncoder


class DiscreteQ(nn.Module):
    """Q(s, ·) of n actions: features (B, F) -> (B, n)."""

    def __init__(self, features: int, n: int, hidden_sizes: Sequence[int], activation: str, dueling: bool) -> None:
        """With `dueling`, one more output: the state's value.

        Small weights: the larger the initial weights, the more a step on Q(s, a) moves Q(s', ·) with it, and the sooner
        bootstrapping runs away.
        """
        super().__init__()
        self.dueling = dueling
        self.net = mlp([features, *hidden_sizes, n + dueling], activation, orthogonal=False)

    def forward(self, x: Tensor) -> Tensor:
        """Values of all actions (B, n) at features x (B, F).

        Dueling: Q(s, a) = V(s) + A(s, a) - mean over a' of A(s, a'). What is common to all actions is learned from each
        of them. The heads here are single layers on shared ones, into which the gradient is not scaled down.

        Source: Wang et al. 2016, "Dueling Network Architectures for Deep Reinforcement Learning", eq. 9.
        """
        q: Tensor = self.net(x)
        if self.dueling:
            val, adv = q[:, :1], q[:, 1:]
            q = val + adv - adv.mean(1, keepdim=True)
        return q


class QNetwork(nn.Module):
    """Q(s, a) of discrete actions and its greedy policy, behind an encoder.

    `q` takes features (B, F) and returns (B, n); `mode` and `value` take observations. To use another network, pass a
    class with the same constructor and members (`encode`, `q`, `mode`, `value`, `obs_space`, `act_space`) as
    `train(..., actor_critic=YourClass)`; most easily a subclass.
    """

    value_label = "max Q(s, a)"

    def __init__(
        self,
        obs_space: spaces.Space[Any],
        act_space: spaces.Space[Any],
        hidden_sizes: Sequence[int] = (64, 64),
        activation: str = "relu",
        normalize_obs: bool = False,
        dueling: bool = False,
    ) -> None:
        """Raises UserError for actions that are not Discrete, or an observation space that is not supported."""
        super().__init__()
        if not isinstance(act_space, spaces.Discrete):
            continuous = isinstance(act_space, spaces.Box) and np.issubdtype(act_space.dtype, np.floating)
            fitting = "ppo, a2c, vpg or, within finite bounds, ddpg" if continuous else "gymnasium.ActionWrapper"
            raise UserError(f"dqn needs Discrete actions, and this environment's are {act_space}; use {fitting}")
        self.obs_space, self.act_space = obs_space, act_space
        self.encode = ObsEncoder(obs_space, normalize_obs)
        self.q = DiscreteQ(self.encode.features, int(act_space.n), hidden_sizes, activation, dueling)

    @torch.inference_mode()
    def mode(self, obs: Tensor) -> Tensor:
        """Greedy actions argmax_a Q(s, a) (B,) int64 for observations (B, *obs_shape)."""
        q: Tensor = self.q(self.encode(obs))
        return q.argmax(1)

    @torch.inference_mode()
    def value(self, obs: Tensor) -> Tensor:
        """Values of the greedy policy, max_a Q(s, a) (B,), for observations (B, *obs_shape)."""
        q: Tensor = self.q(self.encode(obs))
        return q.amax(1)


class DeterministicPolicy(nn.Module):
    """μ(s) = mid + width · tanh(net(s)): features (B, F) -> actions (B, d) within their bounds.

    mid and width are the centre and half width of each dimension's bounds.
    """

    mid: Tensor
    width: Tensor

    def __init__(self, features: int, act_space: spaces.Box, hidden_sizes: Sequence[int], activation: str) -> None:
        """The small last layer starts in the middle of the bounds, where tanh is steep."""
        super().__init__()
        low = torch.as_tensor(act_space.low, dtype=torch.float64).flatten()
        high = torch.as_tensor(act_space.high, dtype=torch.float64).flatten()
        self.register_buffer("mid", ((low + high) / 2).float())
        self.register_buffer("width", ((high - low) / 2).float())
        self.net = mlp([features, *hidden_sizes, len(low)], activation, out_gain=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Actions (B, d) at features x (B, F)."""
        mu: Tensor = self.mid + self.width * self.net(x).tanh()
        return mu


class ContinuousQ(nn.Module):
    """Q(s, a): features (B, F) and actions (B, d) -> (B,)."""

    mid: Tensor
    scale: Tensor

    def __init__(self, features: int, act_space: spaces.Box, hidden_sizes: Sequence[int], activation: str) -> None:
        """The network sees actions in half widths of their bounds, so that their units do not matter."""
        super().__init__()
        low = torch.as_tensor(act_space.low, dtype=torch.float64).flatten()
        high = torch.as_tensor(act_space.high, dtype=torch.float64).flatten()
        self.register_buffer("mid", ((low + high) / 2).float())
        self.register_buffer("scale", (2 / (high - low)).float())
        self.net = mlp([features + len(low), *hidden_sizes, 1], activation)

    def forward(self, x: Tensor, act: Tensor) -> Tensor:
        """Values (B,) at features x (B, F) and actions act (B, d)."""
        q: Tensor = self.net(torch.cat([x, (act - self.mid) * self.scale], 1)).squeeze(-1)
        return q


class MuQNetwork(nn.Module):
    """μ(s) and Q(s, a) with separate networks, behind one encoder.

    `pi` takes features (B, F), `q` features and actions (B, d); `mode`, `value` and `action_value` take observations.
    To use another network, pass a class with the same constructor and members (those, `encode`, `obs_space`,
    `act_space`; `pi` with its buffers `mid` and `width` (d,)) as `train(..., actor_critic=YourClass)`; most easily a
    subclass. `pi` and `q` must not share parameters, because each has an optimiser of its own.
    """

    value_label = "Q(s, μ(s))"

    def __init__(
        self,
        obs_space: spaces.Space[Any],
        act_space: spaces.Space[Any],
        hidden_sizes: Sequence[int] = (256, 256),
        activation: str = "relu",
        normalize_obs: bool = False,
    ) -> None:
        """Raises UserError for actions that are not a Box of floats with finite bounds."""
        super().__init__()
        if not (isinstance(act_space, spaces.Box) and np.issubdtype(act_space.dtype, np.floating)):
            fitting = "dqn, ppo, a2c or vpg" if isinstance(act_space, spaces.Discrete) else "gymnasium.ActionWrapper"
            raise UserError(f"ddpg needs continuous actions, and this environment's are {act_space}; use {fitting}")
        with np.errstate(over="ignore", invalid="ignore"):
            span = act_space.high.astype(np.float32) - act_space.low.astype(np.float32)
        if not (np.isfinite(span) & (span > 0)).all():
            raise UserError(
                f"ddpg needs finite bounds low < high for every action, and this environment's are {act_space}; "
                "give it bounds with gymnasium.wrappers.TransformAction, or use ppo, a2c or vpg"
            )
        self.obs_space, self.act_space = obs_space, act_space
        self.encode = ObsEncoder(obs_space, normalize_obs)
        self.pi = DeterministicPolicy(self.encode.features, act_space, hidden_sizes, activation)
        self.q = ContinuousQ(self.encode.features, act_space, hidden_sizes, activation)

    @torch.inference_mode()
    def mode(self, obs: Tensor) -> Tensor:
        """Actions μ(s) (B, d) for observations (B, *obs_shape)."""
        mu: Tensor = self.pi(self.encode(obs))
        return mu

    @torch.inference_mode()
    def value(self, obs: Tensor) -> Tensor:
        """Values of the policy, Q(s, μ(s)) (B,), for observations (B, *obs_shape)."""
        x = self.encode(obs)
        q: Tensor = self.q(x, self.pi(x))
        return q

    @torch.inference_mode()
    def action_value(self, obs: Tensor, act: Tensor) -> Tensor:
        """Q(s, a) (B,) for observations (B, *obs_shape) and actions act (B, d)."""
        q: Tensor = self.q(self.encode(obs), act)
        return q
