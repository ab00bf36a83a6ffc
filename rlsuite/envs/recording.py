"""Playing an environment at random and with constant actions, to know it before a training (`analysis.preflight`).

`record` plays as long as it takes to know much, `look` only at random and as long as every training can afford.

shape letters: T steps, F components of an observation, d components of an action
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlsuite.analysis.preflight import Play, Recording
from rlsuite.envs.episodes import RANDOM_STEPS, episode_seed
from rlsuite.envs.making import EnvFn, raw_obs_space
from rlsuite.envs.spaces import from_env, number
from rlsuite.errors import EnvError, UserError

STEPS = 5000
"""of random play"""
CONSTANT_STEPS = 1000
"""of each constant action: enough to see that an episode has no end"""
TRIED = 8
"""constant actions"""
TRIALS, TRIAL_STEPS = 2, 50
"""episodes, and their steps, that are played again to compare them"""
MOST_NUMBERS = 20_000_000
"""of the observations in one play; images get fewer steps"""
LOOK_STEPS, LOOK_EPISODES = 5000, 20
"""of `look`, whichever comes first: 440 steps of CartPole, 5 episodes of HalfCheetah"""
LOOK_NUMBERS = 2_000_000
"""of the observations in `look`; of larger ones it keeps none"""

Trace = list[bytes]


def record(env_fn: EnvFn, steps: int = STEPS, seed: int = 0, constant_steps: int = CONSTANT_STEPS) -> Recording:
    """Play an environment.

    Args:
        env_fn: returns a new environment, as `configured_env` does.
        steps: of random play; fewer where observations are so large that they would fill the memory.
        seed: of episodes and actions.
        constant_steps: of each constant action, likewise.

    Raises:
        UserError: the environment has a space that no algorithm takes.
        EnvError: it raised, or returned what does not fit its spaces.
    """
    with closing(env_fn()) as env, closing(env_fn()) as twin:
        obs_space, act_space = env.observation_space, copy.deepcopy(env.action_space)
        if not isinstance(obs_space, spaces.Box | spaces.Discrete):
            raise UserError(f"observation space {obs_space} is not supported here; see docs/your-environment.md")
        if not isinstance(act_space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete):
            raise UserError(f"action space {act_space} is not supported here; see docs/your-environment.md")
        act_space.seed(episode_seed(seed, RANDOM_STEPS, 0, RANDOM_STEPS))
        numeric = _numeric(raw_obs_space(env))
        steps = max(1, min(steps, MOST_NUMBERS // numeric.size))
        actions = [act_space.sample() for _ in range(TRIAL_STEPS)]
        try:
            first = _trial(env, actions, seed)
            repeats = first == _trial(twin, actions, seed)
            began = time.perf_counter()
            random = _play("random", env, lambda: act_space.sample(), steps, seed)
            speed = steps / max(time.perf_counter() - began, 1e-9)
            tried = _constants(act_space)
            most = max(1, min(constant_steps, MOST_NUMBERS // numeric.size // len(tried)))
            constant = tuple(_play(f"always {name}", env, _always(a), most, seed) for name, a in tried)
            forgets = repeats and first == _trial(env, actions, seed)
            size = 1 if isinstance(act_space, spaces.Discrete) else int(np.prod(act_space.shape or (1,)))
            idle = [i for i in range(size) if repeats and _is_idle(twin, act_space, i, actions, seed)]
        except Exception as error:  # foreign code
            text = " ".join(str(error).split())
            raise EnvError(f"the environment failed under random play: {type(error).__name__}: {text}") from error
        found: dict[str, Any] = {"idle": tuple(idle), "repeats": repeats, "forgets": forgets, "steps_per_second": speed}
        return Recording(random=random, constant=constant, **found, **_stated(env, numeric))


def look(env_fn: EnvFn, steps: int, seed: int) -> tuple[dict[str, Any], Recording | None]:
    """Play an environment at random for a moment. Its episodes and actions have seeds that no training or test has.

    Args:
        env_fn: returns a new environment, which is closed here.
        steps: at most, if that is less than `LOOK_STEPS`.
        seed: the run's.

    Returns:
        The facts for config.json, and the recording, None where the environment failed: that is no reason not to train.

        Of the facts, `return` and `return_std` are over the episodes that finished, `episodes` of them, `length` is
        their mean in steps, and `time_limits` the share that a time limit ended. `steps` is how many were taken,
        `largest_obs` and `largest_rew` the largest magnitudes seen. None is what is not known, and `why` says why there
        is no return.
    """
    try:
        with closing(env_fn()) as env:
            if getattr(env, "render_mode", None) == "human":  # each step would take its time
                return _facts(None, "the environment is shown in a window"), None
            numeric, act_space = _numeric(raw_obs_space(env)), copy.deepcopy(env.action_space)
            act_space.seed(episode_seed(seed, RANDOM_STEPS, 0, RANDOM_STEPS))  # no episode has so high a number
            steps = max(1, min(steps, LOOK_STEPS))
            if not numeric.any() or steps * numeric.size > LOOK_NUMBERS:
                numeric = numeric[:0]
            began = time.perf_counter()
            play = _play("random", env, act_space.sample, steps, seed, LOOK_EPISODES, numeric.size)
            speed = len(play.rew) / max(time.perf_counter() - began, 1e-9)
            told: dict[str, Any] = {
                "idle": (),
                "repeats": True,
                "forgets": True,
                "steps_per_second": speed,
            }  # nothing was tried
            return _facts(play), Recording(random=play, constant=(), **told, **_stated(env, numeric))
    except Exception as error:  # foreign code
        return _facts(None, f"{type(error).__name__}: {' '.join(str(error).split())}"), None


def _facts(play: Play | None, why: str = "") -> dict[str, Any]:
    facts: dict[str, Any] = dict.fromkeys(("return", "return_std", "length", "time_limits", "largest_obs"))
    facts |= {"largest_rew": None, "episodes": 0, "steps": 0}
    if play:
        facts |= {"steps": len(play.rew), "largest_obs": _largest(play.next_obs), "largest_rew": _largest(play.rew)}
        ends = np.flatnonzero(play.terminated | play.truncated)
        why = "" if len(ends) else f"no episode ended within {len(play.rew):,} steps"
        if not np.isfinite(play.rew).all():
            why = "a reward is not finite"
        elif len(ends):
            returns = np.add.reduceat(play.rew[: ends[-1] + 1], [0, *(ends[:-1] + 1)])
            facts |= {"return": float(returns.mean()), "return_std": float(returns.std()), "episodes": len(ends)}
            facts |= {"length": float(ends[-1] + 1) / len(ends), "time_limits": float(1 - play.terminated[ends].mean())}
    return {**facts, **({"why": why} if why else {})}


def _largest(numbers: NDArray[Any]) -> float | None:
    finite = np.abs(numbers[np.isfinite(numbers)].astype(np.float64))
    return float(finite.max()) if finite.size else None


def _stated(env: gym.Env, numeric: NDArray[np.bool_]) -> dict[str, Any]:
    """What an environment says about itself, for a Recording; `numeric` has a flag for each number of an observation.

    No flags stand for observations that are not recorded.
    """
    obs_space, act_space = env.observation_space, env.action_space
    box, discrete = isinstance(act_space, spaces.Box), isinstance(act_space, spaces.Discrete)
    size = 1 if discrete else int(np.prod(act_space.shape or (1,)))
    return {
        "low": _bound(obs_space, "low", numeric.size)[: numeric.size],
        "high": _bound(obs_space, "high", numeric.size)[: numeric.size],
        "numeric": numeric,
        "act_kind": type(act_space).__name__,
        "act_low": _bound(act_space, "low", size) if box else np.empty(0),
        "act_high": _bound(act_space, "high", size) if box else np.empty(0),
        "act_size": size,
        "limit": getattr(getattr(env, "spec", None), "max_episode_steps", None),
        "time_step": _time_step(env),
    }


def _numeric(space: Any) -> NDArray[np.bool_]:
    """Of an observation that Gymnasium flattens, the components that are numbers and neither bytes nor one-hot."""
    if isinstance(space, spaces.Box):
        return np.full(int(np.prod(space.shape)), space.dtype != np.uint8)
    if isinstance(space, spaces.MultiDiscrete):
        return np.zeros(int(space.nvec.sum()), np.bool_)
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(int(np.prod(space.shape)), np.bool_)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        # Within, a Discrete part is a one-hot vector.
        hot = [np.zeros(int(part.n), np.bool_) if isinstance(part, spaces.Discrete) else None for part in parts]
        return np.concatenate([_numeric(part) if one is None else one for part, one in zip(parts, hot, strict=True)])
    return np.zeros(1, np.bool_)


def _bound(space: Any, name: str, size: int) -> NDArray[np.float64]:
    if isinstance(space, spaces.Discrete):
        return np.full(size, float(space.start + (space.n - 1 if name == "high" else 0)))
    return np.asarray(getattr(space, name), np.float64).reshape(-1)


def _time_step(env: gym.Env) -> float | None:
    """Seconds of the environment's own step times those that one step here repeats, where it says them."""
    inner = getattr(env, "unwrapped", env)
    found = next((v for name in ("dt", "tau") if isinstance(v := getattr(inner, name, None), float) and v > 0), None)
    return found and found * _repeated(env)


def _repeated(env: Any) -> int:
    times = 1
    while isinstance(env, gym.Wrapper):
        times, env = times * getattr(env, "times", 1), env.env
    return times


def _always(action: Any) -> Callable[[], Any]:
    return lambda: action


def _constants(space: Any) -> list[tuple[str, Any]]:
    """Constant actions to try, and what to call them."""
    if isinstance(space, spaces.Discrete):
        chosen = np.unique(np.linspace(space.start, space.start + space.n - 1, TRIED).astype(int))
        return [(str(a), space.start.__class__(a)) for a in chosen.tolist()]
    if isinstance(space, spaces.MultiDiscrete):
        lowest, highest = space.start, space.start + space.nvec - 1
        return [("lowest", lowest.astype(space.dtype)), ("highest", highest.astype(space.dtype))]
    low, high = (np.where(np.isfinite(b), b, np.sign(b)) for b in (space.low, space.high))
    return [(n, a.astype(space.dtype)) for n, a in (("lowest", low), ("middle", (low + high) / 2), ("highest", high))]


def step(env: gym.Env, action: Any) -> tuple[NDArray[Any], float, bool, bool]:
    """One step: the observation (F,), the reward, and whether the episode was terminated or truncated."""
    discrete = isinstance(env.action_space, spaces.Discrete)
    obs, rew, terminated, truncated, _ = env.step(int(action) if discrete else np.array(action))
    return from_env(obs, env.observation_space).reshape(-1), number(rew), bool(terminated), bool(truncated)


def _play(
    name: str,
    env: gym.Env,
    choose: Callable[[], Any],
    steps: int,
    seed: int,
    episodes: float = math.inf,
    numbers: int | None = None,
) -> Play:
    """Play so many steps or episodes, whichever come first; of each observation so many numbers are kept, or all."""
    episode = 0
    obs = begin(env, episode_seed(seed, RANDOM_STEPS, 0, episode))[:numbers]
    before, after = np.empty((steps, obs.size), obs.dtype), np.empty((steps, obs.size), obs.dtype)
    rew, terminated, truncated = np.empty(steps), np.empty(steps, np.bool_), np.empty(steps, np.bool_)
    for t in range(steps):
        before[t] = obs
        obs, rew[t], terminated[t], truncated[t] = step(env, choose())
        after[t] = obs = obs[:numbers]
        if terminated[t] or truncated[t]:
            episode += 1
            if episode == episodes:
                steps = t + 1
                break
            obs = begin(env, episode_seed(seed, RANDOM_STEPS, 0, episode))[:numbers]
    return Play(name, before[:steps], after[:steps], rew[:steps], terminated[:steps], truncated[:steps])


def begin(env: gym.Env, seed: int) -> NDArray[Any]:
    """The first observation (F,) of an episode."""
    return from_env(env.reset(seed=seed)[0], env.observation_space).reshape(-1)


def _trial(env: gym.Env, actions: Sequence[Any], seed: int) -> Trace:
    """Everything that some episodes show, as bytes: NaN equals NaN, and nothing else equals what it is not."""
    trace = []
    for k in range(TRIALS):
        trace.append(begin(env, episode_seed(seed, RANDOM_STEPS, 1, k)).tobytes())
        for action in actions:
            obs, rew, terminated, truncated = step(env, action)
            trace.append(obs.tobytes() + np.array([rew, terminated, truncated], np.float64).tobytes())
            if terminated or truncated:
                break
    return trace


def _is_idle(env: gym.Env, space: Any, i: int, actions: Sequence[Any], seed: int) -> bool:
    """Whether component i of the action changes nothing: all else equal, at random, lowest and highest values."""
    usual = _trial(env, actions, seed)
    return all(
        _trial(env, [_with(action, constant, i) for action in actions], seed) == usual
        for _, constant in _constants(space)
    )


def _with(action: Any, constant: Any, i: int) -> Any:
    if np.ndim(action) == 0:
        return constant
    changed = np.array(action)
    changed.reshape(-1)[i] = np.reshape(constant, -1)[i]
    return changed
