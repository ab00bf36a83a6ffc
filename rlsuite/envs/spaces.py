"""What crosses the border to an environment: observations as we store them, actions as the environment takes them.

shape letters: N environments, d action dimensions
"""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float32).max)
"""magnitude of what float32 can hold, and so of an observation or a reward"""


class MisfitError(ValueError):
    """An observation or a reward that can't be stored as it is. In the message, "it" is the environment."""


def storage_dtype(space: spaces.Space[Any]) -> type[np.generic]:
    """What a space's samples are stored as: bytes stay bytes, other integers become int64, floats float32."""
    if space.dtype == np.uint8:
        return np.uint8
    return np.int64 if np.issubdtype(space.dtype, np.integer) else np.float32


def action_shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    """The shape of one action as networks and buffers see it: () for Discrete, else (d,)."""
    return () if isinstance(space, spaces.Discrete) else (math.prod(space.shape or ()),)


def to_env(act: NDArray[Any], act_space: spaces.Space[Any]) -> tuple[NDArray[Any], int]:
    """Turn a network's actions into those that an environment takes.

    Args:
        act: (N,) int64 for Discrete, counted from 0; (N, d) float32 for Box, finite.
        act_space: the environment's.

    Returns:
        The actions, and how many of their components were clipped. Discrete: (N,) int64, counted from `start`.
        Box: (N, *act_shape) within the bounds, of the space's dtype.
    """
    if isinstance(act_space, spaces.Discrete):
        return (act + act_space.start if act_space.start else act), 0
    assert isinstance(act_space, spaces.Box), act_space
    act = act.reshape(len(act), *act_space.shape)
    clipped = act.clip(act_space.low, act_space.high)
    return clipped.astype(act_space.dtype, copy=False), int(np.count_nonzero(clipped != act))


def from_env(obs: Any, obs_space: spaces.Space[Any]) -> NDArray[Any]:
    """Turn an environment's observation into what is stored: nothing but rounding to float32 may change a value.

    Args:
        obs: what `reset` or `step` returned.
        obs_space: the environment's.

    Returns:
        The observation (*obs_shape), of `storage_dtype(obs_space)`. NaN and infinity pass.

    Raises:
        MisfitError: it has another shape, is no array of numbers, or holds a number that the dtype can't hold.
    """
    array, dtype = np.asarray(obs), np.dtype(storage_dtype(obs_space))
    if array.dtype.kind not in "biuf":
        shown = repr(obs) if obs is None or isinstance(obs, str) else f"of type {type(obs).__name__}"
        raise MisfitError(f"it returned an observation {shown}, and its space is {obs_space}")
    if array.shape != (obs_space.shape or ()):
        # Numpy would spread an observation of shape (1,) over a row of any length without a word.
        raise MisfitError(f"it returned an observation of shape {array.shape}, and its space is {obs_space}")
    with np.errstate(over="ignore", invalid="ignore"):
        stored = array.astype(dtype)
    if dtype.kind == "f":
        changed = np.isinf(stored) & np.isfinite(array)
        advice = f"which is too large for {dtype}; scale it down"
    else:
        changed = stored != array
        advice = (
            f"and samples of {obs_space} are stored as {dtype}, which would change that value; "
            "return whole numbers that the space holds, or declare a Box of dtype np.float32"
        )
    if np.count_nonzero(changed):
        raise MisfitError(f"its observation holds {array[changed][0]} ({array.dtype}), {advice}")
    return stored


def number(rew: Any) -> float:
    """A reward as a float.

    Raises:
        MisfitError: it is not one number.
    """
    array = np.asarray(rew)
    if array.dtype.kind not in "biuf":
        raise MisfitError(f"it returned the reward {rew!r}, which is not a number")
    if array.shape:
        raise MisfitError(f"it returned a reward of shape {array.shape}, which should be one number; return float(...)")
    return float(array)
