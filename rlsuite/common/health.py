"""The columns that algorithms have in common, put together once per epoch."""

import math
from array import array
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlsuite.common import mpi
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, discounted_returns, to_tensor
from rlsuite.common.diagnostics import (
    continuous_action_entropy,
    discrete_action_entropy,
    explained_variance,
    state_entropy,
    update_ratio,
)
from rlsuite.common.normalize import ObsEncoder
from rlsuite.common.q_networks import MuQNetwork, QNetwork


class Averages:
    """Means of numbers over the gradient steps of an epoch, weighted by the samples behind each."""

    def __init__(self, *names: str) -> None:
        """Nothing counted yet; the mean of each of `names` is NaN until something is."""
        self.sums = dict.fromkeys(names, math.nan)
        self.weights = dict.fromkeys(names, 0.0)
        self.maxima: dict[str, float] = {}
        self.arrays: dict[str, array[float]] = {}

    def add(self, weight: float = 1, **values: float) -> None:
        """Count each value with the weight."""
        for name, value in values.items():
            counted = self.weights.get(name, 0.0)
            self.sums[name] = (self.sums[name] if counted else 0.0) + weight * value
            self.weights[name] = counted + weight

    def add_max(self, **values: float) -> None:
        """Keep the largest of each value instead of the mean."""
        for name, value in values.items():
            self.maxima[name] = max(value, self.maxima.get(name, value))

    def means(self) -> dict[str, float]:
        """Every name with its mean or maximum, over all ranks."""
        sums, weights, maxima = zip(*mpi.gather_objects((self.sums, self.weights, self.maxima)), strict=True)
        means = {name: sum(s[name] for s in sums) / (sum(w[name] for w in weights) or 1.0) for name in self.sums}
        return means | {name: max(m[name] for m in maxima) for name in self.maxima}

    def keep(self, **tensors: Tensor) -> None:
        """Keep tensors (B,) of each gradient step whole, for what no mean can tell."""
        for name, tensor in tensors.items():
            # Copied to one place: a small tensor left between the large ones of each step would keep freed memory from
            # being used again, hundreds of kilobytes each time.
            self.arrays.setdefault(name, array("f")).frombytes(tensor.detach().cpu().float().numpy().tobytes())

    def kept(self, name: str) -> NDArray[np.float32]:
        """All values kept under a name, on all ranks, in one array."""
        return mpi.gather(np.array(self.arrays.get(name, ()), np.float32))


@torch.no_grad()
def exact_kl(ac: ActorCritic, batch: Batch) -> float:
    """Mean KL(π_old ‖ π) over the rollouts of all ranks, π_old the policy that collected them, π the one now, nats."""
    return mpi.mean(float(batch.pi.kl(ac.pi(batch.x)).mean()))


def common_health(
    buf: RolloutBuffer, encode: ObsEncoder, act_space: spaces.Space[Any], gamma: float
) -> dict[str, float]:
    """The columns that every algorithm shares, over all states of an epoch on all ranks.

    Args:
        buf: the epoch's data, with values at collection and, where nothing more was observed, bootstrap values.
        encode: the encoder, whose statistics standardise the observations.
        act_space: of the environment.
        gamma: discount γ.

    Returns:
        Column name to value; each is defined in README.md.
    """
    columns = buf.val, buf.entropy, buf.rew, buf.boot, buf.terminated, buf.truncated
    val, entropy, rew, boot, terminated, truncated = (mpi.gather(column[: buf.t], axis=1) for column in columns)
    ret = discounted_returns(rew, boot, terminated, truncated, gamma)
    obs = mpi.gather(buf.states())
    act = mpi.gather(buf.act[: buf.t].reshape(len(buf.states()), -1))
    if isinstance(act_space, spaces.Box):
        action_entropy = continuous_action_entropy(act, act_space.low.reshape(-1), act_space.high.reshape(-1))
    else:
        assert isinstance(act_space, spaces.Discrete)
        action_entropy = discrete_action_entropy(act, int(act_space.n))
    return {
        "Entropy": float(entropy.mean(dtype=np.float64)),
        "ActionEntropy": action_entropy,
        "ExplainedVariance": explained_variance(val, ret),
        "StateEntropy": (
            discrete_action_entropy(obs - encode.start, encode.features)
            if encode.discrete
            else state_entropy(encode.standardized(obs))
        ),
        "ValueMean": float(val.mean(dtype=np.float64)),
        "ValueStd": float(val.std(dtype=np.float64)),
        "ReturnMean": float(ret.mean(dtype=np.float64)),
        "ValueBias": float((val - ret).mean(dtype=np.float64)),
    }


@torch.no_grad()
def on_policy_health(before: ActorCritic, after: ActorCritic, buf: RolloutBuffer, gamma: float) -> dict[str, float]:
    """The columns that every on-policy algorithm shares, over all states of an epoch.

    Args:
        before: a copy of the actor-critic made before the epoch's first step.
        after: the actor-critic after the epoch's last gradient step.
        buf: the epoch's data.
        gamma: discount γ.

    Returns:
        Column name to value; each is defined in README.md.
    """
    x = to_tensor(buf.states(), next(after.parameters()).device)
    old, new = before.pi(before.encode(x)), after.pi(after.encode(x))
    health = {
        **common_health(buf, after.encode, after.act_space, gamma),
        "KL": mpi.mean(float(old.kl(new).cpu().double().mean())),
        "UpdateRatioPi": update_ratio(before.pi, after.pi),
        "UpdateRatioV": update_ratio(before.v, after.v),
        "AdvStd": float(mpi.gather(buf.adv[: buf.t]).std(dtype=np.float64)),
    }
    if hasattr(new, "log_std"):
        health["LogStd"] = float(old.log_std.mean())
    return health


def off_policy_health(
    ac: QNetwork | MuQNetwork, buf: RolloutBuffer, last_obs: NDArray[Any], gamma: float, stats: Averages
) -> dict[str, float]:
    """The columns that every off-policy algorithm shares.

    Args:
        ac: the networks after the epoch's last gradient step; they bootstrap the returns of unfinished episodes.
        buf: the epoch's new data, with Q(s, a) of the actions taken, at collection.
        last_obs: (N, *obs_shape), the observation after the epoch's last step.
        gamma: discount γ.
        stats: with "q" and "target" of all minibatches kept.

    Returns:
        Column name to value; each is defined in README.md. Those of minibatches are NaN if there was no gradient step.
    """
    ac.encode.warm_start(buf.states())  # an epoch without gradient steps has no statistics yet
    buf.bootstrap(ac.value, last_obs, next(ac.parameters()).device)
    q, target = stats.kept("q"), stats.kept("target")
    health = common_health(buf, ac.encode, ac.act_space, gamma)
    return {
        **health,
        "QVals": health["ValueMean"],
        "ExplainedVarianceTD": explained_variance(q, target) if len(q) else math.nan,
        "TDError": float(np.abs(target - q).mean(dtype=np.float64)) if len(q) else math.nan,
    }
