"""Vanilla Policy Gradient (VPG), with a learned baseline and generalised advantage estimation.

The idea. Make actions that turned out better than expected more probable, and the others less. A value function,
trained alongside, says what to expect; the difference is the advantage. The gradient needs no model of the environment,
but it is only right for data of the present policy: each rollout serves one step of the policy and is thrown away.

On-policy. Actions: Discrete, MultiDiscrete or Box (diagonal Gaussian). Observations: Discrete or Box, others flattened.

Key equations, in the names of the code (s_t the state at step t, B samples of one rollout, log-probabilities in nats):

    done_t = terminated_t or truncated_t
    δ_t    = rew_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)
    adv_t  = δ_t + gamma lam (1 - done_t) adv_{t+1},  0 after a rollout's end      (common/buffer.py, gae)
    ret_t  = adv_t + V(s_t)
    logp   = ln π(a|s)
    L_pi   = -E[ logp adv ]
    L_v    =  E[ (V(s) - ret)² ]
    H      =  E[ entropy of π(·|s) ], the bonus: raising it keeps the policy exploring

Why L_pi has that form. J is the expected return, and ∇ the gradient by the policy's parameters. Let f(a) be how good
action a is in state s. The log-derivative trick turns the gradient of an expectation over actions into an expectation
that samples can estimate:

    ∇ E[ f(a) ] = Σ_a ∇π(a|s) f(a) = Σ_a π(a|s) ∇ln π(a|s) f(a) = E[ ∇ln π(a|s) f(a) ]

Anything that depends on the state alone may be subtracted from f, because E[ ∇ln π(a|s) b(s) ] = b(s) ∇ Σ_a π(a|s) =
b(s) ∇1 = 0: the mean of the gradient stays, its variance shrinks. With b = V(s), what is left of f is the advantage,
and ∇J = E[ ∇logp adv ] = -∇L_pi.

Why lam. With lam = 1, adv is the observed return minus V(s). Only the V that stands in at the end of the rollout biases
it, but it carries the noise of every later step. With lam = 0 it is δ_t: little noise, but as wrong as V is. The closer
lam is to 1, the less V's errors matter.

Pseudocode:

    repeat until total_steps:
        collect rollout_len steps in each of num_envs environments with π
        compute V, adv, ret of all samples; standardise adv
        one gradient step on L_pi - ent_coef H
        repeat train_v_iters times:
            one gradient step on L_v

Differs from A2C (a2c.py): long rollouts, standardised advantages, many steps of the value function per rollout, Adam.
Differs from PPO (ppo.py): one policy step per rollout, hence no ratio, no clip, no minibatches, no early stop.

Deviations from the papers: advantages are standardised over the rollout, so that the step size does not depend on the
scale of the rewards. States are not weighted by gamma^t, as in all implementations, although J discounts. Gradients are
clipped to a norm.

What to look at. KL is the size of the policy steps. Near 0 the policy stands still: raise pi_lr. Above 0.1 one bad
rollout can ruin it: lower pi_lr, or collect longer rollouts. Entropy that does not fall while the return stays flat:
nothing is learned. Entropy near 0 before the return has risen: raise ent_coef. ExplainedVariance below 0 for long: the
critic is worse than a constant, so the advantages are noise; raise vf_lr or train_v_iters, or normalise the
observations.

References:
    Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning".
    Sutton et al. 2000, "Policy Gradient Methods for Reinforcement Learning with Function Approximation": theorem 1.
    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation": eq. 1 and 16.

Run:      python -m rlsuite.run vpg --env CartPole-v1
Expect:   with its preset (rlsuite/presets.py) a return of at least 400 within 500,000 steps.
Exercise: replace `batch.ret` in value_loss by the observed return alone (lam = 1) and keep lam = 0.95 in the policy.
          Which column shows the difference first?
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rlsuite import settings
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, evaluate_rollout, gae, standardize
from rlsuite.common.device import set_up_torch
from rlsuite.common.health import Averages, on_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import RewardScaler
from rlsuite.common.optim import Adam
from rlsuite.common.seeding import seed_everything
from rlsuite.common.training import Training
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs


@dataclass(frozen=True)
class Config:
    """Settings of VPG. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: settings.JsonObject = "{}"  # JSON object of arguments for the environment
    frame_skip: settings.Count = 1  # how often each action is repeated; rewards add up, and steps are counted after it
    seed: settings.Seed = 0  # seeds networks, actions, environments and sampling
    total_steps: settings.Steps = 500_000  # budget in env steps; rounded up to whole steps of all environments
    num_envs: settings.Environments = 8  # environments that step together, in each process
    steps_per_epoch: settings.Steps = 4000  # env steps per row of the log; rounded up to whole rollouts
    rollout_len: settings.Count = 500  # steps of each environment between two updates; longer: less bias, fewer updates
    gamma: settings.Unit = 0.99  # discount per step; the agent looks about 1/(1-gamma) steps ahead
    lam: settings.Unit = 0.95  # lambda of GAE; higher: less bias, more variance
    train_v_iters: settings.Count = 80  # gradient steps of the value function per rollout; the policy takes one
    ent_coef: settings.Coefficient = 0.0  # weight of the entropy bonus; raise it if the entropy collapses early
    pi_lr: settings.LearningRate = 3e-3  # learning rate of the policy
    vf_lr: settings.LearningRate = 1e-3  # learning rate of the value function
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: both learning rates fall to 0 over total_steps
    max_grad_norm: settings.PositiveOrInf = 0.5  # larger gradients are scaled down to this norm; inf: never
    hidden_sizes: settings.Widths = (64, 64)  # widths of the hidden layers of either network
    activation: Literal["tanh", "relu"] = "tanh"  # after each hidden layer
    log_std_init: float = -0.5  # continuous actions: first ln sigma, in half widths of the bounds
    normalize_obs: bool = False  # standardise observations by the mean and variance of all so far
    scale_reward: bool = False  # divide rewards, and so V's targets, by the deviation of discounted returns; no shift
    device: str = "cpu"  # cpu, cuda, mps, or auto
    compile: bool = False  # compile the networks (a minute at the start, needs a C++ compiler): for long trainings
    torch_threads: settings.Threads = 0  # threads of torch; 0: by the size of an update, one where it is small

    def __post_init__(self) -> None:
        settings.check(self)


def policy_loss(logp: Tensor, adv: Tensor) -> Tensor:
    """The policy gradient, as a loss to minimise: its gradient, and only that, means something.

        L = -E[ logp·adv ],   so that   -∇L = E[ ∇logp·adv ] = ∇J,   logp = ln π(a|s)

    Args:
        logp: (B,) float32, log-probability of the taken actions under the policy that took them, nats.
        adv:  (B,) float32, advantages, standardised over the rollout.

    Returns:
        The loss (). It does not measure performance: its value may rise while the policy improves.

    Source: Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning",
    theorem 1; with adv in place of the return: Schulman et al. 2016, eq. 1.
    """
    assert logp.shape == adv.shape == logp.shape[:1], (logp.shape, adv.shape)
    return -(logp * adv).mean()


def value_loss(val: Tensor, ret: Tensor) -> Tensor:
    """Mean squared error of the critic.

        L = E[ (V(s) - ret)² ]

    Args:
        val: (B,) float32, V(s) of the critic being trained.
        ret: (B,) float32, the targets adv + V_old(s).

    Returns:
        The loss ().
    """
    assert val.shape == ret.shape == val.shape[:1], (val.shape, ret.shape)
    return nn.functional.mse_loss(val, ret)


def update(ac: ActorCritic, pi_opt: Adam, v_opt: Adam, batch: Batch, config: Config, stats: Averages) -> None:
    """One gradient step of the policy on one rollout, then those of the value function.

    Args:
        ac: the actor-critic, changed in place.
        pi_opt: over the policy's parameters.
        v_opt: over the value function's parameters.
        batch: the rollout.
        config: settings.
        stats: averages of the epoch, which take the losses of each step.
    """
    adv = standardize(batch.adv)
    pi = ac.pi(batch.x)
    logp = pi.log_prob(batch.act)
    loss_pi = policy_loss(logp, adv)
    bonus = config.ent_coef * pi.entropy().mean() if config.ent_coef else 0.0
    (loss_pi - bonus).backward()
    pi_opt.step()  # one only: after it the data is no longer that of the policy
    stats.add(len(adv), LossPi=loss_pi)

    for _ in range(config.train_v_iters):
        loss_v = value_loss(ac.v(batch.x), batch.ret)
        loss_v.backward()
        v_opt.step()
        stats.add(len(adv), LossV=loss_v)


def train(
    config: Config,
    env_fn: EnvFn | None = None,
    actor_critic: type[ActorCritic] = ActorCritic,
    logger: Logger | None = None,
) -> ActorCritic:
    """Train from scratch and write a run directory.

    Args:
        config: settings.
        env_fn: returns a new environment; by default `gymnasium.make(config.env)`.
        actor_critic: the networks; see `ActorCritic` for what it must have.
        logger: where to write; by default `data/vpg_<env>/<timestamp>_s<seed>/`.

    Returns:
        The trained actor-critic.

    Raises:
        UserError: a setting, environment or space that does not fit; nothing has been created then.
        NonFiniteError, EnvError: a NaN or infinity, or an environment that fails; the last epoch's policy is kept.
    """
    device = set_up_torch(config, "rollout_len", "num_envs")
    seed_everything(config.seed)
    envs = Envs.of(config, env_fn)
    ac = actor_critic(envs.obs_space, envs.act_space, config).to(device)
    pi_opt = Adam("Pi", ac.pi, config.pi_lr, config.max_grad_norm)
    v_opt = Adam("V", ac.v, config.vf_lr, config.max_grad_norm)
    scaler = RewardScaler(config)
    with Training("vpg", config, logger, envs, ac, pi_opt=pi_opt, v_opt=v_opt, scaler=scaler) as training:
        obs = envs.obs
        for epoch in training.epochs(config.rollout_len):
            for rollout_len in epoch.rollouts:
                training.anneal(pi_opt, v_opt)
                buf = RolloutBuffer(rollout_len, envs)
                for _ in range(rollout_len):
                    act = ac.act(obs)
                    next_obs, rew, terminated, truncated = envs.step(act)
                    buf.store(obs, act, rew, next_obs, terminated, truncated)
                    obs = envs.obs  # next_obs, or the first observation of a new episode

                buf.rew = scaler(buf.rew, buf.terminated | buf.truncated)  # unchanged unless scale_reward
                with torch.no_grad():
                    x, val, next_val, pi = evaluate_rollout(ac, buf)
                adv = gae(buf.rew, buf.rows(val), next_val, buf.terminated, buf.truncated, config.gamma, config.lam)
                update(ac, pi_opt, v_opt, buf.batch(x, adv, val, pi), config, epoch.stats)
                ac.encode.update(buf.obs)  # only now: features must not change between acting and training
                epoch.keep(buf, val, next_val, adv, pi)
            training.end_epoch(epoch, on_policy_health(epoch, ac, config.gamma))
    return ac
