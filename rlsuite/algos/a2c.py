"""Advantage Actor-Critic (A2C): many small policy gradient steps from many environments at once.

The idea. Run several environments side by side and update after a handful of steps in each, instead of after whole
episodes: the environments are in different situations, so that even a short rollout is a varied batch, and the critic
stands in for the rest of the episode. A2C is A3C without its asynchrony: all environments wait for each other.

On-policy. Actions: Discrete, or Box (diagonal Gaussian). Observations: Discrete or Box.

Key equations, in the names of the code (B samples of one rollout; log-probabilities in nats):

    δ_t   = rew_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)
    adv_t = δ_t + gamma lam (1 - done_t) adv_{t+1},  0 after a rollout's end    (common/buffer.py, gae)
          = rew_t + gamma rew_{t+1} + ... + gamma^k V(s_{t+k}) - V(s_t)         for lam = 1, k steps before the end
    done_t = terminated_t or truncated_t
    ret_t = adv_t + V(s_t)
    L_pi  = -E[ logp adv ]
    L_v   =  E[ (V(s) - ret)² ]
    H     =  E[ entropy of π(·|s) ], the bonus: raising it keeps the policy exploring

Why short rollouts. After rollout_len steps V(s_{t+k}) stands in for the rest of the return. That is biased as long as V
is wrong, but updates come often: with 8 environments and 5 steps, one for every 40 env steps, where VPG takes one for
thousands. The first sample of a rollout looks rollout_len steps ahead, the last only one.

Why many environments. The states of one environment's consecutive steps are nearly the same, and a gradient from them
pulls the policy towards whatever happened there last. The same number of samples from different moments of different
episodes is closer to what the expectation in L_pi means. Off-policy algorithms reach this with a replay memory, which
an on-policy one can't have.

Why RMSprop. It divides each gradient by a running root mean square, so that the step size does not depend on the scale
of the rewards, and it has no momentum: the next batch comes from a policy that has already moved. In A3C the threads
share its statistics; with one optimiser there is nothing to share. Its ε, 1e-5, is large enough to matter where
gradients are small.

Pseudocode:

    repeat until total_steps:
        collect rollout_len steps in each of num_envs environments with π
        compute V, adv, ret of all samples
        one gradient step on L_pi - ent_coef H, one on L_v

A log row (epoch) covers many such updates: its losses are means over them, its KL compares the first policy with the
last.

Differs from VPG (vpg.py): short rollouts, raw advantages, one step of the value function per rollout, RMSprop.
Differs from PPO (ppo.py): one step per rollout, hence no ratio, no clip, no minibatches, no early stop; raw advantages;
RMSprop.

Deviations from the paper: synchronous, as above; policy and value networks are separate and so are their optimisers;
gradients are clipped to a norm, as all implementations do.

What to look at. KL adds up many small steps: on CartPole half of the epochs lie between 0.0005 and 0.01. GradNormPi
far above max_grad_norm in every epoch: every step is clipped, and only the learning rate sets the step size.
Entropy that does not fall while the return stays flat: nothing is learned; one that is near 0 before the return has
risen: raise ent_coef, or lower pi_lr. ExplainedVariance below 0 for long: the critic is worse than a constant, so
that the advantages are noise: raise vf_lr, or collect longer rollouts.

References:
    Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning": algorithm S3, section 4.
    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation": eq. 16.

Run:     python -m rlsuite.run a2c --env CartPole-v1
Expect:  with its preset (rlsuite/presets.py) a return of 500, the maximum, within 500,000 steps.
"""

import copy
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from rlsuite.common.acting import sampler
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, plan_epochs
from rlsuite.common.checks import check_config
from rlsuite.common.envs import EnvFn, Envs, make_env
from rlsuite.common.health import Averages, on_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import RewardScaler
from rlsuite.common.optim import FlatOptimizer, rmsprop, set_up_torch
from rlsuite.common.resume import Checkpoint
from rlsuite.common.seeding import seed_everything


@dataclass(frozen=True)
class Config:
    """Settings of A2C. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: str = "{}"  # JSON object of arguments for the environment
    seed: int = 0  # of everything random: networks, actions, environments, the order of samples
    total_steps: int = 500_000  # budget in env steps, met exactly; a multiple of num_envs
    num_envs: int = 8  # environments that step together, in each process
    steps_per_epoch: int = 4000  # env steps per row of the log; a multiple of num_envs x rollout_len
    rollout_len: int = 5  # steps of each environment between two updates; longer: less biased, but fewer updates
    gamma: float = 0.99  # discount per step, 0 to 1; 1/(1-gamma) steps is how far ahead the agent looks
    lam: float = 1.0  # lambda of GAE, 0 to 1; higher: less bias, more variance
    ent_coef: float = 0.0  # weight of the entropy bonus, 0 or more; raise it if the entropy collapses early
    pi_lr: float = 7e-4  # learning rate of the policy
    vf_lr: float = 7e-4  # learning rate of the value function
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
        adv:  (B,) float32, advantages.

    Returns:
        The loss (). It does not measure performance: its value may rise while the policy improves.

    Source: Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning",
    theorem 1; with an n-step advantage: Mnih et al. 2016, section 4.
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
        batch: the rollout, evaluated with its graph, which the steps use up.
        config: settings.
        stats: averages of the epoch.
    """
    adv = batch.adv  # not standardised: the deviation of so few samples says little
    # Nothing has moved since the batch was evaluated: its values and log-probabilities carry the gradient.
    loss_pi = policy_loss(batch.logp, adv)
    bonus = config.ent_coef * batch.pi.entropy().mean() if config.ent_coef else 0.0
    norm_pi = pi_opt.step(loss_pi - bonus)
    loss_v = value_loss(batch.val, batch.ret)
    norm_v = v_opt.step(loss_v)

    stats.add(len(adv), LossPi=loss_pi.item(), LossV=loss_v.item())
    stats.add(GradNormPi=norm_pi, GradNormV=norm_v)


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
        logger: where to write; by default `data/a2c_<env>/<timestamp>_s<seed>/`.

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
    pi_opt = FlatOptimizer("LossPi", ac.pi, rmsprop, config.max_grad_norm, config.compile)
    v_opt = FlatOptimizer("LossV", ac.v, rmsprop, config.max_grad_norm, config.compile)
    sample = sampler(ac, config.num_envs)  # a ~ π(·|s)
    scaler = RewardScaler(config.num_envs, config.gamma) if config.scale_reward else None
    epoch_steps = min(config.steps_per_epoch, config.total_steps)
    buf = RolloutBuffer(epoch_steps, config.num_envs, envs.obs_space, envs.act_space, scaler, with_graph=True)
    envs.reset()

    logger = logger or Logger()
    logger.start("a2c", config, network=actor_critic, custom_env=env_fn is not None)
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
