"""How a budget is split into epochs and rollouts."""

from math import inf, nan
from types import SimpleNamespace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from rlsuite.algos import ppo
from rlsuite.common.optim import Adam
from rlsuite.common.training import EpochReturns, Training, plan_epochs


@pytest.mark.parametrize(
    ("steps", "epoch_steps", "rollout_len", "plan"),
    [
        (20, 10, 5, [[5, 5], [5, 5]]),
        (12, 10, 5, [[5, 7]]),  # less than half a rollout is joined to the one before, also over an epoch's border
        (13, 10, 5, [[5, 5], [3]]),
        (18, 8, 4, [[4, 4], [4, 4], [2]]),
        (17, 8, 4, [[4, 4], [4, 5]]),
        (15, 8, 4, [[4, 4], [4, 3]]),
        (13, 8, 4, [[4, 4], [5]]),
        (9, 8, 4, [[4, 5]]),
        (5, 8, 4, [[5]]),
        (4, 8, 4, [[4]]),
        (3, 8, 4, [[3]]),
        (1, 8, 4, [[1]]),  # a budget below half a rollout is one rollout
        (0, 8, 4, []),
        (7, 3, 1, [[1, 1, 1], [1, 1, 1], [1]]),
        (1, 1, 1, [[1]]),
    ],
)
def test_plan_epochs_by_hand(steps, epoch_steps, rollout_len, plan):
    assert list(plan_epochs(steps, epoch_steps, rollout_len)) == plan


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.integers(1, 3000), st.integers(1, 6), st.integers(1, 40))
@example(12, 2, 5)
@example(1, 6, 40)
@example(61, 1, 40)
def test_plan_epochs_meets_the_budget_exactly_in_whole_rollouts(steps, rollouts, rollout_len):
    plan = list(plan_epochs(steps, rollouts * rollout_len, rollout_len))
    lengths = [length for epoch in plan for length in epoch]
    assert sum(lengths) == steps
    if 2 * steps >= rollout_len:
        assert all(rollout_len <= 2 * length < 3 * rollout_len for length in lengths)
    else:
        assert lengths == [steps]
    assert all(length == rollout_len for length in lengths[:-1])  # only the last one may differ
    assert all(len(epoch) == rollouts for epoch in plan[:-1])
    assert 1 <= len(plan[-1]) <= rollouts


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(1, 300), st.integers(1, 6), st.integers(1, 40))
def test_planning_from_a_later_point_of_the_budget_is_the_rest_of_the_plan(steps, rollouts, rollout_len):
    plan = list(plan_epochs(steps, rollouts * rollout_len, rollout_len))
    for done in range(len(plan) + 1):
        left = steps - sum(map(sum, plan[:done]))
        assert list(plan_epochs(left, rollouts * rollout_len, rollout_len)) == plan[done:]


class Said:
    """Stands in for a logger."""

    stop_at = inf

    def __init__(self):
        self.text = []

    def say(self, text):
        self.text.append(text)


def training(total_steps, num_envs=2, steps_per_epoch=20, taken=0, lr_schedule="constant"):
    """A training that only plans: nothing has been written, and the environments are only counted."""
    config = ppo.Config("-", total_steps=total_steps, steps_per_epoch=steps_per_epoch, lr_schedule=lr_schedule)
    envs = SimpleNamespace(together=num_envs, total_steps=taken)
    net = nn.Linear(2, 1)
    said = Said()
    frame = Training("x", config, said, envs, net, opt=Adam("Pi", net, 0.5))
    return frame, frame.optimizers[0], said


@pytest.mark.parametrize("taken", [0, 24, 48])
def test_epochs_count_on_from_where_the_budget_is(taken):
    frame, opt, said = training(100, steps_per_epoch=20, taken=taken)
    frame.finished = taken // 24
    opt.flat.add_(1)
    epochs = list(frame.epochs(rollout_len=3))  # of 2 environments: 4 rollouts of 6 env steps are 24
    # 50 steps of each environment in epochs of 12; the last 2 are more than half a rollout
    plan = [[3] * 4] * 4 + [[2]]
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5][frame.finished :]
    assert [epoch.rollouts for epoch in epochs] == plan[frame.finished :]
    assert frame.last_epoch == 5
    assert said.text == ["rounded up to whole steps, rollouts and shares: --steps-per-epoch 20 -> 24"]
    assert torch.equal(opt.before, opt.flat)  # each epoch's columns begin with it
    assert all(epoch.before is not frame.ac for epoch in epochs)


def test_a_budget_is_rounded_up_to_whole_steps_of_all_environments():
    frame, _, said = training(100, num_envs=3, steps_per_epoch=30)
    assert sum(len(epoch.steps) for epoch in frame.epochs()) == 34
    assert said.text == ["rounded up to whole steps, rollouts and shares: --total-steps 100 -> 102"]
    frame, _, said = training(102, num_envs=3, steps_per_epoch=30)
    assert [len(epoch.rollouts) for epoch in frame.epochs()] == [10, 10, 10, 4]
    assert said.text == []


@pytest.mark.parametrize(("schedule", "lr"), [("constant", 0.5), ("linear", 0.125)])
def test_anneal_takes_the_learning_rate_to_0_in_a_line_over_the_budget(schedule, lr):
    frame, opt, _ = training(100, taken=75, lr_schedule=schedule)
    frame.envs.total_steps = 74 + 1
    frame.anneal(opt)
    assert opt.lr == pytest.approx(lr)
    assert opt.base_lr == 0.5
    assert frame.share_left == pytest.approx(0.25)
    frame.envs.total_steps = 0
    frame.anneal(opt)
    assert opt.lr == 0.5


def test_columns_of_losses_are_nan_in_an_epoch_without_a_gradient_step():
    frame, *_ = training(40)
    for epoch in frame.epochs(losses=("LossQ",)):
        assert str(epoch.stats.means()) == "{'LossQ': nan}"


def test_the_best_epoch_is_that_with_the_highest_mean_of_at_least_five_episodes():
    returns = EpochReturns()
    epochs = [(nan, 0), (90.0, 4), (-20.0, 5), (-20.0, 9), (-30.0, 9), (-10.0, 5), (nan, 0)]
    assert [returns.add({"AverageEpRet": ret}, count) for ret, count in epochs] == [0, 0, 1, 0, 0, 1, 0]
    assert (returns.best, returns.last) == (-10, -inf)
    returns.add({"AverageEpRet": 90.0}, 1)
    assert (returns.best, returns.last) == (-10, 90)


def test_where_there_are_test_episodes_they_say_which_epoch_is_the_best():
    returns = EpochReturns()
    epochs = [(nan, 1.0, 0), (9.0, 0.5, 50), (9.0, 3.0, 1)]
    better = [returns.add({"AverageEpRet": ret, "AverageTestEpRet": tested}, count) for ret, tested, count in epochs]
    assert better == [1, 0, 1]
    assert (returns.best, returns.last) == (3, 3)
    untested = {"AverageEpRet": 9.0, "AverageTestEpRet": nan}  # num_test_episodes is 0
    assert not returns.add(untested, 4)
    assert returns.add(untested, 5)
    assert returns.best == 9


def test_what_is_known_of_the_best_epoch_is_part_of_a_checkpoint():
    returns, again = EpochReturns(), EpochReturns()
    returns.add({"AverageEpRet": 4.0}, 5)
    returns.add({"AverageEpRet": 2.0}, 5)
    again.load_state_dict(returns.state_dict())
    assert not again.add({"AverageEpRet": 3.0}, 5)
    assert again.state_dict() == {"last": 3.0, "best": 4.0}
