"""Soft Actor-Critic (SAC): as much reward as possible, acting as randomly as that allows.

The idea. DDPG and TD3 add noise of a fixed size to a policy that has none of its own. SAC lets the policy choose its
noise in every state, by paying for it: a nat of entropy is worth α reward, the temperature. Where all actions are about
equally good the policy stays random and goes on exploring, where one is better it becomes certain. α itself can be
learned, so that the entropy, on average, meets a target.

What the words mean (ddpg.py explains them). Q(s, a) is the return to expect after action a in state s. The target
critics are slow copies of the critics; they compute the values that the critics are pulled towards. The policy is
trained through the critics, since Q(s, a) is differentiable in a.

Off-policy. Actions: Box with finite bounds (a Gaussian that tanh squashes into them). Observations: Discrete or Box,
others flattened.

Key equations, in the names of the code (B transitions drawn from the replay buffer; s' is the state after s, a' ~
π(·|s'); mid and width the centre and half width of the bounds; log-densities are of actions in half widths, in nats):

    act    = mid + width tanh(u),   u ~ N(μ(s), σ(s)²)
    logp   = ln π(a|s) = ln N(u; μ, σ²) - Σᵢ ln(1 - tanh²(uᵢ))                    (common/distributions.py)
    y      = rew + gamma (1 - terminated) ( min(Q1_target(s', a'), Q2_target(s', a')) - α ln π(a'|s') )
    L_q    = E[ (Q1(s, a) - y)² ],   L_q2 = E[ (Q2(s, a) - y)² ],   y is a constant to the gradient
    L_pi   = E[ α ln π(a|s) - min(Q1(s, a), Q2(s, a)) ],   a ~ π(·|s), through which the gradient flows into π
    L_alpha = -ln α E[ ln π(a|s) + d target_entropy ],     d action dimensions; only α is trained by it
    target ← polyak target + (1 - polyak) (Q1, Q2),        after every gradient step

Why the gradient can flow through a. The action is a function of μ(s), σ(s) and noise that depends on neither: u = μ + σ
ξ, ξ ~ N(0, 1). So the derivative of Q by a says how μ and σ should change. A policy gradient, which knows only how
probable the action was, needs many more samples for the same direction.

What α does. L_alpha raises α while the entropy is below d target_entropy, and lowers it while it is above.

Pseudocode:

    repeat until total_steps:
        take an action in each environment: uniformly at random for start_steps, a ~ π(·|s) then
        store (s, a, rew, s', terminated)
        from update_after on, once in update_every env steps, repeat gradient_steps times:
            draw batch_size transitions; one gradient step on L_q + L_q2, one on L_pi, one on L_alpha; move the targets

Differs from TD3 (td3.py): the policy is random and its entropy is part of the return, so nothing is added to actions,
neither to explore nor to smooth the target; the policy has no target network, and takes a step every time the critics
do.

Deviations from the papers: L_alpha is linear in ln α, where the second paper's eq. 18 is linear in α: the sign of the
gradient is the same, and α can't get stuck near 0. There is no network V: the first paper has one, the second does not.
Uniformly random actions at the start. target_entropy is per action dimension; -1, for densities in half widths, is the
second paper's -d.

What to look at. Entropy (an estimate: the mean of -ln π of the actions taken, in half widths of the bounds; uniform is
d ln 2 = 0.69 d) starts high, falls as the policy finds what is better, and settles at d target_entropy: from then on α
holds it there, so a flat Entropy is no sign that learning has stopped. Look at Alpha: it falls while Entropy is above
its target, whether or not the task pays anything, and rises once Entropy is below it: the policy has become too
certain. Alpha that grows without end: the target is out of reach, or rewards are too large; lower target_entropy, or
scale the rewards. On Pendulum, with its preset, Entropy falls from 0.7 to -0.3 in 20,000 steps, most of it after the
return has settled: it is Alpha, from 1 to 0.02, that takes it down. With alpha_lr = 0 Entropy says how learning goes,
as in PPO. QVals, ValueMean and ReturnMean contain the entropy still to be earned, so ValueBias compares like with like.
Judge by AverageTestEpRet: the test episodes take mid + width tanh(μ(s)), without noise.

References:
    Haarnoja et al. 2018, "Soft Actor-Critic: Off-Policy Maximum Entropy Deep Reinforcement Learning with a Stochastic
        Actor": eq. 7 (critic), eq. 12 (policy), eq. 21 (squashing).
    Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications": eq. 18 (temperature), algorithm 1.
    Fujimoto et al. 2018, "Addressing Function Approximation Error in Actor-Critic Methods": eq. 10 (minimum).

Run:      python -m rlsuite.run sac --env Pendulum-v1
Expect:   with its preset (rlsuite/presets.py) a return of about -150 within 20,000 steps; a random policy's is -1200.
Exercise: train with alpha = 1e-6 and alpha_lr = 0. Which column shows first that nothing explores any more?
"""

import copy
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from rlsuite import settings
from rlsuite.common.device import set_up_torch
from rlsuite.common.health import Averages, off_policy_health, squashed_health
from rlsuite.common.logger import Logger
from rlsuite.common.optim import Adam, flatten
from rlsuite.common.q_networks import action_bounds
from rlsuite.common.replay import ReplayBuffer, Transitions
from rlsuite.common.seeding import seed_everything
from rlsuite.common.soft_actor_critic import SoftActorCritic
from rlsuite.common.training import Training
from rlsuite.envs.evaluation import test_episodes
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs


@dataclass(frozen=True)
class Config:
    """Settings of SAC. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: settings.JsonObject = "{}"  # JSON object of arguments for the environment
    frame_skip: settings.Count = 1  # how often each action is repeated; rewards add up, and steps are counted after it
    seed: settings.Seed = 0  # seeds networks, actions, environments and sampling
    total_steps: settings.Steps = 100_000  # budget in env steps; rounded up to whole steps of all environments
    num_envs: settings.Environments = 1  # environments that step together, in each process
    steps_per_epoch: settings.Steps = 4000  # env steps per row of the log; rounded up likewise
    gamma: settings.Unit = 0.99  # discount per step; the agent looks about 1/(1-gamma) steps ahead
    buffer_size: settings.Stored = 1_000_000  # transitions in the replay buffer; the oldest are forgotten
    batch_size: settings.Shared = 256  # transitions per gradient step
    start_steps: settings.CountOrZero = 10_000  # env steps of uniformly random actions at the start
    update_after: settings.CountOrZero = 1000  # env steps before the first gradient step
    update_every: settings.Count = 1  # env steps from one update to the next
    gradient_steps: settings.Count = 1  # gradient steps of each network per update
    alpha: settings.Positive = 1.0  # temperature at the start: the reward that one nat of entropy is worth
    alpha_lr: settings.LearningRate = 3e-4  # learning rate of ln alpha; 0: the temperature stays as it is
    target_entropy: float = -1.0  # entropy to learn alpha for, nats per action dimension, actions in half widths
    polyak: settings.Unit = 0.995  # weight of the old target networks at each gradient step
    pi_lr: settings.LearningRate = 3e-4  # learning rate of the policy
    q_lr: settings.LearningRate = 3e-4  # learning rate of the critics
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: all learning rates fall to 0 over total_steps
    max_grad_norm: settings.PositiveOrInf = math.inf  # larger gradients are scaled down to this norm; inf: never
    hidden_sizes: settings.Widths = (256, 256)  # widths of the hidden layers of each network
    activation: Literal["tanh", "relu"] = "relu"  # after each hidden layer
    normalize_obs: bool = False  # standardise observations by the mean and variance of all so far
    num_test_episodes: settings.CountOrZero = 5  # deterministic episodes after each epoch, in an environment of its own
    device: str = "cpu"  # cpu, cuda, mps, or auto
    compile: bool = False  # compile the networks (a minute at the start, needs a C++ compiler): for long trainings
    torch_threads: settings.Threads = 0  # threads of torch; 0: by the size of an update, one where it is small

    def __post_init__(self) -> None:
        settings.check(self)
        settings.check_replay(self)


def td_target(rew: Tensor, terminated: Tensor, next_q: Tensor, next_logp: Tensor, alpha: float, gamma: float) -> Tensor:
    """What Q(s, a) should be, by one step of the soft Bellman equation.

        y = rew + γ (1 - terminated) ( min(Q1_target(s', a'), Q2_target(s', a')) - α ln π(a'|s') )

    Args:
        rew:        (B,) float32.
        terminated: (B,) bool; a truncated episode is not terminated.
        next_q:     (2, B) float32, the values of both target critics.
        next_logp:  (B,) float32, ln π(a'|s'), nats.
        alpha:      temperature α, reward per nat.
        gamma:      discount γ.

    Returns:
        y (B,) float32.

    Source: Haarnoja et al. 2018 (Applications), eq. 2 and 3, with Fujimoto's minimum.
    """
    assert next_q.shape[1:] == rew.shape == terminated.shape == next_logp.shape == rew.shape[:1], next_q.shape
    return rew + gamma * ~terminated * (next_q.amin(0) - alpha * next_logp)


def q_loss(q: Tensor, y: Tensor) -> Tensor:
    """Mean squared Bellman error, L = E[ (Q(s, a) - y)² ], of one of the critics.

    Args:
        q: (B,) float32, Q(s, a) of the critic being trained.
        y: (B,) float32, the targets; no gradient flows into them.

    Returns:
        The loss ().

    Source: Haarnoja et al. 2018 (Applications), eq. 5, without its factor ½.
    """
    assert q.shape == y.shape == q.shape[:1], (q.shape, y.shape)
    return nn.functional.mse_loss(q, y)


def policy_loss(logp: Tensor, q: Tensor, alpha: float) -> Tensor:
    """How far the policy is from the one that is proportional to exp(Q/α), as a loss to minimise.

        L = E[ α ln π(a|s) - min(Q1(s, a), Q2(s, a)) ],   a ~ π(·|s)

    Args:
        logp:  (B,) float32, ln π(a|s), nats.
        q:     (2, B) float32, the values of both critics; the gradient flows through the action into π.
        alpha: temperature α, reward per nat.

    Returns:
        The loss ().

    Source: Haarnoja et al. 2018 (Applications), eq. 7.
    """
    assert q.shape == (2, *logp.shape), (q.shape, logp.shape)
    return (alpha * logp - q.amin(0)).mean()


def temperature_loss(log_alpha: Tensor, logp: Tensor, target_entropy: float) -> Tensor:
    """Pulls the entropy towards its target, by what it costs.

        L = -ln α E[ ln π(a|s) + H ],   H the target: α rises while the entropy E[ -ln π ] is below it

    Args:
        log_alpha:      ln α ().
        logp:           (B,) float32, ln π(a|s), nats; no gradient flows into it.
        target_entropy: H of all action dimensions together, nats.

    Returns:
        The loss ().

    Source: Haarnoja et al. 2018 (Applications), eq. 18, with ln α in the place of α.
    """
    assert log_alpha.ndim == 0, log_alpha.shape
    assert logp.ndim == 1, logp.shape
    return -log_alpha * (logp.detach().mean() + target_entropy)


def update(
    ac: SoftActorCritic,
    target: nn.Module,
    pi_opt: Adam,
    q_opt: Adam,
    alpha_opt: Adam,
    batch: Transitions,
    config: Config,
    stats: Averages,
) -> None:
    """One gradient step of both critics, one of the policy, one of the temperature.

    Args:
        ac: the networks, changed in place.
        target: slow copies of the critics.
        pi_opt: over the policy's parameters.
        q_opt: over both critics' parameters.
        alpha_opt: over the temperature's parameter.
        batch: B transitions.
        config: settings.
        stats: averages of the epoch, which take the losses, and the values with their targets.
    """
    x, next_x = ac.encode(batch.obs), ac.encode(batch.next_obs)
    alpha = ac.alpha().item()
    with torch.no_grad():
        next_act, next_logp = ac.pi(next_x).rsample()
        y = td_target(batch.rew, batch.terminated, target(next_x, next_act), next_logp, alpha, config.gamma)
    q, q2 = ac.q(x, batch.act)
    loss_q, loss_q2 = q_loss(q, y), q_loss(q2, y)
    (loss_q + loss_q2).backward()  # the critics share nothing: each gets the gradient of its own loss
    q_opt.step()
    # The critics have just moved, and it is their new gradient that the policy climbs.
    act, logp = ac.pi(x).rsample()
    loss_pi = policy_loss(logp, ac.q(x, act), alpha)
    loss_pi.backward(inputs=pi_opt.params)  # the gradient runs through the critics, which must not be trained by it
    pi_opt.step()
    loss_alpha = temperature_loss(ac.alpha.log_alpha, logp, config.target_entropy * act.shape[1])
    loss_alpha.backward()
    alpha_opt.step()
    stats.add(LossPi=loss_pi, LossQ=loss_q, LossQ2=loss_q2, LossAlpha=loss_alpha, QGap=(q - q2).abs().mean())
    stats.keep(q=torch.min(q, q2), target=y)


def train(
    config: Config,
    env_fn: EnvFn | None = None,
    actor_critic: type[SoftActorCritic] = SoftActorCritic,
    logger: Logger | None = None,
) -> SoftActorCritic:
    """Train from scratch and write a run directory.

    Args:
        config: settings.
        env_fn: returns a new environment; by default `gymnasium.make(config.env)`. Called once more for the tests, and
            once more with `stop_at`.
        actor_critic: the networks; see `SoftActorCritic` for what it must have.
        logger: where to write; by default `data/sac_<env>/<timestamp>_s<seed>/`.

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
    target = copy.deepcopy(ac.q)
    pi_opt = Adam("Pi", ac.pi, config.pi_lr, config.max_grad_norm)
    q_opt = Adam("Q", ac.q, config.q_lr, config.max_grad_norm)
    alpha_opt = Adam("Alpha", ac.alpha, config.alpha_lr, config.max_grad_norm)
    target_q = flatten(target)
    buf = ReplayBuffer(config.buffer_size, envs, rng, device)
    low, high, width = action_bounds(envs.act_space)
    parts = {"target": target, "pi_opt": pi_opt, "q_opt": q_opt, "alpha_opt": alpha_opt, "buf": buf, "rng": rng}
    with Training("sac", config, logger, envs, ac, **parts) as training:
        obs = envs.obs
        for epoch in training.epochs(losses=("LossPi", "LossQ", "LossQ2", "LossAlpha", "QGap")):
            for _ in epoch.steps:
                training.anneal(pi_opt, q_opt, alpha_opt)
                if envs.total_steps < config.start_steps:
                    act = rng.uniform(low, high, (config.num_envs, len(width))).astype(np.float32)
                    logp = np.full(config.num_envs, -len(width) * math.log(2), np.float32)
                else:
                    act, logp = ac.act_and_logp(obs)
                next_obs, rew, terminated, truncated = envs.step(act)
                act = act.clip(low, high)  # mid + width may round to just outside
                buf.store(obs, act, rew, next_obs, terminated, truncated)
                epoch.note(ac.action_value(obs, act), -logp.mean(), bonus=-ac.alpha().item() * logp)
                obs = envs.obs  # next_obs, or the first observation of a new episode

                if envs.total_steps >= config.update_after:
                    for _ in range(config.gradient_steps * envs.passed(config.update_every)):
                        update(ac, target, pi_opt, q_opt, alpha_opt, buf.sample(config.batch_size), config, epoch.stats)
                        target_q.lerp_(q_opt.flat, 1 - config.polyak)

            health = off_policy_health(epoch, ac, buf, config.gamma) | squashed_health(epoch, ac, target)
            tests = test_episodes(ac.mode, test_env, config.num_test_episodes, config.seed)
            ac.encode.update(epoch.obs)  # only now: features must not change between acting and training
            training.end_epoch(epoch, {**health, **tests, "Alpha": ac.alpha().item()})
    return ac
