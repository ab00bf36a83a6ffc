"""The replay buffer against a plain list of transitions, and its memory against plain arithmetic."""

import math
import re
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch
from gymnasium import spaces
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlsuite import mpi
from rlsuite.common.replay import ReplayBuffer, check_memory
from rlsuite.envs.stepping import Envs
from rlsuite.errors import UserError

CPU = torch.device("cpu")
FLOATS, DOUBLES = (spaces.Box(-np.inf, np.inf, (3,), dtype) for dtype in (np.float32, np.float64))
IMAGES, CELLS = spaces.Box(0, 255, (2, 3, 1), np.uint8), spaces.Discrete(5, start=-2)
BUTTONS, JOINTS = spaces.Discrete(3), spaces.Box(-1, 1, (2, 2), np.float32)


def draw(space, rng, count):
    if isinstance(space, spaces.Discrete):
        return space.start + rng.integers(space.n, size=count)
    if space.dtype == np.uint8:
        return rng.integers(0, 256, (count, *space.shape), np.uint8)
    return rng.normal(size=(count, *space.shape)).astype(space.dtype)


class Nowhere(gym.Env):
    """An environment that is only asked for its spaces."""

    def __init__(self, obs_space, act_space):
        self.observation_space, self.action_space = obs_space, act_space


def buffer(capacity, num_envs=1, obs_space=FLOATS, act_space=BUTTONS, seed=0):
    envs = Envs(lambda: Nowhere(obs_space, act_space), num_envs, seed=0)
    return ReplayBuffer(capacity, envs, np.random.default_rng(seed), CPU)


def fill(buf, steps):
    """Store random steps."""
    return list(play(buf, steps))


def play(buf, steps, obs_space=FLOATS, act_space=BUTTONS, ends=0.2, seed=0):
    """Store random steps; yields, after each of them, all transitions so far in the order of time.

    An episode terminates with the probability `ends` and is truncated with the same; a list is one for each step.
    """
    rng, num_envs, seen = np.random.default_rng(seed), buf.num_envs, []
    obs = draw(obs_space, rng, num_envs)
    for end in np.broadcast_to(ends, steps):
        act = draw(act_space, rng, num_envs).reshape(buf.act[:num_envs].shape)
        rew, next_obs = rng.normal(size=num_envs), draw(obs_space, rng, num_envs)
        terminated, truncated = rng.random((2, num_envs)) < end
        buf.store(obs, act, rew, next_obs, terminated, truncated)
        seen += zip(obs, act, rew, next_obs, terminated, truncated, strict=True)
        yield seen
        obs = next_obs.copy()
        obs[terminated | truncated] = draw(obs_space, rng, num_envs)[terminated | truncated]


class OldestFirst:
    """Stands in for the generator, and draws every age once."""

    def integers(self, low, high, size):
        return np.arange(low, high)[::-1]


def content(buf):
    rng, buf.rng = buf.rng, OldestFirst()
    batch = buf.sample(len(buf))
    buf.rng = rng
    return [tensor.numpy().copy() for tensor in batch]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    num_envs=st.integers(1, 4),
    rows=st.integers(1, 12),
    remainder=st.integers(0, 3),
    ends=st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0]), min_size=1, max_size=4),
    obs_space=st.sampled_from([FLOATS, DOUBLES, IMAGES, CELLS]),
    act_space=st.sampled_from([BUTTONS, JOINTS]),
    seed=st.integers(0, 2**16),
)
@example(3, 20, 2, [0.1, 1.0, 0.3], FLOATS, JOINTS, 0)  # the ring of last observations grows after some have left it
def test_the_buffer_holds_what_a_list_of_the_last_transitions_holds(
    num_envs, rows, remainder, ends, obs_space, act_space, seed
):
    buf = buffer(rows * num_envs + remainder % num_envs, num_envs, obs_space, act_space)
    assert len(buf) == 0
    rows += remainder % num_envs > 0  # rounded up to whole steps
    ends = np.repeat(ends, rows + 1)  # for each lap another probability
    for seen in play(buf, len(ends), obs_space, act_space, ends, seed):
        held = seen[-rows * num_envs :]
        assert len(buf) == len(held)
        for ours, expected in zip(content(buf), zip(*(row[:5] for row in held), strict=True), strict=True):
            np.testing.assert_array_equal(ours, np.array(expected, ours.dtype))


@pytest.mark.parametrize(
    ("obs_space", "obs_dtype"),
    [(FLOATS, np.float32), (DOUBLES, np.float32), (IMAGES, np.uint8), (CELLS, np.int64)],
)
@pytest.mark.parametrize(("act_space", "act_dtype"), [(BUTTONS, np.int64), (JOINTS, np.float32)])
def test_types_and_shapes_of_a_sample(obs_space, obs_dtype, act_space, act_dtype):
    buf = buffer(8, 2, obs_space, act_space)
    *_, seen = play(buf, 3, obs_space, act_space)
    arrays = [tensor.numpy() for tensor in buf.sample(5)]
    assert [a.dtype for a in arrays] == [obs_dtype, act_dtype, np.float32, obs_dtype, np.bool_]
    assert [a.shape for a in arrays] == [(5, *np.shape(x)) for x in seen[0][:5]]


@pytest.mark.parametrize(("steps", "held"), [(10, 20), (64, 50)])
def test_samples_are_uniform_over_all_held(steps, held):
    buf = buffer(50, 2)
    fill(buf, steps)
    values, counts = np.unique(np.concatenate([buf.sample(500).rew for _ in range(40)]), return_counts=True)
    np.testing.assert_array_equal(values, np.sort(content(buf)[2]))
    assert len(values) == held
    expected = 20_000 / held
    assert ((counts - expected) ** 2 / expected).sum() < held + 4 * math.sqrt(2 * held)  # χ², its mean plus 4 σ


def test_equal_seeds_draw_equal_batches():
    buffers = [buffer(50, 2, seed=seed) for seed in (1, 1, 2)]
    for buf in buffers:
        fill(buf, 40)
    for _ in range(3):
        one, same, other = (buf.sample(30) for buf in buffers)
        assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
        assert not torch.equal(one.rew, other.rew)


def test_samples_are_copies():
    buf = buffer(10, 2)
    list(play(buf, 8))
    before = content(buf)
    for tensor in buf.sample(50):
        tensor.zero_()
    for was, now in zip(before, content(buf), strict=True):
        np.testing.assert_array_equal(was, now)


def test_a_million_transitions_of_half_cheetah_take_less_than_110_mb():
    obs_space, act_space = spaces.Box(-np.inf, np.inf, (17,), np.float64), spaces.Box(-1, 1, (6,), np.float32)
    wanted = check_memory(10**6, 1, obs_space, act_space)
    assert wanted + 10**6 / 1000 * 4 * 17 < 110e6

    buf, obs = buffer(20_000, 10, obs_space, act_space), np.zeros((10, 17))
    never = np.zeros(10, bool)
    for t in range(1, 2501):
        buf.store(obs, np.zeros((10, 6)), np.zeros(10), obs, never, np.full(10, t % 1000 == 0))
    assert len(buf) == 20_000
    assert 10**6 / 20_000 * buf.nbytes < 110e6


def test_each_observation_is_stored_once():
    space = spaces.Box(0, 255, (20, 20, 3), np.uint8)
    buf = buffer(1000, 4, space)
    list(play(buf, 300, space, ends=0.0))
    assert buf.nbytes < 1.05 * 1000 * 20 * 20 * 3


def test_the_ring_of_last_observations_stops_growing():
    buf, sizes = buffer(40, 2), []
    for seen in play(buf, 400, ends=1.0):
        sizes += [len(buf.final)] if len(seen) >= 80 else []
    assert set(sizes) == {sizes[0]}
    assert sizes[0] >= 40


@pytest.mark.parametrize("obs_space", [FLOATS, DOUBLES, IMAGES, CELLS])
@pytest.mark.parametrize("act_space", [BUTTONS, JOINTS])
def test_check_memory_foretells_nbytes(obs_space, act_space):
    buf = buffer(103, 4, obs_space, act_space)
    assert buf.nbytes == check_memory(103, 4, obs_space, act_space) + buf.final.nbytes


def test_a_buffer_that_does_not_fit_is_refused_with_a_size_that_does(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**6))
    with pytest.raises(UserError, match=r"--buffer-size 1000000 would take 0\.\d GB.* at most [\d,]+ transitions") as e:
        buffer(10**6, 4, IMAGES)
    fitting = int(re.search(r"at most ([\d,]+)", str(e.value))[1].replace(",", ""))
    wanted = check_memory(fitting, 4, IMAGES, BUTTONS)
    assert 0.5e6 < wanted < 1e6
    assert len(buffer(fitting, 4, IMAGES).rew) >= fitting


def test_an_episode_that_is_broken_off_ends_before_the_next_one_begins():
    buf = buffer(50, 2)
    fill_without_ends = list(play(buf, 10, ends=0.0))
    last = fill_without_ends[-1][-2:]
    parts = [buf.stored_since(0)]
    buf.end_episodes([1])
    parts.append(buf.stored_since(buf.stored - 2))
    list(play(buf, 5, ends=0.0, seed=9))
    parts.append(buf.stored_since(20))
    rebuilt = buffer(50, 2)
    rebuilt.load(parts)
    assert len(rebuilt) == len(buf) == 30
    for replay in (buf, rebuilt):
        slots = np.arange(18, 20)
        np.testing.assert_array_equal(replay.end[slots], [-1, 0])
        np.testing.assert_array_equal(replay.final[0], last[1][3])
        assert not replay.terminated[slots].any()


def assert_newest(buf, length, seen):
    """The last `length` steps are the end of the list of all transitions, (T, N, ...) in the order of time."""
    steps = buf.newest(length)
    held = seen[len(seen) - min(length * buf.num_envs, len(buf)) :]
    for name, ours, column in zip(steps._fields, steps, zip(*held, strict=True), strict=True):
        expected = np.array(column)
        if name == "truncated":  # an end of both kinds is a termination
            expected &= ~np.array([row[4] for row in held])
        expected = expected.reshape(-1, buf.num_envs, *expected.shape[1:])
        assert ours.shape == expected.shape, name
        np.testing.assert_array_equal(ours, expected.astype(ours.dtype), err_msg=name)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    num_envs=st.integers(1, 4),
    rows=st.integers(1, 12),
    laps=st.integers(1, 4),
    ends=st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0]), min_size=1, max_size=4),
    obs_space=st.sampled_from([FLOATS, IMAGES, CELLS]),
    act_space=st.sampled_from([BUTTONS, JOINTS]),
    seed=st.integers(0, 2**16),
)
def test_newest_is_the_end_of_a_plain_list_of_transitions(num_envs, rows, laps, ends, obs_space, act_space, seed):
    buf = buffer(rows * num_envs, num_envs, obs_space, act_space)
    for seen in play(buf, laps * rows + 1, obs_space, act_space, np.resize(ends, laps * rows + 1), seed):
        for length in {1, 2, rows, rows + 5}:  # the last: an epoch longer than the buffer
            assert_newest(buf, length, seen)


def test_newest_of_a_buffer_smaller_than_the_epoch_is_all_that_is_held():
    buf = buffer(10, 2)
    *_, seen = play(buf, 33)
    steps = buf.newest(33)
    assert steps.obs.shape == (5, 2, 3)
    assert steps.rew.shape == steps.terminated.shape == steps.truncated.shape == (5, 2)
    assert_newest(buf, 33, seen)
    assert buf.newest(3).act.shape == (3, 2)


def test_newest_is_a_copy():
    buf = buffer(10, 2)
    *_, seen = play(buf, 33)
    for array in buf.newest(5):
        array.fill(0)
    assert_newest(buf, 5, seen)


@pytest.mark.parametrize("steps", [3, 12, 25])  # the ring is not full, has wrapped once, has wrapped twice
@pytest.mark.parametrize("which", [[0], [1], [0, 2], []])
def test_episodes_that_are_cut_count_as_truncated_and_keep_what_they_led_to(steps, which):
    buf = buffer(30, 3)
    *_, seen = play(buf, steps, ends=0.2)
    cut = [n for n in which if not (seen[-3 + n][4] or seen[-3 + n][5])]
    buf.end_episodes(which)
    for n in cut:
        seen[-3 + n] = (*seen[-3 + n][:5], np.True_)
    assert_newest(buf, 10, seen)
    before = buf.newest(10)
    *_, more = play(buf, 4, ends=0.2, seed=5)  # begins elsewhere: only what was cut has another episode after it
    after = buf.newest(10)
    for n in cut:
        np.testing.assert_array_equal(after.next_obs[-5, n], before.next_obs[-1, n])
        np.testing.assert_array_equal(after.next_obs[-5, n], seen[-3 + n][3])
        assert after.truncated[-5, n]
        assert not after.terminated[-5, n]
    np.testing.assert_array_equal(after.obs[-4:].reshape(12, 3), np.array([row[0] for row in more], np.float32))


def test_cutting_an_episode_that_has_just_ended_or_nothing_at_all_changes_nothing():
    buf = buffer(30, 2)
    buf.end_episodes([0, 1])
    assert (len(buf), buf.ends) == (0, 0)
    *_, seen = play(buf, 5, ends=1.0)
    ends = buf.ends
    buf.end_episodes([0, 1])
    assert buf.ends == ends
    assert_newest(buf, 5, seen)


def test_newest_after_loading():
    buf, again, parts, since = buffer(14, 2), buffer(14, 2), [], 0
    for seen in play(buf, 25):
        if len(seen) % 10 == 0:
            parts, since = [*parts, buf.stored_since(since)], buf.stored
    again.load(parts)
    assert_newest(again, 7, seen)
    assert (again.stored, again.pos, len(again)) == (buf.stored, buf.pos, len(buf))
    for replay in (buf, again):
        list(play(replay, 20, seed=3))
    for ours, expected in zip(again.newest(7), buf.newest(7), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_ranks_share_the_capacity_and_the_batch(monkeypatch):
    monkeypatch.setattr(mpi, "size", 3)
    buf = buffer(50, 2)  # 50 / 3 are 17, and 18 are whole steps
    fill(buf, 30)
    assert len(buf) == 18
    assert len(buf.sample(64).rew) == 22


@pytest.mark.parametrize("samples", [1, 7, 64])
def test_a_sample_has_the_size_that_was_asked_for_also_if_fewer_are_held(samples):
    buf = buffer(50, 2)
    fill(buf, 3)
    assert [len(tensor) for tensor in buf.sample(samples)] == [samples] * 5
