"""Which keys stand for which actions."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import rlsuite.envs.making
from rlsuite.envs.keys import keys_of
from rlsuite.errors import UserError

assert rlsuite.envs.making  # registers the probes


class Bare:
    spec = None

    def __init__(self, space: Any, table: Any = None) -> None:
        self.action_space = space
        if table is not None:
            self.get_keys_to_action = lambda: table


@pytest.mark.parametrize(
    ("env_id", "pressed", "action"),
    [
        ("CartPole-v1", "left", 0),
        ("CartPole-v1", "right", 1),
        ("CartPole-v1", "1", 1),
        ("CartPole-v1", "", "last"),
        ("LunarLander-v3", "2", 2),
        ("LunarLander-v3", "", 0),
        ("Acrobot-v1", "left", 0),
        ("Acrobot-v1", "", 1),
        ("FrozenLake-v1", "up", 3),
        ("FrozenLake-v1", "down", 1),
        ("MountainCar-v0", "left", 0),  # its own map, in the numbers of pygame 1
        ("MountainCar-v0", "right", 2),
        ("MountainCar-v0", "right left", 1),
        ("MountainCar-v0", "", 1),
        ("Pendulum-v1", "left", [-2]),
        ("Pendulum-v1", "right", [2]),
        ("Pendulum-v1", "left right", [2]),
        ("Pendulum-v1", "", [0]),
        ("Reacher-v5", "right down", [1, -1]),
        ("Reacher-v5", "up", [0, 1]),
    ],
)
def test_keys_of_environments(env_id: str, pressed: str, action: Any) -> None:
    env = gym.make(env_id)
    chosen = keys_of(env).action(pressed.split(), "last")
    np.testing.assert_array_equal(chosen, action)
    if action != "last":
        assert chosen in env.action_space
    env.close()


def test_a_pair_of_keys_for_each_component() -> None:
    space = spaces.Box(np.array([-3, 0, -np.inf, 1], np.float32), np.array([3, 1, np.inf, 2], np.float32))
    keys = keys_of(Bare(space))
    assert keys.names == {"left", "right", "down", "up", "a", "d", "s", "w"}
    assert keys.action([], None).tolist() == [0, 0, 0, 1]
    assert keys.action(["left", "up", "a", "w"], None).tolist() == [-3, 1, -1, 2]
    assert keys.action(["right", "down", "d"], None).tolist() == [3, 0, 1, 1]
    keys = keys_of(Bare(spaces.MultiDiscrete([3, 2], start=[5, 0])))
    assert [keys.action(some, None).tolist() for some in ([], ["left"], ["right", "up"])] == [[6, 0], [5, 0], [7, 1]]


def test_what_an_environment_says_of_its_own_keys() -> None:
    keys = keys_of(Bare(spaces.Discrete(3), {"W ": 2, (ord("a"),): 1, ord("D"): 0}))
    assert [keys.action(some, 9) for some in (["space", "w"], ["a"], ["d"], ["w"], [])] == [2, 1, 0, 9, 9]
    keys = keys_of(Bare(spaces.Discrete(2), {"a": 2}))  # a wrapper has changed the actions
    assert keys.action(["right"], None) == 1
    assert keys_of(Bare(spaces.Discrete(5, start=7))).action(["4"], None) == 11


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Discrete(11), "keys for 10 actions, and this environment has 11"),
        (spaces.Box(-1, 1, (5,)), "keys for 4 components of an action, and this one has 5"),
        (spaces.Text(3), "is not supported here"),
    ],
)
def test_more_than_there_are_keys_for(space: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        keys_of(Bare(space))
