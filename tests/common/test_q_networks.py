"""Action-value functions and the deterministic policy: shapes, formulas, units, and the spaces that they refuse."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from rlsuite.common.actor_critic import MLP
from rlsuite.common.optim import flatten
from rlsuite.common.q_networks import (
    ContinuousQ,
    DeterministicPolicy,
    DiscreteQ,
    MuQNetwork,
    MuTwinQNetwork,
    QNetwork,
    action_bounds,
)
from rlsuite.common.soft_actor_critic import SoftActorCritic
from rlsuite.errors import UserError

torch.set_num_threads(1)
INF = np.inf
OBS = spaces.Box(-5, 5, (3,), np.float32)
OBSERVATIONS = [OBS, spaces.Box(0, 255, (4, 4, 1), np.uint8), spaces.Discrete(5, start=-2)]
BUTTONS = spaces.Discrete(4)


def box(low, high):
    return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))


UNEVEN = box([-3, 0], [1, 10])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def settings_of(**changes):
    defaults = {"hidden_sizes": (8,), "activation": "relu", "normalize_obs": False, "dueling": False}
    return SimpleNamespace(**{**defaults, **changes})


def batch(space, size=6):
    space.seed(0)
    return np.array([space.sample() for _ in range(size)])


def shuffled(net):
    """The network with random parameters, and statistics of observations that are not standard."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.5 * torch.randn_like(p))
    net.encode.update(np.random.default_rng(0).normal(2, 3, (50, *net.obs_space.shape)))
    return net


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("obs_space", OBSERVATIONS)
def test_shapes_of_discrete_actions(obs_space, dueling):
    ac, obs = QNetwork(obs_space, BUTTONS, settings_of(dueling=dueling)), batch(obs_space)
    assert ac.q(ac.encode(obs)).shape == (6, 4)
    assert ac.values(obs).shape == (6, 4)
    assert ac.value(obs).shape == (6,)
    assert (ac.mode(obs).shape, ac.mode(obs).dtype) == ((6,), np.int64)


@pytest.mark.parametrize("obs_space", OBSERVATIONS)
def test_shapes_of_continuous_actions(obs_space):
    act_space = spaces.Box(-1, 1, (2, 3), np.float32)
    ac, obs = MuQNetwork(obs_space, act_space, settings_of()), batch(obs_space)
    assert (ac.mode(obs).shape, ac.mode(obs).dtype) == ((6, 6), np.float32)
    assert ac.value(obs).shape == ac.action_value(obs, ac.mode(obs)).shape == (6,)


def test_dueling_heads_equal_V_plus_A_minus_the_mean_of_A():
    net = DiscreteQ(2, 3, (), "relu", dueling=True)
    with torch.no_grad():  # V = 10 + x_0, A = (1 + x_1, 3, 5 - x_1)
        net.layers[0].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0], [0, -1]]))
        net.layers[0].bias.copy_(torch.tensor([10.0, 1, 3, 5]))
    q = net(torch.tensor([[0.0, 0], [2, 0], [0, 3]]))
    assert q.tolist() == [[8, 10, 12], [10, 12, 14], [11, 10, 9]]
    without = DiscreteQ(2, 3, (), "relu", dueling=False)
    assert torch.equal(without(torch.ones(1, 2)), without.outputs(torch.ones(1, 2)))


@pytest.mark.parametrize(
    ("act_space", "instead"),
    [
        (UNEVEN, "use ppo, trpo, a2c, vpg, cem or, within finite bounds, sac, td3 or ddpg"),
        (spaces.MultiDiscrete([2, 3]), "use ppo, trpo, a2c or vpg$"),
        (spaces.MultiBinary(3), "use gymnasium.ActionWrapper"),
    ],
)
def test_dqn_refuses_other_than_discrete_actions_and_names_what_fits(act_space, instead):
    with pytest.raises(UserError, match=f"dqn needs Discrete actions.*{instead}"):
        QNetwork(OBS, act_space, settings_of())


@pytest.mark.parametrize(
    ("act_space", "instead"),
    [
        (BUTTONS, "needs continuous actions.* use dqn, ppo, trpo, a2c, vpg or cem"),
        (spaces.MultiDiscrete([2, 3]), "needs continuous actions.* use ppo, trpo, a2c or vpg$"),
        (spaces.MultiBinary(3), r"needs continuous actions.* use gymnasium\.ActionWrapper"),
        (spaces.Box(0, 9, (2,), np.int64), r"needs continuous actions.* use gymnasium\.ActionWrapper"),
        (spaces.Box(-INF, INF, (2,)), r"needs finite bounds.*TransformAction, or use ppo, trpo, a2c, vpg or cem"),
        (box([-1, 0], [1, INF]), r"needs finite bounds.* or use ppo, trpo, a2c, vpg or cem"),
        (box([-1, 0], [1, 0]), r"needs finite bounds.* or use ppo, trpo, a2c, vpg or cem"),
        (spaces.Box(-1e300, 1e300, (2,), np.float64), r"needs finite bounds"),
        (spaces.Box(-3e38, 3e38, (2,)), r"needs finite bounds"),
        (spaces.Box(1, 1 + 1e-12, (2,), np.float64), r"needs finite bounds"),
    ],
)
def test_continuous_q_learning_refuses_actions_without_bounds_and_names_what_fits(act_space, instead):
    for network in (MuQNetwork, MuTwinQNetwork, SoftActorCritic):
        with pytest.raises(UserError, match=f"this algorithm {instead}"):
            network(OBS, act_space, settings_of(alpha=1.0))


def test_the_policy_starts_near_the_middle_of_its_bounds():
    pi = DeterministicPolicy(8, UNEVEN, (64, 64), "relu")
    off_centre = (pi(torch.randn(500, 8)) - torch.tensor([-1.0, 5])) / torch.tensor([2.0, 5])
    assert 0 < off_centre.abs().max() < 0.1


def test_the_policy_reaches_both_bounds_of_each_dimension_and_stays_within():
    pi = DeterministicPolicy(1, UNEVEN, (), "relu")
    with torch.no_grad():
        pi.layers[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    mu = pi(torch.tensor([[-50.0], [0], [0.5], [50]]))
    between = [-1 + 2 * math.tanh(0.5), 5 - 5 * math.tanh(0.5)]
    torch.testing.assert_close(mu, torch.tensor([[-3, 10], [-1, 5], between, [1, 0]]))
    assert all(UNEVEN.contains(a) for a in mu.detach().numpy())


def test_q_depends_on_actions_in_half_widths_of_their_bounds():
    q, rescaled = (ContinuousQ(3, space, (8,), "relu") for space in (UNEVEN, box([-1, 100], [0, 104])))
    rescaled.layers = q.layers
    x, share = torch.randn(20, 3), 2 * torch.rand(20, 2) - 1
    act = torch.tensor([-1.0, 5]) + share * torch.tensor([2.0, 5])
    same_act = torch.tensor([-0.5, 102]) + share * torch.tensor([0.5, 2])
    torch.testing.assert_close(q(x, act), rescaled(x, same_act), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(q(x, act), q.outputs(torch.cat([x, share], 1))[:, 0], rtol=1e-4, atol=1e-4)
    assert q(x, act).std() > 0.1


@pytest.mark.parametrize("dueling", [False, True])
def test_mode_and_value_are_the_greedy_action_and_its_q(dueling):
    ac, obs = shuffled(QNetwork(OBS, BUTTONS, settings_of(normalize_obs=True, dueling=dueling))), batch(OBS, 100)
    q = ac.q(ac.encode(obs)).detach()
    np.testing.assert_array_equal(ac.values(obs), q.numpy())
    assert len(np.unique(ac.mode(obs))) > 1
    for values, act, value in zip(q.tolist(), ac.mode(obs).tolist(), ac.value(obs).tolist(), strict=True):
        assert value == values[act] == max(values)


def test_mode_and_value_are_μ_and_the_q_of_μ():
    ac, obs = shuffled(MuQNetwork(OBS, UNEVEN, settings_of(normalize_obs=True))), batch(OBS, 100)
    x = ac.encode(obs)
    np.testing.assert_array_equal(ac.mode(obs), ac.pi(x).detach().numpy())
    np.testing.assert_array_equal(ac.value(obs), ac.q(x, ac.pi(x)).detach().numpy())
    np.testing.assert_allclose(ac.value(obs), ac.action_value(obs, ac.mode(obs)), rtol=1e-6)
    middle = torch.tensor([[-1.0, 5]]).expand(100, 2)
    np.testing.assert_array_equal(ac.action_value(obs, middle.numpy()), ac.q(x, middle).detach().numpy())
    assert not np.allclose(ac.action_value(obs, middle.numpy()), ac.value(obs))


def test_of_two_critics_the_smaller_value_counts():
    ac, obs = shuffled(MuTwinQNetwork(OBS, UNEVEN, settings_of(normalize_obs=True))), batch(OBS, 100)
    x = ac.encode(obs)
    mu = ac.pi(x)
    first, second = ac.q.q1(x, mu), ac.q.q2(x, mu)
    assert torch.equal(ac.q(x, mu), torch.stack([first, second]))
    smaller = torch.where(first < second, first, second).detach()
    assert not torch.equal(smaller, first)
    assert not torch.equal(smaller, second)
    np.testing.assert_array_equal(ac.value(obs), smaller.numpy())
    np.testing.assert_allclose(ac.action_value(obs, ac.mode(obs)), smaller.numpy(), rtol=1e-6)


def test_action_bounds_are_low_high_and_half_widths_in_environment_units():
    low, high, width = action_bounds(UNEVEN)
    np.testing.assert_array_equal([low, high, width], [[-3, 0], [1, 10], [2, 5]])
    assert {a.dtype for a in (low, high, width)} == {np.dtype(np.float32)}
    shaped = action_bounds(spaces.Box(-2, 4, (2, 3), np.float64))
    assert [a.tolist() for a in shaped] == [[-2] * 6, [4] * 6, [3] * 6]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_layers_compute_what_their_modules_do_also_when_copied_flattened_or_loaded(activation):
    x, net = torch.randn(7, 3), MLP([3, 8, 8, 2], activation)
    copied = copy.deepcopy(net)
    flatten(net).mul_(1.5)
    loaded = MLP([3, 8, 8, 2], activation)
    loaded.load_state_dict(net.state_dict())
    f = {"tanh": nn.Tanh(), "relu": nn.ReLU()}[activation]
    for module in (net, copied, loaded):
        first, second, last = module.layers
        torch.testing.assert_close(module.outputs(x), nn.Sequential(first, f, second, f, last)(x))
    assert torch.equal(net.outputs(x), loaded.outputs(x))
    assert not torch.allclose(net.outputs(x), copied.outputs(x))


def test_q_of_discrete_actions_starts_small_and_the_critic_of_ddpg_orthogonal():
    q = DiscreteQ(100, 4, (64,), "relu", dueling=False)
    bound = 1 / 100**0.5
    assert 0.9 * bound < q.layers[0].weight.abs().max() <= bound
    weight = ContinuousQ(98, UNEVEN, (64,), "relu").layers[0].weight
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(64), rtol=1e-4, atol=1e-5)
