"""The random baseline: actions drawn uniformly, and nothing learned.

The idea. A return means little by itself. A policy that ignores the observation sets the floor: an algorithm that is
not clearly above has learned nothing. It is run, logged, plotted and replayed like an algorithm, so both curves are
counted in the same way.

Actions: Discrete, or Box. Observations: Discrete or Box, which it does not read.

Key equations, in the names of the code:

    act ~ U{0 ... n-1} for Discrete,   act ~ U[low, high] in each dimension of a Box
    H   = ln n,                        H   = Σᵢ ln(highᵢ - lowᵢ)
    KL  = 0: it never changes

Where a bound is infinite there is no uniform distribution. There an action is drawn as Gymnasium does: low + Exp(1)
above a lower bound, high - Exp(1) below an upper one, N(0, 1) without any.

Pseudocode:

    repeat until total_steps:
        take a random action in each environment

Differs from DDPG, TD3 and SAC during their start_steps: it never stops.

What to look at. MaxEpRet: what luck achieves; where even that is bad, exploration by random actions will find nothing.
ActionEntropy must be near its maximum (ln n, or ln 16 in each dimension). StateEntropy says how much of the world
random actions see. Entropy is NaN for infinite or equal bounds. The columns of gradients, hidden units, values and
targets are always NaN: there is no network.

Run:      python -m rlsuite.run random --env CartPole-v1
Expect:   a return of about 22 on CartPole-v1; the table in README.md has that of every environment.
Exercise: which of Gymnasium's classic tasks does a random policy ever solve, by MaxEpRet? Which algorithms solve one of
          the others, and what leads them to its reward?
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite import settings
from rlsuite.common.actor_critic import expect_actions
from rlsuite.common.buffer import RolloutBuffer
from rlsuite.common.device import set_up_torch
from rlsuite.common.health import common_health
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import ObsEncoder
from rlsuite.common.seeding import seed_everything
from rlsuite.common.training import Training
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs

Array = NDArray[Any]
POLICY = ("LossPi", "GradNormPi", "ClippedGradPi", "UpdateRatioPi", "DeadUnits")
CRITIC = ("ValueMean", "ValueStd", "ValueBias", "ReturnMean", "ExplainedVariance", "TargetMin", "TargetMax")


@dataclass(frozen=True)
class Config:
    """Settings of the random baseline. Counts of steps are env steps over all environments."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: settings.JsonObject = "{}"  # JSON object of arguments for the environment
    frame_skip: settings.Count = 1  # how often each action is repeated; rewards add up, and steps are counted after it
    seed: settings.Seed = 0  # seeds actions and environments
    total_steps: settings.Steps = 50_000  # budget in env steps; rounded up to whole steps of all environments
    num_envs: settings.Environments = 4  # environments that step together, in each process
    steps_per_epoch: settings.Steps = 5000  # env steps per row of the log; rounded up likewise
    device: str = "cpu"  # cpu, cuda, mps, or auto
    torch_threads: settings.Threads = 0  # threads of torch; 0: one, since there is no gradient

    def __post_init__(self) -> None:
        settings.check(self)


class UniformPolicy(nn.Module):
    """Uniformly random actions, whatever the observation; `act` and `mode` are the same, since none is more probable.

    `encode` is there because every network has one. To use another policy, pass a class with the same constructor and
    members as `train(..., actor_critic=YourClass)`.
    """

    low: Tensor
    high: Tensor

    def __init__(self, obs_space: spaces.Space[Any], act_space: spaces.Space[Any], config: Any) -> None:
        """Raises UserError for an observation or action space that is neither Box nor Discrete."""
        super().__init__()
        expect_actions(act_space)
        self.obs_space, self.act_space = obs_space, act_space
        self.encode = ObsEncoder(obs_space, normalize=False)
        if isinstance(act_space, spaces.Box):
            self.register_buffer("low", torch.as_tensor(act_space.low, dtype=torch.float32).flatten())
            self.register_buffer("high", torch.as_tensor(act_space.high, dtype=torch.float32).flatten())

    @torch.inference_mode()
    def act(self, obs: Array) -> Array:
        """Actions (B,) int64 or (B, d) float32 for observations (B, *obs_shape)."""
        if isinstance(self.act_space, spaces.Discrete):
            return torch.randint(int(self.act_space.n), (len(obs),)).numpy()
        low, high = self.low.expand(len(obs), -1), self.high.expand(len(obs), -1)
        share = torch.rand_like(low)
        uniform = low * (1 - share) + high * share  # high - low may be more than float32 can hold
        exponential = torch.empty_like(low).exponential_()
        unbounded = torch.where(
            low.isfinite(),
            low + exponential,
            torch.where(high.isfinite(), high - exponential, torch.randn_like(low)),
        )
        return torch.where(low.isfinite() & high.isfinite(), uniform, unbounded).cpu().numpy()

    mode = act

    def entropy(self) -> float:
        """Of its actions, nats: ln n or Σ ln(high - low); NaN where it is infinite or undefined."""
        if isinstance(self.act_space, spaces.Discrete):
            return math.log(self.act_space.n)
        entropy = float((self.high.double() - self.low.double()).log().sum())
        return entropy if math.isfinite(entropy) else math.nan


def train(
    config: Config,
    env_fn: EnvFn | None = None,
    actor_critic: type[UniformPolicy] = UniformPolicy,
    logger: Logger | None = None,
) -> UniformPolicy:
    """Act at random and write a run directory.

    Args:
        config: settings.
        env_fn: returns a new environment; by default `gymnasium.make(config.env)`.
        actor_critic: the policy; see `UniformPolicy` for what it must have.
        logger: where to write; by default `data/random_<env>/<timestamp>_s<seed>/`.

    Returns:
        The policy.

    Raises:
        UserError: a setting, environment or space that does not fit; nothing has been created then.
        NonFiniteError, EnvError: a NaN or infinity, or an environment that fails; the last epoch is kept.
    """
    device = set_up_torch(config)
    seed_everything(config.seed)
    envs = Envs.of(config, env_fn)
    ac = actor_critic(envs.obs_space, envs.act_space, config).to(device)
    with Training("random", config, logger, envs, ac) as training:
        obs = envs.obs
        for epoch in training.epochs(losses=POLICY + CRITIC):
            buf = RolloutBuffer(len(epoch.steps), envs)
            for _ in epoch.steps:
                act = ac.act(obs)
                next_obs, rew, terminated, truncated = envs.step(act)
                buf.store(obs, act, rew, next_obs, terminated, truncated)
                obs = envs.obs  # next_obs, or the first observation of a new episode

            epoch.keep_rollout(buf, ac.entropy())
            training.end_epoch(epoch, {**common_health(epoch, ac.obs_space, ac.act_space), "KL": 0.0})
    return ac
