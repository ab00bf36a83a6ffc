"""Advantage Actor-Critic (A2C): many small policy gradient steps from many environments at once.

The idea. Run several environments side by side and update after a handful of steps in each, instead of after whole
episodes. The environments are in different situations, so even a short rollout is a varied batch, and the critic stands
in for the rest of the episode. A2C is A3C without its asynchrony: all environments wait for each other. What a policy
gradient and a baseline are, vpg.py derives.

On-policy. Actions: Discrete, MultiDiscrete or Box (diagonal Gaussian). Observations: Discrete or Box, others flattened.

Key equations, in the names of the code (s_t the state at step t, B samples of one rollout, log-probabilities in nats):

    done_t = terminated_t or truncated_t
    δ_t    = rew_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)
    adv_t  = δ_t + gamma lam (1 - done_t) adv_{t+1},  0 after a rollout's end      (common/buffer.py, gae)
           = rew_t + gamma rew_{t+1} + ... + gamma^k V(s_{t+k}) - V(s_t)           for lam = 1, k steps before the end
    ret_t  = adv_t + V(s_t)
    logp   = ln π(a|s)
    L_pi   = -E[ logp adv ]
    L_v    =  E[ (V(s) - ret)² ]
    H      =  E[ entropy of π(·|s) ], the bonus: raising it keeps the policy exploring

Why short rollouts. After rollout_len steps V(s_{t+k}) stands in for the rest of the return. That is biased as long as V
is wrong, but updates come often: with 8 environments and 5 steps, one for every 40 env steps, where VPG takes one for
thousands. The first sample of a rollout looks rollout_len steps ahead, the last only one.

Why many environments. The states of one environment's consecutive steps are nearly the same, and a gradient from them
pulls the policy towards whatever happened there last. The same number of samples from different moments of different
episodes is closer to what the expectation in L_pi means. Off-policy algorithms reach this with a replay memory. An
on-policy one can't have that.

Why RMSprop. It divides each gradient by a running root mean square, so the step size does not depend on the scale of
the rewards. It has no momentum: the next batch comes from a policy that has already moved. In A3C the threads share its
statistics; with one optimiser there is nothing to share. Its ε, 1e-5, is large enough to matter where gradients are
small.

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

Deviations from the paper: synchronous, as above. Policy and value networks are separate, and so are their optimisers.
Gradients are clipped to a norm, as in all implementations.

What to look at. KL adds up the small steps of an epoch. GradNormPi far above max_grad_norm in every epoch: every step
is clipped, and only the learning rate sets the step size. Entropy that does not fall while the return stays flat:
nothing is learned. Entropy near 0 before the return has risen: raise ent_coef, or lower pi_lr. ExplainedVariance below
0 for long: the critic is worse than a constant, so the advantages are noise; raise vf_lr, or collect longer rollouts.

References:
    Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning": algorithm S3, section 4.
    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation": eq. 16.

Run:      python -m rlsuite.run a2c --env CartPole-v1
Expect:   with its preset (rlsuite/presets.py) a return of 500, the maximum, within 500,000 steps.
Exercise: set num_envs = 1 and rollout_len = 40, the same batch size. What happens to the return, and which column says
          why?
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from rlsuite import settings
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch, RolloutBuffer, evaluate_rollout, gae
from rlsuite.common.device import set_up_torch
from rlsuite.common.health import Averages, on_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import RewardScaler
from rlsuite.common.optim import RMSprop
from rlsuite.common.seeding import seed_everything
from rlsuite.common.training import Training
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs


@dataclass(frozen=True)
class Config:
    """Settings of A2C. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: settings.JsonObject = "{}"  # JSON object of arguments for the environment
    frame_skip: settings.Count = 1  # how often each action is repeated; rewards add up, and steps are counted after it
    seed: settings.Seed = 0  # seeds networks, actions, environments and sampling
    total_steps: settings.Steps = 500_000  # budget in env steps; rounded up to whole steps of all environments
    num_envs: settings.Environments = 8  # environments that step together, in each process
    steps_per_epoch: settings.Steps = 4000  # env steps per row of the log; rounded up to whole rollouts
    rollout_len: settings.Count = 5  # steps of each environment between two updates; longer: less bias, fewer updates
    gamma: settings.Unit = 0.99  # discount per step; the agent looks about 1/(1-gamma) steps ahead
    lam: settings.Unit = 1.0  # lambda of GAE; higher: less bias, more variance
    ent_coef: settings.Coefficient = 0.0  # weight of the entropy bonus; raise it if the entropy collapses early
    pi_lr: settings.LearningRate = 7e-4  # learning rate of the policy
    vf_lr: settings.LearningRate = 7e-4  # learning rate of the value function
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


def update(ac: ActorCritic, pi_opt: RMSprop, v_opt: RMSprop, batch: Batch, config: Config, stats: Averages) -> None:
    """One gradient step of each network on one rollout.

    Args:
        ac: the actor-critic, changed in place.
        pi_opt: over the policy's parameters.
        v_opt: over the value function's parameters.
        batch: the rollout, evaluated with its graph, which this step uses up.
        config: settings.
        stats: averages of the epoch, which take the losses of each step.
    """
    adv = batch.adv  # not standardised: the deviation of so few samples says little
    logp = batch.pi.log_prob(batch.act)
    loss_pi = policy_loss(logp, adv)
    bonus = config.ent_coef * batch.pi.entropy().mean() if config.ent_coef else 0.0
    loss_v = value_loss(batch.val, batch.ret)
    (loss_pi - bonus + loss_v).backward()  # the networks share nothing: each gets the gradient of its own loss
    pi_opt.step()
    v_opt.step()
    stats.add(len(adv), LossPi=loss_pi, LossV=loss_v)


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
    device = set_up_torch(config, "rollout_len", "num_envs")
    seed_everything(config.seed)
    envs = Envs.of(config, env_fn)
    ac = actor_critic(envs.obs_space, envs.act_space, config).to(device)
    pi_opt = RMSprop("Pi", ac.pi, config.pi_lr, config.max_grad_norm)
    v_opt = RMSprop("V", ac.v, config.vf_lr, config.max_grad_norm)
    scaler = RewardScaler(config)
    with Training("a2c", config, logger, envs, ac, pi_opt=pi_opt, v_opt=v_opt, scaler=scaler) as training:
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
                # With its graph: the one step that follows trains on these same values and distributions.
                x, val, next_val, pi = evaluate_rollout(ac, buf)
                adv = gae(buf.rew, buf.rows(val), next_val, buf.terminated, buf.truncated, config.gamma, config.lam)
                update(ac, pi_opt, v_opt, buf.batch(x, adv, val, pi), config, epoch.stats)
                ac.encode.update(buf.obs)  # only now: features must not change between acting and training
                epoch.keep(buf, val, next_val, adv, pi)
            training.end_epoch(epoch, on_policy_health(epoch, ac, config.gamma))
    return ac
