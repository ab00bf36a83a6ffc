"""The columns that say whether a run is healthy, put together once per epoch.

shape letters: T time steps, N environments, B samples
"""

import copy
import math
from array import array
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite import mpi
from rlsuite.common.activity import dead_units, input_health, pooled_moments
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import RolloutBuffer, gae
from rlsuite.common.diagnostics import (
    correlation,
    explained_variance,
    frequency_entropy,
    greedy_kl,
    histograms,
    noise_kl,
    state_entropy,
)
from rlsuite.common.distributions import Distribution, Gaussian
from rlsuite.common.q_networks import MuQNetwork, QNetwork
from rlsuite.common.replay import ReplayBuffer, Steps
from rlsuite.common.soft_actor_critic import SoftActorCritic

Array = NDArray[Any]
FloatArray = NDArray[np.float32]
MAX_STATES = 2048  # that off-policy columns are measured on, over all ranks
MAX_NEIGHBOURS = 512  # states that StateEntropy and DeadUnits look at, likewise


class Averages:
    """Means of numbers over the gradient steps of an epoch, weighted by the samples behind each."""

    def __init__(self, *names: str) -> None:
        """Nothing counted yet; the mean of each of `names` is NaN until something is."""
        self.sums = dict.fromkeys(names, math.nan)
        self.weights = dict.fromkeys(names, 0.0)
        self.maxima: dict[str, float] = {}
        self.arrays: dict[str, array[float]] = {}

    def add(self, weight: float = 1, **values: float | Tensor) -> None:
        """Count each number, or tensor (), with the weight."""
        for name, value in values.items():
            counted = self.weights.get(name, 0.0)
            self.sums[name] = (self.sums[name] if counted else 0.0) + weight * _number(value)
            self.weights[name] = counted + weight

    def add_max(self, **values: float | Tensor) -> None:
        """Keep the largest of each number, or tensor (), instead of the mean."""
        for name, value in values.items():
            self.maxima[name] = max(_number(value), self.maxima.get(name, -math.inf))

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
            self.arrays.setdefault(name, array("f")).frombytes(tensor.float().numpy(force=True).tobytes())

    def kept(self, name: str) -> FloatArray:
        """All values kept under a name, on all ranks, in one array."""
        return mpi.gather(np.array(self.arrays.get(name, ()), np.float32))


def _number(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else value


class StateScale:
    """Mean and standard deviation of the observations of a run's first epoch, by which StateEntropy measures them all.

    Statistics that moved with the data would hide what the column is to show: an agent that sees more of the world.
    """

    def __init__(self) -> None:
        """Not measured yet."""
        self.mean = self.std = np.zeros(0)

    def measure(self, obs: Array) -> None:
        """Take the statistics of this rank's observations (K, *obs_shape), and those of the others."""
        self.mean, var = pooled_moments([obs.reshape(len(obs), -1).astype(np.float64)])
        self.std = np.sqrt(var)

    def __call__(self, obs: Array) -> NDArray[np.float64]:
        """Observations (K, *obs_shape), standardised (K, d); a component that never varied stays as it is."""
        x = obs.reshape(len(obs), -1).astype(np.float64)
        return (x - self.mean) / np.where(self.std > 1e-8, self.std, 1.0)

    def state_dict(self) -> dict[str, Array]:
        """The statistics (d,) float64, empty before the first epoch has ended."""
        return {"mean": self.mean, "std": self.std}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Raises ValueError for statistics that do not fit each other."""
        if state["mean"].shape != state["std"].shape or state["mean"].ndim != 1:
            raise ValueError(f"state scale of shapes {state['mean'].shape} and {state['std'].shape}")
        self.mean, self.std = state["mean"], state["std"]


class Epoch:
    """What happens between two rows of the log."""

    def __init__(
        self, number: int, rollouts: list[int], ac: nn.Module, state_scale: StateScale, losses: tuple[str, ...] = ()
    ) -> None:
        """Begin it.

        Args:
            number: from 1.
            rollouts: how many steps each of its rollouts takes in each environment.
            ac: the networks, of which a copy is kept: `before`, those of the epoch's first step.
            state_scale: of the run.
            losses: columns that are NaN until there is a gradient step.
        """
        self.number, self.rollouts, self.state_scale = number, rollouts, state_scale
        self.before: Any = copy.deepcopy(ac)
        self.stats = Averages(*losses)
        self.steps = range(sum(rollouts))
        self._kept: dict[str, list[Array]] = {}
        self._pis: list[Distribution] = []
        self._vals: list[FloatArray] = []
        self._bonuses: list[FloatArray] = []
        self._entropies: list[float] = []

    def keep(self, buf: RolloutBuffer, val: Tensor, next_val: FloatArray, adv: FloatArray, pi: Distribution) -> None:
        """Keep a rollout and what was made of it, see `evaluate_rollout`, for the columns of this epoch."""
        self._pis.append(type(pi)(*(part.detach() for part in pi)))
        self._append(buf, val=buf.rows(val), bonus=np.zeros_like(adv), next_val=next_val, adv=adv)

    def keep_rollout(self, buf: RolloutBuffer, entropy: float) -> None:
        """Keep a rollout of an algorithm without a critic, and the entropy of what acted in it, nats."""
        self._entropies += [entropy] * len(buf.rew)
        self._append(buf)

    def note(self, val: FloatArray, entropy: float, bonus: FloatArray | float = 0.0) -> None:
        """Keep what one off-policy step knows.

        Args:
            val: Q(s, a) (N,) at collection.
            entropy: the behaviour policy's, nats.
            bonus: -α ln π(a|s) (N,), what the policy's randomness earns in this step beside the reward, if anything.
        """
        self._vals.append(val)
        self._bonuses.append(np.full(val.shape, bonus, np.float32))
        self._entropies.append(entropy)

    def keep_steps(self, steps: Steps, next_val: FloatArray) -> None:
        """Keep what a replay buffer still holds of this epoch; of older steps only the entropy stays."""
        val, bonus = (np.stack(noted[-len(steps.rew) :]) for noted in (self._vals, self._bonuses))
        self._append(steps, val=val, bonus=bonus, next_val=next_val)

    def entropy(self) -> float:
        """Mean entropy of the behaviour policy over the epoch's steps, of this rank, nats."""
        if self._pis:
            joined = type(self._pis[0])(*(torch.cat(parts) for parts in zip(*self._pis, strict=True)))
            return float(joined.entropy().double().mean())
        return float(np.mean(self._entropies))

    def _append(self, steps: RolloutBuffer | Steps, **more: Array) -> None:
        for name in ("obs", "act", "rew", "terminated", "truncated"):
            more[name] = getattr(steps, name)
        for name, values in more.items():
            self._kept.setdefault(name, []).append(values)

    def column(self, name: str) -> Array:
        """All that was kept under a name, (T, N, ...), on this rank."""
        return np.concatenate(self._kept[name])

    @property
    def obs(self) -> Array:
        """The states that were acted on (T·N, *obs_shape), on this rank."""
        obs = self.column("obs")
        return obs.reshape(-1, *obs.shape[2:])


def spread(values: Array, most: int) -> Array:
    """At most `most` rows of this rank's values (K, ...), evenly spaced over all."""
    return values[np.linspace(0, len(values) - 1, min(len(values), most)).astype(np.int64)]


def discounted_returns(
    rew: FloatArray,
    next_val: FloatArray,
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_],
    gamma: float,
) -> FloatArray:
    """Observed returns-to-go, bootstrapped only where nothing more was observed.

        G_t = rew_t + γ · ( 0 if terminated_t,  next_val_t if truncated_t or t is the last row,  else G_{t+1} )

    Args:
        rew: (T, N) float32.
        next_val: V(s_{t+1}) (T, N) float32; read only at truncations and in the last row.
        terminated: (T, N) bool.
        truncated: (T, N) bool.
        gamma: discount γ.

    Returns:
        G (T, N) float32.
    """
    unseen = truncated.copy()
    unseen[-1] = True
    # λ = 1 sums all that was observed, and values of 0 take nothing from it.
    return gae(rew, np.zeros_like(rew), np.where(unseen, next_val, np.float32(0)), terminated, truncated, gamma, 1.0)


@torch.no_grad()
def exact_kl(pi_old: Distribution, pi: nn.Module, x: Tensor) -> float:
    """Mean KL(pi_old ‖ pi(x)) over the B states with features x (B, F), and over those of the other ranks, nats."""
    return mpi.mean(float(pi_old.kl(pi(x)).double().mean()))


def common_health(epoch: Epoch, obs_space: spaces.Space[Any], act_space: spaces.Space[Any]) -> dict[str, float]:
    """The columns that every algorithm shares, over all states of an epoch on all ranks.

    Args:
        epoch: with all its steps kept.
        obs_space: of the environment.
        act_space: of the environment.

    Returns:
        Column name to value.
    """
    entropy, counts = mpi.mean(epoch.entropy()), _action_counts(epoch.column("act"), act_space)
    return {
        "Entropy": entropy,
        "EntropyShare": entropy / (_max_entropy(act_space) or math.nan),
        "ActionEntropy": sum(map(frequency_entropy, counts)),
        "ActionShareMax": max(float(part.max() / part.sum()) for part in counts),
        "StateEntropy": _state_entropy(epoch, obs_space),
        **input_health(epoch.before.encode, epoch.obs),
    }


def observed_returns(epoch: Epoch, gamma: float) -> FloatArray:
    """Discounted returns-to-go of all steps of an epoch (T, N), over the environments of all ranks."""
    names = ("bonus", "rew", "next_val", "terminated", "truncated")
    bonus, rew, next_val, terminated, truncated = (mpi.gather(epoch.column(name), axis=1) for name in names)
    # Q(s, a) holds the bonuses of all later steps. That of its own belongs to V(s) = E[ Q(s, a) - α ln π(a|s) ].
    ret: FloatArray = discounted_returns(rew + bonus, next_val, terminated, truncated, gamma) - bonus
    return ret


def value_health(val: FloatArray, ret: FloatArray) -> dict[str, float]:
    """The columns of every algorithm that predicts returns, over all states of an epoch on all ranks.

    Args:
        val: predictions (T, N) float32, at collection.
        ret: observed returns-to-go (T, N) float32 of the same steps.

    Returns:
        Column name to value.
    """
    return {
        "ExplainedVariance": explained_variance(val, ret),
        "ValueMean": float(val.mean(dtype=np.float64)),
        "ValueStd": float(val.std(dtype=np.float64)),
        "ReturnMean": float(ret.mean(dtype=np.float64)),
        "ValueBias": float((val - ret).mean(dtype=np.float64)),
    }


def _max_entropy(space: spaces.Space[Any]) -> float:
    """Of a distribution over the actions, nats; NaN for continuous ones, whose differential entropy has no maximum."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return float(np.log(getattr(space, "nvec", getattr(space, "n", 0))).sum())
    return math.nan


def _action_counts(act: Array, space: spaces.Space[Any]) -> NDArray[np.int64]:
    """How often each action was taken, of the actions (T, N) or (T, N, k or d) of all ranks: (1, k or d; n or bins)."""
    if isinstance(space, spaces.Discrete):
        counts = np.bincount(act.ravel(), minlength=int(space.n))[None]
    elif isinstance(space, spaces.MultiDiscrete):
        components, n = act.reshape(-1, act.shape[-1]).T, int(space.nvec.max())
        counts = np.stack([np.bincount(component, minlength=n) for component in components])
    else:
        assert isinstance(space, spaces.Box)
        act = act.reshape(-1, act.shape[-1])
        ranges = mpi.gather(np.stack([act.min(0), act.max(0)])[None])  # for want of bounds, those of the actions
        low, high = space.low.reshape(-1), space.high.reshape(-1)
        low = np.where(np.isfinite(low), low, ranges[:, 0].min(0))
        high = np.where(np.isfinite(high), high, ranges[:, 1].max(0))
        counts = histograms(act, low, high)
    pooled: NDArray[np.int64] = mpi.gather(counts[None]).sum(0)
    return pooled


def _state_entropy(epoch: Epoch, space: spaces.Space[Any]) -> float:
    """Of the states of all ranks, nats; of Discrete ones that of their frequencies."""
    if isinstance(space, spaces.Discrete):
        counts = np.bincount(epoch.obs - int(space.start), minlength=int(space.n))
        return frequency_entropy(mpi.gather(counts[None]).sum(0))
    if not len(epoch.state_scale.std):
        epoch.state_scale.measure(epoch.obs)
    return state_entropy(epoch.state_scale(mpi.gather(spread(epoch.obs, mpi.share(MAX_NEIGHBOURS)))))


@torch.no_grad()
def on_policy_health(epoch: Epoch, ac: ActorCritic, gamma: float) -> dict[str, float]:
    """The columns that every on-policy algorithm shares, over all states of an epoch.

    Args:
        epoch: with all its rollouts kept.
        ac: the actor-critic after the epoch's last gradient step.
        gamma: discount γ.

    Returns:
        Column name to value.
    """
    x = ac.encode(epoch.obs)
    pi_old, pi = epoch.before.pi(epoch.before.encode(epoch.obs)), ac.pi(x)
    adv, val = (mpi.gather(epoch.column(name), axis=1) for name in ("adv", "val"))
    ret = observed_returns(epoch, gamma)
    act = epoch.column("act")
    taken = torch.as_tensor(act.reshape(-1, *act.shape[2:]), device=x.device)
    moved = (pi.log_prob(taken) - pi_old.log_prob(taken)).numpy(force=True).reshape(act.shape[:2])
    val_after = ac.v(x).numpy(force=True).reshape(act.shape[:2])
    probed = ac.encode(spread(epoch.obs, mpi.share(MAX_NEIGHBOURS)))
    health = {
        **common_health(epoch, ac.obs_space, ac.act_space),
        **value_health(val, ret),
        "KL": mpi.mean(float(pi_old.kl(pi).double().mean())),
        "ExplainedVarianceAfter": explained_variance(mpi.gather(val_after, axis=1), ret),
        "AdvReturnCorr": correlation(adv, ret - val),
        "AdvLogpCorr": correlation(adv, mpi.gather(moved, axis=1)),
        "AdvMean": float(adv.mean(dtype=np.float64)),
        "AdvStd": float(adv.std(dtype=np.float64)),
        "TargetMin": float((adv + val).min()),
        "TargetMax": float((adv + val).max()),
        "DeadUnits": dead_units((ac.pi, probed), (ac.v, probed)),
    }
    if isinstance(pi_old, Gaussian):
        health["LogStd"] = float(pi_old.log_std.mean())
    return health


def off_policy_health(
    epoch: Epoch, ac: QNetwork | MuQNetwork | SoftActorCritic, buf: ReplayBuffer, gamma: float
) -> dict[str, float]:
    """The columns that every off-policy algorithm shares.

    Args:
        epoch: with Q(s, a) and the entropy noted at each step, and "q" and "target" of all minibatches kept in `stats`.
        ac: the networks after the epoch's last gradient step; they bootstrap the returns of unfinished episodes.
        buf: the replay buffer, from which the epoch's steps are read back, as far as it still holds them.
        gamma: discount γ.

    Returns:
        Column name to value. Those of minibatches are NaN if there was no gradient step.
    """
    steps = buf.newest(len(epoch.steps))
    next_val = ac.value(steps.next_obs.reshape(-1, *steps.next_obs.shape[2:])).reshape(steps.rew.shape)
    epoch.keep_steps(steps, next_val)
    health = value_health(mpi.gather(epoch.column("val"), axis=1), observed_returns(epoch, gamma))
    return {
        **common_health(epoch, ac.obs_space, ac.act_space),
        **health,
        "QVals": health["ValueMean"],
        **_target_health(epoch.stats.kept("q"), epoch.stats.kept("target")),
        "DeadUnits": _dead_units(epoch, ac),
    }


def _target_health(q: FloatArray, target: FloatArray) -> dict[str, float]:
    """Of Q(s, a) and the targets (B,) of all minibatches; NaN of none."""
    if not len(q):
        return dict.fromkeys(("ExplainedVarianceTD", "TDError", "TargetMin", "TargetMax"), math.nan)
    return {
        "ExplainedVarianceTD": explained_variance(q, target),
        "TDError": float(np.abs(target - q).mean(dtype=np.float64)),
        "TargetMin": float(target.min()),
        "TargetMax": float(target.max()),
    }


def _dead_units(epoch: Epoch, ac: Any) -> float:
    x = ac.encode(spread(epoch.obs, mpi.share(MAX_NEIGHBOURS)))
    if isinstance(ac.act_space, spaces.Discrete):
        return dead_units((ac.q, x))
    act = epoch.column("act")
    taken = torch.as_tensor(spread(act.reshape(-1, act.shape[-1]), mpi.share(MAX_NEIGHBOURS)), device=x.device)
    return dead_units((ac.pi, x), (ac.q, x, taken))


def actor_gain(q: Tensor, q_before: Tensor, q_taken: Tensor) -> float:
    """How much an epoch has raised the critic's value of what the policy does.

        ( E[ Q(s, a_after) ] - E[ Q(s, a_before) ] ) / std Q(s, a)

    Args:
        q: of the policy's most probable actions now, by the critic now (B,), or (2, B) of two critics.
        q_before: of those at the epoch's first step, by the same critic.
        q_taken: of the actions taken, likewise; its deviation is the unit.

    Returns:
        The gain, over the states of all ranks; NaN where Q hardly varies.
    """
    values = mpi.gather(q_taken.numpy(force=True).reshape(-1))
    spread_of_q = float(values.std(dtype=np.float64))
    gain = mpi.mean(float((q - q_before).double().mean()))
    return gain / spread_of_q if spread_of_q > 1e-8 else math.nan


def greedy_health(epoch: Epoch, q_net: QNetwork, epsilon: float) -> dict[str, float]:
    """How far an epoch has moved an ε-greedy policy, on up to 2,048 of its states.

    Args:
        epoch: with its steps kept.
        q_net: the network now.
        epsilon: ε at the end of the epoch.

    Returns:
        `KL` (nats) and `GreedyFlips`, the share of states whose greedy action has changed.
    """
    obs = spread(epoch.obs, mpi.share(MAX_STATES))
    act = q_net.mode(obs)
    flips = mpi.mean(float((act != epoch.before.mode(obs)).mean()))
    assert isinstance(q_net.act_space, spaces.Discrete)
    return {"KL": greedy_kl(flips, epsilon, int(q_net.act_space.n)), "GreedyFlips": flips}


@torch.no_grad()
def noise_health(epoch: Epoch, ac: MuQNetwork, target: MuQNetwork, act_noise: float) -> dict[str, float]:
    """How far an epoch has moved a deterministic policy with exploration noise, on up to 2,048 of its states.

    Args:
        epoch: with its steps kept.
        ac: the networks now.
        target: the target networks now.
        act_noise: σ of the noise at the end of the epoch, in half widths of the bounds; floored at 0.01.

    Returns:
        `KL` (nats), `ActorGain`, `ActionSaturation`, the share of |μ| beyond 0.99 of its bound, and `TargetGap`, mean
        |Q - Q_target| of the actions taken.
    """
    act = epoch.column("act")
    obs, act = (spread(a, mpi.share(MAX_STATES)) for a in (epoch.obs, act.reshape(-1, act.shape[-1])))
    x = ac.encode(obs)
    taken = torch.as_tensor(act, device=x.device)
    mu, mid, width = ac.pi(x), ac.pi.mid, ac.pi.width
    mu_before = epoch.before.pi(epoch.before.encode(obs))
    q = ac.q(x, taken)
    gap = (q - target.q(x, taken)).abs().mean()  # both are trained on x; target.encode stands still
    return {
        "ActorGain": actor_gain(ac.q(x, mu), ac.q(x, mu_before), q),
        "KL": mpi.mean(float(noise_kl(mu_before, mu, max(act_noise, 0.01) * width).mean())),
        "ActionSaturation": mpi.mean(float(((mu - mid).abs() > 0.99 * width).float().mean())),
        "TargetGap": mpi.mean(float(gap)),
    }


@torch.no_grad()
def squashed_health(epoch: Epoch, ac: SoftActorCritic, target: nn.Module) -> dict[str, float]:
    """How far an epoch has moved a squashed Gaussian policy, on up to 2,048 of its states.

    Args:
        epoch: with its steps kept.
        ac: the networks now.
        target: the target critics now.

    Returns:
        `KL` (nats, exact), `ActorGain`, `LogStd`, the mean ln σ before the squashing, `ActionSaturation`, the share of
        |tanh(μ)| beyond 0.99, and `TargetGap`, mean |Q - Q_target| of the actions taken.
    """
    act = epoch.column("act")
    obs, act = (spread(a, mpi.share(MAX_STATES)) for a in (epoch.obs, act.reshape(-1, act.shape[-1])))
    x = ac.encode(obs)
    taken = torch.as_tensor(act, device=x.device)
    pi, pi_old = ac.pi(x), epoch.before.pi(epoch.before.encode(obs))
    q, q_now, q_before = (
        ac.q(x, a) for a in (taken, pi.mid + pi.width * pi.mu.tanh(), pi_old.mid + pi_old.width * pi_old.mu.tanh())
    )
    return {
        "KL": exact_kl(pi_old, ac.pi, x),
        "ActorGain": actor_gain(q_now, q_before, q),
        "LogStd": mpi.mean(float(pi.log_std.mean())),
        "ActionSaturation": mpi.mean(float((pi.mu.tanh().abs() > 0.99).float().mean())),
        "TargetGap": mpi.mean(float((q - target(x, taken)).abs().mean())),
    }


@torch.no_grad()
def target_gap(q_net: QNetwork, target: QNetwork, buf: ReplayBuffer) -> float:
    """How far the target network has fallen behind: mean |Q - Q_target| over the actions and the newest 64 states."""
    obs = buf.newest(-(-64 // buf.num_envs)).obs
    x = q_net.encode(obs.reshape(-1, *obs.shape[2:]))  # both are trained on these features; target.encode stands still
    return float((q_net.q(x) - target.q(x)).abs().mean())
