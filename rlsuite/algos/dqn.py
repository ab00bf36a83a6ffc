"""Deep Q-Networks (DQN), with Double DQN and dueling heads as options.

The idea. If Q(s, a) is the return of taking a in s and acting best afterwards, then the best policy needs no network of
its own: take the action with the highest Q. Q satisfies an equation with itself (Bellman's), so it can be learned from
single steps (s, a, rew, s'), whoever took them. DQN makes this stable with a network by two means. It trains on steps
drawn at random from a large memory, which are nearly independent. And it trains towards targets of an older copy of the
network, which hold still for a while.

Off-policy. Actions: Discrete. Observations: Discrete or Box, others flattened.

Key equations, in the names of the code (B transitions drawn from the replay buffer; q is the network q_net, target its
older copy; s' the state after s, a' an action there):

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
        take an action in each environment: at random for start_steps, ε-greedy then
        store (s, a, rew, s', terminated)
        from update_after on, once in update_every env steps, repeat gradient_steps times:
            draw batch_size transitions; one gradient step on L_q
        every target_every env steps: move the target network

Differs from DDPG (ddpg.py): the maximum is found by trying all actions; DDPG trains a second network to find it.
Differs from PPO (ppo.py): every step is trained on many times, long after it was taken, so fewer are needed. But the
target moves with what is being learned, and nothing bounds how far one update changes the policy.

Deviations from the paper: Adam instead of RMSprop. The squared loss, where the paper clips the error to ±1 (loss huber
does; q_loss says what that costs). Gradients are scaled down to max_grad_norm. Rewards are not clipped. target_every
counts env steps, not updates. No frame stacking, no convolutions. The first weights are small, not orthogonal: the
larger they are, the more a step on Q(s, a) moves Q(s', ·) with it, and the sooner bootstrapping runs away.

What to look at. Entropy says nothing but ε; GreedyFlips says whether the policy still changes. Near 0 with a bad
return, it has settled on the wrong thing. ActionEntropy near 0: always the same action. ValueBias that grows without
end, QVals far above any return that is possible: over-estimation; try double_q, a larger target_every, a lower q_lr.
TargetGap, how far the target had fallen behind when it moved, grows: the network runs away from its targets.
ExplainedVarianceTD near 1 and ExplainedVariance near or below 0: the targets are learned, but they are not the returns
(exploration alone lowers it somewhat).

References:
    Mnih et al. 2015, "Human-level control through deep reinforcement learning": algorithm 1.
    van Hasselt, Guez, Silver 2016, "Deep Reinforcement Learning with Double Q-learning": eq. 4, section "Double DQN".
    Wang et al. 2016, "Dueling Network Architectures for Deep Reinforcement Learning": eq. 9.
    Pardo et al. 2018, "Time Limits in Reinforcement Learning": eq. 6.

Run:      python -m rlsuite.run dqn --env CartPole-v1
Expect:   with its preset (rlsuite/presets.py) a return of nearly 500, the maximum, within 50,000 steps.
Exercise: set target_every = 1, so that the target is the network itself. What do ValueBias and TargetGap do, and which
          of them warns first?
"""

import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite import settings
from rlsuite.common.device import set_up_torch
from rlsuite.common.diagnostics import greedy_entropy
from rlsuite.common.health import Averages, greedy_health, off_policy_health, target_gap
from rlsuite.common.logger import Logger
from rlsuite.common.optim import Adam, flatten
from rlsuite.common.q_networks import QNetwork
from rlsuite.common.replay import ReplayBuffer, Transitions
from rlsuite.common.seeding import seed_everything
from rlsuite.common.training import Training
from rlsuite.envs.evaluation import test_episodes
from rlsuite.envs.making import EnvFn
from rlsuite.envs.stepping import Envs


@dataclass(frozen=True)
class Config:
    """Settings of DQN. Counts of steps are env steps over all environments unless they say otherwise."""

    env: str  # Gymnasium id, or module:Id of an environment that the module registers
    env_kwargs: settings.JsonObject = "{}"  # JSON object of arguments for the environment
    frame_skip: settings.Count = 1  # how often each action is repeated; rewards add up, and steps are counted after it
    seed: settings.Seed = 0  # seeds networks, actions, environments and sampling
    total_steps: settings.Steps = 100_000  # budget in env steps; rounded up to whole steps of all environments
    num_envs: settings.Environments = 1  # environments that step together, in each process
    steps_per_epoch: settings.Steps = 2000  # env steps per row of the log; rounded up likewise
    gamma: settings.Unit = 0.99  # discount per step; the agent looks about 1/(1-gamma) steps ahead
    buffer_size: settings.Stored = 100_000  # transitions in the replay buffer; the oldest are forgotten
    batch_size: settings.Shared = 64  # transitions per gradient step
    start_steps: settings.CountOrZero = 1000  # env steps of uniformly random actions at the start
    update_after: settings.CountOrZero = 1000  # env steps before the first gradient step
    update_every: settings.Count = 4  # env steps from one update to the next
    gradient_steps: settings.Count = 1  # gradient steps per update
    epsilon_start: settings.Unit = 1.0  # share of random actions where its line begins, at env step 0
    epsilon_end: settings.Unit = 0.05  # share of random actions where the line ends, and from there on
    epsilon_share: settings.Unit = 0.2  # share of total_steps that the line takes, counted from env step 0
    target_every: settings.Count = 500  # env steps from one move of the target network to the next
    polyak: settings.Unit = 0.0  # weight of the old target at each move; 0 copies, 0.995 goes with target_every 1
    loss: Literal["squared", "huber"] = "squared"  # huber: errors beyond 1 pull no harder than 1
    double_q: bool = False  # Double DQN: choose the next action by q, value it by the target network
    dueling: bool = False  # dueling heads: one output for the state's value, one per action for what it adds
    q_lr: settings.LearningRate = 1e-3  # learning rate
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: the learning rate falls to 0 over total_steps
    max_grad_norm: settings.PositiveOrInf = 10.0  # larger gradients are scaled down to this norm; inf: never
    hidden_sizes: settings.Widths = (128, 128)  # widths of the hidden layers
    activation: Literal["tanh", "relu"] = "relu"  # after each hidden layer
    normalize_obs: bool = False  # standardise observations by the mean and variance of all so far
    num_test_episodes: settings.CountOrZero = 5  # greedy episodes after each epoch, in an environment of their own
    device: str = "cpu"  # cpu, cuda, mps, or auto
    compile: bool = False  # compile the networks (a minute at the start, needs a C++ compiler): for long trainings
    torch_threads: settings.Threads = 0  # threads of torch; 0: by the size of an update, one where it is small

    def __post_init__(self) -> None:
        settings.check(self)
        settings.check_replay(self)


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
    clipped pull makes Q settle near the median of its targets, not their mean. Where errors are large and one step in
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


def explore(q: NDArray[np.float32], epsilon: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """ε-greedy actions (N,) where the actions have the values q (N, n)."""
    act: NDArray[np.int64] = q.argmax(1)
    for i, chance in enumerate(rng.random(len(q))):
        random_act = rng.integers(q.shape[1])  # also where it is not needed: as many draws whatever ε
        if chance < epsilon:
            act[i] = random_act  # perhaps the greedy one again: that has probability 1 - ε + ε/n
    return act


def update(q_net: QNetwork, target: QNetwork, q_opt: Adam, batch: Transitions, config: Config, stats: Averages) -> None:
    """One gradient step.

    Args:
        q_net: the network, changed in place.
        target: its older copy.
        q_opt: over the network's parameters.
        batch: B transitions.
        config: settings.
        stats: averages of the epoch, which take the loss, and the values with their targets.
    """
    x, next_x = q_net.encode(batch.obs), q_net.encode(batch.next_obs)
    with torch.no_grad():
        next_q = target.q(next_x)
        next_act = (q_net.q(next_x) if config.double_q else next_q).argmax(1)
        y = td_target(batch.rew, batch.terminated, next_q, next_act, config.gamma)
    q = value_of(q_net.q(x), batch.act)
    loss_q = q_loss(q, y, config.loss)
    loss_q.backward()
    q_opt.step()
    stats.add(LossQ=loss_q)
    stats.keep(q=q, target=y)


def train(
    config: Config,
    env_fn: EnvFn | None = None,
    actor_critic: type[QNetwork] = QNetwork,
    logger: Logger | None = None,
) -> QNetwork:
    """Train from scratch and write a run directory.

    Args:
        config: settings.
        env_fn: returns a new environment; by default `gymnasium.make(config.env)`. Called once more for the tests, and
            once more with `stop_at`.
        actor_critic: the network, whose greedy policy is the actor; see `QNetwork` for what it must have.
        logger: where to write; by default `data/dqn_<env>/<timestamp>_s<seed>/`.

    Returns:
        The trained network.

    Raises:
        UserError: a setting, environment or space that does not fit; nothing has been created then.
        NonFiniteError, EnvError: a NaN or infinity, or an environment that fails; the last epoch's policy is kept.
    """
    device = set_up_torch(config, "batch_size")
    rng = seed_everything(config.seed)
    envs = Envs.of(config, env_fn)
    test_env = envs.another()
    q_net = actor_critic(envs.obs_space, envs.act_space, config).to(device)
    target = copy.deepcopy(q_net)
    q_opt = Adam("Q", q_net.q, config.q_lr, config.max_grad_norm)
    target_flat = flatten(target.q)
    buf = ReplayBuffer(config.buffer_size, envs, rng, device)
    with Training("dqn", config, logger, envs, q_net, target=target, q_opt=q_opt, buf=buf, rng=rng) as training:
        obs = envs.obs
        for epoch in training.epochs(losses=("LossQ", "TargetGap")):
            for _ in epoch.steps:
                training.anneal(q_opt)
                epsilon = epsilon_at(envs.total_steps, config)
                q = q_net.values(obs)
                act = explore(q, epsilon, rng)
                next_obs, rew, terminated, truncated = envs.step(act)
                buf.store(obs, act, rew, next_obs, terminated, truncated)
                epoch.note(q[np.arange(len(act)), act], greedy_entropy(epsilon, q.shape[1]))
                obs = envs.obs  # next_obs, or the first observation of a new episode

                if envs.total_steps >= config.update_after:
                    for _ in range(config.gradient_steps * envs.passed(config.update_every)):
                        batch = buf.sample(config.batch_size)
                        update(q_net, target, q_opt, batch, config, epoch.stats)
                for _ in range(envs.passed(config.target_every)):
                    epoch.stats.add(TargetGap=target_gap(q_net, target, buf))
                    target_flat.lerp_(q_opt.flat, 1 - config.polyak)

            health = off_policy_health(epoch, q_net, buf, config.gamma) | greedy_health(epoch, q_net, epsilon)
            tests = test_episodes(q_net.mode, test_env, config.num_test_episodes, config.seed)
            q_net.encode.update(epoch.obs)  # only now: features must not change between acting and training
            training.end_epoch(epoch, {**health, **tests, "Epsilon": epsilon})
    return q_net
