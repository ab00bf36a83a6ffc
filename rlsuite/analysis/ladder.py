"""A ladder of probes: rungs from the easiest up, what is known of each, and what is broken where one fails.

The probes are those of `rlsuite.envs.probes`. A `Rung` says how to train on one, and which returns, values and columns
of the log are right then; `faults` compares them with what was measured. Nothing here knows a network: what has no
values, V or Q, is not asked for them.

Source of the idea, and of the first four rungs: Jones 2021, "Debugging Reinforcement Learning Systems", section "Probe
environments".

shape letters: S observations, A actions
"""

import math
from collections.abc import Collection, Mapping, Sequence
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

    def known(self, logged: Collection[str] = ()) -> str:
        """The right answer, in a few words; of the columns those that are logged."""
        what, values = ("V", self.val) if self.val else ("Q", [v for row in self.q for v in row])
        numbers = [f"{v:.2g}" for v in values]
        words = [" ".join([what, *(numbers if len(numbers) < 4 else [*numbers[:2], "..", numbers[-1]])])] * bool(
            numbers
        )
        words += [f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in self.columns.items() if name in logged]
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
