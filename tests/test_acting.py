"""What acts must be what is trained: numpy's answers are those of torch, before and after gradient steps."""

import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from rlsuite.common.acting import action_value, array_function, greedy, sampler
from rlsuite.common.actor_critic import ActorCritic, CategoricalPolicy, GaussianPolicy, Layers
from rlsuite.common.distributions import Categorical, Gaussian
from rlsuite.common.optim import FlatOptimizer, adam
from rlsuite.common.q_networks import MuQNetwork, QNetwork

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)
OBS_SPACES = {
    "vector": BOX,
    "matrix": spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
    "integers": spaces.Box(-9, 9, (3,), np.int64),
    "image": spaces.Box(0, 255, (4, 4), np.uint8),
    "discrete": spaces.Discrete(5, start=2),
}

POLICIES = [
    (ActorCritic, spaces.Discrete(4)),
    (ActorCritic, spaces.Box(-2, 3, (2,))),
    (QNetwork, spaces.Discrete(4)),
    (MuQNetwork, spaces.Box(-2, 3, (2,))),
]


def observations(space, count=7):
    space.seed(0)
    return np.array([space.sample() for _ in range(count)])


def in_torch(encode, net, obs):
    with torch.no_grad():
        return net(encode(torch.from_numpy(obs))).numpy()


def train_a_little(module, loss):
    opt = FlatOptimizer("Loss", module, adam)
    opt.lr = 0.1

    def step():
        opt.step(loss())

    return step


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", OBS_SPACES)
def test_arrays_give_what_tensors_give_and_follow_the_gradient_steps(kind, normalize, activation):
    torch.manual_seed(0)
    obs = observations(OBS_SPACES[kind])
    q = QNetwork(OBS_SPACES[kind], spaces.Discrete(4), (16, 8), activation, normalize)
    step = train_a_little(q.q, lambda: q.q(q.encode(torch.from_numpy(obs))).square().mean())
    answer = array_function(q.encode, q.q)
    assert "as_it_is" not in answer.__qualname__
    before = answer(obs)
    np.testing.assert_array_equal(before, in_torch(q.encode, q.q, obs))
    step()
    q.encode.update(3 * obs + 1)
    after = answer(obs)
    assert after.dtype == np.float32
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_array_equal(after, in_torch(q.encode, q.q, obs))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", OBS_SPACES)
@pytest.mark.parametrize(("act_space"), [spaces.Discrete(4, start=3), spaces.Box(-2, 3, (2, 1))])
def test_sampled_actions_are_those_of_act(act_space, kind, normalize, activation):
    torch.manual_seed(0)
    obs = observations(OBS_SPACES[kind], 500)
    if kind in ("vector", "matrix"):
        obs[0] = 1e6  # to be clipped, if standardised
    ac = ActorCritic(OBS_SPACES[kind], act_space, (16, 8), activation, normalize)
    sample = sampler(ac, len(obs))
    assert sample.__name__ != "<lambda>"
    for moved in range(3):
        torch.manual_seed(1)
        act = ac.act(torch.from_numpy(obs)).numpy()
        torch.manual_seed(1)
        sampled = sample(obs)
        assert sampled.dtype == act.dtype
        np.testing.assert_array_equal(sampled, act)
        with torch.no_grad():
            for p in ac.parameters():
                p.mul_(4 if moved == 0 else 1).add_(0.1 * torch.randn_like(p))
            if not isinstance(act_space, spaces.Discrete):
                ac.pi.width.mul_(2)
        ac.encode.update(3 * obs[1:] + 1)


def test_a_checkpoint_read_later_is_followed_too():
    q = QNetwork(BOX, spaces.Discrete(4), normalize_obs=True)
    other = QNetwork(BOX, spaces.Discrete(4), normalize_obs=True)
    obs = observations(BOX)
    other.encode.update(5 * obs)
    answer = array_function(q.encode, q.q)
    q.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(answer(obs), in_torch(other.encode, other.q, obs))


class Negated(Layers):
    def forward(self, x):
        return -super().forward(x)


@pytest.mark.parametrize("kind", ["dueling", "module", "encoder", "layers", "activation", "no bias"])
def test_networks_of_other_kinds_are_left_to_torch(kind):
    torch.manual_seed(0)
    q = QNetwork(BOX, spaces.Discrete(4), dueling=kind == "dueling")
    if kind == "layers":
        q.q.net = Negated(*q.q.net, activation="relu")
    if kind == "activation":
        q.q.net.activation = torch.sigmoid
    if kind == "no bias":
        q.q.net = Layers(nn.Linear(3, 8, bias=False), nn.ReLU(), nn.Linear(8, 4), activation="relu")
    if kind == "module":
        q.q = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid())
    if kind == "encoder":
        q.encode = nn.Hardtanh()
    obs = observations(BOX)
    answer = array_function(q.encode, q.q)
    assert "as_it_is" in answer.__qualname__
    np.testing.assert_array_equal(answer(obs), in_torch(q.encode, q.q, obs))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("cls", "act_space"), POLICIES)
def test_greedy_actions_are_those_of_mode(cls, act_space, activation):
    torch.manual_seed(0)
    obs = observations(BOX, 500)
    ac = cls(BOX, act_space, activation=activation)
    answer = greedy(ac)
    for p in ac.parameters():
        p.data.mul_(3)
    act = ac.mode(torch.from_numpy(obs)).numpy()
    assert answer(obs).dtype == act.dtype
    assert len(np.unique(act)) > 1
    np.testing.assert_array_equal(answer(obs), act)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", ["vector", "discrete"])
def test_action_values_are_those_of_the_critic_and_follow_its_steps(kind, normalize):
    torch.manual_seed(0)
    obs, act_space = observations(OBS_SPACES[kind], 500), spaces.Box(-2, 3, (2,))
    act = observations(act_space, 500)
    ac = MuQNetwork(OBS_SPACES[kind], act_space, normalize_obs=normalize)
    x = ac.encode(torch.from_numpy(obs))
    step = train_a_little(ac.q, lambda: ac.q(x, torch.from_numpy(act)).square().mean())
    answer = action_value(ac)
    before = answer(obs, act)
    step()
    ac.encode.update(3 * obs + 1)
    expected = ac.action_value(torch.from_numpy(obs), torch.from_numpy(act)).numpy()
    assert np.abs(expected - before).max() > 0.01
    np.testing.assert_array_equal(answer(obs, act), expected)


@pytest.mark.parametrize(("base", "act_space"), POLICIES)
def test_functions_of_ones_own_are_asked(base, act_space):
    class Own(base):
        def act(self, obs, act=None):
            return torch.full((len(obs),), 7)

        mode = action_value = act

    ac, obs = Own(BOX, act_space), observations(BOX)
    np.testing.assert_array_equal(greedy(ac)(obs), 7)
    if base is ActorCritic:
        np.testing.assert_array_equal(sampler(ac, len(obs))(obs), 7)
    if base is MuQNetwork:
        np.testing.assert_array_equal(action_value(ac)(obs, observations(act_space)), 7)
    ac = base(BOX, act_space)
    ac.mode = lambda obs: torch.full((len(obs),), 7)
    np.testing.assert_array_equal(greedy(ac)(obs), 7)


@pytest.mark.parametrize("base", [ActorCritic, QNetwork, MuQNetwork])
def test_networks_of_ones_own_are_asked(base):
    class Sevens(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *inputs):
            return 0 * self.inner(*inputs) + 7

    act_space = spaces.Box(-2, 3, (2,)) if base is MuQNetwork else spaces.Discrete(4)
    ac, obs = base(BOX, act_space), observations(BOX)
    if base is MuQNetwork:
        ac.pi, ac.q = Sevens(ac.pi), Sevens(ac.q)
        np.testing.assert_array_equal(greedy(ac)(obs), 7)
        np.testing.assert_array_equal(action_value(ac)(obs, observations(act_space)), 7)
    elif base is QNetwork:
        ac.q = Sevens(ac.q)
        np.testing.assert_array_equal(greedy(ac)(obs), 0)
    else:
        ac.pi.logits = Sevens(ac.pi.logits)
        np.testing.assert_array_equal(greedy(ac)(obs), 0)
        torch.manual_seed(0)
        assert len(set(sampler(ac, 7)(obs))) > 1


def test_a_policy_of_ones_own_is_asked():
    class AlwaysLast(CategoricalPolicy):
        def forward(self, x):
            return Categorical(1000 * torch.arange(4.0).expand(len(x), 4))

    ac, obs = ActorCritic(BOX, spaces.Discrete(4)), observations(BOX)
    ac.pi = AlwaysLast(3, spaces.Discrete(4), (8,), "tanh")
    np.testing.assert_array_equal(sampler(ac, len(obs))(obs), 3)
    np.testing.assert_array_equal(greedy(ac)(obs), 3)

    class Always7(GaussianPolicy):
        def forward(self, x):
            mu = torch.full((len(x), 2), 7.0)
            return Gaussian(mu, mu - torch.inf)

    act_space = spaces.Box(-2, 3, (2,))
    ac = ActorCritic(BOX, act_space)
    ac.pi = Always7(3, act_space, (8,), "tanh", 0.0)
    np.testing.assert_array_equal(sampler(ac, len(obs))(obs), 7)
    np.testing.assert_array_equal(greedy(ac)(obs), 7)


@pytest.mark.parametrize(("act_space", "size"), [(spaces.Discrete(4), 2e38), (spaces.Box(-2, 3, (2,)), 1e38)])
def test_numbers_too_large_for_floats_are_no_warning(act_space, size):
    ac = ActorCritic(BOX, act_space, hidden_sizes=())
    for p in ac.pi.parameters():
        p.data.fill_(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        act = sampler(ac, 2)(np.full((2, 3), size, np.float32))
    assert isinstance(act_space, spaces.Discrete) or np.isposinf(act).all()


def test_another_number_of_observations_would_share_the_noise_and_is_refused():
    sample = sampler(ActorCritic(BOX, spaces.Discrete(4)), 1)
    with pytest.raises(AssertionError):
        sample(observations(BOX, 7))
