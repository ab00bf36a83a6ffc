"""A ladder of probes: rungs from the easiest up, what is known of each, and what is broken where one fails.

The probes are those of `rlsuite.envs.probes`. A `Rung` says how to train on one, and which returns, values and columns
of the log are right then; `faults` compares them with what was measured. Nothing here knows a network: what has no
values, V or Q, is not asked for them.

Source of the idea, and of the first four rungs: Jones 2021, "Debugging Reinforcement Learning Systems", section "Probe
environments".

shape letters: S observations, A actions
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SETTINGS: dict[str, Any] = {
    "hidden_sizes": (32, 32),
    "num_envs": 4,
    "steps_per_epoch": 1000,
    "num_test_episodes": 0,
    # The rate falls to 0, so that values settle instead of following the last few targets.
    "lr_schedule": "linear",
    "pi_lr": 3e-3,
    "vf_lr": 3e-3,
    "q_lr": 2e-3,
    # Clipping an error of squares moves its minimum towards the median of the targets.
    "max_grad_norm": math.inf,
    # Many small rollouts, and few passes over each.
    "rollout_len": 10,
    "minibatch_size": 40,
    "train_iters": 4,
    "train_v_iters": 5,
    "cg_iters": 5,
    # A memory that holds the whole training, and targets that follow within some fifty gradient steps.
    "buffer_size": 10_000,
    "batch_size": 64,
    "start_steps": 1000,
    "update_after": 200,
    "update_every": 2,
    "target_every": 1,
    "polyak": 0.95,
    # Exploration to the end: a value of an action that is no longer taken is soon wrong.
    "epsilon_share": 0.5,
    "epsilon_end": 0.5,
    "act_noise": 0.3,
    # A temperature so low that soft values are values, within what is allowed them.
    "alpha": 0.02,
    "alpha_lr": 0.0,
}
"""One set for all algorithms that step along a gradient: each is trained with those that its `Config` has."""

SEARCH: dict[str, Any] = {
    # One number for each feature: a search among thousands of weights finds nothing in a few thousand steps.
    "hidden_sizes": (),
    "population": 40,
    "episodes_per_candidate": 5,
    "noise_init": 0.1,
    "noise_fall": 0.01,
}
"""Over these, of one that has a population of candidates."""
BUDGET_OF_SEARCH = 3
"""times the steps: it learns once from thousands of steps, not from each"""

TESTS = 100
"""deterministic episodes at the end, always the same ones"""

HEALTHY = {"Ratio1": (0.0, 1e-3)}
"""columns of the last epoch, with their range on every rung, for algorithms that log them"""


class Rung(NamedTuple):
    """A probe, how to train on it, and what is right then."""

    name: str
    isolates: str
    broken: str
    """what to look at if it fails"""
    env: str
    """without "rlsuite/" and "-v0" """
    kwargs: Mapping[str, Any] = {}
    steps: int = 2000
    """env steps"""
    settings: Mapping[str, Any] = {}
    """besides `SETTINGS`"""
    needs: str = ""
    """a setting without which the rung says nothing of an algorithm"""
    least: float = -math.inf
    """mean return of the test episodes"""
    most: float = math.inf
    """likewise"""
    obs: Sequence[Any] = ()
    """S observations"""
    val: Sequence[float] = ()
    """V(s) of each, where it does not depend on how far the policy has got"""
    act: Sequence[Any] = ()
    """A actions, as a network counts them"""
    q: Sequence[Sequence[float]] = ()
    """Q(s, a) (S, A)"""
    within: float = 0.1
    """how far a value may be from the right one"""
    columns: Mapping[str, tuple[float, float]] = {}
    """columns of the last epoch, with their range; "mean KL" is the mean of KL over all epochs"""
    instead: str = ""
    """the rung that says the same with another kind of action; of the two, the first that an algorithm takes counts"""

    @property
    def env_id(self) -> str:
        """As Gymnasium knows the probe."""
        return f"rlsuite/{self.env}-v0"

    def known(self) -> str:
        """The right answer, in a few words."""
        what, values = ("V", self.val) if self.val else ("Q", [v for row in self.q for v in row])
        numbers = [f"{v:.2g}" for v in values]
        words = [" ".join([what, *(numbers if len(numbers) < 4 else [*numbers[:2], "..", numbers[-1]])])] * bool(
            numbers
        )
        words += [f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in self.columns.items()]
        if self.least > -math.inf:
            words.append(f"return ≥ {self.least:g}")
        if self.most < math.inf:
            words.append(f"return ≤ {self.most:g}")
        return ", ".join(words)


class Measured(NamedTuple):
    """What a training has come to."""

    ret: float
    """mean return of the test episodes"""
    val: Array | None
    """V(s) (S,), of an algorithm that has it"""
    q: Array | None
    """Q(s, a) (S, A), likewise"""
    columns: Mapping[str, float]
    """the last row of the log, and means over all rows"""


def settings_of(rung: Rung, known: Sequence[str]) -> dict[str, Any]:
    """What to train with: of `SETTINGS`, `SEARCH` over them, and the rung's own, those that an algorithm knows."""
    searches = "population" in known
    basis = {**SETTINGS, **SEARCH} if searches else SETTINGS
    steps = BUDGET_OF_SEARCH * rung.steps if searches else rung.steps
    settings = {**basis, "total_steps": steps, **rung.settings}
    return {name: value for name, value in settings.items() if name in known}


def distance(right: Sequence[Any], measured: Array | None) -> float:
    """The largest difference between known and measured values; NaN where either is missing."""
    if measured is None or not len(right):
        return math.nan
    return float(np.abs(np.asarray(measured, np.float64) - np.asarray(right)).max())


def ranges(rung: Rung, columns: Mapping[str, float]) -> dict[str, tuple[float, float, float]]:
    """What the log has of the columns of which a range is known: value, low, high."""
    return {
        name: (columns[name], low, high) for name, (low, high) in {**HEALTHY, **rung.columns}.items() if name in columns
    }


def faults(rung: Rung, measured: Measured) -> list[str]:
    """What is not as it should be, in words; nothing for a rung that is passed."""
    found = []
    for what, right, values in (("V", rung.val, measured.val), ("Q", rung.q, measured.q)):
        if not math.isnan(off := distance(right, values)) and not off <= rung.within:
            found.append(f"{what} is off by {off:.3g}")
        elif values is not None and not np.isfinite(values).all():
            found.append(f"{what} is not finite")
    if not rung.least <= measured.ret <= rung.most:
        found.append(f"return {measured.ret:.3g}")
    for name, (value, low, high) in ranges(rung, measured.columns).items():
        if not low <= value <= high:
            found.append(f"{name} {value:.3g}")
    return found


def shown(rung: Rung, measured: Measured) -> str:
    """What was measured, in a few words; of values the largest error."""
    words = []
    for what, right, values in (("V", rung.val, measured.val), ("Q", rung.q, measured.q)):
        if not math.isnan(off := distance(right, values)):
            words.append(f"{what} ±{off:.2f}")
    words += [f"{name} {measured.columns[name]:.3g}" for name in rung.columns if name in measured.columns]
    return ", ".join([*words, f"return {measured.ret:.3g}"])


CONTINUOUS = {"continuous": True}
ENDS = (-1.0, 1.0)  # two actions of one number
CHAIN = [0.9 ** (4 - s) for s in range(5)]
SCALE = float(np.std([(1 - 0.9**t) / 0.1 for t in range(1, 21)]))  # of discounted returns, 20 rewards of 1
BACK = [0.9 * CHAIN[max(s - 1, 0)] for s in range(5)]


def _either(rung: Rung, act: Sequence[Any] = (0, 1)) -> tuple[Rung, Rung]:
    """A rung on which the action does nothing, so that Q is V: with one kind of action, and else with the other."""
    q = [[v] * len(act) for v in rung.val]
    discrete = rung._replace(act=act, q=q)
    return discrete, discrete._replace(act=ENDS, kwargs={**rung.kwargs, **CONTINUOUS}, instead=rung.name)


def _number(discrete: Rung, **changes: Any) -> Rung:
    """The same rung with numbers for actions."""
    kwargs = {**discrete.kwargs, **CONTINUOUS}
    name = f"{discrete.name}-continuous"
    return discrete._replace(**{"name": name, "kwargs": kwargs, "q": (), "act": (), **changes})


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
    "a truncated episode is taken for a terminated one, or its last observation for the next one's first",
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
    *_either(
        Rung(
            "OneStep",
            "the critic fits a constant",
            "the critic alone: its loss, its optimiser's step, its learning rate",
            "OneStep",
            least=1,
            obs=[[1.0]],
            val=[1],
        )
    ),
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
            kwargs={"offset": 1000.0},
            settings={"normalize_obs": True},
            needs="normalize_obs",
            obs=[[999.0], [1001.0]],
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
    Rung(
        "Penalty",
        "a penalty holds the KL",
        "the penalty: its sign, the KL (of which to which), how its weight adapts, the early stop that it replaces",
        "Target",
        steps=6000,
        settings={"kl_coef": 0.001, "target_kl": 0.01, "rollout_len": 50, "steps_per_epoch": 200},
        needs="kl_coef",
        columns={"mean KL": (0.004, 0.018), "mean StopIter": (4, 4)},
    ),
    CHAINED._replace(
        name="Heads",
        isolates="dueling heads, double targets",
        broken="the mean of the advantages' head; the choice of the next action",
        settings={"gamma": 0.9, "dueling": True, "double_q": True},
        needs="dueling",
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
"""The easiest first. Returns are asked for that lie below what a sound algorithm reaches, and far above chance."""
