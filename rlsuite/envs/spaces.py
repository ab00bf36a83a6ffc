"""What crosses the border to an environment: observations as we store them, actions as the environment takes them.

shape letters: N environments, d action dimensions, k components of MultiDiscrete actions
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float32).max)
"""magnitude of what float32 can hold, and so of an observation or a reward"""


class MisfitError(ValueError):
    """An observation or a reward that can't be stored as it is. In the message, "it" is the environment."""


def storage_dtype(space: spaces.Space[Any]) -> type[np.generic]:
    """What samples are stored as: bytes of a Box stay bytes, all other integers become int64, floats float32."""
    if isinstance(space, spaces.Box) and space.dtype == np.uint8:
        return np.uint8
    return np.int64 if np.issubdtype(space.dtype, np.integer) else np.float32


def action_shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    """The shape of one action as networks and buffers see it: () for Discrete, (k,) for MultiDiscrete, (d,) for Box."""
    return () if isinstance(space, spaces.Discrete) else (math.prod(space.shape or ()),)


def to_env(act: NDArray[Any], act_space: spaces.Space[Any]) -> tuple[NDArray[Any], int]:
    """Turn a network's actions into those that an environment takes.

    Args:
        act: (N,) int64 for Discrete and (N, k) int64 for MultiDiscrete, counted from 0; (N, d) float32 for Box, finite.
        act_space: the environment's.

    Returns:
        The actions, and how many of their components were clipped. Discrete: (N,) int64, counted from `start`.
        MultiDiscrete: (N, *act_shape), counted likewise, of the space's dtype. Box: (N, *act_shape) within the bounds,
        of the space's dtype.
    """
    if isinstance(act_space, spaces.Discrete):
        return (act + act_space.start if act_space.start else act), 0
    if isinstance(act_space, spaces.MultiDiscrete):
        return (act.reshape(len(act), *act_space.shape) + act_space.start).astype(act_space.dtype, copy=False), 0
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


def is_flattened(space: Any) -> bool:
    """Whether Gymnasium's `flatten` turns samples into vectors: those of MultiDiscrete, MultiBinary, Dict and Tuple.

    Not of a Dict or Tuple that holds anything else than these, Box and Discrete at any depth: Text is no number, and
    Graph, Sequence and OneOf have no fixed size or meaning of each place.
    """
    return not isinstance(space, spaces.Box | spaces.Discrete) and _has_fixed_parts(space)


def _has_fixed_parts(space: Any) -> bool:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return len(parts) > 0 and all(map(_has_fixed_parts, parts))
    return isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)


def flat_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The Box that samples are flattened into, or the space itself where nothing is to be done."""
    return spaces.flatten_space(space) if is_flattened(space) else space


def flatten(obs: Any, space: spaces.Space[Any]) -> NDArray[Any]:
    """An observation (F,) of `flat_space(space)`: Gymnasium's `flatten`, which alone would let what does not fit pass.

    Parts follow one another, Discrete ones as one-hot vectors.

    Raises:
        MisfitError: a part is missing, or does not fit its space.
    """
    _check_parts(obs, space)
    return np.asarray(spaces.flatten(space, obs))


def _check_parts(obs: Any, space: spaces.Space[Any]) -> None:
    parts: Sequence[tuple[Any, spaces.Space[Any]]] = ()
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, Mapping) or not space.spaces.keys() <= obs.keys():
            keys = f"with the keys {list(obs)}" if isinstance(obs, Mapping) else f"of type {type(obs).__name__}"
            raise MisfitError(f"it returned an observation {keys}, and its space is a Dict of {list(space.spaces)}")
        parts = [(obs[key], part) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        if not isinstance(obs, tuple | list) or len(obs) != len(space.spaces):
            many = f"{len(obs)} parts" if isinstance(obs, tuple | list) else f"type {type(obs).__name__}"
            raise MisfitError(f"it returned an observation of {many}, and its space is a Tuple of {len(space.spaces)}")
        parts = list(zip(obs, space.spaces, strict=True))
    else:
        stored = from_env(obs, space)
        if not isinstance(space, spaces.Box) and not space.contains(stored.astype(space.dtype)):
            raise MisfitError(f"its observation {obs} is not in {space}")
    for part in parts:
        _check_parts(*part)


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
