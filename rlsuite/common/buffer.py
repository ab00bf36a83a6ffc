"""Storage for one rollout, and what on-policy algorithms compute from it before they train.

shape letters: T time steps, N environments, B = T·N samples; everything is time-major (T, N)
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlsuite import mpi
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.distributions import Distribution
from rlsuite.envs.stepping import Envs
from rlsuite.errors import NonFiniteError

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


def gae(
    rew: FloatArray,
    val: FloatArray,
    next_val: FloatArray,
    terminated: BoolArray,
    truncated: BoolArray,
    gamma: float,
    lam: float,
) -> FloatArray:
    """Generalised advantage estimates.

        δ_t = rew_t + γ (1 - terminated_t) next_val_t - val_t
        adv_t = δ_t + γλ (1 - done_t) adv_{t+1},   done = terminated or truncated,   adv_T = 0

    Only a termination cuts the bootstrap: after a time limit the future still has a value, it is merely not seen. Both
    cut the trace, because the next row belongs to another episode.

    Args:
        rew: (T, N) float32.
        val: V(s_t) (T, N) float32.
        next_val: V(s_{t+1}) (T, N) float32, of the state the step led to, also where the episode was truncated there.
        terminated: (T, N) bool.
        truncated: (T, N) bool.
        gamma: discount γ.
        lam: λ; 0 is the one-step TD error, 1 the discounted return minus the value.

    Returns:
        adv (T, N) float32.

    Raises:
        NonFiniteError: an advantage is NaN or infinite.

    Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation", eq. 16.
    """
    assert rew.ndim == 2, rew.shape
    assert rew.shape == val.shape == next_val.shape == terminated.shape == truncated.shape
    with np.errstate(over="ignore", invalid="ignore"):
        adv = rew + gamma * next_val * ~terminated - val
        decay = (gamma * lam * ~(terminated | truncated)).astype(np.float32)
        for t in range(len(rew) - 2, -1, -1):
            adv[t] += decay[t] * adv[t + 1]
    if np.count_nonzero(np.isfinite(adv)) < adv.size:
        t, n = np.argwhere(~np.isfinite(adv))[-1]  # from there the recursion has carried it to the steps before
        raise NonFiniteError(
            f"the advantage of step {t + 1} of the rollout in environment {n} is {adv[t, n]}; the likely cause is "
            f"rewards (here up to {np.abs(rew).max():g}) or observations that are far too large, and with them values "
            f"(up to {np.abs(val).max():g}): scale them in the environment"
        )
    return adv


class Batch(NamedTuple):
    """The samples of one rollout, flattened."""

    x: Tensor
    """features (B, F) float32"""
    act: Tensor
    """(B,) int64, (B, k) int64 of MultiDiscrete, or (B, d) float32"""
    adv: Tensor
    """(B,) float32, not standardised"""
    ret: Tensor
    """adv + val, the critic's target (B,) float32; no gradient flows into it"""
    val: Tensor
    """V(s) before the update (B,) float32"""
    pi: Distribution
    """of the policy that acted, B distributions"""

    def mean(self, values: Tensor) -> float:
        """E[·] over the samples of all ranks, of values (B,) or of this rank's mean ()."""
        return mpi.mean(values.double().mean().item())


class RolloutBuffer:
    """One rollout of N environments, filled step by step: arrays `obs`, `act`, `rew`, `next_obs` (T, N, ...) and so on.

    `next_obs` is what a step led to, also at the end of an episode, where `obs` of the next row belongs to another one.
    """

    def __init__(self, rollout_len: int, envs: Envs) -> None:
        """Room for `rollout_len` steps T of each environment."""
        shape = (rollout_len, envs.num_envs)
        self.obs = np.empty(shape + envs.obs_shape, envs.obs_dtype)
        self.next_obs = np.empty_like(self.obs)
        self.act = np.empty(shape + envs.act_shape, envs.act_dtype)
        self.rew = np.empty(shape, np.float32)
        self.terminated, self.truncated = np.empty(shape, np.bool_), np.empty(shape, np.bool_)
        self.t = 0

    def store(
        self,
        obs: NDArray[Any],
        act: NDArray[Any],
        rew: NDArray[np.float64],
        next_obs: NDArray[Any],
        terminated: BoolArray,
        truncated: BoolArray,
    ) -> None:
        """Append one step of all environments.

        Args:
            obs: what was acted on (N, *obs_shape).
            act: (N,) int64, (N, k) int64 or (N, d) float32, as sampled, not clipped.
            rew: (N,).
            next_obs: what the step led to (N, *obs_shape).
            terminated: (N,) bool.
            truncated: (N,) bool.
        """
        t = self.t
        self.obs[t], self.act[t], self.rew[t], self.next_obs[t] = obs, act, rew, next_obs
        self.terminated[t], self.truncated[t] = terminated, truncated
        self.t += 1

    def rows(self, val: Tensor) -> FloatArray:
        """Values (B,) of the B samples as an array (T, N), without their gradient."""
        return val.numpy(force=True).reshape(self.rew.shape)

    def batch(self, x: Tensor, adv: FloatArray, val: Tensor, pi: Distribution) -> Batch:
        """The rollout as B samples: adv (T, N), and what `evaluate_rollout` returned."""
        arrays = self.act.reshape(len(x), *self.act.shape[2:]), adv.reshape(-1)
        act, flat_adv = (torch.from_numpy(a).to(x.device) for a in arrays)
        return Batch(x, act, flat_adv, flat_adv + val.detach(), val, pi)


def evaluate_rollout(ac: ActorCritic, buf: RolloutBuffer) -> tuple[Tensor, Tensor, FloatArray, Distribution]:
    """What the networks that collected a rollout make of it, before any of them is trained.

    All of it at once: one large batch costs a fraction of the many small ones that acting would need.

    Args:
        ac: the actor-critic, unchanged since it began the rollout.
        buf: the rollout, B = T·N samples.

    Returns:
        x, the features (B, F) float32; val, V(s_t) (B,) float32; next_val, V(s_{t+1}) (T, N) float32, through which no
        gradient flows; pi, the B distributions that the actions were drawn from.
    """
    x = ac.encode(buf.obs.reshape(-1, *buf.obs.shape[2:]))
    val = ac.v(x)
    next_val = ac.value(buf.next_obs.reshape(-1, *buf.obs.shape[2:]))
    assert val.shape == next_val.shape == (len(x),), f"v must return (B,), not {tuple(val.shape)}"
    return x, val, next_val.reshape(buf.rew.shape), ac.pi(x)


def standardize(adv: Tensor) -> Tensor:
    """Advantages (B,) minus their mean, divided by their standard deviation, both over the rollouts of all ranks."""
    everywhere = torch.as_tensor(mpi.gather(adv.cpu().numpy()), device=adv.device)
    return (adv - everywhere.mean()) / (everywhere.std(correction=0) + 1e-8)


def minibatches(batch: Batch, size: int) -> Sequence[Tensor]:
    """Indices of all B samples of this rank in a new random order, in parts of equal size.

    Args:
        batch: the rollout.
        size: samples of a minibatch at most, over all ranks; it need not divide them.

    Returns:
        As many index tensors (≤ size / ranks,) int64 on every rank.
    """
    samples = len(batch.act)
    parts = max(1, -(-samples * mpi.size // size))
    return torch.randperm(samples, device=batch.x.device).tensor_split(min(parts, samples))
