"""Types of settings: what each takes, what it makes of it, and what it says about the rest."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, make_dataclass
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt

from rlsuite import mpi, settings
from rlsuite.errors import UserError
from rlsuite.settings import check, check_replay, expect_config, expect_function, flag, from_saved, marked, rounded

WIDTHS = (64, 64)


@dataclass(frozen=True)
class Config:
    env: str  # Gymnasium id
    env_kwargs: settings.JsonObject = "{}"  # arguments for the environment
    seed: settings.Seed = 0  # of everything random
    gamma: settings.Unit = 0.99  # discount
    hidden_sizes: settings.Widths = WIDTHS  # widths
    activation: Literal["tanh", "relu"] = "tanh"  # after each layer
    normalize_obs: bool = False  # standardise observations
    log_std_init: float = -0.5  # any finite number
    minibatch_size: settings.Shared = 64  # samples per gradient step

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Replay:
    total_steps: settings.Steps = 512
    num_envs: settings.Environments = 2
    buffer_size: settings.Stored = 1000
    batch_size: settings.Shared = 16
    update_after: settings.CountOrZero = 64
    update_every: settings.Count = 8

    def __post_init__(self) -> None:
        check(self)
        check_replay(self)


def one(kind: Any) -> Callable[..., Any]:
    """A function that gives a setting of this type a value and returns what it became."""
    cls = make_dataclass("Config", [("x_y", kind)], frozen=True, namespace={"__post_init__": check})
    return lambda value: cls(value).x_y


def refusal(call: Callable[..., Any], *args: Any, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        call(*args, **settings)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


INF, HUGE = math.inf, 10**400
TYPES: dict[str, tuple[list[Any], list[Any], str]] = {
    "Seed": ([0, 2**32 - 1], [-1, 2**32, HUGE], "from 0 to 4,294,967,295"),
    "Steps": ([1, 10**15], [0, 10**15 + 1], "from 1 to 10^15"),
    "Environments": ([1, 10**5], [0, 10**5 + 1], "from 1 to 100,000"),
    "Count": ([1, 10**12], [0, -1, 10**12 + 1], "from 1 to 10^12"),
    "CountOrZero": ([0, 10**12], [-1, 10**12 + 1], "from 0 to 10^12"),
    "Shared": ([1, 10**12], [0, 10**12 + 1], "from 1 to 10^12"),
    "Stored": ([1, 10**12], [0, 10**12 + 1], "from 1 to 10^12"),
    "Threads": ([0, 1024], [-1, 1025], "from 0 to 1,024"),
    "Unit": ([0.0, 1.0], [-1e-9, 1 + 1e-9, INF, -INF, math.nan, HUGE], "from 0 to 1"),
    "Correlation": ([0.0, 1 - 1e-9], [-1e-9, 1.0, math.nan], "from 0 to below 1"),
    "Fraction": ([1e-300, 1 - 1e-9], [0.0, 1.0, -1e-9, math.nan], "above 0 and below 1"),
    "Positive": ([1e-300, 1e300], [0.0, -1e-9, INF, math.nan, HUGE], "above 0"),
    "PositiveOrInf": ([1e-300, INF], [0.0, -1e-9, -INF, math.nan, HUGE, -HUGE], "above 0 (inf switches it off)"),
    "Goal": ([-1e300, 0.0, INF], [-INF, math.nan, HUGE], "a finite number (inf is never reached)"),
    "LearningRate": ([0.0, 1e300], [-1e-9, INF, math.nan], "0 or more"),
    "Coefficient": ([0.0, 1e300], [-1e-9, INF, math.nan], "0 or more"),
    "Widths": (
        [(), (1, 10**5), (1,) * 1000],
        [(0,), (64, 10**5 + 1), (64, -1), (1.0,), ("64",), (True,), (None,)],
        "up to 1,000 whole numbers from 1 to 100,000",
    ),
}


@pytest.mark.parametrize("name", TYPES)
def test_each_type_ends_where_it_says(name: str) -> None:
    inside, outside, right = TYPES[name]
    give = one(getattr(settings, name))
    for value in inside:
        assert give(value) == value
    for value in outside:
        message = refusal(give, value)
        assert message.startswith("--x-y is ")
        assert message.endswith(f", but must be {right}")
        assert (repr(value) in message) is (value not in (HUGE, -HUGE))


def test_every_type_of_the_module_is_tested() -> None:
    types = {name for name, value in vars(settings).items() if name[0].isupper() and hasattr(value, "__metadata__")}
    assert types == {*TYPES, "JsonObject"}


@pytest.mark.parametrize(
    ("kind", "value", "right"),
    [
        (Annotated[float, Interval(ge=0, le=2)], 2.5, "2.5, but must be from 0 to 2"),
        (Annotated[float, Interval(gt=0, lt=0.5)], 0.5, "0.5, but must be above 0 and below 0.5"),
        (Annotated[float, Interval(gt=-1, le=1)], -1, "-1, but must be above -1 and at most 1"),
        (Annotated[int, Gt(2), Le(5)], 6, "6, but must be above 2 and at most 5"),
        (Annotated[int, Le(5)], 6, "6, but must be at most 5"),
        (Annotated[int, Lt(5)], 5, "5, but must be below 5"),
        (Annotated[int, Ge(5)], 4, "4, but must be 5 or more"),
        (float, INF, "inf, but must be a finite number"),
        (float, math.nan, "nan, but must be a finite number"),
        (tuple[float, ...], (0.5, INF), "(0.5, inf), but must be numbers"),
    ],
)
def test_a_range_of_ones_own_is_checked_and_put_into_words(kind: Any, value: Any, right: str) -> None:
    assert refusal(one(kind), value) == f"--x-y is {right}"


@pytest.mark.parametrize(
    ("kind", "value", "becomes"),
    [
        (settings.Count, np.int64(3), 3),
        (settings.Count, np.uint8(3), 3),
        (settings.Unit, 1, 1.0),
        (settings.Unit, np.float32(0.5), 0.5),
        (settings.Unit, np.float64(0.5), 0.5),
        (settings.Unit, np.int64(1), 1.0),
        (settings.PositiveOrInf, np.float32(np.inf), INF),
        (settings.Widths, [64, np.int64(32)], (64, 32)),
        (settings.Widths, [], ()),
        (tuple[float, ...], (1, 2), (1.0, 2.0)),
        (bool, np.True_, True),
        (str, np.str_("cpu"), "cpu"),
        (settings.JsonObject, {"is_slippery": False}, '{"is_slippery": false}'),
        (settings.JsonObject, {}, "{}"),
        (settings.JsonObject, '{"a": [1]}', '{"a": [1]}'),
    ],
)
def test_values_that_mean_the_same_become_the_plain_type(kind: Any, value: Any, becomes: Any) -> None:
    got = one(kind)(value)
    assert (got, type(got)) == (becomes, type(becomes))
    if isinstance(becomes, tuple):
        assert [type(item) for item in got] == [type(item) for item in becomes]
    assert json.loads(json.dumps(got)) == (list(becomes) if isinstance(becomes, tuple) else becomes)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (settings.LearningRate, "3e-4", "'3e-4', but must be a number, not text"),
        (settings.Unit, True, "True, but must be a number, not a switch"),
        (settings.Unit, None, "None, but must be a number"),
        (settings.Unit, 1j, "1j, but must be a number"),
        (settings.Unit, [0.5], "[0.5], but must be a number"),
        (settings.Count, True, "True, but must be a whole number, not a switch"),
        (settings.Count, np.True_, "True, but must be a whole number"),
        (settings.Count, 1e5, "100000.0, but must be a whole number, not a decimal number"),
        (settings.Count, np.float32(2), "2.0, but must be a whole number"),
        (settings.Count, "3", "'3', but must be a whole number, not text"),
        (settings.Count, np.array([1, 2]), "array([1, 2]), but must be a whole number"),
        (settings.Widths, 64, "64, but must be a tuple of up to 1,000 whole numbers from 1 to 100,000"),
        (settings.Widths, "64", "'64', but must be a tuple of up to 1,000 whole numbers from 1 to 100,000"),
        (settings.Widths, None, "None, but must be a tuple of up to 1,000 whole numbers from 1 to 100,000"),
        (bool, 1, "1, but must be True or False, not a whole number"),
        (bool, "true", "'true', but must be True or False, not text"),
        (str, 3, "3, but must be text, not a whole number"),
        (str, None, "None, but must be text"),
        (Literal["tanh", "relu"], "gelu", "'gelu', but must be one of tanh, relu"),
        (Literal["tanh", "relu"], None, "None, but must be one of tanh, relu"),
        (Literal["tanh", "relu"], ["tanh"], "['tanh'], but must be one of tanh, relu"),
        (settings.JsonObject, 3, "3, but must be text, not a whole number"),
        (settings.JsonObject, ["a"], "['a'], but must be text"),
        (settings.JsonObject, {"a": {1}}, "{'a': {1}}, but must be what JSON can hold: .* set .*"),
    ],
)
def test_a_value_of_another_type_is_one_sentence(kind: Any, value: Any, message: str) -> None:
    pattern = message if message.endswith(".*") else re.escape(message)
    assert re.fullmatch(f"--x-y is {pattern.replace('{1}}', '.1..')}", refusal(one(kind), value))


def test_too_many_widths_are_counted_not_listed() -> None:
    message = refusal(one(settings.Widths), (1,) * 1001)
    assert message == "--x-y has 1,001 values, but must be up to 1,000 whole numbers from 1 to 100,000"


@pytest.mark.parametrize("value", ["x" * 10_000, np.zeros((50, 50)), 10**5000, list(range(1000))], ids=type)
def test_a_value_that_fills_pages_is_cut(value: Any) -> None:
    assert ", but must be " in refusal(one(settings.Count), value)


def test_a_type_that_is_not_known_is_left_alone() -> None:
    kind = dict[str, int]
    assert one(kind)({"a": 1}) == {"a": 1}
    assert one(float | None)(None) is None


def test_every_setting_is_checked_and_the_default_too() -> None:
    assert asdict(Config("CartPole-v1", gamma=1, env_kwargs={"a": 1})) == {
        **asdict(Config("CartPole-v1")),
        "gamma": 1.0,
        "env_kwargs": '{"a": 1}',
    }
    for name in (field.name for field in fields(Config)):
        assert refusal(Config, **{"env": "CartPole-v1", name: object()}).startswith(f"{flag(name)} is <object object")


def test_a_setting_may_need_another_one_to_be_finite() -> None:
    @dataclass(frozen=True)
    class Limited:
        kl_coef: settings.Coefficient = 0.0
        target_kl: settings.PositiveOrInf = 0.05

        def __post_init__(self) -> None:
            check(self, finite={"kl_coef": "target_kl"})

    Limited(0, math.inf)
    Limited(1, 0.05)
    assert refusal(Limited, 1, math.inf) == "--kl-coef 1.0 needs a finite --target-kl, and that is inf"
    assert refusal(Limited, "1", math.inf).startswith("--kl-coef is '1', but must be a number")


def test_base_type_and_annotations() -> None:
    kinds = {name: settings.base_type(kind) for name, kind in settings.annotations(Config).items()}
    assert list(kinds) == [field.name for field in fields(Config)]
    assert kinds["env"] is kinds["env_kwargs"] is str
    assert (kinds["seed"], kinds["gamma"], kinds["normalize_obs"]) == (int, float, bool)
    assert str(kinds["hidden_sizes"]).startswith("tuple[")
    assert kinds["activation"] == Literal["tanh", "relu"]


def test_flag() -> None:
    assert flag("pi_lr") == "--pi-lr"
    assert flag("env") == "--env"


def test_marked_tells_what_a_replay_buffer_holds_from_other_samples() -> None:
    assert marked(Replay, settings.STORED) == ["buffer_size"]
    assert marked(Replay, settings.SHARED) == ["buffer_size", "batch_size"]
    assert marked(Config, settings.STORED) == []


@pytest.mark.parametrize(
    ("config", "ranks", "changes"),
    [
        (Replay(batch_size=100), 8, ["--batch-size 100 -> 104"]),
        (Replay(batch_size=100, buffer_size=1001), 8, ["--buffer-size 1001 -> 1008", "--batch-size 100 -> 104"]),
        (Replay(batch_size=7), 1, []),
        (Replay(batch_size=100), 4, []),
        (Replay(num_envs=3, update_every=7, total_steps=511), 2, []),
        (Config("CartPole-v1", minibatch_size=1), 3, ["--minibatch-size 1 -> 3"]),
    ],
)
def test_samples_are_rounded_up_to_a_multiple_of_the_ranks(config: Any, ranks: int, changes: list[str]) -> None:
    assert rounded(config, ranks) == changes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"buffer_size": 15}, "--buffer-size 15 is smaller than a batch .--batch-size 16. or a step"),
        ({"buffer_size": 17, "num_envs": 32}, "--buffer-size 17 is smaller .*--num-envs 32.; it should be many times"),
        ({"update_after": 513}, "--total-steps 512 ends before the first update, at env step 520 .--update-after 513"),
        ({"update_every": 513}, "--total-steps 512 ends before the first update, at env step 514 .*--update-every 513"),
        ({"update_every": 300, "update_after": 301}, "before the first update, at env step 600"),
        ({"update_every": 513, "update_after": 0}, "before the first update, at env step 514"),
        ({"total_steps": 62}, "--total-steps 62 ends before the first update, at env step 64 "),
    ],
)
def test_a_replay_that_trains_nothing_is_refused(given: dict[str, int], message: str) -> None:
    assert re.search(message, refusal(Replay, **given))


@pytest.mark.parametrize(
    "given",
    [
        {"buffer_size": 16},
        {"buffer_size": 32, "num_envs": 32},
        {"update_after": 512},
        {"update_every": 512},
        {"total_steps": 63},  # rounded up to 64: both environments step together
        {"total_steps": 600, "update_every": 300, "update_after": 301},
        {"total_steps": 511, "update_every": 512},
    ],
)
def test_a_replay_that_just_trains_is_taken(given: dict[str, int]) -> None:
    Replay(**given)


def test_the_environments_of_all_ranks_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi, "size", 4)
    assert "--num-envs 5 x 4 processes" in refusal(Replay, num_envs=5, buffer_size=19)
    assert "at env step 520 " in refusal(Replay, num_envs=10, update_after=500, update_every=1, total_steps=480)
    Replay(num_envs=10, update_after=481, update_every=1, total_steps=520)
    Replay(num_envs=5, buffer_size=20)


def test_from_saved_gives_back_the_settings() -> None:
    config = Config("CartPole-v1", hidden_sizes=(8,), gamma=1, normalize_obs=True, env_kwargs={"a": 1})
    saved = json.loads(json.dumps({"algo": "ppo", "versions": {}, **asdict(config)}))
    assert from_saved(Config, saved) == config


def test_from_saved_takes_the_default_for_what_is_missing() -> None:
    assert from_saved(Config, {"env": "CartPole-v1", "seed": 3, "unknown": [1]}) == Config("CartPole-v1", seed=3)
    assert refusal(from_saved, Config, {"seed": 3}) == "config.json has no env"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("env", 3),
        ("env", None),
        ("seed", "0"),
        ("seed", 1.5),
        ("gamma", "0.9"),
        ("gamma", 2),
        ("gamma", math.nan),
        ("gamma", [0.9]),
        ("hidden_sizes", "abc"),
        ("hidden_sizes", [-1]),
        ("hidden_sizes", [[64]]),
        ("hidden_sizes", {"64": 64}),
        ("activation", "gelu"),
        ("activation", {}),
        ("normalize_obs", 1),
        ("log_std_init", 10**400),
        ("minibatch_size", True),
    ],
)
def test_from_saved_refuses_what_a_config_refuses(name: str, value: Any) -> None:
    message = refusal(from_saved, Config, {"env": "CartPole-v1", name: value})
    assert message.startswith(f"config.json: {flag(name)} is ")


@pytest.mark.parametrize(
    ("config", "shown"),
    [("Acrobot-v1", "'Acrobot-v1'"), (Config, "<class "), (None, "None"), ({"env": "x"}, "{'env': 'x'}")],
)
def test_train_wants_a_config(config: Any, shown: str) -> None:
    message = refusal(expect_config, config)
    env = config if isinstance(config, str) else "CartPole-v1"
    assert message.startswith(f'train takes settings, such as Config(env="{env}"), not {shown}')
    expect_config(Config("CartPole-v1"))


def test_train_wants_a_function_that_makes_environments() -> None:
    message = refusal(expect_function, gym.Env())
    assert message.startswith("env_fn must be a function that makes a new environment at each call, such as lambda: ")
    assert re.search(r", not <gymnasium\.core\.Env object|, not <Env", message)
    expect_function(None)
    expect_function(gym.Env)
