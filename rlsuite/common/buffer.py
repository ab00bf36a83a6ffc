"""Storage for the data of one epoch, and the two recursions over it: advantages and returns.

shape letters: T time steps, N environments, B = T·N samples; everything is time-major (T, N)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlsuite.common import mpi
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.checks import NonFiniteError
from rlsuite.common.distributions import Distribution
from rlsuite.common.normalize import RewardScaler

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

    Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation", eq. 16.
    """
    assert rew.ndim == 2, rew.shape
    assert rew.shape == val.shape == next_val.shape == terminated.shape == truncated.shape
    adv = rew + gamma * next_val * ~terminated - val
    decay = (gamma * lam * ~(terminated | truncated)).astype(np.float32)
    for t in range(len(rew) - 2, -1, -1):
        adv[t] += decay[t] * adv[t + 1]
    return adv


def discounted_returns(
    rew: FloatArray, boot: FloatArray, terminated: BoolArray, truncated: BoolArray, gamma: float
) -> FloatArray:
    """Observed returns-to-go, bootstrapped only where nothing more was observed.

        G_t = rew_t + γ · ( 0 if terminated_t,  boot_t if truncated_t or t is the last row,  else G_{t+1} )

    Args:
        rew: (T, N) float32.
        boot: V(s_{t+1}) (T, N) float32; read only at truncations and in the last row.
        terminated: (T, N) bool.
        truncated: (T, N) bool.
        gamma: discount γ.

    Returns:
        G (T, N) float32.
    """
    unseen = truncated.copy()
    unseen[-1] = True
    # λ = 1 sums all that was observed, and values of 0 take nothing from it.
    return gae(rew, np.zeros_like(rew), np.where(unseen, boot, np.float32(0)), terminated, truncated, gamma, 1.0)


class Batch(NamedTuple):
    """The samples of one rollout, flattened."""

    x: Tensor
    """features (B, F) float32"""
    act: Tensor
    """(B,) int64 or (B, d) float32"""
    adv: Tensor
    """(B,) float32, not standardised"""
    ret: Tensor
    """adv + val, the critic's target (B,) float32"""
    val: Tensor
    """V(s) before the update (B,) float32"""
    logp: Tensor
    """ln π(a|s) under the policy that acted (B,) float32, nats"""
    pi: Distribution
    """the distributions of the policy that acted"""


class RolloutBuffer:
    """One epoch of data of all environments: one or several rollouts.

    On-policy algorithms train on it. Off-policy algorithms train on a `ReplayBuffer`, and keep the epoch's new data
    here for its diagnostics.
    """

    def __init__(
        self,
        steps: int,
        num_envs: int,
        obs_space: spaces.Space[Any],
        act_space: spaces.Space[Any],
        reward_scaler: RewardScaler | None = None,
        with_graph: bool = False,
    ) -> None:
        """Room for an epoch of `steps` env steps, those of the `num_envs` environments of every rank together.

        `with_graph`: gradients can flow through `val`, `logp` and `pi` of a batch, for one step on each network.
        """
        shape = (steps // (num_envs * mpi.size), num_envs)
        self.obs = np.zeros(shape + (obs_space.shape or ()), storage_dtype(obs_space))
        discrete = isinstance(act_space, spaces.Discrete)
        self.act = np.zeros(
            shape if discrete else (*shape, int(np.prod(act_space.shape or ()))), storage_dtype(act_space)
        )
        self.rew, self.val, self.boot, self.entropy, self.adv = (np.zeros(shape, np.float32) for _ in range(5))
        self.terminated, self.truncated = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        self.reward_scaler, self.with_graph = reward_scaler, with_graph
        self.clear()

    def clear(self) -> None:
        """Start an epoch."""
        self.t = self.start = 0
        self.final: list[tuple[int, int, NDArray[Any]]] = []

    def states(self, rollout_len: int | None = None) -> NDArray[Any]:
        """The observations of the epoch so far (t·N, *obs_shape), or only those of the last `rollout_len` steps."""
        first = 0 if rollout_len is None else self.t - rollout_len
        return self.obs[first : self.t].reshape(-1, *self.obs.shape[2:])

    def store(
        self,
        obs: NDArray[Any],
        act: NDArray[Any],
        rew: NDArray[np.float64],
        next_obs: NDArray[Any],
        terminated: BoolArray,
        truncated: BoolArray,
        val: FloatArray | None = None,
        entropy: float = math.nan,
    ) -> None:
        """Append one step of all environments.

        Args:
            obs: what was acted on (N, *obs_shape).
            act: (N,) int64 or (N, d) float32; on-policy as sampled, not clipped.
            rew: (N,).
            next_obs: what the step led to (N, *obs_shape), also at the end of an episode.
            terminated: (N,) bool.
            truncated: (N,) bool.
            val: Q(s, a) (N,) float32 at collection; on-policy values are filled in by `finish_rollout`.
            entropy: of the behaviour policy, nats; likewise.
        """
        t = self.t
        self.obs[t], self.act[t], self.rew[t] = obs, act, rew
        self.terminated[t], self.truncated[t] = terminated, truncated
        if val is not None:
            self.val[t], self.entropy[t] = val, entropy
        if np.count_nonzero(truncated):  # faster than any(), here and wherever it is done at every step
            self.final += [(t, n, next_obs[n]) for n in map(int, np.flatnonzero(truncated))]
        self.t += 1

    def finish_rollout(self, ac: ActorCritic, last_obs: NDArray[Any], gamma: float, lam: float) -> Batch:
        """Evaluate what was stored since the last rollout by the policy and critic that collected it.

        Values and log-probabilities of the whole rollout are computed here at once: one large batch costs a fraction of
        many small ones while acting.

        Args:
            ac: the actor-critic, unchanged since it collected the data, but for the first statistics of its encoder.
            last_obs: (N, *obs_shape), the observation after the last step.
            gamma: discount γ.
            lam: λ of `gae`.

        Raises:
            NonFiniteError: an advantage is NaN or infinite.
        """
        rows = slice(self.start, self.t)
        obs, act = self.obs[rows], self.act[rows]
        shape = obs.shape[:2]
        if self.reward_scaler:
            self.rew[rows] = self.reward_scaler(self.rew[rows], self.terminated[rows] | self.truncated[rows])

        device = next(ac.parameters()).device
        final = [(t, n, o) for t, n, o in self.final if t >= self.start]
        ahead = np.concatenate([last_obs, [o for _, _, o in final]]) if final else last_obs
        with torch.set_grad_enabled(self.with_graph):
            x = ac.encode(to_tensor(obs.reshape(-1, *obs.shape[2:]), device))
            pi = ac.pi(x)
            flat_act = to_tensor(act.reshape(-1, *act.shape[2:]), device)
            logp = pi.log_prob(flat_act)
            values = ac.v(x)
            assert values.shape == (len(x),), f"v must return (B,), not {tuple(values.shape)}"
        with torch.no_grad():
            val = values.detach().cpu().numpy().reshape(shape)
            ahead_val = ac.v(ac.encode(to_tensor(ahead, device))).cpu().numpy()
            self.val[rows], self.entropy[rows] = val, pi.entropy().cpu().numpy().reshape(shape)
        self.boot[rows] = np.concatenate([val[1:], ahead_val[None, : shape[1]]])
        for (t, n, _), v in zip(final, ahead_val[shape[1] :], strict=True):
            self.boot[t, n] = v
        ends = self.terminated[rows], self.truncated[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            adv = self.adv[rows] = gae(self.rew[rows], val, self.boot[rows], *ends, gamma, lam)
        if not np.isfinite(adv).all():
            t, n = np.argwhere(~np.isfinite(adv))[0]
            raise NonFiniteError(
                f"the advantage of step {t + 1} of the rollout in environment {n} is {adv[t, n]}; the likely cause is "
                f"observations (here up to {np.abs(obs).max():g}) or rewards (up to {np.abs(self.rew[rows]).max():g}) "
                "that are far too large: scale them in the environment"
            )
        self.start = self.t
        flat_adv, flat_ret = (to_tensor(a.reshape(-1), device) for a in (adv, adv + val))
        return Batch(x, flat_act, flat_adv, flat_ret, values, logp, pi)

    def probe(self, device: torch.device, most: int = 2048) -> tuple[Tensor, Tensor]:
        """Observations (B, *obs_shape) and the actions taken there, of at most `most` evenly spaced samples of all."""
        act = self.act[: self.t].reshape(-1, *self.act.shape[2:])
        pick = np.linspace(0, len(act) - 1, min(len(act), most // mpi.size)).astype(np.int64)
        return to_tensor(mpi.gather(self.states()[pick]), device), to_tensor(mpi.gather(act[pick]), device)

    def bootstrap(self, value: Callable[[Tensor], Tensor], last_obs: NDArray[Any], device: torch.device) -> None:
        """Fill in the values of the states after which nothing more was observed.

        Args:
            value: observations (B, *obs_shape) -> V(s) (B,).
            last_obs: (N, *obs_shape), the observation after the last step.
            device: of the value function.
        """
        ahead = np.concatenate([last_obs, [o for _, _, o in self.final]]) if self.final else last_obs
        ahead_val = value(to_tensor(ahead, device)).cpu().numpy()
        self.boot[self.t - 1] = ahead_val[: len(last_obs)]
        for (t, n, _), v in zip(self.final, ahead_val[len(last_obs) :], strict=True):
            self.boot[t, n] = v


def standardize(adv: Tensor) -> Tensor:
    """Advantages (B,) minus their mean, divided by their standard deviation, both over the rollouts of all ranks."""
    everywhere = to_tensor(mpi.gather(adv.cpu().numpy()), adv.device)
    return (adv - everywhere.mean()) / (everywhere.std(correction=0) + 1e-8)


def minibatches(samples: int, size: int, device: torch.device) -> Sequence[Tensor]:
    """Indices of `samples` samples in a new random order, in parts of equal size, which need not divide them.

    Args:
        samples: B, on this rank.
        size: samples of a minibatch at most, over all ranks.
        device: of the indices.
    """
    return torch.randperm(samples, device=device).tensor_split(-(-samples * mpi.size // size))


def plan_epochs(total_steps: int, num_envs: int, steps_per_epoch: int, rollout_len: int) -> Iterator[list[int]]:
    """Split a budget into epochs of rollouts, so that it is met exactly: the last rollout and epoch may be shorter.

    Args:
        total_steps: env steps over all environments, a multiple of num_envs times the number of ranks.
        num_envs: environments that step together, on each rank.
        steps_per_epoch: env steps of a log row, over all environments.
        rollout_len: steps of each environment between two updates.

    Yields:
        For each epoch the lengths of its rollouts, in steps of each environment.
    """
    together = num_envs * mpi.size
    while total_steps > 0:
        left = min(steps_per_epoch, total_steps) // together
        total_steps -= left * together
        whole, rest = divmod(left, rollout_len)
        yield [rollout_len] * whole + ([rest] if rest else [])


def storage_dtype(space: spaces.Space[Any]) -> type[np.generic]:
    """What a space's samples are stored as: bytes stay bytes, other integers int64, floats float32."""
    if space.dtype == np.uint8:
        return np.uint8
    return np.int64 if np.issubdtype(space.dtype, np.integer) else np.float32


def to_tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    """The array on the device; on the CPU the tensor shares its memory."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.to(device)
