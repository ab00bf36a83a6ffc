"""Deep Deterministic Policy Gradient (DDPG), with Spinning Up's simplifications.

The idea. Q-learning takes the action with the highest Q, but of a continuous action there are too many to try. DDPG
learns a second network μ(s) that climbs Q. Since Q(s, a) is differentiable in a, its gradient says in which direction a
better action lies, and the chain rule carries it on to the parameters of μ. So the policy is trained through the
critic, the critic by Bellman's equation, and both from steps drawn at random from a large memory.

Off-policy. Actions: Box with finite bounds. Observations: Discrete or Box, others flattened.

Key equations, in the names of the code (B transitions drawn from the replay buffer; s' is the state after s, target a
slow copy of Q and μ):

    y     = rew + gamma (1 - terminated) Q_target(s', μ_target(s')),  cut by the end of the task, not by a time limit
    L_q   = E[ (Q(s, a) - y)² ],  y is a constant to the gradient
    L_pi  = -E[ Q(s, μ(s)) ],     only μ is trained by it
    z     ← noise_corr z + (1 - noise_corr²)^½ ξ,  ξ ~ N(0, 1): noise_corr = 0 is a new one for each step
    act   = clip( μ(s) + act_noise width z ),  width the half width of the bounds
    target ← polyak target + (1 - polyak) (Q, μ),  after every gradient step

Why noise. Without it Q would be a guess for all actions but μ's own. Noise that is new at each step cancels out, and
hardly moves a slow system; noise_corr near 1 pushes one way for about 1/(1 - noise_corr) steps.

Pseudocode:

    repeat until total_steps:
        take an action in each environment: uniformly at random for start_steps, μ(s) plus noise then
        store (s, a, rew, s', terminated), a as clipped to the bounds
        from update_after on, once in update_every env steps, repeat gradient_steps times:
            draw batch_size transitions; one gradient step on L_q, one on L_pi; move both targets

Differs from DQN (dqn.py): μ_target(s') stands in for the maximum over actions. Differs from TD3: one critic, no noise
on the target's action, and the actor moves at every gradient step, not at every second.

Deviations from the paper, those of Spinning Up: Gaussian noise instead of an Ornstein-Uhlenbeck process (θ = 0.15, σ =
0.2 would be noise_corr = 0.85, act_noise = 0.38). The action enters the critic at the first layer, not the second. No
batch normalisation, no weight decay, no small last layer of Q. Uniformly random actions at the start. Our own: noise,
and actions as the critic sees them, are in half widths of the bounds, so neither depends on the units. The layers of
either network start orthogonal: here the target follows slowly at every step, so Q may start larger than DQN's, whose
targets jump. Noise goes on over the borders of episodes.

What to look at. ActionSaturation near 1 and a bad return: μ has run into the bounds, where tanh is flat, and hardly
comes back; lower pi_lr, normalise the observations. Entropy only follows the noise. KL is half the squared number of
noise widths that μ has moved in the epoch: above 10 it jumps about. QVals above any possible return, ValueBias that
grows: μ has found where Q errs; lower the learning rates or raise polyak. Judge by AverageTestEpRet, without noise.

References:
    Lillicrap et al. 2016, "Continuous control with deep reinforcement learning": algorithm 1.
    Silver et al. 2014, "Deterministic Policy Gradient Algorithms": eq. 9, and 15 for states of another policy.
    Achiam 2018, "Spinning Up in Deep RL": DDPG, "You Should Know".

Run:      python -m rlsuite.run ddpg --env Pendulum-v1
Expect:   with its preset (rlsuite/presets.py) a return of about -150 within 20,000 steps; a random policy's is -1200.
Exercise: set polyak = 0, so that the targets are the networks themselves. Which column runs away first, and why?
"""

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite import settings
from rlsuite.common.device import set_up_torch
from rlsuite.common.diagnostics import noise_entropy
from rlsuite.common.health import Averages, noise_health, off_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.optim import Adam, flatten
from rlsuite.common.q_networks import MuQNetwork, action_bounds
from rlsuite.common.replay import ReplayBuffer, Transitions
from rlsuite.common.seeding import seed_everything
from rlsuite.common.training import Training
from rlsuite.envs.evaluation import test_episodes
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs


@dataclass(frozen=True)
class Config:
    """Settings of DDPG. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: settings.JsonObject = "{}"  # JSON object of arguments for the environment
    frame_skip: settings.Count = 1  # how often each action is repeated; rewards add up, and steps are counted after it
    seed: settings.Seed = 0  # seeds networks, actions, environments and sampling
    total_steps: settings.Steps = 100_000  # budget in env steps; rounded up to whole steps of all environments
    num_envs: settings.Environments = 1  # environments that step together, in each process
    steps_per_epoch: settings.Steps = 4000  # env steps per row of the log; rounded up likewise
    gamma: settings.Unit = 0.99  # discount per step; the agent looks about 1/(1-gamma) steps ahead
    buffer_size: settings.Stored = 1_000_000  # transitions in the replay buffer; the oldest are forgotten
    batch_size: settings.Shared = 100  # transitions per gradient step
    start_steps: settings.CountOrZero = 10_000  # env steps of uniformly random actions at the start
    update_after: settings.CountOrZero = 1000  # env steps before the first gradient step
    update_every: settings.Count = 1  # env steps from one update to the next
    gradient_steps: settings.Count = 1  # gradient steps of either network per update
    act_noise: settings.Positive = 0.1  # standard deviation of the exploration noise, in half widths of the bounds
    noise_schedule: Literal["constant", "linear"] = "constant"  # linear: the noise falls to 0 over total_steps
    noise_corr: settings.Correlation = 0.0  # correlation of the noise from step to step
    polyak: settings.Unit = 0.995  # weight of the old target networks at each gradient step
    pi_lr: settings.LearningRate = 1e-3  # learning rate of the policy
    q_lr: settings.LearningRate = 1e-3  # learning rate of the critic
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: both learning rates fall to 0 over total_steps
    max_grad_norm: settings.PositiveOrInf = math.inf  # larger gradients are scaled down to this norm; inf: never
    hidden_sizes: settings.Widths = (256, 256)  # widths of the hidden layers of either network
    activation: Literal["tanh", "relu"] = "relu"  # after each hidden layer
    normalize_obs: bool = False  # standardise observations by the mean and variance of all so far
    num_test_episodes: settings.CountOrZero = 5  # noiseless episodes after each epoch, in an environment of their own
    device: str = "cpu"  # cpu, cuda, mps, or auto
    compile: bool = False  # compile the networks (a minute at the start, needs a C++ compiler): for long trainings
    torch_threads: settings.Threads = 0  # threads of torch; 0: by the size of an update, one where it is small

    def __post_init__(self) -> None:
        settings.check(self)
        settings.check_replay(self)


def td_target(rew: Tensor, terminated: Tensor, next_q: Tensor, gamma: float) -> Tensor:
    """What Q(s, a) should be, by one step of Bellman's equation.

        y = rew + γ (1 - terminated) Q_target(s', μ_target(s'))

    Args:
        rew:        (B,) float32.
        terminated: (B,) bool; a truncated episode is not terminated.
        next_q:     (B,) float32, Q_target(s', μ_target(s')).
        gamma:      discount γ.

    Returns:
        y (B,) float32.

    Source: Lillicrap et al. 2016, algorithm 1.
    """
    assert rew.shape == terminated.shape == next_q.shape == rew.shape[:1], (rew.shape, next_q.shape)
    return rew + gamma * ~terminated * next_q


def q_loss(q: Tensor, y: Tensor) -> Tensor:
    """Mean squared Bellman error, L = E[ (Q(s, a) - y)² ].

    Args:
        q: (B,) float32, Q(s, a) of the critic being trained.
        y: (B,) float32, the targets; no gradient flows into them.

    Returns:
        The loss ().

    Source: Lillicrap et al. 2016, algorithm 1.
    """
    assert q.shape == y.shape == q.shape[:1], (q.shape, y.shape)
    return nn.functional.mse_loss(q, y)


def policy_loss(q: Tensor) -> Tensor:
    """The deterministic policy gradient, as a loss to minimise.

        L = -E[ Q(s, μ(s)) ] over the buffer's states,   ∇_θ L = -E[ ∇_θ μ(s) ∇_a Q(s, a) at a = μ(s) ]

    Args:
        q: (B,) float32, Q(s, μ(s)); the gradient flows through the action into μ.

    Returns:
        The loss ().

    Source: Silver et al. 2014, eq. 15; Lillicrap et al. 2016, eq. 6.
    """
    assert q.ndim == 1, q.shape
    return -q.mean()


def next_noise(z: NDArray[np.float32], corr: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """The noise (N, d) after z (N, d): ρ z + (1 - ρ²)^½ ξ, ξ ~ N(0, 1), which is standard Gaussian at every step."""
    following: NDArray[np.float32] = corr * z + (1 - corr**2) ** 0.5 * rng.standard_normal(z.shape, np.float32)
    return following


def update(
    ac: MuQNetwork, target: MuQNetwork, pi_opt: Adam, q_opt: Adam, batch: Transitions, config: Config, stats: Averages
) -> None:
    """One gradient step of the critic, then one of the policy.

    Args:
        ac: the networks, changed in place.
        target: their slow copies.
        pi_opt: over the policy's parameters.
        q_opt: over the critic's parameters.
        batch: B transitions.
        config: settings.
        stats: averages of the epoch, which take the losses, and the values with their targets.
    """
    x, next_x = ac.encode(batch.obs), ac.encode(batch.next_obs)
    with torch.no_grad():
        next_q = target.q(next_x, target.pi(next_x))
        y = td_target(batch.rew, batch.terminated, next_q, config.gamma)
    q = ac.q(x, batch.act)
    loss_q = q_loss(q, y)
    loss_q.backward()
    q_opt.step()
    # The critic has just moved, and it is its new gradient that the policy climbs.
    loss_pi = policy_loss(ac.q(x, ac.pi(x)))
    loss_pi.backward(inputs=pi_opt.params)  # the gradient runs through the critic, which must not be trained by it
    pi_opt.step()
    stats.add(LossPi=loss_pi, LossQ=loss_q)
    stats.keep(q=q, target=y)


def train(
    config: Config,
    env_fn: EnvFn | None = None,
    actor_critic: type[MuQNetwork] = MuQNetwork,
    logger: Logger | None = None,
) -> MuQNetwork:
    """Train from scratch and write a run directory.

    Args:
        config: settings.
        env_fn: returns a new environment; by default `gymnasium.make(config.env)`. Called once more for the tests, and
            once more with `stop_at`.
        actor_critic: the networks; see `MuQNetwork` for what it must have.
        logger: where to write; by default `data/ddpg_<env>/<timestamp>_s<seed>/`.

    Returns:
        The trained networks.

    Raises:
        UserError: a setting, environment or space that does not fit; nothing has been created then.
        NonFiniteError, EnvError: a NaN or infinity, or an environment that fails; the last epoch's policy is kept.
    """
    device = set_up_torch(config, "batch_size")
    rng = seed_everything(config.seed)
    envs = Envs.of(config, env_fn)
    test_env = envs.another()
    ac = actor_critic(envs.obs_space, envs.act_space, config).to(device)
    target = copy.deepcopy(ac)
    pi_opt = Adam("Pi", ac.pi, config.pi_lr, config.max_grad_norm)
    q_opt = Adam("Q", ac.q, config.q_lr, config.max_grad_norm)
    target_pi, target_q = flatten(target.pi), flatten(target.q)
    buf = ReplayBuffer(config.buffer_size, envs, rng, device)
    low, high, width = action_bounds(envs.act_space)
    z: NDArray[Any] = rng.standard_normal((config.num_envs, len(width)), np.float32)
    parts = {"target": target, "pi_opt": pi_opt, "q_opt": q_opt, "buf": buf, "rng": rng, "z": z}
    with Training("ddpg", config, logger, envs, ac, **parts) as training:
        obs = envs.obs
        for epoch in training.epochs(losses=("LossPi", "LossQ")):
            for _ in epoch.steps:
                training.anneal(pi_opt, q_opt)
                noise = config.act_noise * (training.share_left if config.noise_schedule == "linear" else 1.0)
                if envs.total_steps < config.start_steps:
                    act, entropy = rng.uniform(low, high, z.shape).astype(np.float32), float(np.log(high - low).sum())
                else:
                    z[:] = next_noise(z, config.noise_corr, rng)
                    act, entropy = ac.mode(obs) + noise * width * z, noise_entropy(noise * width)
                next_obs, rew, terminated, truncated = envs.step(act)
                act = act.clip(low, high)  # what the environment took, and so what is learned about
                buf.store(obs, act, rew, next_obs, terminated, truncated)
                epoch.note(ac.action_value(obs, act), entropy)
                obs = envs.obs  # next_obs, or the first observation of a new episode

                if envs.total_steps >= config.update_after:
                    for _ in range(config.gradient_steps * envs.passed(config.update_every)):
                        update(ac, target, pi_opt, q_opt, buf.sample(config.batch_size), config, epoch.stats)
                        target_pi.lerp_(pi_opt.flat, 1 - config.polyak)
                        target_q.lerp_(q_opt.flat, 1 - config.polyak)

            health = off_policy_health(epoch, ac, buf, config.gamma) | noise_health(epoch, ac, target, noise)
            tests = test_episodes(ac.mode, test_env, config.num_test_episodes, config.seed)
            ac.encode.update(epoch.obs)  # only now: features must not change between acting and training
            training.end_epoch(epoch, {**health, **tests, "ActNoise": noise})
    return ac
