"""Twin Delayed DDPG (TD3): three remedies for a critic that promises too much.

The idea. DDPG's policy climbs its critic, and so it finds every place where the critic errs upwards; Bellman's equation
then carries the error to all states before. TD3 believes the smaller of two critics, moves the policy only after the
critics have had time to settle, and learns the values of small regions of actions instead of single points, so that a
narrow peak has nothing to offer.

What the words mean (ddpg.py explains them). Q(s, a) is the return to expect after action a in state s. μ(s) is the
policy, which is trained to climb Q. A target network is a slow copy; it computes the values that Q is pulled towards.

Off-policy. Actions: Box with finite bounds. Observations: Discrete or Box, others flattened.

Key equations, in the names of the code (B transitions drawn from the replay buffer; s' is the state after s, target a
slow copy of both critics and μ, width the half width of the bounds):

    a'     = clip( μ_target(s') + width clip(target_noise ξ, ± noise_clip) ) to the bounds,   ξ ~ N(0, 1)
    next_q = min( Q1_target(s', a'), Q2_target(s', a') )
    y      = rew + gamma (1 - terminated) next_q,  cut by the end of the task, not by a time limit
    L_q    = E[ (Q1(s, a) - y)² ],   L_q2 = E[ (Q2(s, a) - y)² ],   y is a constant to the gradient
    L_pi   = -E[ Q1(s, μ(s)) ],      only μ is trained by it, and only at every policy_delay-th step of the critics
    z      ← noise_corr z + (1 - noise_corr²)^½ ξ: noise_corr = 0 is a new one for each step
    act    = clip( μ(s) + act_noise width z )
    target ← polyak target + (1 - polyak) (Q1, Q2, μ),  after each step of the policy

Why the minimum. Two critics with the same data but different initial weights err in different places. The larger one is
more often too large; the smaller one errs, if at all, downwards, and nothing climbs towards an error downwards.

Pseudocode:

    repeat until total_steps:
        take an action in each environment: uniformly at random for start_steps, μ(s) plus noise then
        store (s, a, rew, s', terminated), a as clipped to the bounds
        from update_after on, once in update_every env steps, repeat gradient_steps times:
            draw batch_size transitions; one gradient step on L_q + L_q2
            every policy_delay-th time: one on L_pi; move all targets

Differs from DDPG (ddpg.py): the two critics and their minimum, the noise on the target's action, the delay.
Differs from SAC (sac.py): the policy is deterministic and explores by noise of a fixed size.

Deviations from the paper: those of ddpg.py. Noise is in half widths of the bounds, and may be correlated from step to
step. One optimiser holds both critics, so max_grad_norm limits their joint gradient.

What to look at. QGap, the mean |Q1 - Q2|, says how far the critics disagree: beside ValueBias it tells what the minimum
is worth. ValueBias should stay near 0 or below it; in DDPG, on the same task, it grows. The other columns read as
DDPG's: ActionSaturation near 1 with a bad return is a policy that has run into the bounds, a KL above 10 is a policy
that jumps about. Entropy only follows the noise: on Pendulum it drops once, when start_steps are over, and stays at
-0.19 whatever is learned. Judge by AverageTestEpRet, without noise.

References:
    Fujimoto, van Hoof, Meger 2018, "Addressing Function Approximation Error in Actor-Critic Methods": algorithm 1,
        eq. 10 (minimum), eq. 15 (smoothing).
    Silver et al. 2014, "Deterministic Policy Gradient Algorithms": eq. 9, and 15 for states of another policy.
    Achiam 2018, "Spinning Up in Deep RL": TD3.

Run:      python -m rlsuite.run td3 --env Pendulum-v1
Expect:   with its preset (rlsuite/presets.py) a return of about -150 within 20,000 steps; a random policy's is -1200.
Exercise: take the mean of the two critics instead of the minimum. What becomes of ValueBias, and what of QGap?
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
from rlsuite.common.q_networks import MuTwinQNetwork, action_bounds
from rlsuite.common.replay import ReplayBuffer, Transitions
from rlsuite.common.seeding import seed_everything
from rlsuite.common.training import Training
from rlsuite.envs.evaluation import test_episodes
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs


@dataclass(frozen=True)
class Config:
    """Settings of TD3. Counts of steps are env steps over all environments unless they say otherwise."""

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
    gradient_steps: settings.Count = 1  # gradient steps of the critics per update
    act_noise: settings.Positive = 0.1  # standard deviation of the exploration noise, in half widths of the bounds
    noise_schedule: Literal["constant", "linear"] = "constant"  # linear: the noise falls to 0 over total_steps
    noise_corr: settings.Correlation = 0.0  # correlation of the noise from step to step
    target_noise: settings.Coefficient = 0.2  # standard deviation of the noise on the target's action, in half widths
    noise_clip: settings.Coefficient = 0.5  # the largest such noise, in half widths
    policy_delay: settings.Count = 2  # gradient steps of the critics for each of the policy
    polyak: settings.Unit = 0.995  # weight of the old target networks at each gradient step of the policy
    pi_lr: settings.LearningRate = 1e-3  # learning rate of the policy
    q_lr: settings.LearningRate = 1e-3  # learning rate of the critics
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: both learning rates fall to 0 over total_steps
    max_grad_norm: settings.PositiveOrInf = math.inf  # larger gradients are scaled down to this norm; inf: never
    hidden_sizes: settings.Widths = (256, 256)  # widths of the hidden layers of each network
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

        y = rew + γ (1 - terminated) min( Q1_target(s', a'), Q2_target(s', a') )

    Args:
        rew:        (B,) float32.
        terminated: (B,) bool; a truncated episode is not terminated.
        next_q:     (2, B) float32, the values of both target critics.
        gamma:      discount γ.

    Returns:
        y (B,) float32.

    Source: Fujimoto et al. 2018, eq. 10.
    """
    assert next_q.shape[1:] == rew.shape == terminated.shape == rew.shape[:1], (rew.shape, next_q.shape)
    return rew + gamma * ~terminated * next_q.amin(0)


def smoothed(act: Tensor, noise: Tensor, mid: Tensor, width: Tensor, noise_clip: float) -> Tensor:
    """Actions near those of the target policy: neighbouring actions should have similar values.

        a' = clip( a + width clip(noise, ± c), mid ± width )

    Args:
        act:        a, the target policy's (B, d) float32, environment units.
        noise:      (B, d) float32, half widths of the bounds.
        mid:        centre of the bounds (d,) float32.
        width:      their half widths (d,) float32.
        noise_clip: c.

    Returns:
        a' (B, d) float32.

    Source: Fujimoto et al. 2018, eq. 15.
    """
    assert act.shape == noise.shape == (len(act), *width.shape), (act.shape, noise.shape)
    return (act + width * noise.clamp(-noise_clip, noise_clip)).clamp(mid - width, mid + width)


def q_loss(q: Tensor, y: Tensor) -> Tensor:
    """Mean squared Bellman error, L = E[ (Q(s, a) - y)² ], of one of the critics.

    Args:
        q: (B,) float32, Q(s, a) of the critic being trained.
        y: (B,) float32, the targets; no gradient flows into them.

    Returns:
        The loss ().

    Source: Fujimoto et al. 2018, algorithm 1.
    """
    assert q.shape == y.shape == q.shape[:1], (q.shape, y.shape)
    return nn.functional.mse_loss(q, y)


def policy_loss(q: Tensor) -> Tensor:
    """The deterministic policy gradient, as a loss to minimise.

        L = -E[ Q1(s, μ(s)) ] over the buffer's states,   ∇_θ L = -E[ ∇_θ μ(s) ∇_a Q1(s, a) at a = μ(s) ]

    Args:
        q: (B,) float32, Q1(s, μ(s)); the gradient flows through the action into μ.

    Returns:
        The loss ().

    Source: Silver et al. 2014, eq. 15; Fujimoto et al. 2018, algorithm 1.
    """
    assert q.ndim == 1, q.shape
    return -q.mean()


def next_noise(z: NDArray[np.float32], corr: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """The noise (N, d) after z (N, d): ρ z + (1 - ρ²)^½ ξ, ξ ~ N(0, 1), which is standard Gaussian at every step."""
    following: NDArray[np.float32] = corr * z + (1 - corr**2) ** 0.5 * rng.standard_normal(z.shape, np.float32)
    return following


def update(
    ac: MuTwinQNetwork,
    target: MuTwinQNetwork,
    pi_opt: Adam,
    q_opt: Adam,
    batch: Transitions,
    config: Config,
    stats: Averages,
) -> None:
    """One gradient step of both critics, and after every policy_delay-th one of the policy.

    Args:
        ac: the networks, changed in place.
        target: their slow copies.
        pi_opt: over the policy's parameters.
        q_opt: over both critics' parameters.
        batch: B transitions.
        config: settings.
        stats: averages of the epoch, which take the losses, and the values with their targets.
    """
    x, next_x = ac.encode(batch.obs), ac.encode(batch.next_obs)
    with torch.no_grad():
        noise = config.target_noise * torch.randn_like(batch.act)
        next_act = smoothed(target.pi(next_x), noise, ac.pi.mid, ac.pi.width, config.noise_clip)
        y = td_target(batch.rew, batch.terminated, target.q(next_x, next_act), config.gamma)
    q, q2 = ac.q(x, batch.act)
    loss_q, loss_q2 = q_loss(q, y), q_loss(q2, y)
    (loss_q + loss_q2).backward()  # the critics share nothing: each gets the gradient of its own loss
    q_opt.step()
    if q_opt.steps % config.policy_delay == 0:
        # The critic has just moved, and it is its new gradient that the policy climbs.
        loss_pi = policy_loss(ac.q.q1(x, ac.pi(x)))
        loss_pi.backward(inputs=pi_opt.params)  # the gradient runs through the critic, which must not be trained by it
        pi_opt.step()
        stats.add(LossPi=loss_pi)
    stats.add(LossQ=loss_q, LossQ2=loss_q2, QGap=(q - q2).abs().mean())
    stats.keep(q=torch.min(q, q2), target=y)


def train(
    config: Config,
    env_fn: EnvFn | None = None,
    actor_critic: type[MuTwinQNetwork] = MuTwinQNetwork,
    logger: Logger | None = None,
) -> MuTwinQNetwork:
    """Train from scratch and write a run directory.

    Args:
        config: settings.
        env_fn: returns a new environment; by default `gymnasium.make(config.env)`. Called once more for the tests, and
            once more with `stop_at`.
        actor_critic: the networks; see `MuTwinQNetwork` for what it must have.
        logger: where to write; by default `data/td3_<env>/<timestamp>_s<seed>/`.

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
    with Training("td3", config, logger, envs, ac, **parts) as training:
        obs = envs.obs
        for epoch in training.epochs(losses=("LossPi", "LossQ", "LossQ2", "QGap")):
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
                        if q_opt.steps % config.policy_delay == 0:  # the policy has moved
                            target_pi.lerp_(pi_opt.flat, 1 - config.polyak)
                            target_q.lerp_(q_opt.flat, 1 - config.polyak)

            health = off_policy_health(epoch, ac, buf, config.gamma) | noise_health(epoch, ac, target, noise)
            tests = test_episodes(ac.mode, test_env, config.num_test_episodes, config.seed)
            ac.encode.update(epoch.obs)  # only now: features must not change between acting and training
            training.end_epoch(epoch, {**health, **tests, "ActNoise": noise})
    return ac
