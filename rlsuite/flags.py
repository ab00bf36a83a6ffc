"""From a command line to settings: flags and their values, the grid that several values make, and tyro.

Settings are the fields of dataclasses, so that a flag exists because a field does. `fields` below maps the name of each
to its plain type: {"env": str, "gamma": float, "hidden_sizes": tuple[int, ...]}.
"""

import difflib
import itertools
import json
import re
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from decimal import Decimal
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from rlsuite.errors import UserError
from rlsuite.settings import annotations, base_type, flag
from rlsuite.synonyms import counterparts

if TYPE_CHECKING:
    from rlsuite.analysis.preflight import Advice

# Threads have one stderr to redirect, and tyro reads source with a parser of CPython's that threads can't share.
_ONE_AT_A_TIME = threading.Lock()


def fields_of(*classes: type[Any]) -> dict[str, Any]:
    """The settings of all classes and their plain types, without ranges."""
    return {name: base_type(annotation) for each in classes for name, annotation in annotations(each).items()}


def parse_flags(argv: Sequence[str], fields: Mapping[str, Any]) -> dict[str, list[str]]:
    """Split a command line into flags and their values.

    Args:
        argv: for example ["--env", "CartPole-v1", "--seed", "0", "1", "--quiet"].
        fields: known settings and their types.

    Returns:
        The values of each setting as text; a switch has ["True"] or ["False"].

    Raises:
        UserError: an unknown, repeated or empty flag, or a value without a flag.
    """
    flags: dict[str, list[str]] = {}
    for i, token in enumerate(argv):
        if re.match(r"--\D", token):
            name, values = _read_flag(token, fields, argv[i + 1 : i + 2])
            if name in flags:
                raise UserError(f"{flag(name)} is given twice; give several values after one {flag(name)}")
            flags[name] = values
        elif re.match(r"-[a-zA-Z]", token) and token != "-inf":
            raise UserError(f"unknown flag {token}; settings are given as --name value")
        elif flags:
            flags[name].append(token)
        else:
            hint = f"did you mean --env {token}?" if "env" in fields else "settings are given as --name value"
            raise UserError(f"unexpected {token!r}; {hint}")
    for name in flags:
        values = flags[name] = [_plain(name, value, fields[name]) for value in flags[name]]
        if not values and fields[name] is not bool:
            raise UserError(f"{flag(name)} needs a value")
        if not values:
            values.append("True")
        if len(values) != len(set(values)) and get_origin(fields[name]) is not tuple:
            raise UserError(f"{flag(name)} has a value twice: {' '.join(values)}")
    return flags


def _read_flag(token: str, fields: Mapping[str, Any], following: Sequence[str]) -> tuple[str, list[str]]:
    """The setting that --gamma, --gamma=0.9 or --no-quiet names, and its value, if it is part of the word.

    Args:
        token: the word.
        fields: known settings and their types.
        following: the next word of the command line, if there is one; it is only looked at for an error.
    """
    word, equals, value = token.partition("=")
    name = word[2:].replace("-", "_")
    if name.startswith("no_") and fields.get(name[3:]) is bool:
        if equals:
            raise UserError(f"{word} takes no value")
        return name[3:], ["False"]
    if name not in fields:
        raise UserError(f"unknown flag {word}; {_hint(name, fields, [value] if equals else following)}")
    return name, [value] if equals else []


def _hint(name: str, fields: Mapping[str, Any], values: Sequence[str]) -> str:
    """What an unknown setting may mean: another suite's word for one of ours, or a slip of the hand."""
    theirs = counterparts(name)
    ours = [each for each in theirs if each in fields]
    if len(ours) == 1 and theirs[ours[0]].startswith("1 − "):
        with suppress(IndexError, ValueError, ArithmeticError):
            return f"here it is {theirs[ours[0]]}: {flag(ours[0])} {1 - Decimal(values[0])}"
    if ours:
        sums = next((f" = {cell}" for cell in (theirs[each] for each in ours) if re.search("[−×]", cell)), "")
        return f"here it is {' and '.join(map(flag, ours))}{sums}"
    near = difflib.get_close_matches(name, fields, n=1, cutoff=0.8 if theirs else 0.5)
    if theirs and not near:
        return f"rlsuite calls it {' or '.join(map(flag, theirs))}, which is no setting here"
    return f"did you mean {flag(near[0])}?" if near else "see --help"


def _plain(name: str, value: str, kind: Any) -> str:
    """A value as Python's `int` reads it: 1e5 and 100_000 are whole numbers.

    Raises:
        UserError: it is a list with commas.
    """
    item = base_type(get_args(kind)[0]) if get_origin(kind) is tuple else kind
    if "," in value and (item in (int, float, bool) or get_origin(item) is Literal):
        separate = " ".join(part for part in re.split(r"[\s,()\[\]]+", value) if part)
        raise UserError(f"{flag(name)} {value}: separate values by spaces, {flag(name)} {separate}")
    if item is int and re.fullmatch(r"[+-]?\d[\d_]*(\.\d+)?([eE]\+?\d\d?)?", value, re.ASCII):
        with suppress(ArithmeticError):
            number = Decimal(value)
            if number == number.to_integral_value() and not re.search(r"\.\d+$", value):
                return str(int(number))
    return value


def grid(flags: Mapping[str, list[str]], fields: Mapping[str, Any]) -> Iterator[list[str]]:
    """One command line for each combination of values; the last flag varies fastest."""
    axes = [
        [_words(name, values, fields)]
        if get_origin(fields[name]) is tuple
        else [_words(name, [value], fields) for value in values]
        for name, values in flags.items()
    ]
    for combination in itertools.product(*axes):
        yield [word for part in combination for word in part]


def varying(flags: Mapping[str, list[str]], fields: Mapping[str, Any]) -> list[str]:
    """The settings in which the runs of a grid differ."""
    return [name for name, values in flags.items() if len(values) > 1 and get_origin(fields[name]) is not tuple]


def _words(name: str, values: Sequence[str], fields: Mapping[str, Any]) -> list[str]:
    """A flag and its values as tyro wants them; a switch has no value there."""
    if fields[name] is not bool:
        return [flag(name), *values]
    if values[0].lower() not in ("true", "false"):
        raise UserError(f"{flag(name)} is a switch: {flag(name)} or {flag(f'no_{name}')}, not {values[0]!r}")
    return [flag(name if values[0].lower() == "true" else f"no_{name}")]


def parse(command: type[Any], argv: Sequence[str], program: str, default: Any = None) -> Any:
    """Turn the words of one run into settings, starting from the default; --help prints them and exits.

    Args:
        command: a dataclass of settings, or of such dataclasses.
        argv: as `grid` gives it.
        program: what --help calls it.
        default: an object of `command`; without one, the defaults of its fields.

    Raises:
        UserError: a value of the wrong type or out of range.
    """
    import tyro

    errors = StringIO()
    try:
        with _ONE_AT_A_TIME, redirect_stderr(errors):
            return tyro.cli(command, args=argv, default=default, prog=program, config=(tyro.conf.OmitArgPrefixes,))
    except SystemExit as stop:
        if stop.code == 0:
            raise
        cause: BaseException | None = stop
        while cause is not None:
            if isinstance(cause, UserError):  # a check of ours, whose sentence tyro has put into a box
                raise cause from None
            cause = cause.__context__
        # The other errors are tyro's own. It draws a box of several lines around them; one line is enough.
        text = " ".join(re.sub(r"[─-╿]|-{3,}", " ", errors.getvalue()).split())
        text = re.sub(r"^.*?(Error parsing|invalid choice) ", "", text)
        text = re.sub(r" ?(Argument helptext:|For full helptext).*$", "", text)
        raise UserError(text or "a value is of the wrong type; see --help") from None


def pasted(advice: "Sequence[Advice]", env_kwargs: str = "{}") -> dict[str, str | None]:
    """All advised flags and their values, None of a switch; keyword arguments are added to those that there are."""
    from rlsuite.envs.making import json_object

    flags: dict[str, str | None] = {}
    kwargs = json_object(env_kwargs, "--env-kwargs")
    for each in advice:
        for name, value in each.flags.items():
            if name == "env_kwargs":
                kwargs = {**value, **kwargs}
            else:
                flags[name] = None if value is True else f"{value:g}"
    return {**({"env_kwargs": json.dumps(kwargs)} if kwargs else {}), **flags}


def words(advice: "Sequence[Advice]", env_kwargs: str = "{}") -> str:
    """The advised flags as they are pasted; "" without any."""
    return spelled(pasted(advice, env_kwargs))


def spelled(flags: Mapping[str, str | None]) -> str:
    """Flags and their values as they are typed."""
    return " ".join(flag(k) if value is None else f"{flag(k)} {shlex.quote(value)}" for k, value in flags.items())


def told(advice: "Sequence[Advice]") -> list[str]:
    """Each piece of advice as a line, which ends in the flags that follow it."""
    return [f"{each.rule}: {': '.join(filter(None, (each.text, words([each]))))}" for each in advice]
