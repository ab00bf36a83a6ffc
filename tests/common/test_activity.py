"""What networks see, and which of their hidden units are dead, by hand and in numpy."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from rlsuite import mpi
from rlsuite.common import health
from rlsuite.common.activity import CHUNK, dead_units, hidden_activations, input_health, pooled_moments
from rlsuite.common.actor_critic import MLP, ActorCritic
from rlsuite.common.health import Epoch, StateScale, on_policy_health
from rlsuite.common.normalize import ObsEncoder
from rlsuite.common.q_networks import ContinuousQ, TwinQ

torch.set_num_threads(1)
BOX = spaces.Box(-1, 1, (2,), np.float32)


class Net(MLP):
    """Outputs as they are."""

    def forward(self, x):
        return self.outputs(x)


def unit(net, layer, which, weight, bias):
    """Set the weights of one unit."""
    with torch.no_grad():
        net.layers[layer].weight[which] = torch.as_tensor(weight)
        net.layers[layer].bias[which] = bias


def states(count=200, features=2):
    return torch.as_tensor(np.random.default_rng(0).uniform(-1, 1, (count, features)).astype(np.float32))


def test_moments_of_parts_are_those_of_all_rows():
    x = np.random.default_rng(0).normal(5, 3, (100, 4))
    for parts in ([x], [x[:7], x[7:50], x[50:]]):
        mean, var = pooled_moments(parts)
        np.testing.assert_allclose(mean, x.mean(0))
        np.testing.assert_allclose(var, x.var(0))


def test_inputs_of_more_observations_than_are_encoded_at_a_time():
    obs = np.random.default_rng(0).integers(0, 256, (CHUNK + 70, 3, 5), np.uint8)
    obs[:, 0, 0] = 9
    obs[3], obs[-1] = 0, 255
    columns = input_health(ObsEncoder(spaces.Box(0, 255, (3, 5), np.uint8), normalize=False), obs)
    std = (obs.reshape(len(obs), -1) / 255).std(0)
    assert columns["InputAbsMax"] == 1
    assert (columns["InputStdMin"], columns["InputStdMax"]) == pytest.approx((std.min(), std.max()), rel=1e-5)


def test_the_largest_input_may_be_negative_and_of_another_rank(monkeypatch):
    obs = np.array([[1.0, -3], [0, 2]], np.float32)
    encode = ObsEncoder(BOX, normalize=False)
    assert input_health(encode, obs)["InputAbsMax"] == 3
    monkeypatch.setattr(mpi, "gather_objects", lambda value: [value, 7.0 if isinstance(value, float) else value])
    assert input_health(encode, obs)["InputAbsMax"] == 7


def test_hidden_activations_equal_those_in_numpy():
    net, x = Net([2, 5, 4, 3], "tanh"), states()
    w1, b1, w2, b2 = (p.detach().numpy() for p in list(net.parameters())[:4])
    first = np.tanh(x.numpy() @ w1.T + b1)
    expected = np.concatenate([first, np.tanh(first @ w2.T + b2)], 1)
    (found,) = hidden_activations(net, x)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)
    assert not any(layer._forward_pre_hooks for layer in net.layers)  # none is left


def test_a_relu_that_never_fires_and_a_saturated_tanh_are_dead():
    relu, tanh, x = Net([2, 4, 4, 1], "relu"), Net([2, 5, 1], "tanh"), states()
    for layer in (0, 1):
        for which in range(4):
            unit(relu, layer, which, np.eye(2, 4 if layer else 2, dtype=np.float32)[which % 2], 2.0)
    assert dead_units((relu, x)) == 0
    unit(relu, 0, 3, [0.5, 0.5], -2.0)
    unit(relu, 1, 2, [0, 0, 0, 1], 0.0)  # sees nothing but a dead one
    assert dead_units((relu, x)) == 2 / 8
    for which in range(5):
        unit(tanh, 0, which, [1.0, -1.0], 0.1 * which)
    unit(tanh, 0, 4, [1.0, 1.0], -9.0)
    assert dead_units((tanh, x)) == 1 / 5
    assert dead_units((tanh, x), (relu, x)) == dead_units((relu, x), (tanh, x)) == 2 / 8  # the worst of them


def test_a_unit_is_dead_below_a_thousandth():
    x = torch.tensor([[-1.0], [1.0]])
    net = Net([1, 2, 1], "tanh")
    unit(net, 0, 0, [1.05e-3], 0.0)
    unit(net, 0, 1, [0.95e-3], 0.0)
    assert dead_units((net, x)) == 1 / 2


def test_each_of_two_critics_counts_for_itself():
    act_space, x = spaces.Box(-1, 1, (1,), np.float32), states()
    twins = TwinQ(2, act_space, (4,), "tanh")
    unit(twins.q2, 0, 0, [0.0, 0, 0], 1.0)
    assert dead_units((twins, x, torch.zeros(len(x), 1))) == 1 / 4
    single = ContinuousQ(2, act_space, (4,), "tanh")
    assert dead_units((single, x, torch.zeros(len(x), 1))) == 0


def test_without_hidden_units_or_different_states_there_is_nothing_to_say():
    x = states()
    assert math.isnan(dead_units((Net([2, 1]), x)))
    assert math.isnan(dead_units((nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), x)))
    assert dead_units((Net([2, 1]), x), (Net([2, 3, 1]), x)) == 0
    assert math.isnan(dead_units((Net([2, 3, 1]), x[:1].repeat(9, 1))))


def test_a_unit_that_answers_to_the_states_of_another_rank_is_not_dead(monkeypatch):
    net, x = Net([2, 2, 1], "relu"), states()
    unit(net, 0, 0, [1.0, 0.0], 0.0)
    unit(net, 0, 1, [1.0, 1.0], -5.0)
    assert dead_units((net, x)) == 1 / 2
    far = pooled_moments_of(net, x + 10)
    monkeypatch.setattr(mpi, "gather_objects", lambda value: [value, far])
    assert dead_units((net, x)) == 0


def pooled_moments_of(net, x):
    rows = np.concatenate([x.numpy(), *(part.detach().numpy() for part in hidden_activations(net, x))], 1)
    return [(rows.mean(0), rows.var(0), len(rows))]


@pytest.mark.parametrize("part", ["pi", "v"])
def test_an_epoch_looks_at_policy_and_critic_after_its_last_step(part, monkeypatch):
    monkeypatch.setattr(health, "common_health", lambda *_: {})
    monkeypatch.setattr(health, "value_health", lambda *_: {})
    config = SimpleNamespace(hidden_sizes=(4,), activation="tanh", normalize_obs=False, log_std_init=0.0)
    ac = ActorCritic(BOX, spaces.Discrete(2), config)
    epoch, obs = Epoch(1, [5], ac, StateScale()), states(5).numpy()
    names = ("act", "adv", "val", "bonus", "rew", "next_val", "terminated", "truncated")
    kinds = {"act": np.int64, "terminated": np.bool_, "truncated": np.bool_}
    epoch._kept = {name: [np.zeros((5, 1), kinds.get(name, np.float32))] for name in names} | {"obs": [obs[:, None]]}
    assert on_policy_health(epoch, ac, 0.9)["DeadUnits"] == 0
    unit(getattr(ac, part), 0, 0, [0.0, 0.0], 1.0)
    assert on_policy_health(epoch, ac, 0.9)["DeadUnits"] == 1 / 4
