"""Action-value functions and the deterministic policy: shapes, formulas, units, and the spaces that they refuse."""

import copy
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from rlsuite.common.actor_critic import mlp
from rlsuite.common.checks import UserError
from rlsuite.common.envs import evaluate, make_env
from rlsuite.common.optim import flatten
from rlsuite.common.q_networks import ContinuousQ, DeterministicPolicy, DiscreteQ, MuQNetwork, QNetwork

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


def batch(space, size=6):
    space.seed(0)
    return torch.tensor(np.array([space.sample() for _ in range(size)]))


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
    ac, obs = QNetwork(obs_space, BUTTONS, (8,), dueling=dueling), batch(obs_space)
    assert ac.q(ac.encode(obs)).shape == (6, 4)
    assert ac.value(obs).shape == (6,)
    assert (ac.mode(obs).shape, ac.mode(obs).dtype) == ((6,), torch.int64)


@pytest.mark.parametrize("obs_space", OBSERVATIONS)
def test_shapes_of_continuous_actions(obs_space):
    act_space = spaces.Box(-1, 1, (2, 3), np.float32)
    ac, obs = MuQNetwork(obs_space, act_space, (8,)), batch(obs_space)
    assert (ac.mode(obs).shape, ac.mode(obs).dtype) == ((6, 6), torch.float32)
    assert ac.value(obs).shape == ac.action_value(obs, ac.mode(obs)).shape == (6,)


def test_dueling_heads_equal_V_plus_A_minus_the_mean_of_A():
    net = DiscreteQ(2, 3, (), "relu", dueling=True)
    with torch.no_grad():  # V = 10 + x_0, A = (1 + x_1, 3, 5 - x_1)
        net.net[0].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0], [0, -1]]))
        net.net[0].bias.copy_(torch.tensor([10.0, 1, 3, 5]))
    q = net(torch.tensor([[0.0, 0], [2, 0], [0, 3]]))
    assert q.tolist() == [[8, 10, 12], [10, 12, 14], [11, 10, 9]]
    without = DiscreteQ(2, 3, (), "relu", dueling=False)
    assert torch.equal(without(torch.ones(1, 2)), without.net(torch.ones(1, 2)))


@pytest.mark.parametrize(
    ("act_space", "instead"),
    [
        (UNEVEN, "use ppo, a2c, vpg or, within finite bounds, ddpg"),
        (spaces.MultiDiscrete([2, 3]), "use gymnasium.ActionWrapper"),
    ],
)
def test_dqn_refuses_other_than_discrete_actions_and_names_what_fits(act_space, instead):
    with pytest.raises(UserError, match=f"dqn needs Discrete actions.*{instead}"):
        QNetwork(OBS, act_space)


@pytest.mark.parametrize(
    ("act_space", "instead"),
    [
        (BUTTONS, "needs continuous actions.* use dqn, ppo, a2c or vpg"),
        (spaces.MultiDiscrete([2, 3]), r"needs continuous actions.* use gymnasium\.ActionWrapper"),
        (spaces.Box(0, 9, (2,), np.int64), r"needs continuous actions.* use gymnasium\.ActionWrapper"),
        (spaces.Box(-INF, INF, (2,)), r"needs finite bounds.*TransformAction, or use ppo, a2c or vpg"),
        (box([-1, 0], [1, INF]), r"needs finite bounds.* or use ppo, a2c or vpg"),
        (box([-1, 0], [1, 0]), r"needs finite bounds.* or use ppo, a2c or vpg"),
        (spaces.Box(-1e300, 1e300, (2,), np.float64), r"needs finite bounds"),
        (spaces.Box(-3e38, 3e38, (2,)), r"needs finite bounds"),
        (spaces.Box(1, 1 + 1e-12, (2,), np.float64), r"needs finite bounds"),
    ],
)
def test_ddpg_refuses_actions_without_bounds_and_names_what_fits(act_space, instead):
    with pytest.raises(UserError, match=f"ddpg {instead}"):
        MuQNetwork(OBS, act_space)


def test_the_policy_starts_near_the_middle_of_its_bounds():
    pi = DeterministicPolicy(8, UNEVEN, (64, 64), "relu")
    off_centre = (pi(torch.randn(500, 8)) - torch.tensor([-1.0, 5])) / torch.tensor([2.0, 5])
    assert 0 < off_centre.abs().max() < 0.1


def test_the_policy_reaches_both_bounds_of_each_dimension_and_stays_within():
    pi = DeterministicPolicy(1, UNEVEN, (), "relu")
    with torch.no_grad():
        pi.net[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    mu = pi(torch.tensor([[-50.0], [0], [0.5], [50]]))
    between = [-1 + 2 * math.tanh(0.5), 5 - 5 * math.tanh(0.5)]
    torch.testing.assert_close(mu, torch.tensor([[-3, 10], [-1, 5], between, [1, 0]]))
    assert all(UNEVEN.contains(a) for a in mu.detach().numpy())


def test_q_depends_on_actions_in_half_widths_of_their_bounds():
    q, rescaled = (ContinuousQ(3, space, (8,), "relu") for space in (UNEVEN, box([-1, 100], [0, 104])))
    rescaled.net = q.net
    x, share = torch.randn(20, 3), 2 * torch.rand(20, 2) - 1
    act = torch.tensor([-1.0, 5]) + share * torch.tensor([2.0, 5])
    same_act = torch.tensor([-0.5, 102]) + share * torch.tensor([0.5, 2])
    torch.testing.assert_close(q(x, act), rescaled(x, same_act), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(q(x, act), q.net(torch.cat([x, share], 1))[:, 0], rtol=1e-4, atol=1e-4)
    assert q(x, act).std() > 0.1


@pytest.mark.parametrize("dueling", [False, True])
def test_mode_and_value_are_the_greedy_action_and_its_q(dueling):
    ac, obs = shuffled(QNetwork(OBS, BUTTONS, (8,), normalize_obs=True, dueling=dueling)), batch(OBS, 100)
    q = ac.q(ac.encode(obs)).detach()
    assert len(ac.mode(obs).unique()) > 1
    for values, act, value in zip(q.tolist(), ac.mode(obs).tolist(), ac.value(obs).tolist(), strict=True):
        assert value == values[act] == max(values)


def test_mode_and_value_are_μ_and_the_q_of_μ():
    ac, obs = shuffled(MuQNetwork(OBS, UNEVEN, (8,), normalize_obs=True)), batch(OBS, 100)
    x = ac.encode(obs)
    assert torch.equal(ac.mode(obs), ac.pi(x))
    torch.testing.assert_close(ac.value(obs), ac.q(x, ac.pi(x)))
    torch.testing.assert_close(ac.value(obs), ac.action_value(obs, ac.mode(obs)))
    middle = torch.tensor([[-1.0, 5]]).expand(100, 2)
    torch.testing.assert_close(ac.action_value(obs, middle), ac.q(x, middle))
    assert not torch.allclose(ac.action_value(obs, middle), ac.value(obs))


@pytest.mark.parametrize(("env_id", "kind"), [("CartPole-v1", QNetwork), ("Pendulum-v1", MuQNetwork)])
def test_a_deterministic_policy_cannot_be_sampled_from(env_id, kind):
    env = make_env(env_id)
    ac = kind(env.observation_space, env.action_space, (4,))
    with pytest.raises(UserError, match="deterministic"):
        evaluate(ac, env, 1, seed=0, deterministic=False)
    assert len(evaluate(ac, env, 2, seed=0)[0]) == 2
    ac.act = ac.mode
    assert evaluate(ac, env, 2, seed=0, deterministic=False) == evaluate(ac, env, 2, seed=0)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_layers_compute_what_their_modules_do_also_when_copied_flattened_or_loaded(activation):
    torch.manual_seed(0)
    x, net = torch.randn(7, 3), mlp([3, 8, 8, 2], activation)
    copied = copy.deepcopy(net)
    flatten(net).mul_(1.5)
    loaded = mlp([3, 8, 8, 2], activation)
    loaded.load_state_dict(net.state_dict())
    for module in (net, copied, loaded):
        torch.testing.assert_close(module(x), nn.Sequential.forward(module, x))
    assert torch.equal(net(x), loaded(x))
    assert not torch.allclose(net(x), copied(x))


def test_a_layer_that_would_not_be_seen_can_not_be_put_in():
    with pytest.raises(TypeError, match="build another one"):
        mlp([3, 8, 2])[-1] = nn.Linear(8, 2)
