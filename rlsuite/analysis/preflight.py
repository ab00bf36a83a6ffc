"""Before the training: what random play and constant actions say about an environment, and rules that make it advice.

A `Recording` is what was played (see `rlsuite.envs.recording`), `measure` turns it into numbers, and each of `RULES` is
a function of these: Measurements -> Advice, or None. Measuring needs no environment, and a rule needs no recording.

Sources, named where a rule is theirs:
    Schulman:  "The Nuts and Bolts of Deep RL Experimentation", talk, 2016
    Huang:     Huang et al. 2022, "The 37 Implementation Details of Proximal Policy Optimization"
    Jones:     Jones 2021, "Debugging Reinforcement Learning Systems"
    Pardo:     Pardo et al. 2018, "Time Limits in Reinforcement Learning"
    Ng:        Ng, Harada, Russell 1999, "Policy Invariance Under Reward Transformations"

shape letters: T steps, F components of an observation, d components of an action
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

LARGE_OBS, SMALL_OBS = 10.0, 0.01
"""standard deviation, or mean, of a component that networks made for numbers of order 1 see badly"""
LARGE_VALUE, SMALL_VALUE = 10.0, 0.01
"""|value| that a critic made for numbers of order 1 learns badly"""
FAR_OUT = 30.0
"""standard deviations from the mean; a Gaussian never comes near"""
SLOW_MOVE = 0.01
"""change in one step, as a share of a component's spread, below which random play hardly leaves its place"""
LONG_DELAY = 20
"""steps until the reward; below that, every algorithm here finds its cause"""
FADED = 0.1
"""share of a reward that is left at the beginning of the episode, after discounting"""
NO_END = 1000
"""steps of an episode that neither ended nor has a time limit"""
SAME_END = 10
"""steps; shorter episodes of equal length are nothing unusual"""
WIDE_ACTION = 1000.0
"""half width of bounds that stand for infinity"""
GRAVE = 100.0
"""times further off than the limits on scales above, from where on a training itself says so: no common task is"""


class Play(NamedTuple):
    """Steps of one policy, one episode after another; the last one may be unfinished."""

    name: str
    obs: NDArray[Any]
    """(T, F), what it acted on; Discrete observations are one number"""
    next_obs: NDArray[Any]
    """(T, F), what the step led to, also at the end of an episode"""
    rew: Array
    """(T,)"""
    terminated: Flags
    """(T,)"""
    truncated: Flags
    """(T,)"""


class Recording(NamedTuple):
    """What was played in an environment, and what the environment says about itself."""

    random: Play
    constant: tuple[Play, ...]
    """of each constant action that was tried"""
    low: Array
    """(F,) declared bounds of observations"""
    high: Array
    """(F,)"""
    numeric: Flags
    """(F,) components whose scale a network sees: not those of Discrete, one-hot vectors and bytes"""
    act_kind: str
    """"Discrete", "MultiDiscrete" or "Box" """
    act_low: Array
    """(d,) bounds of a Box, else (0,)"""
    act_high: Array
    """(d,)"""
    idle: tuple[int, ...]
    """components of the action that changed nothing; a Discrete action is component 0"""
    act_size: int
    """d"""
    limit: int | None
    """declared time limit, in the environment's own steps"""
    time_step: float | None
    """seconds, where the environment says it"""
    repeats: bool
    """equal seeds and actions gave the same episodes in two new environments"""
    forgets: bool
    """and in one of them again, after all the rest"""
    steps_per_second: float
    """of random play; without learning"""


@dataclass(frozen=True)
class Measurements:
    """What the rules read. Statistics of observations and rewards leave out what is not finite."""

    gamma: float
    frame_skip: int
    tolerance: float
    """by which the limits on the scales of observations and values are wider"""
    mean: Array
    """(F,) of random play, as std"""
    std: Array
    """(F,)"""
    seen_low: Array
    """(F,) of all plays, as the six below"""
    seen_high: Array
    """(F,)"""
    low: Array
    """(F,) declared"""
    high: Array
    """(F,) declared"""
    numeric: Flags
    """(F,)"""
    constant: Flags
    """(F,) numeric components that never changed"""
    furthest: Array
    """(F,) largest distance from the mean, standard deviations; 0 of components with fewer than 10 different values"""
    bad_obs: int
    """observations that are not finite"""
    bad_rew: int
    """rewards that are not finite"""
    rew_mean: float
    rew_std: float
    rew_low: float
    rew_high: float
    reward_varies: bool
    """some reward or some return was unlike the others, in any play"""
    usual: float
    """the most frequent reward, NaN if it makes less than half of them"""
    at_end_only: bool
    """rewards unlike the usual one came at ends of episodes only"""
    delay: float
    """median number of steps to the first such reward, in episodes that have one; NaN if none has"""
    value_low: float
    """of all discounted returns at gamma in random play"""
    value_high: float
    returns: Array
    """(episodes,) of random play, finished"""
    constant_returns: tuple[tuple[str, float], ...]
    """name and mean return of each constant action whose episodes finished"""
    lengths: NDArray[np.int64]
    """(episodes,) likewise"""
    truncated: int
    """how many of these a time limit ended"""
    any_truncated: bool
    """in any play"""
    unfinished: int
    """steps of the longest episode in any play that was not finished"""
    equal_ends: int
    """terminated episodes, in all plays, that are exactly as long as the longest terminated one"""
    terminated: int
    """terminated episodes in all plays"""
    longest: int
    """steps of the longest finished episode in all plays"""
    limit: int | None
    time_step: float | None
    move: float
    """mean change in one step as a share of the spread, median of the components that move; NaN if none does"""
    act_kind: str
    act_low: Array
    act_high: Array
    act_size: int
    idle: tuple[int, ...]
    repeats: bool
    forgets: bool
    steps_per_second: float

    @property
    def horizon(self) -> float:
        """Steps that an agent looks ahead: 1/(1-γ)."""
        return 1 / (1 - self.gamma) if self.gamma < 1 else math.inf


class Advice(NamedTuple):
    """What to do about one thing."""

    rule: str
    text: str
    flags: Mapping[str, Any]
    """settings to train with, {} where the environment itself must change"""


class Rule(NamedTuple):
    """When to say something, and on whose word."""

    name: str
    threshold: str
    source: str
    check: Callable[[Measurements], tuple[str, Mapping[str, Any]] | None]


def measure(recording: Recording, gamma: float = 0.99, frame_skip: int = 1, tolerance: float = 1.0) -> Measurements:
    """Turn a recording into numbers.

    Args:
        recording: of at least one step.
        gamma: discount per step.
        frame_skip: that it was recorded with.
        tolerance: by which the limits on the scales of observations and values are wider.
    """
    plays = (recording.random, *recording.constant)
    first = _finite(np.concatenate([recording.random.obs, recording.random.next_obs[-1:]]))
    seen = [_finite(part) for play in plays for part in (play.obs, play.next_obs)]
    mean, std = _moments(first)
    seen_low = np.min([_extreme(part, np.fmin) for part in seen], axis=0, initial=np.inf)
    seen_high = np.max([_extreme(part, np.fmax) for part in seen], axis=0, initial=-np.inf)
    known = np.isfinite(seen_low) & np.isfinite(seen_high)
    rew = np.concatenate([play.rew for play in plays])
    good = rew[np.isfinite(rew)]
    own = recording.random.rew[np.isfinite(recording.random.rew)]
    episodes = {play.name: _episodes(play) for play in plays}
    finished = [e for e in episodes[recording.random.name] if e.finished]
    every = [e for played in episodes.values() for e in played]
    ends = [e.length for e in every if e.terminated]
    all_returns = np.array([e.ret for e in every if e.finished])
    usual, delay, at_end_only = _delay(own, episodes[recording.random.name], recording.random)
    value = values(recording.random, gamma)
    several = np.array([len(np.unique(column[:2000])) >= 10 for column in first.T], np.bool_)
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.fmax(seen_high - mean, mean - seen_low) / std
    stated = {name: getattr(recording, name) for name in Recording._fields if name not in ("random", "constant")}
    return Measurements(
        **stated,
        gamma=gamma,
        frame_skip=frame_skip,
        tolerance=tolerance,
        mean=mean,
        std=std,
        seen_low=seen_low,
        seen_high=seen_high,
        constant=recording.numeric & known & (seen_low == seen_high),
        furthest=np.where(several & recording.numeric & np.isfinite(away), away, 0.0),
        bad_obs=sum(int((~np.isfinite(play.next_obs)).any(1).sum()) for play in plays),
        bad_rew=int((~np.isfinite(rew)).sum()),
        rew_mean=float(own.mean()) if len(own) else math.nan,
        rew_std=float(own.std()) if len(own) else math.nan,
        rew_low=float(good.min(initial=math.inf)),
        rew_high=float(good.max(initial=-math.inf)),
        reward_varies=len(good) > 0 and bool(np.ptp(good) > 0 or (len(all_returns) > 0 and np.ptp(all_returns) > 0)),
        usual=usual,
        at_end_only=at_end_only,
        delay=delay,
        value_low=float(value.min(initial=math.inf)),
        value_high=float(value.max(initial=-math.inf)),
        returns=np.array([e.ret for e in finished]),
        constant_returns=tuple(
            (play.name, float(np.mean(done)))
            for play in recording.constant
            if (done := [e.ret for e in episodes[play.name] if e.finished])
        ),
        lengths=np.array([e.length for e in finished], np.int64),
        truncated=sum(not e.terminated for e in finished),
        any_truncated=any(play.truncated.any() for play in plays),
        unfinished=max((e.length for e in every if not e.finished), default=0),
        equal_ends=ends.count(max(ends, default=0)),
        terminated=len(ends),
        longest=max((e.length for e in every if e.finished), default=0),
        move=_move(recording.random, recording.numeric, std),
    )


class _Episode(NamedTuple):
    start: int
    length: int
    ret: float
    terminated: bool
    finished: bool


def _episodes(play: Play) -> list[_Episode]:
    ends = np.flatnonzero(play.terminated | play.truncated) + 1
    cuts = [0, *ends.tolist()]
    found = [
        _Episode(start, stop - start, float(play.rew[start:stop].sum()), bool(play.terminated[stop - 1]), True)
        for start, stop in itertools.pairwise(cuts)
    ]
    if cuts[-1] < len(play.rew):
        found.append(_Episode(cuts[-1], len(play.rew) - cuts[-1], float(play.rew[cuts[-1] :].sum()), False, False))
    return found


def discounted_returns(play: Play, gamma: float) -> Array:
    """What a critic is to predict of each step (T,), at the discount gamma.

        G_t = rew_t + γ G_{t+1},   G = 0 after a termination, and r̄ / (1 - γ) where an episode was only cut

    with r̄ the mean reward: what goes on beyond the cut is taken to pay as the rest does. At γ = 1 it is 0, too.
    """
    rew = np.where(np.isfinite(play.rew), play.rew, 0.0)
    beyond = float(rew.mean()) / (1 - gamma) if gamma < 1 and len(rew) else 0.0
    value, ret = np.empty(len(rew)), beyond
    for t in range(len(rew) - 1, -1, -1):
        if play.terminated[t] or play.truncated[t]:
            ret = 0.0 if play.terminated[t] else beyond
        ret = rew[t] + gamma * ret
        value[t] = ret
    return value


def values(play: Play, gamma: float) -> Array:
    """`discounted_returns` of the finished episodes: how the last one would have gone on, nobody knows.

    Of all steps, where none has finished.
    """
    ends = np.flatnonzero(play.terminated | play.truncated)
    return discounted_returns(play, gamma)[: int(ends[-1]) + 1 if len(ends) else None]


def _finite(obs: NDArray[Any]) -> Array:
    obs = obs.astype(np.float64)
    return np.where(np.isfinite(obs), obs, np.nan)


def _moments(obs: Array) -> tuple[Array, Array]:
    count = np.maximum(np.isfinite(obs).sum(0), 1)
    mean = np.nansum(obs, 0) / count
    return mean, np.sqrt(np.nansum((obs - mean) ** 2, 0) / count)


def _extreme(obs: Array, which: np.ufunc) -> Array:
    edge = np.inf if which is np.fmin else -np.inf
    extreme: Array = which.reduce(obs, axis=0, initial=edge)
    return extreme


def _delay(rew: Array, episodes: Sequence[_Episode], play: Play) -> tuple[float, float, bool]:
    """The usual reward, the median number of steps to the first other one, and whether others come at ends only."""
    values, counts = np.unique(rew, return_counts=True)
    if not len(values) or counts.max() < len(rew) / 2:
        return math.nan, math.nan, False
    usual = float(values[counts.argmax()])
    other = play.rew != usual
    firsts = [int(np.argmax(part)) + 1 for e in episodes if (part := other[e.start : e.start + e.length]).any()]
    at_end_only = bool(other.any() and (play.terminated | play.truncated)[other].all())
    return usual, float(np.median(firsts)) if firsts else math.nan, at_end_only


def _move(play: Play, numeric: Flags, std: Array) -> float:
    change = np.abs(_finite(play.next_obs) - _finite(play.obs))
    mean, _ = _moments(change)
    moving = numeric & (mean > 0) & (std > 0)
    return float(np.median(mean[moving] / std[moving])) if moving.any() else math.nan


# ---- rules


def _not_finite(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if not (m.bad_obs or m.bad_rew):
        return None
    return f"{m.bad_obs} observations and {m.bad_rew} rewards are NaN or infinite: a training stops at the first", {}


def _constant(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if not m.constant.any():
        return None
    return f"{_components(m.constant)} never changed in any play: leave out what says nothing, or find out why", {}


def _unscaled(m: Measurements) -> tuple[Flags, Flags]:
    checked = m.numeric & ~m.constant
    most, least = LARGE_OBS * m.tolerance, SMALL_OBS / m.tolerance
    large = checked & ((m.std > most) | (np.abs(m.mean) > most))
    return large, checked & (m.std < least) & (m.std > 0)


def _scale(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    large, small = _unscaled(m)
    if not (large.any() or small.any()):
        return None
    size = np.fmax(m.std, np.abs(m.mean))
    worst = int(np.argmax(np.where(large, size, 0)) if large.any() else np.argmin(np.where(small, m.std, np.inf)))
    more = f", and {n} more are not of order 1" if (n := int((large | small).sum()) - 1) else ""
    return f"component {worst} has mean {m.mean[worst]:.3g} and std {m.std[worst]:.3g}{more}", {"normalize_obs": True}


def _outliers(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    worst = int(np.argmax(m.furthest))
    if m.furthest[worst] <= FAR_OUT:
        return None
    return f"component {worst} comes {m.furthest[worst]:.0f} std away from its mean: clip it in the environment", {}


def _outside(m: Measurements) -> Flags:
    room = 1e-5 * np.fmax(1, np.fmax(np.abs(m.seen_low), np.abs(m.seen_high)))
    return m.numeric & ((m.seen_low < m.low - room) | (m.seen_high > m.high + room))


def _bounds(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    outside = _outside(m)
    if not outside.any():
        return None
    i = int(np.flatnonzero(outside)[0])
    seen = f"component {i} is declared in [{m.low[i]:g}, {m.high[i]:g}] and was in "
    return f"{_components(outside)} left the declared bounds: {seen}[{m.seen_low[i]:.4g}, {m.seen_high[i]:.4g}]", {}


def _no_reward(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if m.reward_varies or not math.isfinite(m.rew_low):
        return None
    played = f"{len(m.returns)} episodes" if len(m.returns) else "all steps"
    return (
        f"every reward was {m.rew_low:g}, and every return the same, in {played} of random play and of constant "
        "actions: as long as that is so, there is nothing to learn from; look longer with --steps, reward progress, or "
        "start nearer to the goal",
        {},
    )


def _delayed(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if not (m.usual == 0 and m.at_end_only and m.delay >= LONG_DELAY):
        return None
    return f"the reward comes at the end only, after {m.delay:.0f} steps: keep lam near 1, or reward progress", {
        "lam": 0.98
    }


def _short_sighted(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if not (m.usual == 0 and m.gamma**m.delay < FADED):  # never of a delay that is NaN
        return None
    left = f"at gamma {m.gamma:g} a reward after {m.delay:.0f} steps counts {m.gamma**m.delay:.2g} at the beginning"
    return left, {"gamma": float(f"{1 - 1 / m.delay:.4f}")}


def _values(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    largest = max(abs(m.value_low), abs(m.value_high))
    most, least = LARGE_VALUE * m.tolerance, SMALL_VALUE / m.tolerance
    if not math.isfinite(largest) or largest == 0 or least <= largest <= most:
        return None
    reach = f"under random play, |value| at gamma {m.gamma:g} goes up to {largest:.3g}"
    return f"{reach}, and should be of order 1 ({SMALL_VALUE:g} to {LARGE_VALUE:g})", {"scale_reward": True}


def _no_limit(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if m.limit is not None or m.any_truncated or m.unfinished < NO_END:
        return None
    return f"an episode of {m.unfinished:,} steps had no end, and there is no time limit", {
        "env_kwargs": {"max_episode_steps": NO_END}
    }


def _limit_as_end(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    share = m.equal_ends / max(m.terminated, 1)
    if m.any_truncated or m.equal_ends < 3 or share < 0.1 or m.longest < SAME_END:
        return None
    return (
        f"{m.equal_ends} of {m.terminated} episodes are terminated after exactly {m.longest} steps, and none is longer:"
        " if that is a time limit, return truncated instead, since the last state still has a value",
        {},
    )


def _not_repeated(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if m.repeats:
        return None
    return "equal seeds and actions gave different episodes: draw all randomness from self.np_random", {}


def _not_forgotten(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if m.forgets or not m.repeats:
        return None
    return "after other episodes, the same seed and actions gave another one: reset() does not reset everything", {}


def _idle(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if not m.idle:
        return None
    some = "the action" if len(m.idle) == m.act_size else f"of the action, {_components(m.idle)}"
    return f"{some} changed neither observations nor rewards, whatever its value: is it read at all?", {}


def _unbounded(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    wide = (m.act_high - m.act_low) / 2 > WIDE_ACTION  # infinite ones, too
    if not wide.any():
        return None
    return f"no bounds, or no useful ones, of the action's {_components(wide)}: declare the range that matters", {}


def _too_fine(m: Measurements) -> tuple[str, Mapping[str, Any]] | None:
    if not m.move < SLOW_MOVE:
        return None
    return f"a step changes the state by {m.move:.2%} of its spread, so random actions cancel out", {
        "frame_skip": 4 * m.frame_skip
    }


RULES = (
    Rule("not finite", "1 NaN or infinity", "this suite stops there", _not_finite),
    Rule("not deterministic", "1 difference", "this suite: a seed and its actions are the episode", _not_repeated),
    Rule("carries state", "1 difference", "the definition of an episode", _not_forgotten),
    Rule("action without effect", "no difference in 2 episodes of up to 50 steps", "its definition", _idle),
    Rule("no reward", "all rewards and all returns equal", "Schulman: does a random policy ever see it?", _no_reward),
    Rule("no time limit", f"{NO_END} steps", "this suite: counts of episodes need ends", _no_limit),
    Rule("limit as end", f"3 episodes, a tenth of all, {SAME_END} steps", "Pardo", _limit_as_end),
    Rule("wrong bounds", "1e-5, relative", "the declared space", _bounds),
    Rule("constant component", "no change", "Schulman: look at histograms", _constant),
    Rule("unscaled", f"std or mean above {LARGE_OBS:g}, std below {SMALL_OBS:g}", "Schulman; Huang", _scale),
    Rule("outliers", f"{FAR_OUT:g} std", "Huang: observations are clipped", _outliers),
    Rule("values not of order 1", f"|value| outside {SMALL_VALUE:g} to {LARGE_VALUE:g}", "Schulman; Jones", _values),
    Rule("reward delayed", f"{LONG_DELAY} steps", "Ng: progress can be rewarded", _delayed),
    Rule("short-sighted", f"{FADED:g} of the reward left", "Schulman: compare 1/(1-γ) with the delay", _short_sighted),
    Rule("unbounded actions", f"half width above {WIDE_ACTION:g}", "this suite: DDPG, TD3, SAC", _unbounded),
    Rule("time step too fine", f"{SLOW_MOVE:g} of the spread", "Schulman: how far random play moves", _too_fine),
)  # fmt: skip
"""All rules, the gravest first. The thresholds are this suite's own."""


AT_START = frozenset(["not finite", "no time limit", "limit as end", "unscaled", "values not of order 1"])
"""Rules for which a few episodes of random play are enough, and without which a training fails or learns what is wrong.

The others need constant actions or more steps, or advise what only some trainings want.
"""


def advise(m: Measurements, grave: bool = False) -> list[Advice]:
    """What the rules say, or only those `AT_START`."""
    rules = [rule for rule in RULES if not grave or rule.name in AT_START]
    return [Advice(rule.name, *said) for rule in rules if (said := rule.check(m)) is not None]


def faulty(m: Measurements) -> Flags:
    """Which components (F,) of the observation a rule speaks of."""
    large, small = _unscaled(m)
    return m.constant | large | small | (m.furthest > FAR_OUT) | _outside(m)


def fitting(m: Measurements) -> tuple[str, ...]:
    """The algorithms that take these actions, the one to begin with first."""
    if m.act_kind == "Discrete":
        return "ppo", "dqn", "trpo", "a2c", "vpg", "cem"
    if m.act_kind == "MultiDiscrete":
        return "ppo", "trpo", "a2c", "vpg"
    bounded = np.isfinite(m.act_low).all() and np.isfinite(m.act_high).all() and (m.act_low < m.act_high).all()
    return "ppo", *(("sac", "td3", "ddpg") if bounded else ()), "trpo", "a2c", "vpg", "cem"


def _components(which: Flags | Sequence[int]) -> str:
    found = np.flatnonzero(which).tolist() if isinstance(which, np.ndarray) else list(which)
    some = ", ".join(map(str, found[:5])) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    return f"component{'s' * (len(found) > 1)} {some}"


def facts(m: Measurements, total_steps: int) -> list[str]:
    """What was measured, a line each; of the components of observations the first 20.

    Args:
        m: the measurements.
        total_steps: the budget of the training.
    """
    ends = f"{m.truncated / len(m.lengths):.0%} by a time limit" if len(m.lengths) else "none finished"
    lines = [f"episodes     {len(m.lengths)} of random play, {ends}"]
    if len(m.lengths):
        same = np.mean(m.lengths == np.bincount(m.lengths).argmax())
        lines.append(f"length       mean {m.lengths.mean():.4g}, {m.lengths.min()} to {m.lengths.max()} steps")
        lines.append(f"resets       {same:.0%} of episodes are equally long; parallel environments then reset together")
        ret = m.returns
        lines.append(f"return       mean {ret.mean():.4g}, std {ret.std():.3g}, {ret.min():.4g} to {ret.max():.4g}")
    if m.constant_returns:
        name, best = max(m.constant_returns, key=lambda each: each[1])
        lines.append(f"constant     the best of {len(m.constant_returns)} constant actions returns {best:.4g}: {name}")
    seconds = f" = {m.horizon * m.time_step:.3g} s" if m.time_step else ""
    needed = _duration(total_steps / m.steps_per_second)
    bound = "" if len(m.act_low) == 0 else f", bounds {_range(m.act_low, m.act_high)}"
    lines += [
        f"reward       mean {m.rew_mean:.4g}, std {m.rew_std:.3g}, {m.rew_low:.4g} to {m.rew_high:.4g}",
        f"value        {m.value_low:.3g} to {m.value_high:.3g} at gamma {m.gamma:g}; of order 1 is within ±10",
        f"horizon      1/(1-gamma) = {m.horizon:.4g} steps{seconds}",
        *([] if math.isnan(m.move) else [f"a step       changes a component by {m.move:.2g} of its spread"]),
        f"actions      {m.act_kind}, {m.act_size} component{'s' * (m.act_size > 1)}{bound}",
        f"repeatable   {'yes' if m.repeats else 'no'}; resets forget: {_forgets(m)}",
        f"speed        {m.steps_per_second:,.0f} steps/s without learning: {needed} for {total_steps:,} steps",
        f"algorithms   {' '.join(fitting(m))}",
        "",
        "component        mean         std         min         max   declared",
    ]
    for i in range(min(len(m.mean), 20)):
        numbers = " ".join(f"{x:11.4g}" for x in (m.mean[i], m.std[i], m.seen_low[i], m.seen_high[i]))
        lines.append(f"{i:9d} {numbers}   [{m.low[i]:g}, {m.high[i]:g}]")
    if len(m.mean) > 20:
        lines.append(f"... and {len(m.mean) - 20} more")
    return lines


def _forgets(m: Measurements) -> str:
    return "can't be told" if not m.repeats else "yes" if m.forgets else "no"


def _range(low: Array, high: Array) -> str:
    if (low == low[0]).all() and (high == high[0]).all():
        return f"[{low[0]:g}, {high[0]:g}]" + ("" if low[0] == -high[0] else ", not symmetric (which is no harm here)")
    return "unlike each other (which is no harm here)"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
