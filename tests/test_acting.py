"""What acts must be what is trained: numpy's answers are those of torch, before and after gradient steps."""

import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from rlsuite.common.acting import array_function, greedy, sampler
from rlsuite.common.actor_critic import ActorCritic
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
    assert "in_numpy" in answer.__qualname__
    before = answer(obs)
    np.testing.assert_allclose(before, in_torch(q.encode, q.q, obs), rtol=1e-5, atol=1e-6)
    step()
    q.encode.update(3 * obs + 1)
    after = answer(obs)
    assert after.dtype == np.float32
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(after, in_torch(q.encode, q.q, obs), rtol=1e-5, atol=1e-6)


def test_a_checkpoint_read_later_is_followed_too():
    q = QNetwork(BOX, spaces.Discrete(4), normalize_obs=True)
    other = QNetwork(BOX, spaces.Discrete(4), normalize_obs=True)
    obs = observations(BOX)
    other.encode.update(5 * obs)
    answer = array_function(q.encode, q.q)
    q.load_state_dict(other.state_dict())
    np.testing.assert_allclose(answer(obs), in_torch(other.encode, other.q, obs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["dueling", "module", "encoder"])
def test_networks_of_other_kinds_are_left_to_torch(kind):
    q = QNetwork(BOX, spaces.Discrete(4), dueling=kind == "dueling")
    if kind == "module":
        q.q = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid())
    if kind == "encoder":
        q.encode = nn.Hardtanh()
    obs = observations(BOX)
    answer = array_function(q.encode, q.q)
    assert "in_torch" in answer.__qualname__
    np.testing.assert_array_equal(answer(obs), in_torch(q.encode, q.q, obs))


@pytest.mark.parametrize("act_space", [spaces.Discrete(4), spaces.Box(-2, 2, (2,))])
def test_sampled_actions_are_those_of_act(act_space):
    torch.manual_seed(0)
    obs = observations(BOX, 500)
    ac = ActorCritic(BOX, act_space)
    wanted = ac.act(torch.from_numpy(obs)).clone()
    step = train_a_little(ac.pi, lambda: -ac.pi(ac.encode(torch.from_numpy(obs))).log_prob(wanted).mean())
    sample = sampler(ac, len(obs))
    for _ in range(3):
        torch.manual_seed(1)
        act = ac.act(torch.from_numpy(obs))
        torch.manual_seed(1)
        sampled = sample(obs)
        assert sampled.dtype == act.numpy().dtype
        np.testing.assert_array_equal(sampled, act.numpy())
        step()


@pytest.mark.parametrize("cls", [ActorCritic, QNetwork, MuQNetwork])
def test_greedy_actions_are_those_of_mode(cls):
    torch.manual_seed(0)
    obs = observations(BOX, 500)
    ac = cls(BOX, spaces.Box(-2, 2, (2,)) if cls is MuQNetwork else spaces.Discrete(4))
    act = ac.mode(torch.from_numpy(obs)).numpy()
    chosen = greedy(ac)(obs)
    assert chosen.dtype == act.dtype
    assert len(np.unique(act)) > 1
    np.testing.assert_array_equal(chosen, act)


@pytest.mark.parametrize("base", [ActorCritic, QNetwork])
def test_an_act_or_mode_of_ones_own_is_asked(base):
    class Contrary(base):
        def act(self, obs):
            return torch.full((len(obs),), 7)

        mode = act

    ac, obs = Contrary(BOX, spaces.Discrete(4)), observations(BOX)
    np.testing.assert_array_equal(greedy(ac)(obs), 7)
    if base is ActorCritic:
        np.testing.assert_array_equal(sampler(ac, len(obs))(obs), 7)


def test_numbers_too_large_for_floats_are_no_warning():
    q = QNetwork(BOX, spaces.Discrete(4))
    for p in q.parameters():
        p.data *= 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = array_function(q.encode, q.q)(np.full((2, 3), 3e38, np.float32))
    assert not np.isfinite(out).all()
