"""Types of settings that carry their range, and the check that reads it.

A field of a `Config` is written `gamma: Unit = 0.99`, and `check(self)` in its `__post_init__` does the rest: values of
another type or out of range end in one sentence. The command line reads the same types. A new kind of setting needs no
line here: `Annotated[float, Interval(ge=0, le=2)]` is checked and put into words as it stands.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Interval, Le, Lt, MaxLen

from rlsuite import mpi
from rlsuite.errors import UserError

C = TypeVar("C")


@dataclass(frozen=True)
class OrInf:
    """Marks a number that may be infinite, and says what infinity means."""

    meaning: str


@dataclass(frozen=True)
class Marker:
    """Marks a setting by what it is, where the range does not tell."""

    what: str


JSON = Marker("a JSON object, as text")
SHARED = Marker("samples of all ranks together")
STORED = Marker("transitions in a replay buffer")

Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
"""what all randomness comes from"""
Steps = Annotated[int, Interval(ge=1, le=10**15)]
"""env steps, over all environments and ranks"""
Environments = Annotated[int, Interval(ge=1, le=10**5)]
"""environments that step together, in each process"""
Count = Annotated[int, Interval(ge=1, le=10**12)]
"""how many, or how often"""
CountOrZero = Annotated[int, Interval(ge=0, le=10**12)]
"""how many, where none is a choice"""
Shared = Annotated[Count, SHARED]
"""samples of all ranks together; rounded up to a multiple of the ranks"""
Stored = Annotated[Shared, STORED]
"""transitions in a replay buffer; where memory is short, this is what to lower"""
Threads = Annotated[int, Interval(ge=0, le=1024)]
"""threads of one process; 0 lets the process choose"""
Unit = Annotated[float, Interval(ge=0, le=1)]
"""a probability, a share, a weight, or a discount"""
Correlation = Annotated[float, Interval(ge=0, lt=1)]
"""how much of one step is left in the next; at 1 nothing new would ever come"""
Fraction = Annotated[float, Interval(gt=0, lt=1)]
"""a part of a whole, neither none nor all of it"""
Positive = Annotated[float, Gt(0)]
"""a finite number above 0"""
PositiveOrInf = Annotated[float, Gt(0), OrInf("switches it off")]
"""a limit, which infinity switches off"""
Goal = Annotated[float, OrInf("is never reached")]
"""a return to reach"""
LearningRate = Annotated[float, Ge(0)]
"""the size of a gradient step; 0 trains nothing"""
Coefficient = Annotated[float, Ge(0)]
"""the weight of one term among others; 0 leaves it out"""
Widths = Annotated[tuple[Annotated[int, Interval(ge=1, le=10**5)], ...], MaxLen(1000)]
"""widths of the hidden layers of a network, from its input on; () is a linear one"""
JsonObject = Annotated[str, JSON]
"""a JSON object, as text; from Python also a dict"""


def flag(name: str) -> str:
    """A setting's name on the command line: "pi_lr" is --pi-lr."""
    return f"--{name.replace('_', '-')}"


def base_type(annotation: Any) -> Any:
    """The plain Python type of a setting: of `Unit` it is float."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def annotations(config_class: type[Any]) -> dict[str, Any]:
    """The settings of a `Config` and their types, with their ranges, in the order of the file."""
    hints = get_type_hints(config_class, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_class)}


def marked(config_class: type[Any], marker: Marker) -> list[str]:
    """The settings whose type has a marker: those marked `STORED` say how much a replay buffer holds."""
    return [name for name, annotation in annotations(config_class).items() if marker in _markers(annotation)]


def check(config: Any, finite: Mapping[str, str] | None = None) -> None:
    """Refuse values that make no sense, before anything is created; call it in `__post_init__`.

    Values that mean the same become the plain Python type: numpy's numbers, a list for a tuple, a dict for JSON text.

    Args:
        config: settings.
        finite: {"kl_coef": "target_kl"} says that with a kl_coef other than 0 the target_kl can't be infinite.

    Raises:
        UserError: names the setting, its value, and what would be right.
    """
    for name, annotation in annotations(type(config)).items():
        # The only way to set a field of a frozen dataclass.
        object.__setattr__(config, name, _checked(flag(name), getattr(config, name), annotation))
    for name, needed in (finite or {}).items():
        value, limit = getattr(config, name), getattr(config, needed)
        if value and not math.isfinite(limit):
            raise UserError(f"{flag(name)} {value} needs a finite {flag(needed)}, and that is {limit}")


def check_replay(config: Any) -> None:
    """Refuse a replay buffer that can't hold a batch, and a budget that ends before the first gradient step.

    Args:
        config: an off-policy algorithm's, with total_steps, num_envs, buffer_size, batch_size, update_after and
            update_every.

    Raises:
        UserError: names the settings that do not go together, and their values.
    """
    n = config.num_envs * mpi.size
    environments = f"--num-envs {config.num_envs}" + (f" x {mpi.size} processes" if mpi.size > 1 else "")
    if config.buffer_size < max(config.batch_size, n):
        raise UserError(
            f"--buffer-size {config.buffer_size} is smaller than a batch (--batch-size {config.batch_size}) or a step "
            f"of all environments ({environments}); it should be many times as large, such as 100000"
        )
    # The first step of all environments from update_after on that reaches a multiple of update_every.
    every = config.update_every
    after = -(-max(config.update_after, 1) // n) * n
    first_update = -(-((after - n) // every + 1) * every // n) * n
    if -(-config.total_steps // n) * n < first_update:
        raise UserError(
            f"--total-steps {config.total_steps} ends before the first update, at env step {first_update} "
            f"(--update-after {config.update_after}, --update-every {config.update_every}): nothing would be trained"
        )


def from_saved(config_class: type[C], saved: Mapping[str, Any]) -> C:
    """Settings as config.json holds them. What it lacks has its default; what is no setting is left out.

    Raises:
        UserError: a value of the wrong type or out of range, or none for a setting without a default.
    """
    values = {}
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]  # C is a dataclass
        if field.name in saved:
            values[field.name] = saved[field.name]
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"config.json has no {field.name}")
    try:
        return config_class(**values)
    except UserError as error:
        raise UserError(f"config.json: {error}") from error


def rounded(config: Any, ranks: int) -> list[str]:
    """What becomes of samples that can't be split evenly over the ranks, such as "--batch-size 100 -> 104"."""
    changes = []
    for name in marked(type(config), SHARED):
        value = getattr(config, name)
        even = -(-value // ranks) * ranks
        if even != value:
            changes.append(f"{flag(name)} {value} -> {even}")
    return changes


def expect_config(config: Any) -> None:
    """Refuse anything in the place of an algorithm's settings, such as the name of an environment.

    Raises:
        UserError: `config` is no object of a `Config`.
    """
    if isinstance(config, type) or not dataclasses.is_dataclass(config):
        env = config if isinstance(config, str) else "CartPole-v1"
        raise UserError(f'train takes settings, such as Config(env="{env}"), not {_short(config)}')


def expect_function(env_fn: Any) -> None:
    """Refuse an environment in the place of a function that makes one. None stands for the environment of the settings.

    Raises:
        UserError: `env_fn` can't be called.
    """
    if env_fn is not None and not callable(env_fn):
        raise UserError(
            "env_fn must be a function that makes a new environment at each call, such as "
            f'lambda: gymnasium.make("CartPole-v1"), not {_short(env_fn)}'
        )


def _markers(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool, np.bool_), "True or False"),
    int: ((int, np.integer), "a whole number"),
    float: ((float, int, np.floating, np.integer), "a number"),
    str: ((str,), "text"),
}
"""What is taken for each plain type, and how an error calls it."""


def _checked(name: str, value: Any, annotation: Any) -> Any:
    """The value, as the plain Python type of its setting."""
    base, markers = base_type(annotation), _markers(annotation)
    if JSON in markers and isinstance(value, dict):
        return _as_json(name, value)
    if get_origin(base) is Literal:
        if value not in get_args(base):
            raise UserError(f"{name} is {_short(value)}, but must be one of {', '.join(map(str, get_args(base)))}")
        return value
    if get_origin(base) is tuple and get_args(base)[1:] == (...,):
        return _checked_tuple(name, value, annotation)
    if base not in _KINDS:  # a type of the algorithm's own
        return value
    accepted, kind = _KINDS[base]
    if not isinstance(value, accepted) or (isinstance(value, bool) and base is not bool):
        raise UserError(f"{name} is {_short(value)}, but must be {kind}{_not_this_kind(value)}")
    try:
        plain = base(value)
    except OverflowError:  # a whole number that no float can hold
        plain = math.nan
    if not _fits(plain, markers):
        raise UserError(f"{name} is {_short(value)}, but must be {_range_in_words(markers)}")
    return plain


def _checked_tuple(name: str, value: Any, annotation: Any) -> tuple[Any, ...]:
    """The values of a setting that has several, each checked."""
    item = get_args(base_type(annotation))[0]
    most = next((marker.max_length for marker in _markers(annotation) if isinstance(marker, MaxLen)), None)
    kind = {int: "whole numbers", float: "numbers"}.get(base_type(item), "values")
    right = f"{f'up to {most:,} ' if most else ''}{kind} {_range_in_words(_markers(item), any_number='')}".rstrip()
    if not isinstance(value, tuple | list):
        raise UserError(f"{name} is {_short(value)}, but must be a tuple of {right}")
    if most is not None and len(value) > most:
        raise UserError(f"{name} has {len(value):,} values, but must be {right}")
    try:
        return tuple(_checked(name, element, item) for element in value)
    except UserError:
        raise UserError(f"{name} is {_short(value)}, but must be {right}") from None


def _as_json(name: str, value: dict[Any, Any]) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{name} is {_short(value)}, but must be what JSON can hold: {error}") from error


def _bounds(markers: tuple[Any, ...]) -> list[Any]:
    """The bounds that are given alone and those that are given as an interval."""
    return [bound for marker in markers for bound in (marker if isinstance(marker, Interval) else [marker])]


def _fits(value: Any, markers: tuple[Any, ...]) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return value == math.inf and any(isinstance(marker, OrInf) for marker in markers)
    return all(
        (not isinstance(bound, Ge) or value >= bound.ge)
        and (not isinstance(bound, Gt) or value > bound.gt)
        and (not isinstance(bound, Le) or value <= bound.le)
        and (not isinstance(bound, Lt) or value < bound.lt)
        for bound in _bounds(markers)
    )


def _range_in_words(markers: tuple[Any, ...], any_number: str = "a finite number") -> str:
    """A range as the end of the sentence "must be ...": "from 0 to 1", "above 0 (inf switches it off)"."""
    bounds = _bounds(markers)
    above = next((_grouped(bound.gt) for bound in bounds if isinstance(bound, Gt)), "")
    least = next((_grouped(bound.ge) for bound in bounds if isinstance(bound, Ge)), "")
    below = next((_grouped(bound.lt) for bound in bounds if isinstance(bound, Lt)), "")
    most = next((_grouped(bound.le) for bound in bounds if isinstance(bound, Le)), "")
    high = f"below {below}" if below else most
    if least and high:
        words = f"from {least} to {high}"
    elif least:
        words = f"{least} or more"
    else:
        upper = f"below {below}" if below else f"at most {most}" if most else ""
        words = " and ".join(part for part in (f"above {above}" if above else "", upper) if part) or any_number
    meaning = next((f" (inf {marker.meaning})" for marker in markers if isinstance(marker, OrInf)), "")
    return words + meaning


def _grouped(number: Any) -> str:
    """A number to read: 100,000, or 10^15 where the zeros would have to be counted."""
    power = len(str(number)) - 1
    return f"10^{power}" if power > 6 and number == 10**power else f"{number:,}"


def _not_this_kind(value: Any) -> str:
    """What the value is instead, where a reader might not see it: "3" in quotes is text, 1.0 is not a whole number."""
    kinds: dict[type, str] = {str: "text", bool: "a switch", int: "a whole number", float: "a decimal number"}
    return f", not {kinds[type(value)]}" if type(value) in kinds else ""


def _short(value: Any) -> str:
    """A value as Python writes it, cut to what a line has room for."""
    try:
        text = " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
