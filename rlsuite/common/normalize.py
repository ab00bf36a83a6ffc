"""What networks see of observations and rewards, and the running statistics behind it."""

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite import mpi
from rlsuite.errors import UserError

FloatArray = NDArray[np.float64]


class ObsEncoder(nn.Module):
    """Turns observations (B, *obs_shape) into features (B, F) float32 and keeps their running statistics.

    Discrete observations become one-hot vectors, images of bytes are divided by 255, all others are flattened and, with
    `normalize`, standardised by the mean and variance of all observations so far, then clipped to ±10.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, obs_space: spaces.Space[Any], normalize: bool) -> None:
        """Raises UserError for a space that is neither Box nor Discrete; others come flattened, if they can be."""
        super().__init__()
        self.discrete = isinstance(obs_space, spaces.Discrete)
        if isinstance(obs_space, spaces.Discrete):
            self.features, self.start = int(obs_space.n), int(obs_space.start)
        elif isinstance(obs_space, spaces.Box):
            self.features = math.prod(obs_space.shape)
        else:
            raise UserError(
                f"observation space {' '.join(str(obs_space).split())} is not supported; Box and Discrete are, and, "
                "flattened as by gymnasium.wrappers.FlattenObservation, MultiDiscrete, MultiBinary, and Dict and Tuple "
                "of these: make it one of them with gymnasium.wrappers.TransformObservation"
            )
        self.normalize = normalize and not self.discrete
        self.scale = 1 / 255 if obs_space.dtype == np.uint8 and len(obs_space.shape or ()) > 1 else 1.0
        self.register_buffer("mean", torch.zeros(self.features))
        self.register_buffer("var", torch.ones(self.features))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, obs: NDArray[Any] | Tensor) -> Tensor:
        """Features (B, F) float32 of observations (B, *obs_shape), arrays or tensors, on the device of this module."""
        x = obs if isinstance(obs, Tensor) else torch.from_numpy(obs)
        if self.discrete:
            return nn.functional.one_hot(x.to(self.mean.device).long() - self.start, self.features).float()
        x = (x if x.ndim == 2 else x.reshape(x.shape[0], -1)).to(self.mean)  # its device, and float32
        if self.scale != 1:
            x = x * self.scale
        return self.standardize(x) if self.normalize else x

    def standardize(self, x: Tensor) -> Tensor:
        """(x - mean) / std, clipped to ±10, for x (B, F)."""
        return ((x - self.mean) * (self.var + 1e-8).rsqrt()).clamp(-10, 10)

    def update(self, obs: NDArray[Any]) -> None:
        """Merge the mean and variance of obs (..., *obs_shape), of all ranks, into those of all observations so far.

        Call it between rollouts only: features must not change under a policy between acting and training. Does nothing
        without `normalize`.
        """
        if not self.normalize:
            return
        count, mean, var = int(self.count), self.mean.cpu().double().numpy(), self.var.cpu().double().numpy()
        x = obs.reshape(-1, self.features).astype(np.float64) * self.scale
        for moments in mpi.gather_objects((x.mean(0), x.var(0), len(x))):
            mean, var = merge_moments(mean, var, count, *moments) if count else moments[:2]
            count += moments[2]
        self.count.fill_(count)
        self.mean.copy_(torch.as_tensor(mean))
        self.var.copy_(torch.as_tensor(var).clamp_max(torch.finfo(self.var.dtype).max))


def merge_moments(
    mean_a: FloatArray, var_a: FloatArray, n_a: int, mean_b: FloatArray, var_b: FloatArray, n_b: int
) -> tuple[FloatArray, FloatArray]:
    """Mean and (biased) variance of two samples together, from those of each.

        δ = mean_b - mean_a,   n = n_a + n_b
        mean = mean_a + δ n_b/n,   var = ( n_a var_a + n_b var_b + δ² n_a n_b/n ) / n

    Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances",
    eq. 2.1.
    """
    n = n_a + n_b
    delta = mean_b - mean_a
    mean = mean_a + delta * n_b / n
    var = (n_a * var_a + n_b * var_b + delta**2 * n_a * n_b / n) / n
    return mean, var


class RewardScaler:
    """Divides rewards by the running standard deviation of the discounted return; never shifts them.

        R_t = γ R_{t-1} + rew_t   (from 0 at each episode's start),   scaled rew = rew / std(R), clipped to ±10

    Shifting would change what the agent is asked to do: with a negative mean, staying alive becomes worth more.
    """

    def __init__(self, config: Any) -> None:
        """Reads `scale_reward`, `num_envs` and the discount `gamma` of the settings."""
        self.active, self.gamma = config.scale_reward, config.gamma
        self.running = np.zeros(config.num_envs)
        self.mean, self.var, self.count = np.zeros(()), np.ones(()), 0

    def __call__(self, rew: NDArray[np.float32], done: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Count rew (T, N) in and return it scaled (T, N), or unchanged without `scale_reward`.

        done (T, N) marks the last steps of episodes.
        """
        if not self.active:
            return rew
        discounted = np.empty(rew.shape)
        for t in range(len(rew)):
            discounted[t] = self.running = self.gamma * self.running + rew[t]
            self.running = np.where(done[t], 0.0, self.running)
        for moments in mpi.gather_objects((discounted.mean(), discounted.var(), discounted.size)):
            self.mean, self.var = merge_moments(self.mean, self.var, self.count, *moments)
            self.count += moments[2]
        return (rew / np.sqrt(self.var + 1e-8)).clip(-10, 10).astype(np.float32)

    def state_dict(self) -> dict[str, FloatArray]:
        """The statistics, and the running returns of the episodes in progress."""
        return {name: np.array(getattr(self, name)) for name in ("running", "mean", "var", "count")}

    def load_state_dict(self, state: dict[str, FloatArray]) -> None:
        """Raises ValueError for the state of another number of environments."""
        if state["running"].shape != self.running.shape or state["mean"].shape or state["var"].shape:
            raise ValueError(f"reward statistics of {len(state['running'])} environments, not {len(self.running)}")
        self.running, self.mean, self.var = (state[name].copy() for name in ("running", "mean", "var"))
        self.count = int(state["count"])
