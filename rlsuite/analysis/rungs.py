"""The rungs of the ladder, the easiest first: the probes, how to train on them, and what is right.

Returns are asked for that lie below what a sound algorithm reaches, and far above chance.
"""

from typing import Any

import numpy as np

from rlsuite.analysis.ladder import Rung

CONTINUOUS = {"continuous": True}
ENDS = (-1.0, 1.0)  # two actions of one number
CHAIN = [0.9 ** (4 - s) for s in range(5)]
SCALE = float(np.std([(1 - 0.9**t) / 0.1 for t in range(1, 21)]))  # of discounted returns, 20 rewards of 1
MOST_RANDOM = 0.6836  # nats in half widths, at σ = 0.87; a uniform distribution has ln 2
BACK = [0.9 * CHAIN[max(s - 1, 0)] for s in range(5)]


def _either(rung: Rung) -> tuple[Rung, Rung]:
    """A rung on which the action does nothing, so that Q is V: with one kind of action, and else with the other."""
    discrete = rung._replace(act=(0, 1), q=[[v, v] for v in rung.val])
    return discrete, discrete._replace(act=ENDS, kwargs={**rung.kwargs, **CONTINUOUS}, instead=rung.name)


def _number(discrete: Rung, **changes: Any) -> Rung:
    """The same rung with numbers for actions."""
    kwargs = {**discrete.kwargs, **CONTINUOUS}
    name = f"{discrete.name}-continuous"
    return discrete._replace(**{"name": name, "kwargs": kwargs, "q": (), "act": (), **changes})


def _random(discrete: Rung) -> tuple[Rung, Rung]:
    """A rung without a policy that is taken: the return of random play, with either kind of action."""
    number = _number(discrete, kwargs={}, columns={"AverageEpRet": (-2.75, -1.9)}, steps=4000)
    return discrete._replace(columns={"AverageEpRet": (-3.5, -2.5)}), number


ONE_STEP = Rung(
    "OneStep",
    "the critic fits a constant",
    "the critic alone: its loss, its optimiser's step, its learning rate",
    "OneStep",
    least=1,
    obs=[[1.0]],
    val=[1],
)
OBSERVED = Rung(
    "ObservedReward",
    "the critic sees the state",
    "what the critic is fed: observations and targets that belong together, the encoder, what broadcasts",
    "ObservedReward",
    obs=[[-1.0], [1.0]],
    val=[-1, 1],
)
CONSTANT = Rung(
    "ConstantReward",
    "a time limit is no end",
    "a truncated episode is taken for a terminated one",
    "ConstantReward",
    steps=5000,
    settings={"gamma": 0.9},
    least=20,
    obs=[[1.0]],
    val=[10],
    within=0.5,
)
TARGET = Rung(
    "Target",
    "the policy goes where reward is",
    "the policy's step: the sign of its loss, the log-probability of the action taken (or dQ/da), the bounds",
    "Target",
    kwargs={"continuous": False},
    steps=4000,
    least=-0.5,
    obs=[[1.0]],
    act=(0, 1, 2, 3, 4),
    q=[[-1, 0, -1, -4, -9]],
    within=0.2,
)
CONTEXT = Rung(
    "Context",
    "each observation's own action",
    "the pairing of observations, actions and advantages: shuffled, shifted, or of another environment",
    "Context",
    steps=3000,
    least=0.9,
    obs=(0, 1),
    act=(0, 1),
    q=[[1, -1], [-1, 1]],
    within=0.2,
)
BANDIT = Rung(
    "Bandit",
    "the mean of noisy rewards",
    "averaging: learning rates, batches, an error that is clipped so that the median is learned, not the mean",
    "Bandit",
    steps=4000,
    least=1.5,
    obs=[[1.0]],
    act=(0, 1, 2),
    q=[[0, 1, 2]],
    within=0.4,
    # The variance of the noise is 3, of which some minimise a half. Two critics are not the same one.
    columns={"LossV": (1, 5), "LossQ": (1, 5), "QGap": (1e-4, 1)},
)
CHAINED = Rung(
    "Chain",
    "policy and value together",
    "what lies between policy and value: advantages (lam, gamma), the greedy action in the target, exploration",
    "Chain",
    steps=6000,
    settings={"gamma": 0.9, "episodes_per_candidate": 1},
    least=0.99,
    obs=range(5),
    val=CHAIN,
    act=(0, 1),
    q=[*map(list, zip(BACK, CHAIN, strict=True))],
)
SWITCHES = Rung(
    "Switches",
    "every component of the action",
    "what is summed over the components of an action: log-probability, entropy, the order of components",
    "Switches",
    steps=6000,
    settings={"gamma": 0.5},
    least=7.5,
)
RUNGS: tuple[Rung, ...] = (
    *_either(ONE_STEP),
    *_either(OBSERVED),
    *_either(
        Rung(
            "DelayedReward",
            "value travels back a step",
            "the critic doesn't bootstrap over two steps: look at the targets' gamma and the terminated mask",
            "DelayedReward",
            steps=3000,
            settings={"gamma": 0.5},
            least=1,
            obs=[[0.0], [1.0]],
            val=[0.5, 1],
        )
    ),
    *_either(CONSTANT),
    *_either(
        CONSTANT._replace(
            name="Limit",
            isolates="what comes at a time limit",
            broken="the observation after the last step is taken for the next episode's first",
            kwargs={"late": True, "limit": 3},
            least=2,
            obs=[[0.0], [1.0]],
            val=[9, 10],
        )
    ),
    TARGET,
    _number(TARGET, steps=6000, least=-0.5, act=(-3.0, -2.0, -1.0), q=[[-1, 0, -1]]),
    CONTEXT,
    _number(CONTEXT, steps=5000, least=0.87, act=(-0.5, 0.5), q=[[1, 0], [0, 1]]),
    BANDIT,
    _number(BANDIT, steps=6000, act=(0.0, 0.5, 1.0), q=[[1, 2, 1]]),
    CHAINED,
    _number(CHAINED, act=ENDS, q=CHAINED.q),
    SWITCHES,
    _number(SWITCHES, steps=8000, least=7),
    *_either(
        OBSERVED._replace(
            name="Offset",
            isolates="observations are standardised",
            broken="the statistics of observations: what they are divided by, when they change",
            kwargs={"offset": 1000.0, "asleep": 280},
            settings={"normalize_obs": True},
            needs="normalize_obs",
            obs=[[999.0], [1001.0]],
            steps=3000,
            within=0.2,
            columns={"InputAbsMax": (0, 5)},
        )
    ),
    *_either(
        CONSTANT._replace(
            name="Scaled",
            isolates="rewards are scaled",
            broken="the scale of rewards: the deviation of what, over which ends, and no shift",
            settings={"gamma": 0.9, "scale_reward": True},
            needs="scale_reward",
            val=[10 / SCALE],
            within=0.2,
        )
    ),
    Rung(
        "Bonus",
        "the bonus for entropy",
        "the entropy bonus: its sign, its weight, the entropy itself",
        "Context",
        steps=5000,
        settings={"ent_coef": 2.0},
        needs="ent_coef",
        # 2 H + the gain of the better action: 0.545 nats where advantages are standardised, else 0.582.
        columns={"Entropy": (0.48, 0.64)},
    ),
    Rung(
        "Temperature",
        "a temperature that is learned",
        "the temperature's loss: its sign, the target, the entropy of all components",
        "Switches",
        kwargs=CONTINUOUS,
        steps=6000,
        settings={"gamma": 0.5, "alpha": 0.1, "alpha_lr": 0.01, "target_entropy": -0.5},
        needs="target_entropy",
        # The best policy is a Gaussian of variance α/2 in each of both components, so that -½ = ½ ln(π e α).
        columns={"Entropy": (-1.2, -0.8), "Alpha": (0.03, 0.08)},
    ),
    Rung(
        "Trust",
        "steps as long as allowed",
        "the length of the step: the KL (of which to which), the line search, the root",
        "Target",
        steps=4000,
        settings={"target_kl": 0.01, "rollout_len": 50, "steps_per_epoch": 200},
        needs="backtrack_iters",
        columns={"mean KL": (0.0055, 0.0101)},
    ),
    BANDIT._replace(
        name="Penalty",
        isolates="a penalty holds the KL",
        broken="the penalty: its sign, its KL, how its weight adapts, the early stop that it replaces",
        steps=4000,
        settings={
            "kl_coef": 0.1,
            "target_kl": 0.01,
            "rollout_len": 50,
            "steps_per_epoch": 200,
            "pi_lr": 0.03,
            "lr_schedule": "constant",
        },
        needs="kl_coef",
        q=(),
        # Within a factor of 2.5 below its goal, and 2 above it.
        columns={"mean KL": (0.004, 0.02), "mean StopIter": (4, 4)},
    ),
    CHAINED._replace(
        name="Heads",
        isolates="dueling heads, double targets",
        broken="the mean of the advantages' head; the choice of the next action",
        settings={"gamma": 0.9, "dueling": True, "double_q": True},
        needs="dueling",
    ),
    *_either(
        ONE_STEP._replace(
            name="Annealed",
            isolates="learning rates that fall",
            broken="the schedule of the learning rates: of each optimiser, down to 0 at the end; steps per rollout",
            settings={"vf_lr": 0.01, "train_v_iters": 1},
            needs="lr_schedule",
            columns={name: (0, 3e-4) for name in ("PiLR", "VfLR", "QLR")},
        )
    ),
    *_either(
        ONE_STEP._replace(
            name="Clipped",
            isolates="gradients are clipped",
            broken="the clipping of gradients: by the norm of all of them together, before each step",
            settings={"max_grad_norm": 1e-12},
            needs="max_grad_norm",
            val=(),
            # Far below the ε of Adam and RMSprop: nothing moves.
            columns={"mean UpdateRatioV": (0, 1e-4), "mean UpdateRatioQ": (0, 1e-4)},
        )
    ),
    ONE_STEP._replace(
        name="Updates",
        isolates="gradient steps when they are due",
        broken="how many gradient steps there are, from which env step on",
        settings={"num_envs": 1, "update_after": 1000, "update_every": 50, "gradient_steps": 2},
        needs="target_every",  # which has one network: of several the steps add up
        val=(),
        # Two at each of the steps 1000, 1050, .. 2000.
        columns={"GradSteps": (42, 42)},
    ),
    *_random(
        TARGET._replace(
            name="Uniform",
            isolates="learning from random play",
            broken="the random actions at the start: how long, from which bounds; learning off the policy",
            settings={"start_steps": 10_000},
            needs="start_steps",
            q=(),
        )
    ),
    TARGET._replace(
        name="Greedy",
        isolates="exploration that ends",
        broken="epsilon: its schedule, with what probability the greedy action is taken",
        settings={"start_steps": 0, "epsilon_share": 0.25, "epsilon_end": 0.0},
        needs="epsilon_end",
        q=(),
        columns={"mean Epsilon": (0, 0.05), "AverageEpRet": (-0.3, 0)},
    ),
    TARGET._replace(
        name="Noise",
        isolates="exploration by noise",
        broken="the noise: its size in half widths, its correlation, its schedule",
        kwargs={},
        settings={"noise_corr": 0.9},
        needs="act_noise",
        act=(),
        q=(),
        # Minus the variance of the noise, (0.3 · 2)².
        columns={"AverageEpRet": (-0.55, -0.2)},
    ),
    *_either(
        CONSTANT._replace(
            name="Frozen",
            isolates="the target network's weights",
            broken="the critic is its own target; the weights of old and new confused",
            steps=1500,
            settings={"gamma": 0.9, "polyak": 1.0},
            needs="polyak",
            val=[1],
        )
    ),
    *_either(
        CONSTANT._replace(
            name="Lagged",
            isolates="the target network waits",
            broken="the target network moves when it should not",
            steps=1500,
            settings={"gamma": 0.9, "target_every": 10_000, "polyak": 0.0},
            needs="target_every",
            val=[1],
        )
    ),
    TARGET._replace(
        name="Smoothed",
        isolates="noise on the target's action",
        broken="the smoothing: its size in half widths, its limit, the bounds",
        kwargs={"late": True},
        steps=4000,
        settings={"gamma": 0.9, "start_steps": 20_000, "target_noise": 1.0, "noise_clip": 0.75},
        needs="target_noise",
        obs=[[0.0]],
        act=(-2.0, 0.0),
        # -γ E[ε²], ε ~ N(0, 2²) cut at -1 by the bounds and at 1.5 by noise_clip.
        q=[[-0.964, -0.964]],
        within=0.2,
    ),
    CONSTANT._replace(
        name="Delayed",
        isolates="the targets wait",
        broken="the target networks move when they should not",
        kwargs=CONTINUOUS,
        steps=1500,
        settings={"gamma": 0.9, "policy_delay": 10_000},
        needs="policy_delay",
        act=ENDS,
        val=[1],
        q=[[1, 1]],
    ),
    TARGET._replace(
        name="Waiting",
        isolates="the policy waits",
        broken="the policy moves when it should not",
        kwargs={},
        settings={"policy_delay": 10_000},
        needs="policy_delay",
        least=-1.5,
        most=-0.5,
        act=(),
        q=(),
    ),
    CONSTANT._replace(
        name="Soft",
        isolates="entropy is worth something",
        broken="the entropy in the critics' targets: its sign, its weight, of which step",
        settings={"gamma": 0.5, "alpha": 1.0},
        needs="target_entropy",
        within=0.25,
        steps=3000,
        kwargs=CONTINUOUS,
        # V = (1 + H)/(1-γ) and Q = 1 + γ V, H the entropy of the squashed Gaussian that is the nearest to uniform.
        val=[2 * (1 + MOST_RANDOM)],
        act=ENDS,
        q=[[2 + MOST_RANDOM] * 2],
    ),
    *_either(
        Rung(
            "LongChain",
            "what can't be learned isn't",
            "the count: no random play comes to this reward, so a return above 0 is not what was earned",
            "LongChain",
            steps=1500,
            settings={"gamma": 0.9},
            most=0,
            obs=range(2),
            val=[0, 0],
            within=0.3,
        )
    ),
)
