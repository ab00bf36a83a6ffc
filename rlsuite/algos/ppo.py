"""Proximal Policy Optimization (PPO), with the clipped objective.

The idea. A policy gradient makes actions that turned out better than expected more probable; it is right only for the
policy that collected the data. After one large step the data is stale, and the next step may ruin the policy. PPO takes
many small steps on the same data, but an action's probability gains nothing by moving further than a factor of 1 ± ε.
PPO also stops once the exact KL divergence from the policy that collected the data has grown too large.

What the words mean (vpg.py derives them). The policy gradient ∇J = E[ ∇logp adv ] is the gradient of the expected
return J by the policy's parameters. The baseline V(s) is the return to expect in state s: subtracting it leaves the
advantage adv, whose noise is smaller. λ (lam) sets how much of what was observed enters adv, from one reward (0) to all
(1); the value function stands in for the rest.

On-policy. Actions: Discrete, MultiDiscrete or Box (diagonal Gaussian). Observations: Discrete or Box, others flattened.

Key equations, in the names of the code (s_t the state at step t, B samples of one rollout, log-probabilities in nats):

    done_t = terminated_t or truncated_t
    δ_t    = rew_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)
    adv_t  = δ_t + gamma lam (1 - done_t) adv_{t+1},  0 after a rollout's end      (common/buffer.py, gae)
    ret_t  = adv_t + V(s_t)
    logp   = ln π(a|s),   logp_old that of the policy that acted
    r      = exp(logp - logp_old) = π(a|s) / π_old(a|s)
    L_pi   = -E[ min( r adv, clip(r, 1-ε, 1+ε) adv ) ],   ε = clip_ratio
    L_v    =  E[ (V(s) - ret)² ]
    H      =  E[ entropy of π(·|s) ], the bonus: raising it keeps the policy exploring
    KL     =  E[ KL(π_old(·|s) ‖ π(·|s)) ],  stop the passes once KL > target_kl
    L_kl   =  β KL, instead of the stop if kl_coef > 0, which β starts from: a penalty on moving far

How the clip works. Where adv > 0 the objective rises with r up to 1 + ε and is flat beyond: no gradient, no reason to
go on. Where adv < 0 it is flat below 1 - ε. The min keeps the other two cases unclipped: if r has moved the wrong way
(adv > 0 and r < 1 - ε, or adv < 0 and r > 1 + ε), the gradient that brings it back stays. The clip does not bound the
KL: the steps that other samples ask for may carry a ratio past 1 ± ε. That is what target_kl is for.

Two ways to bound the KL. The early stop takes no more steps once the KL is too large. The penalty pulls back all the
time, and its weight β adapts: it halves after an update whose KL is below target_kl / 1.5, and doubles above 1.5
target_kl. So the KL of an update settles near target_kl; where the steps are too small to get there, β vanishes. Both
ways at once would not work: with the stop few updates go far beyond target_kl, and β would mostly fall.

Pseudocode:

    repeat until total_steps:
        collect rollout_len steps in each of num_envs environments with π
        compute V, logp_old, adv, ret of all samples; standardise adv
        repeat train_iters times, or until KL > target_kl:
            for each minibatch, in a new random order:
                one gradient step on L_pi - ent_coef H (+ β KL), one on L_v
        if kl_coef > 0: halve or double β

Differs from A2C (a2c.py): several passes over each rollout in minibatches, the ratio and its clip, the early stop,
standardised advantages, Adam.
Differs from VPG (vpg.py): the policy, too, takes several gradient steps on the same data.

Deviations from the paper: policy and value networks are separate, so no coefficient has to balance their losses.
Advantages are standardised over the rollout and gradients clipped, as in all implementations. The early stop is not in
the paper. Its section 4 has the penalty, mainly in place of the clip; here the clip stays, and a clip_ratio of 1e9
leaves it out.

What to look at. Ratio1 must be 0 up to rounding: before the first step the policy is the one that collected the data.
KL compares the first policy of the epoch with the last, over all its rollouts. If it stays above target_kl per rollout,
and ClipFrac above 0.3, the steps are too large: lower pi_lr, train_iters or target_kl. StopIter near 1: the early stop
ends most updates after one pass; lower pi_lr. Entropy that does not fall while the return stays flat: nothing is
learned. Entropy near 0 before the return has risen: raise ent_coef; if it falls within a few updates, set kl_coef = 1
and a target_kl around 0.01, which slow the policy down. KLCoef that grows without end: even so the steps are too large;
lower pi_lr. ExplainedVariance below 0 for long: the critic is worse than a constant, so the advantages are noise; raise
vf_lr, or normalise the observations.

References:
    Schulman et al. 2017, "Proximal Policy Optimization Algorithms": eq. 7 (objective), section 4 and eq. 8 (penalty),
        algorithm 1.
    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation": eq. 16.
    Huang et al. 2022, "The 37 Implementation Details of Proximal Policy Optimization".

Run:      python -m rlsuite.run ppo --env CartPole-v1
Expect:   with its preset (rlsuite/presets.py) a return of 500, the maximum, within 100,000 steps.
Exercise: leave out the min, so that L_pi = -E[ clip(r, 1-ε, 1+ε) adv ]. For which samples does the gradient vanish that
          should not, and which column would show it?
Worth:    docs/ablations.md leaves each detail out. Without the clip Pendulum-v1 is not learned; most others go unseen.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rlsuite import settings
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, evaluate_rollout, gae, minibatches, standardize
from rlsuite.common.device import set_up_torch
from rlsuite.common.health import Averages, exact_kl, on_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import RewardScaler
from rlsuite.common.optim import Adam
from rlsuite.common.seeding import seed_everything
from rlsuite.common.training import Training
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs


@dataclass(frozen=True)
class Config:
    """Settings of PPO. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: settings.JsonObject = "{}"  # JSON object of arguments for the environment
    frame_skip: settings.Count = 1  # how often each action is repeated; rewards add up, and steps are counted after it
    seed: settings.Seed = 0  # seeds networks, actions, environments and sampling
    total_steps: settings.Steps = 500_000  # budget in env steps; rounded up to whole steps of all environments
    num_envs: settings.Environments = 8  # environments that step together, in each process
    steps_per_epoch: settings.Steps = 2048  # env steps per row of the log; rounded up to whole rollouts
    rollout_len: settings.Count = 256  # steps of each environment between two updates; longer: less bias, fewer updates
    gamma: settings.Unit = 0.99  # discount per step; the agent looks about 1/(1-gamma) steps ahead
    lam: settings.Unit = 0.95  # lambda of GAE; higher: less bias, more variance
    clip_ratio: settings.Positive = 0.2  # epsilon, how far a ratio may move before it stops paying; usually 0.1 to 0.3
    train_iters: settings.Count = 10  # passes over each rollout, at most
    minibatch_size: settings.Shared = 64  # samples per gradient step, at most
    target_kl: settings.PositiveOrInf = 0.05  # nats; a pass that ends above it is the last; or kl_coef's goal
    kl_coef: settings.Coefficient = 0.0  # first weight of the KL penalty, which replaces the early stop; 0: no penalty
    ent_coef: settings.Coefficient = 0.0  # weight of the entropy bonus; raise it if the entropy collapses early
    pi_lr: settings.LearningRate = 3e-4  # learning rate of the policy
    vf_lr: settings.LearningRate = 3e-4  # learning rate of the value function
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
        settings.check(self, finite={"kl_coef": "target_kl"})


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


class KLPenalty:
    """The weight β of the KL penalty, which adapts after the update on each rollout.

        L_kl = β E[ KL(π_old(·|s) ‖ π(·|s)) ],   d = that mean over the whole rollout, after its last gradient step
        β ← β / 2  if d < target_kl / 1.5,   β ← 2 β  if d > 1.5 target_kl

    The factors 1.5 and 2 are heuristic. The first β hardly matters, because β adapts quickly. It has no bounds.

    Source: Schulman et al. 2017, section 4: eq. 8 and the rule below it.
    """

    def __init__(self, config: Config) -> None:
        """β starts from `kl_coef`; 0 stays 0."""
        self.beta, self.target_kl = config.kl_coef, config.target_kl

    def loss(self, pi_old: Any, pi: Any) -> Tensor:
        """L_kl () of the distributions that acted and those being trained; no gradient flows into the former."""
        kl: Tensor = pi_old.kl(pi)
        return self.beta * kl.mean()

    def adapt(self, kl: float) -> None:
        """Change β, given d."""
        if kl < self.target_kl / 1.5:
            self.beta /= 2
        elif kl > 1.5 * self.target_kl:
            self.beta *= 2

    def state_dict(self) -> dict[str, float]:
        """β."""
        return {"beta": self.beta}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Raises ValueError or TypeError for what is no number."""
        self.beta = float(state["beta"])


def update(
    ac: ActorCritic, pi_opt: Adam, v_opt: Adam, batch: Batch, config: Config, stats: Averages, penalty: KLPenalty
) -> None:
    """The passes over one rollout, in minibatches.

    Args:
        ac: the actor-critic, changed in place.
        pi_opt: over the policy's parameters.
        v_opt: over the value function's parameters.
        batch: the rollout.
        config: settings.
        stats: averages of the epoch, which take the losses of each step.
        penalty: on the KL, if `kl_coef` is above 0; its weight is changed in place.
    """
    adv = standardize(batch.adv)
    logp_old = batch.pi.log_prob(batch.act)
    stops = math.isfinite(config.target_kl) and not config.kl_coef
    for i in range(config.train_iters):
        for k, j in enumerate(minibatches(batch, config.minibatch_size)):
            x = batch.x[j]
            pi = ac.pi(x)
            logp = pi.log_prob(batch.act[j])
            loss_pi, info = policy_loss(logp, logp_old[j], adv[j], config.clip_ratio)
            bonus = config.ent_coef * pi.entropy().mean() if config.ent_coef else 0.0
            loss_kl = penalty.loss(type(pi)(*(part[j] for part in batch.pi)), pi) if config.kl_coef else 0.0
            loss_v = value_loss(ac.v(x), batch.ret[j])
            # The networks share nothing: each gets the gradient of its own loss.
            (loss_pi + loss_kl - bonus + loss_v).backward()
            pi_opt.step()
            v_opt.step()
            stats.add(len(j), LossPi=loss_pi, LossV=loss_v, **info)
            if i == k == 0:  # nothing had moved yet: a ratio that is not 1 here is a bug
                stats.add_max(Ratio1=(logp.detach() - logp_old[j]).exp().sub(1).abs().max())
        # The whole rollout, not the last minibatch, and before the next pass can do more damage.
        if stops and exact_kl(batch.pi, ac.pi, batch.x) > config.target_kl:
            break
    stats.add(StopIter=i + 1)
    if config.kl_coef:
        stats.add(KLCoef=penalty.beta)
        penalty.adapt(exact_kl(batch.pi, ac.pi, batch.x))


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
    device = set_up_torch(config, "minibatch_size")
    seed_everything(config.seed)
    envs = Envs.of(config, env_fn)
    ac = actor_critic(envs.obs_space, envs.act_space, config).to(device)
    pi_opt = Adam("Pi", ac.pi, config.pi_lr, config.max_grad_norm)
    v_opt = Adam("V", ac.v, config.vf_lr, config.max_grad_norm)
    scaler, penalty = RewardScaler(config), KLPenalty(config)
    parts = {"pi_opt": pi_opt, "v_opt": v_opt, "scaler": scaler, "penalty": penalty}
    with Training("ppo", config, logger, envs, ac, **parts) as training:
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
                update(ac, pi_opt, v_opt, buf.batch(x, adv, val, pi), config, epoch.stats, penalty)
                ac.encode.update(buf.obs)  # only now: features must not change between acting and training
                epoch.keep(buf, val, next_val, adv, pi)
            training.end_epoch(epoch, on_policy_health(epoch, ac, config.gamma))
    return ac
