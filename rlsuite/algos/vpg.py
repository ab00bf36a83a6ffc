"""Vanilla Policy Gradient (VPG), with a learned baseline and generalised advantage estimation.

The idea. Make actions that turned out better than expected more probable, and the others less. "Than expected" is what
a value function, trained alongside, predicts; the difference is the advantage. The gradient estimate needs no model of
the environment, but it is only right for data of the present policy: each rollout is used for one step and thrown away.

On-policy. Actions: Discrete, or Box (diagonal Gaussian). Observations: Discrete or Box.

Key equations, in the names of the code (B samples of one rollout; log-probabilities in nats):

    δ_t   = rew_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)
    adv_t = δ_t + gamma lam (1 - done_t) adv_{t+1},  0 after a rollout's end    (common/buffer.py, gae)
    done_t = terminated_t or truncated_t
    ret_t = adv_t + V(s_t)
    L_pi  = -E[ logp adv ]
    L_v   =  E[ (V(s) - ret)² ]
    H     =  E[ entropy of π(·|s) ], the bonus: raising it keeps the policy exploring

Why L_pi has that form. Let f(a) be how good action a is in state s. The log-derivative trick turns the gradient of an
expectation over actions into an expectation that samples can estimate:

    ∇ E[ f(a) ] = Σ_a ∇π(a|s) f(a) = Σ_a π(a|s) ∇ln π(a|s) f(a) = E[ ∇ln π(a|s) f(a) ]

Anything that depends on the state alone may be subtracted from f, because E[ ∇ln π(a|s) b(s) ] = b(s) ∇ Σ_a π(a|s) =
b(s) ∇1 = 0: the mean of the gradient stays, its variance shrinks. With b = V(s), what is left of f is the advantage.

Why lam. adv with lam = 1 is the observed return minus V(s): unbiased but for
the V that stands in at the end of the rollout, yet it carries the noise of every later step.
With lam = 0 it is δ_t: little noise, but as wrong as V is. Between the two, an error of V counts the less the nearer
lam is to 1.

Pseudocode:

    repeat until total_steps:
        collect rollout_len steps in each of num_envs environments with π
        compute V, adv, ret of all samples; standardise adv
        one gradient step on L_pi - ent_coef H
        repeat train_v_iters times:
            one gradient step on L_v

Differs from A2C (a2c.py): long rollouts, standardised advantages, many steps of the value function per rollout, Adam.
Differs from PPO (ppo.py): one policy step per rollout, hence no ratio, no clip, no minibatches, no early stop.

Deviations from the papers: advantages are standardised over the rollout, which makes the step size independent of the
scale of the rewards; the discounted value is followed from undiscounted states, as all implementations do, so the
gradient lacks a factor gamma^t; gradients are clipped to a norm.

What to look at. KL is the size of the policy steps, and small here: on CartPole half of the epochs lie between
0.0001 and 0.001. Far below that the policy stands still (raise pi_lr), above 0.1 one bad rollout can ruin it (lower
pi_lr, or collect longer rollouts). Entropy that does not fall while the return stays flat: nothing is learned; one
that is near 0 before the return has risen: raise ent_coef. ExplainedVariance below 0 for long: the critic is worse
than a constant, so that the advantages are noise: raise vf_lr or train_v_iters, or normalise the observations.

References:
    Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning".
    Sutton et al. 2000, "Policy Gradient Methods for Reinforcement Learning with Function Approximation": theorem 1.
    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation": eq. 1 and 16.

Run:     python -m rlsuite.run vpg --env CartPole-v1
Expect:  with its preset (rlsuite/presets.py) a return of at least 400 within 500,000 steps.
"""

import copy
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from rlsuite.common.acting import sampler
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, plan_epochs, standardize
from rlsuite.common.checks import check_config
from rlsuite.common.envs import EnvFn, Envs, make_env
from rlsuite.common.health import Averages, on_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import RewardScaler
from rlsuite.common.optim import FlatOptimizer, adam, set_up_torch
from rlsuite.common.resume import Checkpoint
from rlsuite.common.seeding import seed_everything


@dataclass(frozen=True)
class Config:
    """Settings of VPG. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: str = "{}"  # JSON object of arguments for the environment
    seed: int = 0  # of everything random: networks, actions, environments, the order of samples
    total_steps: int = 500_000  # budget in env steps, met exactly; a multiple of num_envs
    num_envs: int = 8  # environments that step together, in each process
    steps_per_epoch: int = 4000  # env steps per row of the log; a multiple of num_envs x rollout_len
    rollout_len: int = 500  # steps of each environment between two updates; longer: less biased, but fewer updates
    gamma: float = 0.99  # discount per step, 0 to 1; 1/(1-gamma) steps is how far ahead the agent looks
    lam: float = 0.95  # lambda of GAE, 0 to 1; higher: less bias, more variance
    train_v_iters: int = 80  # gradient steps of the value function per rollout; the policy takes one
    ent_coef: float = 0.0  # weight of the entropy bonus, 0 or more; raise it if the entropy collapses early
    pi_lr: float = 3e-3  # learning rate of the policy
    vf_lr: float = 1e-3  # learning rate of the value function
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: both learning rates fall to 0 over total_steps
    max_grad_norm: float = 0.5  # larger gradients are scaled down to this norm
    hidden_sizes: tuple[int, ...] = (64, 64)  # widths of the hidden layers of either network
    activation: Literal["tanh", "relu"] = "tanh"  # after each hidden layer
    log_std_init: float = -0.5  # continuous actions: first ln sigma, in half widths of the bounds
    normalize_obs: bool = False  # standardise observations by the mean and variance of all so far
    scale_reward: bool = False  # divide rewards by the running deviation of the discounted return; never shifted
    device: str = "cpu"  # cpu, cuda, mps, or auto
    compile: bool = False  # compile the networks (a minute at the start, needs a C++ compiler): for long trainings
    torch_threads: int = 1  # threads of torch; networks this small are fastest on one


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


def update(
    ac: ActorCritic, pi_opt: FlatOptimizer, v_opt: FlatOptimizer, batch: Batch, config: Config, stats: Averages
) -> None:
    """The gradient steps on one rollout, in order; `stats` takes the losses and gradient norms of each.

    Args:
        ac: the actor-critic, changed in place.
        pi_opt: over the policy's parameters.
        v_opt: over the value function's parameters.
        batch: the rollout.
        config: settings.
        stats: averages of the epoch.
    """
    adv = standardize(batch.adv)
    pi = ac.pi(batch.x)
    # One step only: after it the data is no longer that of the policy, and the equation no longer holds.
    loss_pi = policy_loss(pi.log_prob(batch.act), adv)
    bonus = config.ent_coef * pi.entropy().mean() if config.ent_coef else 0.0
    norm_pi = pi_opt.step(loss_pi - bonus)
    stats.add(len(adv), LossPi=loss_pi.item())
    stats.add(GradNormPi=norm_pi)

    for _ in range(config.train_v_iters):
        loss_v = value_loss(ac.v(batch.x), batch.ret)
        norm_v = v_opt.step(loss_v)
        stats.add(len(adv), LossV=loss_v.item())
        stats.add(GradNormV=norm_v)


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
    check_config(config)
    device = set_up_torch(config.device, config.torch_threads)
    seed_everything(config.seed)

    envs = Envs(env_fn or (lambda: make_env(config.env, config.env_kwargs)), config.num_envs, config.seed)
    ac = actor_critic(
        envs.obs_space,
        envs.act_space,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        normalize_obs=config.normalize_obs,
        log_std_init=config.log_std_init,
    ).to(device)
    pi_opt = FlatOptimizer("LossPi", ac.pi, adam, config.max_grad_norm, config.compile)
    v_opt = FlatOptimizer("LossV", ac.v, adam, config.max_grad_norm, config.compile)
    sample = sampler(ac, config.num_envs)  # a ~ π(·|s)
    scaler = RewardScaler(config.num_envs, config.gamma) if config.scale_reward else None
    epoch_steps = min(config.steps_per_epoch, config.total_steps)
    buf = RolloutBuffer(epoch_steps, config.num_envs, envs.obs_space, envs.act_space, scaler)
    envs.reset()

    logger = logger or Logger()
    logger.start("vpg", config, network=actor_critic, custom_env=env_fn is not None)
    checkpoint = Checkpoint(logger, ac, envs, pi_opt=pi_opt, v_opt=v_opt, scaler=scaler)
    obs, steps_left = envs.obs, config.total_steps - envs.total_steps  # of a resumed run, those where it had stopped
    epochs = plan_epochs(steps_left, config.num_envs, config.steps_per_epoch, config.rollout_len)
    with closing(envs), closing(logger), closing(checkpoint):
        for epoch, rollouts in enumerate(epochs, start=checkpoint.epoch + 1):
            before = copy.deepcopy(ac)
            stats = Averages()
            buf.clear()
            for rollout_len in rollouts:
                share_left = 1 - envs.total_steps / config.total_steps if config.lr_schedule == "linear" else 1.0
                pi_opt.lr, v_opt.lr = config.pi_lr * share_left, config.vf_lr * share_left

                for _ in range(rollout_len):
                    act = sample(obs)
                    next_obs, rew, terminated, truncated = envs.step(act)
                    buf.store(obs, act, rew, next_obs, terminated, truncated)
                    obs = envs.obs  # next_obs, or the first observation of a new episode

                # Features need statistics before anything is trained on them; does nothing after the first rollout.
                ac.encode.warm_start(buf.states())
                batch = buf.finish_rollout(ac, obs, config.gamma, config.lam)
                update(ac, pi_opt, v_opt, batch, config, stats)
                # Only now: during a rollout and its update the features must not change under the policy.
                ac.encode.update(buf.states(rollout_len))

            returns, episodes = envs.end_epoch()
            row = {
                "Epoch": epoch,
                **returns,
                **on_policy_health(before, ac, buf, config.gamma),
                **stats.means(),
                "PiLR": pi_opt.lr,
                "VfLR": v_opt.lr,
                "TotalEnvInteracts": envs.total_steps,
                "GradSteps": pi_opt.steps + v_opt.steps,
            }
            logger.log_epoch(row)
            checkpoint.save(epoch, buf.states(), episodes)
    return ac
