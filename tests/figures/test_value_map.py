from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from matplotlib.figure import Figure

from rlsuite.envs.names import ACTIONS
from rlsuite.errors import UserError
from rlsuite.figures.style import save_figure
from rlsuite.figures.value_map import Snapshot, draw_value_map, map_snapshots

MakeRun = Callable[..., Path]
PLANE = spaces.Box(np.array([0, -np.inf], np.float32), np.array([2, np.inf], np.float32))


def snapshot(space: gym.Space[Any], obs: Any, epoch: int = 1, act_space: gym.Space[Any] | None = None) -> Snapshot:
    """V(s) = epoch * (first observation + 10 * last observation)."""

    def value(x: np.ndarray) -> np.ndarray:
        assert x.dtype == np.float32
        assert x.shape[1:] == space.shape
        return epoch * (x[:, 0] + 10 * x[:, -1])

    def mode(x: np.ndarray) -> np.ndarray:
        act = (x[:, -1] > 0).astype(np.int64) + (x[:, 0] > 1)
        return act if isinstance(act_space or spaces.Discrete(3), spaces.Discrete) else np.stack([act, -act], axis=1)

    obs = np.array(obs, dtype=np.float32)
    return Snapshot(epoch, obs, value, mode, space, act_space or spaces.Discrete(3), "V(s)")


def test_one_column_per_epoch(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "r", env="Plane-v0", note="why?")
    obs = [[0.5, -1], [0.5, 1], [1.5, 1]]
    fig = Figure()
    draw_value_map(fig, run, [snapshot(PLANE, obs, epoch) for epoch in (1, 3, 5)])
    assert [ax.get_title() for ax in fig.axes[:3]] == ["epoch 1\n100 steps", "epoch 3\n300 steps", "epoch 5"]
    assert [ax.get_ylabel() for ax in fig.axes[9:]] == ["V(s)", "action", "visits (%)"]
    said = [text.get_text() for text in fig.texts]
    assert said[0] == "exp · Plane-v0"
    assert "the critic's value V(s)" in said[1]
    assert said[2] == "note: why?"
    for suffix in (".png", ".svg"):
        save_figure(fig, tmp_path / f"map{suffix}")


def test_the_first_observation_is_on_x() -> None:
    obs = np.array([[0.01, -1], [0.01, 1], [1.99, 1], [1.99, 1]])
    sides, values, actions, visits, _ = map_snapshots("", [snapshot(PLANE, obs)])
    np.testing.assert_allclose(sides, [(0, 2), (-1.1, 1.1)])  # bounds where there are some, else 5% around the data
    np.testing.assert_allclose(values[0, 0, [0, -1]], [-11, -9], rtol=1e-5)
    np.testing.assert_allclose(values[0, -1, [0, -1]], [11, 13], rtol=1e-5)
    assert actions[0, [0, -1, 0, -1], [0, 0, -1, -1]].tolist() == [0, 1, 1, 2]
    assert visits[0, 1, 0] == visits[0, -2, 0] == 25
    assert visits[0, -2, -1] == 50
    assert visits[0].sum() == 100


def test_pendulum_is_drawn_over_angle_and_speed(tmp_path: Path, make_run: MakeRun) -> None:
    env = gym.make("Pendulum-v1")
    quarter = snapshot(env.observation_space, [[0.0, 1.0, -4.0]], act_space=env.action_space)  # a turn to the left
    sides, values, _, visits, _ = map_snapshots("Pendulum-v1", [quarter])
    np.testing.assert_allclose(sides, [(-np.pi, np.pi), (-8, 8)])
    np.testing.assert_allclose(values[0, 0, [0, 50, 100]], [-81, -79, -81], rtol=1e-5)
    assert visits[0, 10, 30] == 100
    fig = Figure()
    draw_value_map(fig, make_run(tmp_path / "r", env="Pendulum-v1"), [quarter])
    assert fig.axes[0].get_ylabel() == "dθ/dt (rad/s)"
    assert fig.axes[2].get_xlabel() == "θ (rad), 0 = up"


@pytest.mark.parametrize(
    ("act_space", "label", "limits"),
    [
        (spaces.Discrete(3), "action", (-0.5, 2.5)),
        (spaces.MultiDiscrete([4, 2]), "first number of the action", (-0.5, 3.5)),
        (
            spaces.Box(np.array([-3, 0], np.float32), np.array([5, 1], np.float32)),
            "first number of the action",
            (-3, 5),
        ),
        (spaces.Box(-np.inf, np.inf, (1,)), "action", (-1, 1)),
    ],
)
def test_actions_of_each_kind(
    tmp_path: Path, make_run: MakeRun, act_space: Any, label: str, limits: tuple[float, float]
) -> None:
    fig = Figure()
    draw_value_map(fig, make_run(tmp_path / "r"), [snapshot(PLANE, [[1, 1]], act_space=act_space)])
    assert fig.axes[4].get_ylabel() == label
    (choice,) = fig.axes[1].images
    assert choice.get_clim() == limits
    shades = choice.to_rgba(np.linspace(*limits, 9))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert all(np.diff(shades) >= 0)  # in grey, too, they differ
    assert shades[-1] > shades[0] + 0.5
    np.testing.assert_array_equal(np.asarray(choice.get_array())[[0, -1], [0, -1]], [0, 2])


@pytest.mark.parametrize(
    ("space", "obs", "expected"),
    [
        (gym.make("CartPole-v1").observation_space, np.zeros((2, 4)), "two numbers; CartPole-v1 has Box"),
        (spaces.Discrete(3), np.zeros(2), r"has Discrete\(3\)"),
        (spaces.MultiDiscrete([3, 3]), np.zeros((2, 2)), "has MultiDiscrete"),
        (PLANE, np.zeros((2, 3)), r"not of the shape \(2,\)"),
    ],
)
def test_states_that_are_no_points_in_the_plane(
    tmp_path: Path, make_run: MakeRun, space: Any, obs: Any, expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        draw_value_map(Figure(), make_run(tmp_path / "r"), [snapshot(space, obs)])


def test_ticks_of_the_visits_are_plain_numbers(tmp_path: Path, make_run: MakeRun) -> None:
    obs = np.repeat([[0.5, -1], [0.5, 1], [1.5, 1]], [1, 2, 6], axis=0)  # 11%, 22% and 67%
    fig = Figure()
    draw_value_map(fig, make_run(tmp_path / "r"), [snapshot(PLANE, obs)])
    save_figure(fig, tmp_path / "map.png")
    axis = fig.axes[-1].yaxis
    low, high = fig.axes[-1].get_ylim()
    ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    assert [label.get_text() for place, label in ticks if low <= place <= high] == ["20", "50"]
    assert not [label.get_text() for label in axis.get_ticklabels(minor=True)]


def test_a_constant_critic_that_has_seen_nothing(tmp_path: Path, make_run: MakeRun) -> None:
    fig = Figure()
    draw_value_map(fig, make_run(tmp_path / "r"), [snapshot(PLANE, np.zeros((0, 2)), 0)])
    save_figure(fig, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_a_subclass_of_box_is_a_box() -> None:
    class Plane(spaces.Box):
        pass

    own = Plane(-1, 1, (2,))
    assert map_snapshots("", [snapshot(own, [[0, 0]])]).sides == [(-1, 1), (-1, 1)]


def test_values_have_colours_as_far_as_states_were_visited(tmp_path: Path, make_run: MakeRun) -> None:
    obs = [[[0.5, -0.1], [0.5, 0.1]], [[1, 0.2]], np.zeros((0, 2))]
    snapshots = [snapshot(PLANE, seen, epoch) for seen, epoch in zip(obs, (1, 2, 4), strict=True)]
    assert map_snapshots("", snapshots).seen == pytest.approx((-0.5, 6))
    assert map_snapshots("", snapshots).values.min() < -4
    fig = Figure()
    draw_value_map(fig, make_run(tmp_path / "r"), snapshots)
    for ax in fig.axes[:3]:
        assert ax.collections[0].get_clim() == pytest.approx((-0.5, 6))
    bar = fig.axes[9]
    assert bar.get_ylim() == pytest.approx((-0.5, 6))
    assert -0.5 <= min(bar.get_yticks()) < max(bar.get_yticks()) <= 6
    unseen = map_snapshots("", snapshots[2:])
    assert unseen.seen == (unseen.values.min(), unseen.values.max())


@pytest.mark.parametrize(
    ("env", "label", "ticks"),
    [
        ("MountainCar-v0", "action", ["left", "none", "right"]),
        ("MountainCarContinuous-v0", "force (1: full power)", None),
        ("Pendulum-v1", "torque (N·m)", None),
    ],
)
def test_actions_are_named_where_the_environment_is_known(
    tmp_path: Path, make_run: MakeRun, env: str, label: str, ticks: list[str] | None
) -> None:
    made = gym.make(env)
    obs = [made.observation_space.sample()]
    fig = Figure()
    draw_value_map(
        fig, make_run(tmp_path / "r", env=env), [snapshot(made.observation_space, obs, act_space=made.action_space)]
    )
    assert fig.axes[4].get_ylabel() == label
    if ticks:
        assert [tick.get_text() for tick in fig.axes[4].get_yticklabels()] == ticks
        assert list(fig.axes[4].get_yticks()) == [0, 1, 2]


@pytest.mark.parametrize("env", ACTIONS)
def test_each_discrete_action_of_a_known_environment_has_a_name(env: str) -> None:
    if env.startswith("Lunar"):
        pytest.importorskip("Box2D")
    assert len(ACTIONS[env]) == len(set(ACTIONS[env])) == gym.make(env).action_space.n
