"""Proximal Policy Optimization (PPO), with the clipped objective.

The idea. A policy gradient is only right for the policy that collected the data; after one large step the data is stale
and the next step may ruin the policy. PPO takes many small steps on the same data instead, and removes the reward for
moving an action's probability further than a factor 1 ± ε from where it was. It also stops when the exact KL divergence
between the policy that collected the data and the new one has grown too large.

On-policy. Actions: Discrete, or Box (diagonal Gaussian). Observations: Discrete or Box.

Key equations, in the names of the code (B samples of one rollout; log-probabilities in nats):

    δ_t   = rew_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)
    adv_t = δ_t + gamma lam (1 - done_t) adv_{t+1},  0 after a rollout's end    (common/buffer.py, gae)
    done_t = terminated_t or truncated_t
    ret_t = adv_t + V(s_t)
    r     = exp(logp - logp_old)
    L_pi  = -E[ min( r adv, clip(r, 1-ε, 1+ε) adv ) ]
    L_v   =  E[ (V(s) - ret)² ]
    H     =  E[ entropy of π(·|s) ], the bonus: raising it keeps the policy exploring
    KL    =  E[ KL(π_old(·|s) ‖ π(·|s)) ],  stop the passes once KL > target_kl

How the clip works. Where adv > 0 the objective rises with r up to 1 + ε and is flat beyond: no gradient, no reason to
go on. Where adv < 0 it is flat below 1 - ε. The min keeps the other two cases unclipped: if r has moved the wrong way
(adv > 0 and r < 1 - ε, or adv < 0 and r > 1 + ε), the gradient that brings it back stays. The clip does not bound the
KL: a ratio may be carried past 1 ± ε by the steps that other samples ask for. That is what target_kl is for.

Pseudocode:

    repeat until total_steps:
        collect rollout_len steps in each of num_envs environments with π
        compute V, logp_old, adv, ret of all samples; standardise adv
        repeat train_iters times, or until KL > target_kl:
            for each minibatch, in a new random order:
                one gradient step on L_pi - ent_coef H, one on L_v

Differs from A2C (a2c.py): several passes over each rollout in minibatches, the ratio and its clip, the early stop,
standardised advantages, Adam.
Differs from VPG (vpg.py): the policy, too, takes several gradient steps on the same data.

Deviations from the paper: policy and value networks are separate, so that no coefficient has to balance their losses;
advantages are standardised over the rollout and gradients clipped, as all implementations do; KL early stop is the
paper's section 4 idea of limiting KL, without its adaptive penalty.

What to look at. Ratio1 must be 0 up to rounding: before the first step the policy is the one that collected the data.
KL compares the first policy of the epoch with the last, over all its rollouts. If it stays above target_kl per rollout,
and ClipFrac above 0.3, the steps are too large: lower pi_lr, train_iters or target_kl. StopIter near 1: the early stop
ends most updates after one pass: lower pi_lr. Entropy that does not fall while the return stays
flat: nothing is learned; one that is near 0 before the return has risen: raise ent_coef. ExplainedVariance below 0 for
long: the critic is worse than a constant, so that the advantages are noise: raise vf_lr, or normalise the observations.

References:
    Schulman et al. 2017, "Proximal Policy Optimization Algorithms": eq. 7 (objective), algorithm 1.
    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation": eq. 16.
    Huang et al. 2022, "The 37 Implementation Details of Proximal Policy Optimization".

Run:     python -m rlsuite.run ppo --env CartPole-v1
Expect:  with its preset (rlsuite/presets.py) a return of 500, the maximum, within 100,000 steps.
"""

import copy
import math
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rlsuite.common.acting import sampler
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, minibatches, plan_epochs, standardize
from rlsuite.common.checks import check_config
from rlsuite.common.envs import EnvFn, Envs, make_env
from rlsuite.common.health import Averages, exact_kl, on_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import RewardScaler
from rlsuite.common.optim import FlatOptimizer, adam, set_up_torch
from rlsuite.common.resume import Checkpoint
from rlsuite.common.seeding import seed_everything


@dataclass(frozen=True)
class Config:
    """Settings of PPO. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: str = "{}"  # JSON object of arguments for the environment
    seed: int = 0  # of everything random: networks, actions, environments, the order of samples
    total_steps: int = 500_000  # budget in env steps, met exactly; a multiple of num_envs
    num_envs: int = 8  # environments that step together, in each process
    steps_per_epoch: int = 2048  # env steps per row of the log; a multiple of num_envs x rollout_len
    rollout_len: int = 256  # steps of each environment between two updates; longer: less biased, but fewer updates
    gamma: float = 0.99  # discount per step, 0 to 1; 1/(1-gamma) steps is how far ahead the agent looks
    lam: float = 0.95  # lambda of GAE, 0 to 1; higher: less bias, more variance
    clip_ratio: float = 0.2  # epsilon, how far a ratio may move before it stops paying; usually 0.1 to 0.3
    train_iters: int = 10  # passes over each rollout, at most
    minibatch_size: int = 64  # samples per gradient step; divides num_envs x rollout_len
    target_kl: float = 0.05  # nats; a pass that ends with a larger exact KL is the last on its rollout; inf: never stop
    ent_coef: float = 0.0  # weight of the entropy bonus, 0 or more; raise it if the entropy collapses early
    pi_lr: float = 3e-4  # learning rate of the policy
    vf_lr: float = 3e-4  # learning rate of the value function
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


def policy_loss(logp: Tensor, logp_old: Tensor, adv: Tensor, clip_ratio: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate objective, as a loss to minimise.

        L = -E[ min( r·adv, clip(r, 1-ε, 1+ε)·adv ) ],   r = π(a|s) / π_old(a|s) = exp(logp - logp_old)

    Args:
        logp:       (B,) float32, log-probability of the taken actions under the policy being trained, nats.
        logp_old:   (B,) float32, the same under the policy that collected them; no gradient flows into it.
        adv:        (B,) float32, advantages, standardised over the rollout.
        clip_ratio: ε, how far a ratio may move before it stops paying.

    Returns:
        The loss () and `{"ClipFrac": share of samples whose gradient the clip has switched off}`.

    Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", eq. 7.
    """
    assert logp.shape == logp_old.shape == adv.shape == logp.shape[:1], (logp.shape, logp_old.shape, adv.shape)
    ratio = torch.exp(logp - logp_old)
    gain, clipped_gain = ratio * adv, ratio.clamp(1 - clip_ratio, 1 + clip_ratio) * adv
    # The min makes the bound pessimistic: a step that made things worse is never clipped away.
    loss = -torch.min(gain, clipped_gain).mean()
    return loss, {"ClipFrac": (clipped_gain < gain).float().mean()}


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
    for i in range(config.train_iters):
        for k, j in enumerate(minibatches(len(adv), config.minibatch_size, adv.device)):
            x, logp_old = batch.x[j], batch.logp[j]
            pi = ac.pi(x)
            logp = pi.log_prob(batch.act[j])
            loss_pi, info = policy_loss(logp, logp_old, adv[j], config.clip_ratio)
            bonus = config.ent_coef * pi.entropy().mean() if config.ent_coef else 0.0
            norm_pi = pi_opt.step(loss_pi - bonus)
            loss_v = value_loss(ac.v(x), batch.ret[j])
            norm_v = v_opt.step(loss_v)

            stats.add(len(j), LossPi=loss_pi.item(), LossV=loss_v.item(), ClipFrac=info["ClipFrac"].item())
            stats.add(GradNormPi=norm_pi, GradNormV=norm_v)
            if i == k == 0:  # nothing has moved yet: a ratio that is not 1 here is a bug
                stats.add_max(Ratio1=(logp.detach() - logp_old).exp().sub(1).abs().max().item())
        # The whole rollout, not the last minibatch, and before the next pass can do more damage.
        if math.isfinite(config.target_kl) and exact_kl(ac, batch) > config.target_kl:
            break
    stats.add(StopIter=i + 1)


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
        logger: where to write; by default `data/ppo_<env>/<timestamp>_s<seed>/`.

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
    logger.start("ppo", config, network=actor_critic, custom_env=env_fn is not None)
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
