"""The columns that algorithms have in common, put together once per epoch."""

import numpy as np
import torch
from gymnasium import spaces

from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, discounted_returns, to_tensor
from rlsuite.common.diagnostics import (
    continuous_action_entropy,
    discrete_action_entropy,
    explained_variance,
    state_entropy,
    update_ratio,
)


class Averages:
    """Means of numbers over the gradient steps of an epoch, weighted by the samples behind each."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self.sums: dict[str, float] = {}
        self.weights: dict[str, float] = {}

    def add(self, weight: float = 1, **values: float) -> None:
        """Count each value with the weight."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + weight * value
            self.weights[name] = self.weights.get(name, 0.0) + weight

    def add_max(self, **values: float) -> None:
        """Keep the largest of each value instead of the mean."""
        for name, value in values.items():
            self.sums[name], self.weights[name] = max(value, self.sums.get(name, value)), 1.0

    def means(self) -> dict[str, float]:
        """Every name with its mean."""
        return {name: self.sums[name] / self.weights[name] for name in self.sums}


@torch.no_grad()
def exact_kl(ac: ActorCritic, batch: Batch) -> float:
    """Mean KL(π_old ‖ π) over a rollout, π_old the policy that collected it and π the present one, nats."""
    return float(batch.pi.kl(ac.pi(batch.x)).mean())


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
    rows = slice(0, buf.t)
    val = buf.val[rows]
    ret = discounted_returns(buf.rew[rows], buf.boot[rows], buf.terminated[rows], buf.truncated[rows], gamma)
    obs = buf.states()
    x = to_tensor(obs, next(after.parameters()).device)
    old, new = before.pi(before.encode(x)), after.pi(after.encode(x))
    act = buf.act[rows].reshape(len(obs), -1)
    act_space, obs_space = after.act_space, after.obs_space
    if isinstance(act_space, spaces.Box):
        action_entropy = continuous_action_entropy(act, act_space.low.reshape(-1), act_space.high.reshape(-1))
    else:
        assert isinstance(act_space, spaces.Discrete)
        action_entropy = discrete_action_entropy(act, int(act_space.n))
    health = {
        "Entropy": float(buf.entropy[rows].mean(dtype=np.float64)),
        "ActionEntropy": action_entropy,
        "KL": float(old.kl(new).cpu().double().mean()),
        "ExplainedVariance": explained_variance(val, ret),
        "StateEntropy": (
            discrete_action_entropy(obs - obs_space.start, int(obs_space.n))
            if isinstance(obs_space, spaces.Discrete)
            else state_entropy(after.encode.standardized(obs))
        ),
        "UpdateRatioPi": update_ratio(before.pi, after.pi),
        "UpdateRatioV": update_ratio(before.v, after.v),
        "ValueMean": float(val.mean(dtype=np.float64)),
        "ValueStd": float(val.std(dtype=np.float64)),
        "ReturnMean": float(ret.mean(dtype=np.float64)),
        "ValueBias": float((val - ret).mean(dtype=np.float64)),
        "AdvStd": float(buf.adv[rows].std(dtype=np.float64)),
    }
    if hasattr(new, "log_std"):
        health["LogStd"] = float(old.log_std.mean())
    return health
