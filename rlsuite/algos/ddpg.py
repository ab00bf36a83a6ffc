"""Deep Deterministic Policy Gradient (DDPG), with Spinning Up's simplifications.

The idea. Q-learning takes the action with the highest Q, but of a continuous action there are too many to try. DDPG
learns a second network μ(s) that climbs Q: since Q(s, a) is differentiable in a, its gradient says in which direction
a better action lies, and the chain rule carries it on to the parameters of μ. So the policy is trained through the
critic, the critic by Bellman's equation, and both from steps drawn at random from a large memory.

Off-policy. Actions: Box with finite bounds. Observations: Discrete or Box.

Key equations, in the names of the code (B transitions drawn from the replay buffer; target is a slow copy of both):

    y     = rew + gamma (1 - terminated) Q_target(s', μ_target(s')),  cut by the end of the task, not by a time limit
    L_q   = E[ (Q(s, a) - y)² ],  y is a constant to the gradient
    L_pi  = -E[ Q(s, μ(s)) ],     only μ is trained by it
    act   = clip( μ(s) + act_noise width z ),  z standard Gaussian, width the half width of the bounds
    z     ← noise_corr z + (1 - noise_corr²)^½ ξ,  ξ ~ N(0, 1): noise_corr = 0 is a new one for each step
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
0.2 would be noise_corr = 0.85, act_noise = 0.38); the action enters the critic at the first layer, not the second; no
batch normalisation, no weight decay, no small last layer of Q; uniformly random actions at the start. Our own: noise,
and actions as the critic sees them, are in half widths of the bounds, so that neither depends on the units.

What to look at. ActionSaturation near 1 and a bad return: μ has run into the bounds, where tanh is flat, and hardly
comes back; lower pi_lr, normalise the observations. Entropy only follows the noise; KL is half the squared number of
noise widths that μ has moved in the epoch: above 10 it jumps about. QVals above any possible return, ValueBias that
grows: μ has found where Q errs; lower the learning rates or raise polyak. Judge by AverageTestEpRet, without noise.

References:
    Lillicrap et al. 2016, "Continuous control with deep reinforcement learning": algorithm 1.
    Silver et al. 2014, "Deterministic Policy Gradient Algorithms": eq. 9, and 15 for states of another policy.
    Achiam 2018, "Spinning Up in Deep RL": DDPG, "You Should Know".

Run:     python -m rlsuite.run ddpg --env Pendulum-v1
Expect:  with its preset (rlsuite/presets.py) a return of about -150 within 20,000 steps; a random policy's is -1200.
"""

import copy
import math
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite.common.acting import action_value, greedy
from rlsuite.common.buffer import RolloutBuffer, plan_epochs
from rlsuite.common.checks import check_config
from rlsuite.common.diagnostics import noise_entropy, noise_kl, update_ratio
from rlsuite.common.envs import EnvFn, Envs, episode_stats, evaluate, make_env
from rlsuite.common.health import Averages, off_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.optim import FlatOptimizer, adam, flatten, set_up_torch
from rlsuite.common.q_networks import MuQNetwork
from rlsuite.common.replay import ReplayBuffer, Transitions
from rlsuite.common.resume import Checkpoint
from rlsuite.common.seeding import seed_everything


@dataclass(frozen=True)
class Config:
    """Settings of DDPG. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: str = "{}"  # JSON object of arguments for the environment
    seed: int = 0  # of everything random: networks, actions, environments, samples
    total_steps: int = 100_000  # budget in env steps, met exactly; a multiple of num_envs
    num_envs: int = 1  # environments that step together, in each process
    steps_per_epoch: int = 4000  # env steps per row of the log; a multiple of num_envs
    gamma: float = 0.99  # discount per step, 0 to 1; 1/(1-gamma) steps is how far ahead the agent looks
    buffer_size: int = 1_000_000  # transitions in the replay buffer; the oldest are forgotten
    batch_size: int = 100  # transitions per gradient step
    start_steps: int = 10_000  # env steps of uniformly random actions at the start
    update_after: int = 1000  # env steps before the first gradient step
    update_every: int = 1  # env steps from one update to the next
    gradient_steps: int = 1  # gradient steps of either network per update
    act_noise: float = 0.1  # standard deviation of the exploration noise, in half widths of the bounds
    noise_schedule: Literal["constant", "linear"] = "constant"  # linear: the noise falls to 0 over total_steps
    noise_corr: float = 0.0  # correlation of the noise from step to step, 0 to below 1
    polyak: float = 0.995  # weight of the old target networks at each gradient step, 0 to 1
    pi_lr: float = 1e-3  # learning rate of the policy
    q_lr: float = 1e-3  # learning rate of the critic
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: both learning rates fall to 0 over total_steps
    max_grad_norm: float = math.inf  # larger gradients are scaled down to this norm
    hidden_sizes: tuple[int, ...] = (256, 256)  # widths of the hidden layers of either network
    activation: Literal["tanh", "relu"] = "relu"  # after each hidden layer
    normalize_obs: bool = False  # standardise observations by the mean and variance of all so far
    num_test_episodes: int = 5  # noiseless episodes after each epoch in another environment, of 100,000 steps at most
    device: str = "cpu"  # cpu, cuda, mps, or auto
    compile: bool = False  # compile the networks (a minute at the start, needs a C++ compiler): for long trainings
    torch_threads: int = 1  # threads of torch; networks this small are fastest on one


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
    ac: MuQNetwork,
    target: MuQNetwork,
    pi_opt: FlatOptimizer,
    q_opt: FlatOptimizer,
    batch: Transitions,
    config: Config,
    stats: Averages,
) -> None:
    """One gradient step of the critic, then one of the policy; `stats` takes losses, norms and values.

    Args:
        ac: the networks, changed in place.
        target: their slow copies.
        pi_opt: over the policy's parameters.
        q_opt: over the critic's parameters.
        batch: B transitions.
        config: settings.
        stats: averages of the epoch.
    """
    x, next_x = ac.encode(batch.obs), ac.encode(batch.next_obs)
    with torch.no_grad():
        y = td_target(batch.rew, batch.terminated, target.q(next_x, target.pi(next_x)), config.gamma)
    q = ac.q(x, batch.act)
    loss_q = q_loss(q, y)
    norm_q = q_opt.step(loss_q)
    # The critic has just moved, and it is its new gradient that the policy climbs.
    loss_pi = policy_loss(ac.q(x, ac.pi(x)))
    norm_pi = pi_opt.step(loss_pi)
    stats.add(LossPi=loss_pi.item(), LossQ=loss_q.item(), GradNormPi=norm_pi, GradNormQ=norm_q)
    stats.keep(q=q, target=y)


@torch.no_grad()
def policy_change(
    before: MuQNetwork, ac: MuQNetwork, target: MuQNetwork, obs: Tensor, act: Tensor, act_noise: float
) -> dict[str, float]:
    """How far the epoch has moved the policy (KL, nats) and the critic, on up to 2,048 of its states.

    Args:
        before: a copy of the networks made before the epoch's first step.
        ac: the networks now.
        target: the target networks now.
        obs: (B, *obs_shape).
        act: (B, d) float32, the actions taken there.
        act_noise: σ of the noise at the end of the epoch, in half widths; floored at 0.01.
    """
    x = ac.encode(obs)
    mu, mid, width = ac.pi(x), ac.pi.mid, ac.pi.width
    return {
        "KL": float(noise_kl(before.mode(obs), mu, max(act_noise, 0.01) * width).mean()),
        "ActionSaturation": float(((mu - mid).abs() > 0.99 * width).float().mean()),
        "TargetGap": float((ac.q(x, act) - target.q(x, act)).abs().mean()),
        "UpdateRatioPi": update_ratio(before.pi, ac.pi),
        "UpdateRatioQ": update_ratio(before.q, ac.q),
    }


def train(
    config: Config,
    env_fn: EnvFn | None = None,
    actor_critic: type[MuQNetwork] = MuQNetwork,
    logger: Logger | None = None,
) -> MuQNetwork:
    """Train from scratch and write a run directory.

    Args:
        config: settings.
        env_fn: returns a new environment; by default `gymnasium.make(config.env)`. Called once more for the tests.
        actor_critic: the networks; see `MuQNetwork` for what it must have.
        logger: where to write; by default `data/ddpg_<env>/<timestamp>_s<seed>/`.

    Returns:
        The trained networks.

    Raises:
        UserError: a setting, environment or space that does not fit; nothing has been created then.
        NonFiniteError, EnvError: a NaN or infinity, or an environment that fails; the last epoch's policy is kept.
    """
    check_config(config)
    device = set_up_torch(config.device, config.torch_threads)
    rng = seed_everything(config.seed)

    new_env = env_fn or (lambda: make_env(config.env, config.env_kwargs))
    envs, test_env = Envs(new_env, config.num_envs, config.seed), new_env()
    ac = actor_critic(
        envs.obs_space,
        envs.act_space,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        normalize_obs=config.normalize_obs,
    ).to(device)
    pi_opt = FlatOptimizer("LossPi", ac.pi, adam, config.max_grad_norm, config.compile)
    q_opt = FlatOptimizer("LossQ", ac.q, adam, config.max_grad_norm, config.compile)
    mu, q_value = greedy(ac), action_value(ac)  # μ(s), Q(s, a)
    target = copy.deepcopy(ac)
    target_pi, target_q = flatten(target.pi), flatten(target.q)
    replay = ReplayBuffer(config.buffer_size, config.num_envs, envs.obs_space, envs.act_space, rng)
    epoch_steps = min(config.steps_per_epoch, config.total_steps)
    buf = RolloutBuffer(epoch_steps, config.num_envs, envs.obs_space, envs.act_space)
    low, high = (bound.reshape(-1).astype(np.float32) for bound in (ac.act_space.low, ac.act_space.high))
    width: NDArray[np.float32] = ac.pi.width.cpu().numpy()
    z = rng.standard_normal((config.num_envs, len(width)), np.float32)
    envs.reset()

    logger = logger or Logger()
    logger.start("ddpg", config, network=actor_critic, custom_env=env_fn is not None)
    logger.say(f"replay buffer: {replay.nbytes / 1e6:,.1f} MB for {config.buffer_size:,} transitions")
    checkpoint = Checkpoint(logger, ac, envs, target=target, pi_opt=pi_opt, q_opt=q_opt, replay=replay, rng=rng, z=z)
    obs, steps_left = envs.obs, config.total_steps - envs.total_steps  # of a resumed run, those where it had stopped
    epochs = plan_epochs(steps_left, config.num_envs, config.steps_per_epoch, config.steps_per_epoch)
    with closing(envs), closing(test_env), closing(logger), closing(checkpoint):
        for epoch, (steps,) in enumerate(epochs, start=checkpoint.epoch + 1):
            before = copy.deepcopy(ac)
            stats = Averages("LossPi", "LossQ", "GradNormPi", "GradNormQ")
            buf.clear()
            for _ in range(steps):
                left = 1 - envs.total_steps / config.total_steps
                noise = config.act_noise * (left if config.noise_schedule == "linear" else 1.0)
                share_left = left if config.lr_schedule == "linear" else 1.0
                pi_opt.lr, q_opt.lr = config.pi_lr * share_left, config.q_lr * share_left
                if envs.total_steps < config.start_steps:
                    act = rng.uniform(low, high, z.shape).astype(np.float32)
                    entropy = float(np.log(high - low).sum())
                else:
                    z[:] = next_noise(z, config.noise_corr, rng)
                    act = mu(obs) + noise * width * z
                    entropy = noise_entropy(noise * width)
                next_obs, rew, terminated, truncated = envs.step(act)
                act = act.clip(low, high)  # what the environment took, and so what is learned about
                val = q_value(obs, act)
                replay.store(obs, act, rew, next_obs, terminated, truncated)
                buf.store(obs, act, rew, next_obs, terminated, truncated, val, entropy)
                obs = envs.obs  # next_obs, or the first observation of a new episode

                if envs.total_steps >= config.update_after:
                    if q_opt.steps == 0:  # features need statistics before anything is trained on them
                        ac.encode.warm_start(buf.states())
                    for _ in range(config.gradient_steps * envs.passed(config.update_every)):
                        update(ac, target, pi_opt, q_opt, replay.sample(config.batch_size, device), config, stats)
                        target_pi.lerp_(pi_opt.flat, 1 - config.polyak)
                        target_q.lerp_(q_opt.flat, 1 - config.polyak)

            returns, episodes = envs.end_epoch()
            row = {
                "Epoch": epoch,
                **returns,
                **episode_stats(*evaluate(ac, test_env, config.num_test_episodes, config.seed), prefix="Test"),
                **policy_change(before, ac, target, *buf.probe(device), noise),
                **off_policy_health(ac, buf, obs, config.gamma, stats),
                **stats.means(),
                "ActNoise": noise,
                "PiLR": pi_opt.lr,
                "QLR": q_opt.lr,
                "TotalEnvInteracts": envs.total_steps,
                "GradSteps": pi_opt.steps + q_opt.steps,
            }
            ac.encode.update(buf.states())
            logger.log_epoch(row)
            checkpoint.save(epoch, buf.states(), episodes)
    return ac
