"""Which keys stand for which actions, when a person acts in an environment. Keys have pygame's names: "left", "a"."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from rlsuite.envs.names import ACTIONS
from rlsuite.errors import UserError

PAIRS = (("left", "right"), ("down", "up"), ("a", "d"), ("s", "w"))
"""keys for less and more of each component of an action"""
DIGITS = "0123456789"
OLD_ARROWS = {273: "up", 274: "down", 275: "right", 276: "left"}
"""pygame 1's numbers, which Gymnasium's MountainCar still names"""


class Keys(NamedTuple):
    """Actions by combinations of keys."""

    actions: Mapping[frozenset[str], Any]
    """of no key, too, unless the last action then goes on"""
    legend: tuple[str, ...]
    """what to press for what"""

    @property
    def names(self) -> frozenset[str]:
        """All keys that play a part."""
        return frozenset().union(*self.actions)

    def action(self, pressed: Sequence[str], last: Any) -> Any:
        """The action of the keys that are down, the latest last; of combinations that mean nothing, of that one."""
        for some in (pressed, pressed[-1:], ()):
            if (found := self.actions.get(frozenset(some))) is not None:
                return found
        return last


def keys_of(env: Any) -> Keys:
    """The environment's own keys for `gymnasium.utils.play`, where it has any; else digits, or pairs of keys.

    Raises:
        UserError: there are not enough keys for its actions.
    """
    space = env.action_space
    if own := _own(env):
        named = {"+".join(sorted(some)) or "no key": action for some, action in own.items()}
        return Keys(own, tuple(f"{some}: action {action}" for some, action in named.items()))
    if isinstance(space, spaces.Discrete):
        return _digits(space, ACTIONS.get(getattr(getattr(env, "spec", None), "id", ""), ()))
    if isinstance(space, spaces.Box | spaces.MultiDiscrete):
        return _pairs(space)
    raise UserError(f"action space {space} is not supported here; see docs/your-environment.md")


def _digits(space: Any, names: Sequence[str]) -> Keys:
    """A digit for each action, and arrows for those that are called so; of two or three actions, for first and last."""
    n, first = int(space.n), int(space.start)
    if n > len(DIGITS):
        raise UserError(f"--by-hand has keys for {len(DIGITS)} actions, and this environment has {n}")
    arrows = {name: k for k, name in enumerate(names) if name in ("left", "right", "up", "down")}
    if not arrows and 2 <= n <= 3:
        arrows = {"left": 0, "right": n - 1}
    actions = {frozenset([key]): first + k for key, k in [*zip(DIGITS, range(n), strict=False), *arrows.items()]}
    if n != 2:
        actions[frozenset()] = first + (names.index("none") if "none" in names else 1 if n == 3 else 0)
    legend = []
    for k in range(n):
        keys = [DIGITS[k], *(arrow for arrow, which in arrows.items() if which == k)]
        legend.append(f"{' or '.join(keys)}: {names[k] if names else f'action {first + k}'}")
    rest = "the last action again" if n == 2 else f"as {actions[frozenset()] - first}"
    return Keys(actions, (*legend, f"no key: {rest}"))


def _own(env: Any) -> dict[frozenset[str], Any]:
    """Empty where the environment has no keys, or keys for other actions than it takes now."""
    table: dict[Any, Any] = getattr(getattr(env, "unwrapped", env), "get_keys_to_action", dict)()
    parts = {k: (k,) if isinstance(k, int) else tuple(k) for k in table}
    named = {frozenset(map(_name, parts[k])): action for k, action in table.items()}
    return named if all(action in env.action_space for action in named.values()) else {}


def _name(key: int | str) -> str:
    code = ord(key) if isinstance(key, str) else key
    if code in OLD_ARROWS or code == ord(" "):
        return OLD_ARROWS.get(code, "space")
    if code < 128:
        return {13: "return", 27: "escape"}.get(code, chr(code).lower())
    import pygame

    return pygame.key.name(code)


def _pairs(space: Any) -> Keys:
    """Each component's lowest and highest value, or ±1 where it has no bounds, and between them what is no action."""
    if isinstance(space, spaces.Box):
        low, high = (np.where(np.isfinite(b), b, np.sign(b)).reshape(-1) for b in (space.low, space.high))
        rest = np.clip(0.0, low, high)
    else:
        low, high = space.start.reshape(-1), (space.start + space.nvec - 1).reshape(-1)
        rest = (low + high) // 2
    if rest.size > len(PAIRS):
        raise UserError(f"--by-hand has keys for {len(PAIRS)} components of an action, and this one has {rest.size}")
    found = {frozenset[str](): rest}
    for i, pair in enumerate(PAIRS[: rest.size]):
        for key, bound in zip(pair, (low, high), strict=True):
            at = np.arange(rest.size) == i
            found |= {some | {key}: np.where(at, bound, act) for some, act in found.items() if not some & set(pair)}
    legend = tuple(
        f"{less}/{more}: component {i} = {low[i]:g}/{high[i]:g}, neither: {rest[i]:g}"
        for i, (less, more) in enumerate(PAIRS[: rest.size])
    )
    return Keys({some: act.reshape(space.shape).astype(space.dtype) for some, act in found.items()}, legend)
