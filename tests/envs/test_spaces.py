"""What crosses the border to an environment."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlsuite.envs.spaces import (
    MisfitError,
    action_shape,
    flat_space,
    flatten,
    from_env,
    is_flattened,
    number,
    storage_dtype,
    to_env,
)

UNEVEN = spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (spaces.Box(0, 255, (2,), np.uint8), np.uint8),
        (spaces.Discrete(3), np.int64),
        (spaces.MultiDiscrete([2, 3], dtype=np.uint8), np.int64),
        (spaces.Box(0, 9, (2,), np.int32), np.int64),
        (spaces.Box(0, 1, (2,), np.float64), np.float32),
    ],
)
def test_storage_dtype(space: spaces.Space[Any], dtype: type[np.generic]) -> None:
    assert storage_dtype(space) is dtype


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (spaces.Discrete(3, start=2), ()),
        (spaces.MultiDiscrete([2, 3]), (2,)),
        (spaces.MultiDiscrete([[2, 3, 4], [5, 6, 7]]), (6,)),
        (spaces.Box(0, 1, ()), (1,)),
        (spaces.Box(0, 1, (4,)), (4,)),
        (spaces.Box(0, 1, (2, 3)), (6,)),
    ],
)
def test_action_shape(space: spaces.Space[Any], shape: tuple[int, ...]) -> None:
    assert action_shape(space) == shape


@pytest.mark.parametrize("start", [0, 5, -2])
def test_to_env_counts_discrete_actions_from_the_start_of_their_space(start: int) -> None:
    act = np.array([0, 2, 1])
    actions, clipped = to_env(act, spaces.Discrete(3, start=start))
    assert (actions.tolist(), clipped) == ([start, start + 2, start + 1], 0)
    assert actions.dtype == np.int64
    assert act.tolist() == [0, 2, 1]


@pytest.mark.parametrize("dtype", [np.int64, np.int8])
def test_to_env_counts_each_component_from_its_start_and_gives_shape_and_type_of_the_space(dtype: Any) -> None:
    space = spaces.MultiDiscrete([[2, 3], [4, 5]], dtype=dtype, start=[[0, -1], [7, 1]])
    act = np.array([[0, 0, 0, 0], [1, 2, 3, 4]])
    actions, clipped = to_env(act, space)
    assert (actions.tolist(), clipped) == ([[[0, -1], [7, 1]], [[1, 1], [10, 5]]], 0)
    assert all(space.contains(action) for action in actions)
    assert act.tolist() == [[0, 0, 0, 0], [1, 2, 3, 4]]


def test_to_env_clips_to_the_bounds_of_each_dimension() -> None:
    act = np.array([[-4, -1], [-2.5, 5], [2, 11], [1, 10]], np.float32)
    before = act.copy()
    actions, clipped = to_env(act, UNEVEN)
    assert actions.tolist() == [[-3, 0], [-2.5, 5], [1, 10], [1, 10]]
    assert clipped == 4
    np.testing.assert_array_equal(act, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_to_env_gives_the_shape_and_the_type_of_the_space(shape: tuple[int, ...], dtype: type[np.floating]) -> None:
    space = spaces.Box(-1, 1, shape, dtype)
    act = np.linspace(-2, 2, 5 * action_shape(space)[0], dtype=np.float32).reshape(5, -1)
    actions, clipped = to_env(act, space)
    assert actions.shape == (5, *shape)
    assert all(space.contains(np.asarray(action)) for action in actions)
    np.testing.assert_array_equal(actions.reshape(5, -1), act.clip(-1, 1))
    assert clipped == np.count_nonzero(np.abs(act) > 1)


def test_to_env_of_whole_numbers() -> None:
    actions, clipped = to_env(np.array([[-9.5], [3.0], [7.0]], np.float32), spaces.Box(-2, 5, (1,), np.int32))
    assert (actions.tolist(), clipped) == ([[-2], [3], [5]], 2)
    assert actions.dtype == np.int32


FLOATS, BYTES = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Box(0, 255, (2,), np.uint8)
WHOLE = spaces.Box(-(10**6), 10**6, (2,), np.int32)


@pytest.mark.parametrize(
    ("space", "obs", "stored"),
    [
        (FLOATS, np.array([0.1, 1e38]), np.array([0.1, 1e38], np.float32)),
        (FLOATS, [1, 2], np.array([1, 2], np.float32)),
        (FLOATS, np.array([True, False]), np.array([1, 0], np.float32)),
        (FLOATS, np.array([np.nan, -np.inf]), np.array([np.nan, -np.inf], np.float32)),
        (FLOATS, np.array([0.1, 2], ">f8"), np.array([0.1, 2], np.float32)),
        (BYTES, np.array([0, 255]), np.array([0, 255], np.uint8)),
        (BYTES, np.array([0.0, 255.0]), np.array([0, 255], np.uint8)),
        (WHOLE, np.array([-5, 7], np.int32), np.array([-5, 7])),
        (WHOLE, np.array([-5.0, 7.0], np.float32), np.array([-5, 7])),
        (spaces.Discrete(3), 2, np.array(2)),
        (spaces.Discrete(3), np.int32(2), np.array(2)),
        (spaces.Discrete(3), np.array(2.0), np.array(2)),
        (spaces.MultiBinary(2), np.array([0, 1], np.int8), np.array([0, 1])),
    ],
)
def test_from_env_casts_what_keeps_its_value(space: spaces.Space[Any], obs: Any, stored: np.ndarray) -> None:
    result = from_env(obs, space)
    np.testing.assert_array_equal(result, stored)
    assert (result.dtype, result.shape) == (stored.dtype, stored.shape)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("space", "obs", "said"),
    [
        (WHOLE, np.array([2, 0.0213]), r"holds 0\.0213 \(float64\), and samples of Box.* are stored as int64"),
        (WHOLE, np.array([np.nan, 0]), r"holds nan \(float64\)"),
        (WHOLE, np.array([1e300, 0]), r"holds 1e\+300 \(float64\)"),
        (BYTES, np.array([7, 300]), r"holds 300 \(int64\), and samples of Box\(0, 255, .* are stored as uint8"),
        (BYTES, np.array([-1, 7], np.int8), r"holds -1 \(int8\).* declare a Box of dtype np.float32"),
        (BYTES, [0.5, 7], r"holds 0\.5 \(float64\).* return whole numbers"),
        (spaces.Discrete(3), 1.5, r"holds 1\.5 \(float64\), and samples of Discrete\(3\) are stored as int64"),
        (spaces.Discrete(3), np.uint64(2**63), r"holds 9223372036854775808 \(uint64\)"),
        (FLOATS, np.array([0, 1e300]), r"holds 1e\+300 \(float64\), which is too large for float32; scale it down"),
        (FLOATS, np.array([0, -1e39]), r"holds -1e\+39 \(float64\), which is too large for float32"),
        (FLOATS, [0, 10**40], r"observation of type list"),
        (FLOATS, np.zeros(3), r"an observation of shape \(3,\), and its space is Box\(-inf, inf, \(2,\), float32\)"),
        (FLOATS, np.zeros(1), r"observation of shape \(1,\)"),
        (FLOATS, 0.5, r"observation of shape \(\)"),
        (FLOATS, None, "returned an observation None, and its space is Box"),
        (FLOATS, "four", "returned an observation 'four', and"),
        (FLOATS, {"a": 1}, "observation of type dict"),
        (FLOATS, np.array([1j, 2]), "observation of type ndarray"),
    ],
)
def test_from_env_refuses_what_would_change(space: spaces.Space[Any], obs: Any, said: str) -> None:
    with pytest.raises(MisfitError, match=said):
        from_env(obs, space)


def test_from_env_copies() -> None:
    obs = np.zeros(2, np.float32)
    assert from_env(obs, FLOATS) is not obs


@pytest.mark.parametrize("rew", [1, 1.0, True, np.float32(1), np.float64(1), np.int8(1), np.array(1), np.array(1.0)])
def test_number(rew: Any) -> None:
    assert number(rew) == 1.0
    assert type(number(rew)) is float


@pytest.mark.parametrize(
    ("rew", "said"),
    [
        (None, "the reward None, which is not a number"),
        ("1", "the reward '1', which is not a number"),
        (1j, "the reward 1j, which"),
        (np.array([1.0]), r"a reward of shape \(1,\), which should be one number"),
        ([1.0, 2.0], r"a reward of shape \(2,\)"),
    ],
)
def test_number_names_what_is_not_one(rew: Any, said: str) -> None:
    with pytest.raises(MisfitError, match=said):
        number(rew)


PAIR = spaces.Tuple([spaces.Discrete(3, start=2), spaces.Box(-1, 1, (2, 2), np.float32)])
NESTED = spaces.Dict(
    b=spaces.MultiBinary((2, 2)), a=spaces.Dict(pair=PAIR), c=spaces.MultiDiscrete([2, 3], start=[1, 0])
)
FITTING = {"b": [[0, 1], [1, 0]], "a": {"pair": (4, np.array([[0, 0.5], [-1, 1]]))}, "c": np.array([2, 1])}


def test_a_nested_observation_by_hand() -> None:
    assert list(NESTED.spaces) == ["b", "a", "c"]
    expected = [0, 1, 1, 0, 0, 0, 1, 0, 0.5, -1, 1, 0, 1, 0, 1, 0]
    assert flatten(FITTING, NESTED).tolist() == expected
    assert flat_space(NESTED).shape == (len(expected),)


@pytest.mark.parametrize("space", [NESTED, PAIR, spaces.MultiBinary(3), spaces.MultiDiscrete([[2, 3], [4, 2]])])
def test_observations_are_flattened_as_by_gymnasium(space: spaces.Space[Any]) -> None:
    assert is_flattened(space)
    space.seed(0)
    flat = flat_space(space)
    assert flat == spaces.flatten_space(space)
    for _ in range(20):
        obs = space.sample()
        ours, theirs = flatten(obs, space), spaces.flatten(space, obs)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == flat.dtype
        assert flat.contains(ours)


@pytest.mark.parametrize(
    "space",
    [
        FLOATS,
        spaces.Discrete(3),
        spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(FLOATS, None),
        spaces.OneOf([FLOATS, spaces.Discrete(2)]),
        spaces.Dict(a=FLOATS, b=spaces.Tuple([FLOATS, spaces.Text(3)])),
        spaces.Dict({}),
    ],
    ids=lambda space: type(space).__name__,
)
def test_spaces_that_are_not_flattened(space: spaces.Space[Any]) -> None:
    assert not is_flattened(space)
    assert flat_space(space) is space


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"c": np.array([2, 3])}, r"its observation \[2 3\] is not in MultiDiscrete"),  # would set a neighbour's place
        ({"c": np.array([0, 0])}, r"its observation \[0 0\] is not in MultiDiscrete"),
        ({"c": np.array([1.5, 0])}, r"holds 1\.5"),
        ({"b": [0, 1, 1, 0]}, r"shape \(4,\), and its space is MultiBinary"),
        ({"b": [[0, 2], [1, 0]]}, "is not in MultiBinary"),
        ({"a": {"pair": (1, np.zeros((2, 2)))}}, r"its observation 1 is not in Discrete\(3, start=2\)"),
        ({"a": {"pair": (2, np.zeros(4))}}, r"shape \(4,\), and its space is Box"),
        ({"a": {"pair": (2, np.full((2, 2), 1e300))}}, "too large for float32"),
        ({"a": {"pair": (2,)}}, "an observation of 1 parts, and its space is a Tuple of 2"),
        ({"a": {"pair": 2}}, "an observation of type int, and its space is a Tuple of 2"),
        ({"a": {"par": 2}}, r"an observation with the keys \['par'\], and its space is a Dict of \['pair'\]"),
        ({"a": 2}, r"an observation of type int, and its space is a Dict of \['pair'\]"),
    ],
)
def test_parts_that_do_not_fit_are_refused_though_gymnasium_would_flatten_some(
    change: dict[str, Any], said: str
) -> None:
    with pytest.raises(MisfitError, match=said):
        flatten(FITTING | change, NESTED)
