"""The value map: what the critic believes and what the policy does, where the state is a point in the plane."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsuite.envs.names import ACTIONS, FORCES, PLANE
from rlsuite.errors import UserError
from rlsuite.figures.intervals import X_COLUMN, Array
from rlsuite.figures.style import caption_of, draw_frame, named_config, one_line, tick_label, title_of
from rlsuite.rundir.runs import read_progress

if TYPE_CHECKING:  # matplotlib takes long to import: --help and errors must not wait for it
    from gymnasium import Space
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_SNAPSHOTS = 6
"""More than these, side by side, are too small to read."""
GRID = 101  # points along each side of the value and action maps
BINS = 40  # along each side of the map of visits


class Snapshot(NamedTuple):
    """A policy and its critic at the end of an epoch, as functions, and the states that the epoch has visited."""

    epoch: int
    obs: NDArray[Any]
    """(K, *obs_shape), K may be 0"""
    value: Callable[[NDArray[np.float32]], NDArray[Any]]
    """V(s), max_a Q(s, a) or Q(s, μ(s)): observations (B, *obs_shape) -> (B,)"""
    mode: Callable[[NDArray[np.float32]], NDArray[Any]]
    """the policy's action without exploration: observations (B, *obs_shape) -> (B,) or (B, d), numbered from 0"""
    obs_space: "Space[Any]"
    act_space: "Space[Any]"
    value_label: str
    """which of the values it is, for the legend"""


class Maps(NamedTuple):
    """What snapshots say about the plane; all maps are [y, x]."""

    sides: list[tuple[float, float]]
    """the range of x and that of y"""
    values: Array
    """(snapshots, GRID, GRID)"""
    actions: Array
    """(snapshots, GRID, GRID); of actions with several numbers only the first"""
    visits: Array
    """(snapshots, BINS, BINS), percent of the visited states"""
    seen: tuple[float, float]
    """the lowest and the highest value of the visited states; of the whole plane where there are none"""


def draw_value_map(fig: "Figure", run: Path, snapshots: Sequence[Snapshot]) -> None:
    """Draw a column per snapshot: the critic's values, the policy's actions, and the states it has visited.

    Args:
        fig:       an empty figure.
        run:       the run directory, for title, caption and the steps of each epoch.
        snapshots: of the run, at least one, at most `MAX_SNAPSHOTS` to be readable.

    Raises:
        UserError: the run's states are not points in the plane, or a file is damaged.
    """
    config, log = named_config(run), read_progress(run)
    env = str(config.get("env", ""))
    maps = map_snapshots(env, snapshots)
    meaning = snapshots[0].value_label
    subtitle = f"seed {one_line(config.get('seed', '?'), 20)} · the critic's value {meaning} (its colours: the range "
    subtitle += "over the states visited), the policy's action without exploration, and the states visited"
    draw_frame(fig, (1.8 + 2.2 * len(snapshots), 7), title_of([config]), subtitle, [], caption_of([config]))
    axes = fig.subplots(3, len(snapshots), sharex=True, sharey=True, squeeze=False)
    _draw_values(fig, axes[0].tolist(), maps, meaning)
    _draw_actions(fig, axes[1].tolist(), maps, snapshots[0].act_space, env)
    _draw_visits(fig, axes[2].tolist(), maps)
    steps = dict(zip(*(log.get(name, np.empty(0)).tolist() for name in ("Epoch", X_COLUMN)), strict=False))
    for ax, epoch in zip(axes[0], (snapshot.epoch for snapshot in snapshots), strict=True):
        when = f"\n{steps[epoch]:,.0f} steps" if epoch in steps else ""
        ax.set_title(f"epoch {epoch}{when}", size=10)
    x_name, y_name = PLANE.get(env, ("observation 0", "observation 1"))
    for ax in axes[:, 0]:
        ax.set_ylabel(y_name)
    for ax in axes[2]:
        ax.set_xlabel(x_name)
        ax.locator_params(nbins=4)


def _draw_values(fig: "Figure", row: list["Axes"], maps: Maps, meaning: str) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = maps.seen
    levels = np.linspace(low, high if high > low else low + 1, 31)
    sides = [np.linspace(*side, GRID) for side in maps.sides]
    for ax, val in zip(row, maps.values, strict=True):
        surface = ax.contourf(*sides, val, levels, cmap="viridis", extend="both")
        surface.set_edgecolor("face")  # without it PDF and SVG show white seams
    ticks = [tick for tick in MaxNLocator(7).tick_values(low, high) if low <= tick <= high]  # none at the pointed ends
    fig.colorbar(surface, ax=row, label=meaning, pad=0.01, format=tick_label, ticks=ticks)


def _draw_actions(fig: "Figure", row: list["Axes"], maps: Maps, space: "Space[Any]", env: str) -> None:
    colors, limits, ticks = _action_scale(space)
    for ax, act in zip(row, maps.actions, strict=True):
        extent = (*maps.sides[0], *maps.sides[1])
        choice = ax.imshow(act, colors, origin="lower", extent=extent, aspect="auto")
        choice.set_clim(*limits)
        ax.grid(visible=False)
    label = "first number of the action" if np.prod(space.shape or ()) > 1 else FORCES.get(env, "action")
    bar = fig.colorbar(choice, ax=row, label=label, pad=0.01, format=tick_label, ticks=ticks)
    if ticks and len(ticks) == len(ACTIONS.get(env, ())):
        bar.set_ticks(ticks, labels=ACTIONS[env])


def _draw_visits(fig: "Figure", row: list["Axes"], maps: Maps) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogLocator

    rare, often = maps.visits[maps.visits > 0].min(initial=100), maps.visits.max()
    scale = LogNorm(rare, max(often, 2 * rare))
    edges = [np.linspace(*side, BINS + 1) for side in maps.sides]
    for ax, share in zip(row, maps.visits, strict=True):
        cells = ax.pcolormesh(*edges, np.ma.masked_equal(share, 0), cmap="magma_r", norm=scale)
        cells.set_rasterized(True)
    ticks = LogLocator(subs=(1, 2, 5))
    bar = fig.colorbar(cells, ax=row, label="visits (%)", pad=0.01, format=tick_label, ticks=ticks)
    bar.minorticks_off()  # their labels would be TeX


def _action_scale(space: Any) -> tuple[Any, tuple[float, float], Any]:
    """Return colours, their range and the ticks for the first number of the actions."""
    from matplotlib import colormaps

    colors = colormaps["cividis"]  # from dark to light: in grey, too, actions differ
    if hasattr(space, "low"):
        low, high = float(space.low.flat[0]), float(space.high.flat[0])
        return colors, (low, high) if np.isfinite([low, high]).all() else (-1.0, 1.0), None
    n = int(space.n if hasattr(space, "n") else space.nvec.flat[0])
    return colors.resampled(n), (-0.5, n - 0.5), range(n) if n <= 10 else None


def map_snapshots(env: str, snapshots: Sequence[Snapshot]) -> Maps:
    """Evaluate each snapshot on a grid over the plane, and count its states.

    Args:
        env:       of Pendulum-v1 the plane is angle and speed; elsewhere it is the two observations.
        snapshots: of one run, at least one.

    Raises:
        UserError: observations are not two numbers, or those of a snapshot are not of the space's shape.
    """
    from gymnasium.spaces import Box

    space = snapshots[0].obs_space
    pendulum = env == "Pendulum-v1" and space.shape == (3,)
    if not isinstance(space, Box) or not (pendulum or space.shape == (2,)):
        raise UserError(f"a value map needs observations of two numbers; {env or 'this run'} has {space}")
    if any(snapshot.obs.shape[1:] != space.shape for snapshot in snapshots):
        raise UserError(f"a snapshot's observations are not of the shape {space.shape} of {env or 'the run'}'s")
    plane = [np.asarray(snapshot.obs, dtype=np.float64) for snapshot in snapshots]
    low, high = (np.asarray(bound, dtype=np.float64) for bound in (space.low, space.high))
    if pendulum:
        plane = [np.stack([np.arctan2(obs[:, 1], obs[:, 0]), obs[:, 2]], axis=1) for obs in plane]
        low, high = np.array([-np.pi, low[2]]), np.array([np.pi, high[2]])
    seen = np.concatenate(plane)
    sides = [_side(seen[:, i], float(low[i]), float(high[i])) for i in (0, 1)]
    x, y = (grid.ravel() for grid in np.meshgrid(*(np.linspace(*side, GRID) for side in sides)))
    obs = np.stack([np.cos(x), np.sin(x), y] if pendulum else [x, y], axis=1).astype(np.float32)
    n = len(snapshots)
    maps = Maps(sides, np.empty((n, GRID, GRID)), np.empty((n, GRID, GRID)), np.empty((n, BINS, BINS)), (0, 0))
    for k, snapshot in enumerate(snapshots):
        maps.values[k] = snapshot.value(obs).reshape(GRID, GRID)
        maps.actions[k] = snapshot.mode(obs).reshape(GRID, GRID, -1)[..., 0]
        counts, _, _ = np.histogram2d(plane[k][:, 1], plane[k][:, 0], bins=BINS, range=sides[::-1])
        maps.visits[k] = 100 * counts / max(1, counts.sum())
    visited = [s.value(s.obs.astype(np.float32)) for s in snapshots if len(s.obs)]
    for val in (np.concatenate([np.empty(0), *visited]), maps.values.ravel()):
        finite = val[np.isfinite(val)]
        if finite.size:
            return maps._replace(seen=(float(finite.min()), float(finite.max())))
    return maps


def _side(seen: Array, low: float, high: float) -> tuple[float, float]:
    """Return the range of one side of the plane: the space's bounds, or what was seen where it has none."""
    if max(abs(low), abs(high)) < 1e6:  # some environments write the largest float for "unbounded"
        return low, high
    seen = seen[np.isfinite(seen)]
    low, high = (seen.min(), seen.max()) if seen.size else (0.0, 0.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
