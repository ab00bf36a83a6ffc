"""Deep Q-Networks (DQN), with Double DQN and dueling heads as options.

The idea. If Q(s, a) is the return of taking a in s and acting best afterwards, then the best policy needs no network of
its own: take the action with the highest Q. Q satisfies an equation with itself (Bellman's), so that it can be learned
from single steps (s, a, rew, s'), whoever took them. DQN makes this stable with a network by two means: it trains on
steps drawn at random from a large memory, which are nearly independent, and towards targets of an older copy of the
network, which hold still for a while.

Off-policy. Actions: Discrete. Observations: Discrete or Box.

Key equations, in the names of the code (B transitions drawn from the replay buffer; q is the network, target a copy):

    y     = rew + gamma (1 - terminated) max_a' target(s', a')               one step of Bellman's optimality equation
    y     = rew + gamma (1 - terminated) target(s', argmax_a' q(s', a'))     the same with double_q
    L_q   = E[ h(q(s, a) - y) ],  h the square or the Huber loss;  y is a constant to the gradient
    act   = argmax_a q(s, a) with probability 1 - epsilon, any action with probability epsilon
    target ← polyak target + (1 - polyak) q,  every target_every env steps; polyak = 0 copies

Only `terminated` cuts the target: an episode that a time limit has stopped would have gone on.

The maximum is biased. max_a' of noisy estimates is on average above the maximum of the true values, because it favours
actions whose error is high; ValueBias shows it. Double DQN chooses by q and values by target, whose errors are not
quite the same: that lowers the bias, and does not remove it.

Pseudocode:

    repeat until total_steps:
        every target_every env steps: move the target network
        take an action in each environment: at random for start_steps, ε-greedy then
        store (s, a, rew, s', terminated)
        from update_after on, once in update_every env steps, repeat gradient_steps times:
            draw batch_size transitions; one gradient step on L_q

Differs from DDPG (ddpg.py): the maximum is found by trying all actions; DDPG trains a second network to find it.
Differs from PPO (ppo.py): every step is trained on many times, long after it was taken, so that fewer are needed; but
the target moves with what is being learned, and nothing bounds how far one update changes the policy.

Deviations from the paper: Adam instead of RMSprop; the squared loss, where the paper clips the error to ±1 (loss huber
does; see q_loss for what that costs); gradients are scaled down to max_grad_norm; rewards are not clipped; target_every
counts env steps, not updates; no frame stacking, no convolutions.

What to look at. Entropy says nothing but ε; whether the policy still changes is in GreedyFlips: near 0 and a bad return
mean that it has settled on the wrong thing. ActionEntropy near 0: always the same action. ValueBias that grows without
end, QVals far above any return that is possible: over-estimation; try double_q, a larger target_every, a lower q_lr.
TargetGap that grows: the network runs away from its targets. ExplainedVarianceTD near 1 and ExplainedVariance near or
below 0: the targets are learned, but they are not the returns (exploration alone lowers it somewhat).

References:
    Mnih et al. 2015, "Human-level control through deep reinforcement learning": algorithm 1.
    van Hasselt, Guez, Silver 2016, "Deep Reinforcement Learning with Double Q-learning": eq. 4, section "Double DQN".
    Wang et al. 2016, "Dueling Network Architectures for Deep Reinforcement Learning": eq. 9.
    Pardo et al. 2018, "Time Limits in Reinforcement Learning": eq. 6.

Run:     python -m rlsuite.run dqn --env CartPole-v1
Expect:  with its preset (rlsuite/presets.py) a return of nearly 500, the maximum, within 50,000 steps.
"""

import copy
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite.common.acting import array_function
from rlsuite.common.buffer import RolloutBuffer, plan_epochs
from rlsuite.common.checks import check_config
from rlsuite.common.diagnostics import greedy_entropy, greedy_kl, update_ratio
from rlsuite.common.envs import EnvFn, Envs, episode_stats, evaluate, make_env
from rlsuite.common.health import Averages, off_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.optim import FlatOptimizer, adam, flatten, set_up_torch
from rlsuite.common.q_networks import QNetwork
from rlsuite.common.replay import ReplayBuffer, Transitions
from rlsuite.common.resume import Checkpoint
from rlsuite.common.seeding import seed_everything


@dataclass(frozen=True)
class Config:
    """Settings of DQN. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: str = "{}"  # JSON object of arguments for the environment
    seed: int = 0  # of everything random: networks, actions, environments, samples
    total_steps: int = 100_000  # budget in env steps, met exactly; a multiple of num_envs
    num_envs: int = 1  # environments that step together, in each process
    steps_per_epoch: int = 2000  # env steps per row of the log; a multiple of num_envs
    gamma: float = 0.99  # discount per step, 0 to 1; 1/(1-gamma) steps is how far ahead the agent looks
    buffer_size: int = 100_000  # transitions in the replay buffer; the oldest are forgotten
    batch_size: int = 64  # transitions per gradient step
    start_steps: int = 1000  # env steps of uniformly random actions at the start
    update_after: int = 1000  # env steps before the first gradient step
    update_every: int = 4  # env steps from one update to the next
    gradient_steps: int = 1  # gradient steps per update
    epsilon_start: float = 1.0  # share of random actions where its line begins, at env step 0; start_steps come first
    epsilon_end: float = 0.05  # share of random actions where the line ends, and from there on
    epsilon_share: float = 0.2  # share of total_steps that the line takes, counted from env step 0
    target_every: int = 500  # env steps from one change of the target network to the next
    polyak: float = 0.0  # weight of the old target at each change, 0 to 1; 0 copies, 0.995 goes with target_every 1
    loss: Literal["squared", "huber"] = "squared"  # huber: errors beyond 1 pull no harder than 1
    double_q: bool = False  # Double DQN: choose the next action by q, value it by the target network
    dueling: bool = False  # dueling heads: one output for the state's value, one per action for what it adds
    q_lr: float = 1e-3  # learning rate
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: the learning rate falls to 0 over total_steps
    max_grad_norm: float = 10.0  # larger gradients are scaled down to this norm
    hidden_sizes: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: Literal["tanh", "relu"] = "relu"  # after each hidden layer
    normalize_obs: bool = False  # standardise observations by the mean and variance of all so far
    num_test_episodes: int = 5  # greedy episodes after each epoch in another environment, of 100,000 steps at most
    device: str = "cpu"  # cpu, cuda, mps, or auto
    compile: bool = False  # compile the networks (a minute at the start, needs a C++ compiler): for long trainings
    torch_threads: int = 1  # threads of torch; networks this small are fastest on one


def td_target(rew: Tensor, terminated: Tensor, next_q: Tensor, next_act: Tensor, gamma: float) -> Tensor:
    """What Q(s, a) should be, by one step of Bellman's optimality equation.

        y = rew + γ (1 - terminated) Q_target(s', a'),   a' = next_act

    Args:
        rew:        (B,) float32.
        terminated: (B,) bool; a truncated episode is not terminated.
        next_q:     (B, n) float32, Q_target(s', ·).
        next_act:   (B,) int64, the best next action: by Q_target (DQN) or by Q (Double DQN).
        gamma:      discount γ.

    Returns:
        y (B,) float32.

    Source: Mnih et al. 2015, algorithm 1; van Hasselt et al. 2016, eq. 4 with the target network for its θ'.
    """
    assert rew.shape == terminated.shape == next_act.shape == next_q.shape[:1], (rew.shape, next_q.shape)
    return rew + gamma * ~terminated * value_of(next_q, next_act)


def value_of(q: Tensor, act: Tensor) -> Tensor:
    """Q(s, a) (B,) of the actions act (B,) int64, from those of all actions q (B, n)."""
    return q.gather(1, act[:, None]).squeeze(1)


def q_loss(q: Tensor, y: Tensor, loss: str) -> Tensor:
    """How far Q is from its target.

        L = E[ h(q - y) ],   squared: h(e) = e²;   huber: h(e) = ½ e² if |e| < 1, else |e| - ½

    The Huber loss has the gradient of an error clipped to ±1: one surprising reward does not wreck the network. But a
    clipped pull makes Q settle near the median of its targets, not their mean: where errors are large and one step in
    ten ends the episode, the nine that go on outvote it, and Q climbs above any return. Below 1 the gradient is half
    that of the square.

    Args:
        q:    (B,) float32, Q(s, a) of the network being trained.
        y:    (B,) float32, the targets; no gradient flows into them.
        loss: "huber" or "squared".

    Returns:
        The loss ().

    Source: Mnih et al. 2015, methods, "Training algorithm for deep Q-networks" (error clipping).
    """
    assert q.shape == y.shape == q.shape[:1], (q.shape, y.shape)
    return nn.functional.smooth_l1_loss(q, y) if loss == "huber" else nn.functional.mse_loss(q, y)


def epsilon_at(step: int, config: Config) -> float:
    """ε after `step` env steps: 1 during start_steps, then on the line from epsilon_start to epsilon_end."""
    if step < config.start_steps:
        return 1.0
    share = min(1.0, step / max(1.0, config.epsilon_share * config.total_steps))
    return config.epsilon_start + share * (config.epsilon_end - config.epsilon_start)


def explore(
    q: NDArray[np.float32], epsilon: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """ε-greedy actions (N,) where actions have the values q (N, n), and the values (N,) of those taken."""
    act = q.argmax(1)
    for i, chance in enumerate(rng.random(len(q))):
        random_act = rng.integers(q.shape[1])  # also where it is not needed: as many draws whatever ε
        if chance < epsilon:
            act[i] = random_act  # perhaps the greedy one again: that has probability 1 - ε + ε/n
    return act, q[np.arange(len(q)), act]


def update(
    ac: QNetwork, target: QNetwork, q_opt: FlatOptimizer, batch: Transitions, config: Config, stats: Averages
) -> None:
    """One gradient step; `stats` takes the loss, the gradient norm, and the values with their targets.

    Args:
        ac: the network, changed in place.
        target: the older copy.
        q_opt: over the network's parameters.
        batch: B transitions.
        config: settings.
        stats: averages of the epoch.
    """
    x, next_x = ac.encode(batch.obs), ac.encode(batch.next_obs)
    with torch.no_grad():
        next_q = target.q(next_x)
        next_act = (ac.q(next_x) if config.double_q else next_q).argmax(1)
        y = td_target(batch.rew, batch.terminated, next_q, next_act, config.gamma)
    q = value_of(ac.q(x), batch.act)
    loss_q = q_loss(q, y, config.loss)
    stats.add(LossQ=loss_q.item(), GradNormQ=q_opt.step(loss_q))
    stats.keep(q=q, target=y)


@torch.no_grad()
def policy_change(
    before: QNetwork, ac: QNetwork, target: QNetwork, obs: Tensor, act: Tensor, epsilon: float
) -> dict[str, float]:
    """How far the epoch has moved the policy (KL, nats) and the network, on up to 2,048 of its states.

    Args:
        before: a copy of the network made before the epoch's first step.
        ac: the network now.
        target: the target network now.
        obs: (B, *obs_shape).
        act: (B,) int64, the actions taken there.
        epsilon: ε at the end of the epoch.
    """
    x = ac.encode(obs)
    q = ac.q(x)
    flips = float((q.argmax(1) != before.mode(obs)).float().mean())
    return {
        "KL": greedy_kl(flips, epsilon, q.shape[1]),
        "GreedyFlips": flips,
        "TargetGap": float((value_of(q, act) - value_of(target.q(x), act)).abs().mean()),
        "UpdateRatioQ": update_ratio(before.q, ac.q),
    }


def train(
    config: Config,
    env_fn: EnvFn | None = None,
    actor_critic: type[QNetwork] = QNetwork,
    logger: Logger | None = None,
) -> QNetwork:
    """Train from scratch and write a run directory.

    Args:
        config: settings.
        env_fn: returns a new environment; by default `gymnasium.make(config.env)`. Called once more for the tests.
        actor_critic: the network, whose greedy policy is the actor; see `QNetwork` for what it must have.
        logger: where to write; by default `data/dqn_<env>/<timestamp>_s<seed>/`.

    Returns:
        The trained network.

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
        dueling=config.dueling,
    ).to(device)
    num_actions = int(ac.act_space.n)
    q_opt = FlatOptimizer("LossQ", ac.q, adam, config.max_grad_norm, config.compile)
    q_values = array_function(ac.encode, ac.q)  # Q(s, ·)
    target = copy.deepcopy(ac)
    target_flat = flatten(target.q)
    replay = ReplayBuffer(config.buffer_size, config.num_envs, envs.obs_space, envs.act_space, rng)
    epoch_steps = min(config.steps_per_epoch, config.total_steps)
    buf = RolloutBuffer(epoch_steps, config.num_envs, envs.obs_space, envs.act_space)
    envs.reset()

    logger = logger or Logger()
    logger.start("dqn", config, network=actor_critic, custom_env=env_fn is not None)
    logger.say(f"replay buffer: {replay.nbytes / 1e6:,.1f} MB for {config.buffer_size:,} transitions")
    checkpoint = Checkpoint(logger, ac, envs, target=target, q_opt=q_opt, replay=replay, rng=rng)
    obs, steps_left = envs.obs, config.total_steps - envs.total_steps  # of a resumed run, those where it had stopped
    epochs = plan_epochs(steps_left, config.num_envs, config.steps_per_epoch, config.steps_per_epoch)
    with closing(envs), closing(test_env), closing(logger), closing(checkpoint):
        for epoch, (steps,) in enumerate(epochs, start=checkpoint.epoch + 1):
            before = copy.deepcopy(ac)
            stats = Averages("LossQ", "GradNormQ")
            buf.clear()
            for _ in range(steps):
                # Due since the last step. Moved right after it, an epoch's TargetGap would be 0 wherever they coincide.
                for _ in range(envs.passed(config.target_every)):
                    target_flat.lerp_(q_opt.flat, 1 - config.polyak)
                share_left = 1 - envs.total_steps / config.total_steps if config.lr_schedule == "linear" else 1.0
                q_opt.lr = config.q_lr * share_left
                epsilon = epsilon_at(envs.total_steps, config)
                act, val = explore(q_values(obs), epsilon, rng)
                next_obs, rew, terminated, truncated = envs.step(act)
                replay.store(obs, act, rew, next_obs, terminated, truncated)
                entropy = greedy_entropy(epsilon, num_actions)
                buf.store(obs, act, rew, next_obs, terminated, truncated, val, entropy)
                obs = envs.obs  # next_obs, or the first observation of a new episode

                if envs.total_steps >= config.update_after:
                    if q_opt.steps == 0:  # features need statistics before anything is trained on them
                        ac.encode.warm_start(buf.states())
                    for _ in range(config.gradient_steps * envs.passed(config.update_every)):
                        update(ac, target, q_opt, replay.sample(config.batch_size, device), config, stats)

            returns, episodes = envs.end_epoch()
            row = {
                "Epoch": epoch,
                **returns,
                **episode_stats(*evaluate(ac, test_env, config.num_test_episodes, config.seed), prefix="Test"),
                **policy_change(before, ac, target, *buf.probe(device), epsilon),
                **off_policy_health(ac, buf, obs, config.gamma, stats),
                **stats.means(),
                "Epsilon": epsilon,
                "QLR": q_opt.lr,
                "TotalEnvInteracts": envs.total_steps,
                "GradSteps": q_opt.steps,
            }
            ac.encode.update(buf.states())
            logger.log_epoch(row)
            checkpoint.save(epoch, buf.states(), episodes)
    return ac
