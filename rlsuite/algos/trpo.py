"""Trust Region Policy Optimization (TRPO): the largest step that is safe to take on one rollout.

The idea. A policy gradient is right only for the policy that collected the data, and says nothing of how far to follow
it. TRPO asks for the step that promises most among all that change the policy by no more than target_kl nats of the KL
divergence. It solves a simple model of that problem, and checks the answer on the data itself.

What the words mean (vpg.py derives them). The policy gradient ∇J = E[ ∇logp adv ] is the gradient of the expected
return J by the policy's parameters. The baseline V(s) is the return to expect in state s: subtracting it leaves the
advantage adv, whose noise is smaller. λ (lam) sets how much of what was observed enters adv, from one reward (0) to all
(1); the value function stands in for the rest.

On-policy. Actions: Discrete, MultiDiscrete or Box (diagonal Gaussian). Observations: Discrete or Box, others flattened.

Key equations, in the names of the code (s_t the state at step t, B samples of one rollout, log-probabilities in nats,
θ the policy's parameters, of which there are P):

    done_t = terminated_t or truncated_t
    δ_t    = rew_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)
    adv_t  = δ_t + gamma lam (1 - done_t) adv_{t+1},  0 after a rollout's end      (common/buffer.py, gae)
    ret_t  = adv_t + V(s_t)
    logp   = ln π(a|s),   logp_old that of the policy that acted
    r      = exp(logp - logp_old) = π(a|s) / π_old(a|s)
    L_pi   = -E[ r adv ],   g = ∇L_pi at θ_old
    L_v    =  E[ (V(s) - ret)² ]
    KL     =  E[ KL(π_old(·|s) ‖ π(·|s)) ],   F = ∇²KL at θ_old, a matrix (P, P)
    x      = -(F + damping_coeff I)⁻¹ g,   step = √(2 target_kl / xᵀFx) x

Why the constraint is in KL. Parameters have no unit: a step of 0.1 may leave a saturated layer's outputs as they are,
and turn another's upside down. The KL asks only how much the distributions of actions have changed, and the same policy
written with other parameters has the same KL. How good the data still is depends on just that.

What the natural gradient is. At θ_old the KL is 0, its minimum, and so its gradient is 0. What is left near θ_old is
the quadratic term: KL ≈ ½ sᵀFs for a step s. F is the Fisher information matrix, E[ ∇logp ∇logpᵀ ]. Of all steps with
½ sᵀFs = target_kl, the one with the smallest gᵀs is a multiple of -F⁻¹g, the natural gradient. It is short in
directions that change the policy much, and long in those that hardly do. With F = I it would be the gradient itself.

How it is computed. F has P² entries, too many to write down. But F v, for a vector v, is the gradient of (∇KL)ᵀv: two
backward passes. The conjugate gradient method solves (F + damping_coeff I) x = -g with products of that kind alone, and
is near enough after 10. Some of F's eigenvalues are almost 0, as some parameters hardly matter to these states; without
the damping the step would go far in their directions, where the quadratic model is wrong.

Why the line search. The model is right only near θ_old, and the step goes to where it may not be. So the step is shrunk
until the loss on the samples has really fallen and the exact KL is really within target_kl. If no share of it passes,
the policy stays as it was.

Pseudocode:

    repeat until total_steps:
        collect rollout_len steps in each of num_envs environments with π
        compute V, logp_old, adv, ret of all samples; standardise adv
        g = ∇L_pi;  x = -(F + damping_coeff I)⁻¹ g by cg_iters steps of conjugate gradient
        step = √(2 target_kl / xᵀFx) x
        for i in 0 .. backtrack_iters - 1:
            θ = θ_old + backtrack_coeffⁱ step;  stop if L_pi has fallen and KL <= target_kl
        if none did: θ = θ_old
        repeat train_v_iters times:
            for each minibatch, in a new random order:
                one gradient step on L_v

Differs from VPG (vpg.py): F⁻¹ bends the gradient, and target_kl in place of a learning rate says how long the step is.
Differs from PPO (ppo.py): one large step, checked, where PPO takes many small ones. PPO's clip replaces F, the
conjugate gradient and the line search: beyond 1 ± ε a ratio gains nothing, and first derivatives are enough. But the
clip bounds no KL, so PPO has to check after every pass whether it has gone too far.

Deviations from the paper: advantages come from GAE with a learned V, and are standardised over the rollout; the paper
sums observed rewards. F is damped in the conjugate gradient alone; other implementations damp it in the length of the
step, too, and take shorter steps than target_kl allows. KL and F are means over all samples of the rollout.

What to look at. KL is of the whole epoch, over all its rollouts. With one rollout per epoch it never exceeds target_kl
(with normalize_obs it may: the statistics move, too). KLPredicted, what the quadratic model says of the same step,
should be near it. Far apart, the step has left the region where the model holds: lower target_kl, or raise
damping_coeff. BacktrackIters up to 1 is healthy, because the whole step often overshoots by a few per cent; above 3
says the same as a wide gap. StepAccepted below 1: there were rollouts from which nothing could be learned, often
because the advantages are noise; see ExplainedVariance. LossPi is the loss after the step: the more negative, the more
the step promises; 0 where it was refused. PiLR is nan: there is no learning rate. Entropy that does not fall while the
return stays flat: nothing is learned. On CartPole it falls evenly, from 0.69 to 0.4 in 100,000 steps, also after the
return has reached 500: every update is allowed the same KL, needed or not. ExplainedVariance below 0 for long: the
critic is worse than a constant; raise vf_lr or train_v_iters, or normalise the observations.

References:
    Schulman et al. 2015, "Trust Region Policy Optimization": eq. 14 (objective and constraint), section 6 and appendix
    C (conjugate gradient, length of the step, line search).
    Kakade 2001, "A Natural Policy Gradient": section 2.
    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation": eq. 16.

Run:      python -m rlsuite.run trpo --env CartPole-v1
Expect:   with its preset (rlsuite/presets.py) a return of 500, the maximum, within 100,000 steps.
Exercise: set cg_iters to 1. Which direction is x then, and what do KL, KLPredicted and the return make of it? Then take
          damping_coeff = 1000 with cg_iters = 10.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rlsuite import settings
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, evaluate_rollout, gae, minibatches, standardize
from rlsuite.common.device import set_up_torch
from rlsuite.common.health import Averages, on_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import RewardScaler
from rlsuite.common.optim import Adam, FlatParameters
from rlsuite.common.seeding import seed_everything
from rlsuite.common.training import Training
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs


@dataclass(frozen=True)
class Config:
    """Settings of TRPO. Counts of steps are env steps over all environments unless they say otherwise."""

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
    target_kl: settings.Positive = 0.01  # delta, nats: how far one update may move the policy
    damping_coeff: settings.Coefficient = 0.1  # added to the diagonal of F; higher: nearer to the plain gradient
    cg_iters: settings.Count = 10  # conjugate gradient steps, each of which is one product with F
    backtrack_iters: settings.Count = 10  # steps that the line search tries, at most
    backtrack_coeff: settings.Fraction = 0.8  # how much shorter each of them is than the one before
    train_v_iters: settings.Count = 10  # passes of the value function over each rollout
    minibatch_size: settings.Shared = 64  # samples per gradient step of the value function, at most
    vf_lr: settings.LearningRate = 1e-3  # learning rate of the value function
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: vf_lr falls to 0 over total_steps
    max_grad_norm: settings.PositiveOrInf = 0.5  # larger gradients of the value function are scaled down; inf: never
    hidden_sizes: settings.Widths = (64, 64)  # widths of the hidden layers of either network
    activation: Literal["tanh", "relu"] = "tanh"  # after each hidden layer
    log_std_init: float = -0.5  # continuous actions: first ln sigma, in half widths of the bounds
    normalize_obs: bool = False  # standardise observations by the mean and variance of all so far
    scale_reward: bool = False  # divide rewards, and so V's targets, by the deviation of discounted returns; no shift
    device: str = "cpu"  # cpu, cuda, mps, or auto
    compile: bool = False  # compile the value function; torch can't differentiate a compiled policy twice
    torch_threads: settings.Threads = 0  # threads of torch; 0: by the size of an update, one where it is small

    def __post_init__(self) -> None:
        settings.check(self)


def policy_loss(logp: Tensor, logp_old: Tensor, adv: Tensor) -> Tensor:
    """Surrogate objective, as a loss to minimise.

        L = -E[ r·adv ],   r = π(a|s) / π_old(a|s) = exp(logp - logp_old)

    Args:
        logp:     (B,) float32, log-probability of the taken actions under the policy being trained, nats.
        logp_old: (B,) float32, the same under the policy that collected them; no gradient flows into it.
        adv:      (B,) float32, advantages, standardised over the rollout.

    Returns:
        The loss (). At π = π_old it is 0, because adv has mean 0, and its gradient is minus the policy gradient.

    Source: Schulman et al. 2015, "Trust Region Policy Optimization", eq. 14.
    """
    assert logp.shape == logp_old.shape == adv.shape == logp.shape[:1], (logp.shape, logp_old.shape, adv.shape)
    return -(torch.exp(logp - logp_old) * adv).mean()


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


def fisher_product(pi_flat: FlatParameters, kl_grad: Tensor, v: Tensor) -> Tensor:
    """The Fisher information matrix times a vector, without the matrix.

        F v = ∇²KL v = ∇( (∇KL)ᵀ v ),   the mean over the samples of all ranks

    Args:
        pi_flat: the policy's parameters θ.
        kl_grad: ∇KL at θ_old (P,), of this rank's samples, with its graph.
        v: (P,) float32.

    Returns:
        F v (P,) float32.

    Source: Schulman et al. 2015, "Trust Region Policy Optimization", appendix C.1; Pearlmutter 1994, "Fast Exact
    Multiplication by the Hessian".
    """
    assert kl_grad.shape == v.shape == v.shape[:1], (kl_grad.shape, v.shape)
    return pi_flat.gradient(kl_grad @ v)


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, iters: int) -> Tensor:
    """Solve A x = b for a symmetric positive definite A that is known by its products alone.

        x_0 = 0,   res_0 = p_0 = b
        α = resᵀres / pᵀAp,   x ← x + α p,   res' = res - α A p,   p ← res' + (res'ᵀres' / resᵀres) p

    Each p is conjugate to all before it (pᵀA p_before = 0), so that what was gained along one direction is never lost
    again. Exact after P steps, but for rounding.

    Args:
        product: v (P,) -> A v (P,).
        b: (P,).
        iters: steps, at most; it stops where nothing is left to solve.

    Returns:
        x (P,).

    Source: Hestenes, Stiefel 1952, "Methods of Conjugate Gradients for Solving Linear Systems".
    """
    assert b.ndim == 1, b.shape
    x, res, p = torch.zeros_like(b), b.clone(), b.clone()
    res_sq = b @ b
    enough = 1e-12 * res_sq  # a millionth of b, which is what float32 can tell
    for _ in range(iters):
        if res_sq <= enough:
            break
        a_p = product(p)
        alpha = res_sq / (p @ a_p)
        x += alpha * p
        res -= alpha * a_p
        before, res_sq = res_sq, res @ res
        p = res + (res_sq / before) * p
    return x


def full_step(x: Tensor, fisher_x: Tensor, target_kl: float) -> Tensor:
    """The step in the direction x whose KL is target_kl, if the quadratic model is right.

        step = √(2 target_kl / xᵀFx) x,   so that   ½ stepᵀF step = target_kl

    Args:
        x: (P,), the direction.
        fisher_x: F x (P,).
        target_kl: nats.

    Returns:
        step (P,); 0 where x does not change the policy.

    Source: Schulman et al. 2015, "Trust Region Policy Optimization", appendix C.
    """
    assert x.shape == fisher_x.shape == x.shape[:1], (x.shape, fisher_x.shape)
    curvature = (x @ fisher_x).item()
    return math.sqrt(2 * target_kl / curvature) * x if curvature > 0 else torch.zeros_like(x)


def line_search(
    flat: Tensor, step: Tensor, loss_old: float, evaluate: Callable[[], tuple[float, float]], config: Config
) -> dict[str, float]:
    """Go as far along a step as makes the loss smaller and stays within the trust region.

        θ = θ_old + backtrack_coeffⁱ step,   i the first of 0, 1, ... with L(θ) < L(θ_old) and KL <= target_kl

    Args:
        flat: the parameters θ (P,), changed in place; where no i < backtrack_iters will do, they are θ_old again.
        step: (P,), whose KL is target_kl in the quadratic model.
        loss_old: L(θ_old).
        evaluate: L and KL of the policy with the parameters that `flat` has now, the same on all ranks.
        config: settings.

    Returns:
        `LossPi` of the policy it ends with, `BacktrackIters` i, `StepAccepted` 1 or 0, and `KLPredicted`, what the
        quadratic model says of the shortened step.

    Source: Schulman et al. 2015, "Trust Region Policy Optimization", appendix C.
    """
    assert flat.shape == step.shape == step.shape[:1], (flat.shape, step.shape)
    old = flat.clone()
    for i in range(config.backtrack_iters):
        share = config.backtrack_coeff**i
        torch.add(old, step, alpha=share, out=flat)
        loss, kl = evaluate()
        if loss < loss_old and kl <= config.target_kl:
            predicted = share**2 * config.target_kl  # quadratic in the length
            return {"LossPi": loss, "BacktrackIters": i, "StepAccepted": 1, "KLPredicted": predicted}
    flat.copy_(old)
    return {"LossPi": loss_old, "BacktrackIters": config.backtrack_iters, "StepAccepted": 0, "KLPredicted": 0}


def update(
    ac: ActorCritic, pi_flat: FlatParameters, v_opt: Adam, batch: Batch, config: Config, stats: Averages
) -> None:
    """One natural step of the policy on one rollout, then the passes of the value function in minibatches.

    Args:
        ac: the actor-critic, changed in place.
        pi_flat: the policy's parameters.
        v_opt: over the value function's parameters.
        batch: the rollout.
        config: settings.
        stats: averages of the epoch, which take the losses of each step.
    """
    adv = standardize(batch.adv)
    logp_old = batch.pi.log_prob(batch.act)
    pi = ac.pi(batch.x)
    loss_pi = policy_loss(pi.log_prob(batch.act), logp_old, adv)
    loss_pi.backward(retain_graph=True)  # the KL starts from the same pi
    pi_flat.average_gradient()
    kl_grad = pi_flat.gradient(batch.pi.kl(pi).mean(), create_graph=True)

    def fisher(v: Tensor) -> Tensor:
        return fisher_product(pi_flat, kl_grad, v)

    @torch.no_grad()
    def evaluate() -> tuple[float, float]:
        pi = ac.pi(batch.x)
        return batch.mean(policy_loss(pi.log_prob(batch.act), logp_old, adv)), batch.mean(batch.pi.kl(pi))

    x = conjugate_gradient(lambda v: fisher(v) + config.damping_coeff * v, -pi_flat.grad, config.cg_iters)
    step = full_step(x, fisher(x), config.target_kl)
    stats.add(**line_search(pi_flat.flat, step, batch.mean(loss_pi), evaluate, config))
    pi_flat.grad.zero_()

    for _ in range(config.train_v_iters):
        for j in minibatches(batch, config.minibatch_size):
            loss_v = value_loss(ac.v(batch.x[j]), batch.ret[j])
            loss_v.backward()
            v_opt.step()
            stats.add(len(j), LossV=loss_v)


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
        logger: where to write; by default `data/trpo_<env>/<timestamp>_s<seed>/`.

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
    pi_flat = FlatParameters("Pi", ac.pi)
    v_opt = Adam("V", ac.v, config.vf_lr, config.max_grad_norm)
    scaler = RewardScaler(config)
    with Training("trpo", config, logger, envs, ac, pi_flat=pi_flat, v_opt=v_opt, scaler=scaler) as training:
        obs = envs.obs
        for epoch in training.epochs(config.rollout_len):
            for rollout_len in epoch.rollouts:
                training.anneal(v_opt)
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
                update(ac, pi_flat, v_opt, buf.batch(x, adv, val, pi), config, epoch.stats)
                ac.encode.update(buf.obs)  # only now: features must not change between acting and training
                epoch.keep(buf, val, next_val, adv, pi)
            training.end_epoch(epoch, on_policy_health(epoch, ac, config.gamma))
    return ac
