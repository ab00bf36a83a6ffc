"""The cross-entropy method (CEM), with decreasing noise.

The idea. A policy is a vector of numbers, so search for it as for any other vector. Draw many vectors from a Gaussian,
let each play whole episodes, and keep the best few, the elite; the next Gaussian is the one that fits them. There is no
gradient, no critic and no discount: only the return of whole episodes counts, and that makes CEM hard to beat where a
small policy will do, and hopeless for a large one.

On-policy, but without a gradient: each candidate is a deterministic policy, and all exploration lies in the draw.
Actions: Discrete, or Box. Observations: Discrete or Box. The episodes have to end.

Key equations, in the names of the code (a generation t, from 0, of `population` candidates, P parameters each):

    theta_i ~ N(mean, std²),    i = 1 ... population, every parameter by itself
    ret_i   = mean undiscounted return of the episodes that policy theta_i has played
    elite   = the E = elite_share population candidates with the largest ret_i
    mean    ← 1/E Σ_elite theta_i
    std²    ← 1/E Σ_elite (theta_i - mean)² + Z_t
    Z_t     = max( 0, noise_init - noise_fall t )
    act     = argmax of the outputs for Discrete;  mid + width outputs for Box, clipped to the bounds

Why the best and not the average. mean and std are the maximum-likelihood fit to the elite. So each generation minimises
the cross-entropy between the Gaussian and "uniform among the best E": hence the name.

Why noise. The variance of the elite is smaller than that of all, whether or not the best candidate is near. With few
candidates it is gone before the mean has arrived, and nothing brings it back. Z_t keeps the search open, and is 0 at
the end, when the mean has only to be polished.

Pseudocode:

    repeat until total_steps:
        draw population candidates from N(mean, std²)
        until each has played episodes_per_candidate episodes:
            each environment plays the candidate that it has, and takes the next one when that has finished
        mean, std of the elite; add the noise to std²

Differs from VPG (vpg.py): noise on the parameters, once for whole episodes, instead of noise on each action; ranks
instead of returns, so that the scale of rewards does not matter; no value function. It learns once per generation
rather than once per rollout.

Deviations from the paper: any small network instead of 22 linear features. `mean` starts from the network's own first
weights. std does not fall below 1e-6, so that its logarithm, and with it the entropy, stays finite.

An environment that finds no candidate left plays its last one again until all have finished, and those steps are part
of the budget, though no return counts them. The next generation begins with new episodes everywhere. So a generation
wastes, in each environment, up to the episodes of one candidate and rollout_len steps: with many environments take a
large population. Ranks of MPI draw and play a part of the population each; they exchange vectors and returns once per
generation.

What to look at. EliteRet far above AverageTestEpRet: the elite were lucky, not good; raise episodes_per_candidate.
ParamStd near 0 while the return is still bad: it has settled too early; raise noise_init, population or elite_share.
ParamStd that does not fall: noise_init is too large for what differs between good policies. Entropy and KL are those of
the Gaussian over parameters, not of actions, and *per parameter*. On CartPole, with its preset, Entropy falls from 1.5
to 1.2 while the test return rises to 500: the search narrows as slowly as the noise lets it. KL is 0 in an epoch in
which no generation ended, and EliteRet NaN. The columns of gradients, hidden units, values and targets, and
EntropyShare, are always NaN: there is neither a gradient nor a critic. The training episodes are those of all
candidates, bad ones too. Judge by AverageTestEpRet: it is the policy of the mean, which is also the one that is saved.

References:
    Szita, Lőrincz 2006, "Learning Tetris Using the Noisy Cross-Entropy Method": the update, and the decreasing noise.
    de Boer, Kroese, Mannor, Rubinstein 2005, "A Tutorial on the Cross-Entropy Method": why it is a cross-entropy.
    Mannor, Rubinstein, Gat 2003, "The Cross Entropy Method for Fast Policy Search".

Run:      python -m rlsuite.run cem --env CartPole-v1
Expect:   with its preset (rlsuite/presets.py) a return of 500, the maximum, within 50,000 steps.
Exercise: set noise_init = 0 and elite_share = 0.02. What does ParamStd do, and where does AverageTestEpRet stop?
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite import mpi, settings
from rlsuite.common.actor_critic import MLP, mid_and_width
from rlsuite.common.buffer import RolloutBuffer
from rlsuite.common.device import set_up_torch
from rlsuite.common.distributions import Gaussian
from rlsuite.common.health import Averages, common_health
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import ObsEncoder
from rlsuite.common.optim import flatten
from rlsuite.common.seeding import seed_everything
from rlsuite.common.training import Training
from rlsuite.envs.evaluation import test_episodes
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs

Array = NDArray[Any]
FloatArray = NDArray[np.float32]
MIN_STD = 1e-6  # of an elite of one, without noise, it would be 0
NO_GRADIENT = ("LossPi", "GradNormPi", "ClippedGradPi", "EntropyShare", "DeadUnits")
NO_CRITIC = ("ValueMean", "ValueStd", "ValueBias", "ReturnMean", "ExplainedVariance", "TargetMin", "TargetMax")


@dataclass(frozen=True)
class Config:
    """Settings of CEM. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: settings.JsonObject = "{}"  # JSON object of arguments for the environment
    frame_skip: settings.Count = 1  # how often each action is repeated; rewards add up, and steps are counted after it
    seed: settings.Seed = 0  # seeds networks, candidates, environments and sampling
    total_steps: settings.Steps = 200_000  # budget in env steps; rounded up to whole steps of all environments
    num_envs: settings.Environments = 4  # environments that step together, in each process; each plays a candidate
    steps_per_epoch: settings.Steps = 5000  # env steps per row of the log; rounded up to whole rollouts
    rollout_len: settings.Count = 20  # steps of each environment between two checks for the end of a generation
    population: settings.Shared = 40  # candidates of a generation
    elite_share: settings.Unit = 0.2  # share of the candidates that the next Gaussian is fitted to; at least one
    episodes_per_candidate: settings.Count = 1  # more: less luck, fewer generations
    std_init: settings.Positive = 1.0  # standard deviation of every parameter in the first generation
    noise_init: settings.Coefficient = 0.0  # variance that is added after the first generation
    noise_fall: settings.Coefficient = 0.0  # by how much less it is with each generation, down to 0
    hidden_sizes: settings.Widths = ()  # widths of the hidden layers of the policy; none: a linear one
    activation: Literal["tanh", "relu"] = "tanh"  # after each hidden layer
    normalize_obs: bool = False  # standardise observations by the mean and variance of all so far
    num_test_episodes: settings.CountOrZero = 5  # episodes of the mean after each epoch, in an environment of their own
    device: str = "cpu"  # cpu, cuda, mps, or auto
    torch_threads: settings.Threads = 0  # threads of torch; 0: one, since there is no gradient

    def __post_init__(self) -> None:
        settings.check(self)


class DirectPolicy(MLP):
    """Features (B, F) -> actions: argmax of the outputs (B,) int64, or mid + width · outputs (B, d) float32.

    mid and width are the centre and half width of each dimension's bounds (0 and 1 where a bound is infinite).
    """

    mid: Tensor
    width: Tensor

    def __init__(
        self, features: int, act_space: spaces.Space[Any], hidden_sizes: Sequence[int], activation: str
    ) -> None:
        """The small last layer makes the first mean a policy that prefers no action by much."""
        if isinstance(act_space, spaces.Discrete):
            super().__init__([features, *hidden_sizes, int(act_space.n)], activation, out_gain=0.01)
        else:
            mid, width = mid_and_width(act_space)
            super().__init__([features, *hidden_sizes, len(mid)], activation, out_gain=0.01)
            self.register_buffer("mid", mid)
            self.register_buffer("width", width)
        self.discrete = isinstance(act_space, spaces.Discrete)

    def forward(self, x: Tensor) -> Tensor:
        """The actions at features x (B, F)."""
        out = self.outputs(x)
        return out.argmax(-1) if self.discrete else self.mid + self.width * out


class PolicyNetwork(nn.Module):
    """A deterministic policy behind an encoder, without a critic.

    `encode` turns observations (B, *obs_shape) into features (B, F), `pi` features into actions. `mode` goes from
    arrays to arrays through these same modules. To use another network, pass a class with the same constructor and
    members as `train(..., actor_critic=YourClass)`. The parameters of `pi` are what is searched for.
    """

    def __init__(self, obs_space: spaces.Space[Any], act_space: spaces.Space[Any], config: Any) -> None:
        """Make the network.

        Args:
            obs_space: of the environment.
            act_space: of the environment.
            config: settings, of which `hidden_sizes`, `activation` and `normalize_obs` are read.

        Raises:
            UserError: an observation or action space that is neither Box nor Discrete.
        """
        super().__init__()
        self.obs_space, self.act_space = obs_space, act_space
        self.encode = ObsEncoder(obs_space, config.normalize_obs)
        self.pi = DirectPolicy(self.encode.features, act_space, config.hidden_sizes, config.activation)

    @torch.inference_mode()
    def mode(self, obs: Array) -> Array:
        """Actions (B,) int64 or (B, d) float32 for observations (B, *obs_shape)."""
        act: Tensor = self.pi(self.encode(obs))
        return act.cpu().numpy()


class Generation:
    """The candidates of this rank, who plays which of them, and what they have returned."""

    STATE = ("theta", "playing", "total", "turn", "left", "taken", "number", "over")

    def __init__(self, pi: nn.Module, num_envs: int, candidates: int, episodes: int) -> None:
        """Nothing drawn yet.

        Args:
            pi: the policy, of which each environment gets a copy for its candidate.
            num_envs: N.
            candidates: K, of this rank.
            episodes: that each of them plays.
        """
        self.players = [copy.deepcopy(pi) for _ in range(num_envs)]
        self.flats = [flatten(player) for player in self.players]
        self.candidates, self.episodes = candidates, episodes
        self.theta = np.zeros((candidates, len(self.flats[0])), np.float32)
        self.total = np.zeros(candidates + 1)  # sum of rewards of each candidate, and of those that play for nobody
        self.turn = np.full(num_envs, candidates)  # the candidate that each environment plays; K: none
        self.left = np.zeros(num_envs, np.int64)  # episodes that it still has to play
        self.taken = 0  # candidates
        self.number = 0  # generations drawn
        self.over = True  # on all ranks

    def draw(self, mean: FloatArray, std: FloatArray, rng: np.random.Generator) -> None:
        """Draw this rank's candidates from N(mean, std²), both (P,), and give each environment its first."""
        self.theta[:] = mean + std * rng.standard_normal(self.theta.shape, np.float32)
        self.total[:] = self.taken = 0
        self.number += 1
        self.over = False
        for n in range(len(self.turn)):
            self._take_next(n)

    def _take_next(self, n: int) -> None:
        self.turn[n] = min(self.taken, self.candidates)
        self.left[n] = self.episodes
        if self.taken < self.candidates:
            self.flats[n].copy_(torch.from_numpy(self.theta[self.taken]))
            self.taken += 1

    @torch.inference_mode()
    def act(self, x: Tensor) -> Array:
        """What each environment's candidate does, (N,) int64 or (N, d) float32, at features x (N, F)."""
        return torch.cat([pi(x[n : n + 1]) for n, pi in enumerate(self.players)]).cpu().numpy()

    def credit(self, rew: NDArray[np.float64], done: NDArray[np.bool_]) -> None:
        """Count one step of all environments: rew (N,), and done (N,) where an episode ended with it."""
        self.total[self.turn] += rew  # no two environments play the same, but for those that play for nobody
        for n in np.flatnonzero(done).tolist():
            self.left[n] -= 1
            if self.left[n] == 0:
                self._take_next(n)

    def ended(self) -> bool:
        """Whether the candidates of all ranks have played; every rank must ask."""
        self.over = bool(mpi.gather(self.turn == self.candidates).all())
        return self.over

    def results(self) -> tuple[FloatArray, NDArray[np.float64]]:
        """The candidates of all ranks (population, P), and their mean returns (population,)."""
        return mpi.gather(self.theta), mpi.gather(self.total[:-1]) / self.episodes

    @property
    def playing(self) -> FloatArray:
        """The parameters that each environment plays with (N, P)."""
        return torch.stack(self.flats).cpu().numpy()

    @playing.setter
    def playing(self, theta: FloatArray) -> None:
        for flat, row in zip(self.flats, theta, strict=True):
            flat.copy_(torch.from_numpy(row))

    def state_dict(self) -> dict[str, Array]:
        """All of it, in the middle of a generation too."""
        return {name: np.array(getattr(self, name)) for name in self.STATE}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Raises ValueError for a state of other sizes."""
        for name, own in self.state_dict().items():
            if state[name].shape != own.shape or state[name].dtype != own.dtype:
                raise ValueError(f"{name} is {state[name].dtype} {state[name].shape}, not {own.dtype} {own.shape}")
            setattr(self, name, state[name].copy() if own.ndim else state[name].item())


def elite_of(ret: NDArray[np.float64], elite_share: float) -> NDArray[np.int64]:
    """Which candidates have the largest returns, the best first.

    Args:
        ret: (K,) mean returns.
        elite_share: of the K candidates; at least one is taken.

    Returns:
        Indices (E,) int64, E = max(1, elite_share K), rounded.
    """
    assert ret.ndim == 1, ret.shape
    best: NDArray[np.int64] = np.argsort(-ret, kind="stable")[: max(1, round(elite_share * len(ret)))]
    return best


def fit(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The Gaussian under which the elite is most likely.

        mean = 1/E Σ theta_i,   var = 1/E Σ (theta_i - mean)²

    Args:
        theta: (E, P) float32, the elite.

    Returns:
        mean and var (P,) float32.

    Source: Szita, Lőrincz 2006, the update of the cross-entropy method for Gaussians.
    """
    assert theta.ndim == 2, theta.shape
    return theta.mean(0), theta.var(0)


def extra_variance(t: int, noise_init: float, noise_fall: float) -> float:
    """What is added to the variance after generation t, from 0: Z_t = max( 0, noise_init - noise_fall t ).

    Source: Szita, Lőrincz 2006, decreasing noise, where Z_t = max(5 - t/10, 0).
    """
    return max(0.0, noise_init - noise_fall * t)


def update(
    mean: FloatArray,
    std: FloatArray,
    theta: FloatArray,
    ret: NDArray[np.float64],
    t: int,
    config: Config,
    stats: Averages,
) -> None:
    """Move the Gaussian to the elite of a generation.

    Args:
        mean: (P,), changed in place.
        std: (P,), likewise.
        theta: (population, P), the candidates of all ranks.
        ret: (population,), their mean returns.
        t: number of the generation, from 0.
        config: settings.
        stats: averages of the epoch, which take EliteRet.
    """
    elite = elite_of(ret, config.elite_share)
    mean[:], var = fit(theta[elite])
    std[:] = np.sqrt(var + extra_variance(t, config.noise_init, config.noise_fall)).clip(MIN_STD)
    stats.add(EliteRet=float(ret[elite].mean()))


def search(mean: FloatArray, std: FloatArray) -> Gaussian:
    """The Gaussian over parameters as it is now: a copy, in float64, since it may have many dimensions."""
    return Gaussian(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64).log())


def search_health(before: Gaussian, after: Gaussian) -> dict[str, float]:
    """How far an epoch has moved the Gaussian over parameters.

    Args:
        before: the first of the epoch.
        after: the last.

    Returns:
        `KL`, KL(before ‖ after) *per parameter*, nats; `UpdateRatioPi`, ‖change of the mean‖ / ‖mean before‖; and
        `ParamStd`, the mean standard deviation.
    """
    return {
        "KL": float(before.kl(after)) / len(before.mu),
        "UpdateRatioPi": float((after.mu - before.mu).norm() / before.mu.norm()),
        "ParamStd": float(after.log_std.exp().mean()),
    }


def train(
    config: Config,
    env_fn: EnvFn | None = None,
    actor_critic: type[PolicyNetwork] = PolicyNetwork,
    logger: Logger | None = None,
) -> PolicyNetwork:
    """Train from scratch and write a run directory.

    Args:
        config: settings.
        env_fn: returns a new environment; by default `gymnasium.make(config.env)`. Called once more for the tests, and
            once more with `stop_at`.
        actor_critic: the network; see `PolicyNetwork` for what it must have.
        logger: where to write; by default `data/cem_<env>/<timestamp>_s<seed>/`.

    Returns:
        The network of the mean.

    Raises:
        UserError: a setting, environment or space that does not fit; nothing has been created then.
        NonFiniteError, EnvError: a NaN or infinity, or an environment that fails; the last epoch's policy is kept.
    """
    device = set_up_torch(config)
    rng = seed_everything(config.seed)
    envs = Envs.of(config, env_fn)
    test_env = envs.another()
    ac = actor_critic(envs.obs_space, envs.act_space, config).to(device)
    flat = flatten(ac.pi)
    mean, std = flat.cpu().numpy().copy(), np.full(len(flat), config.std_init, np.float32)
    generation = Generation(ac.pi, config.num_envs, mpi.share(config.population), config.episodes_per_candidate)
    encode = copy.deepcopy(ac.encode)
    parts = {"mean": mean, "std": std, "generation": generation, "encode": encode, "rng": rng}
    with Training("cem", config, logger, envs, ac, **parts) as training:
        obs = envs.obs
        for epoch in training.epochs(config.rollout_len, (*NO_GRADIENT, *NO_CRITIC, "EliteRet")):
            before = search(mean, std)
            for rollout_len in epoch.rollouts:
                if generation.over:
                    generation.draw(mean, std, rng)
                    encode.load_state_dict(ac.encode.state_dict())  # only now: all candidates see the same features
                    obs = envs.reset()
                buf = RolloutBuffer(rollout_len, envs)
                for _ in range(rollout_len):
                    act = generation.act(encode(obs))
                    next_obs, rew, terminated, truncated = envs.step(act)
                    buf.store(obs, act, rew, next_obs, terminated, truncated)
                    generation.credit(rew, terminated | truncated)
                    obs = envs.obs  # next_obs, or the first observation of a new episode

                ac.encode.update(buf.obs)
                epoch.keep_rollout(buf, float(search(mean, std).entropy()) / len(mean))
                if generation.ended():
                    update(mean, std, *generation.results(), generation.number - 1, config, epoch.stats)
                    flat.copy_(torch.from_numpy(mean))

            health = common_health(epoch, ac.obs_space, ac.act_space) | search_health(before, search(mean, std))
            tests = test_episodes(ac.mode, test_env, config.num_test_episodes, config.seed)
            training.end_epoch(epoch, {**health, **tests, "Generation": generation.number})
        if generation.number == 1 and not generation.over:
            training.logger.say("no generation ended, so nothing was learned: a larger budget, or a time limit, helps")
    return ac
