"""The flat optimiser against torch's optimisers over separate parameters."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from rlsuite.common.checks import NonFiniteError, UserError
from rlsuite.common.optim import FlatOptimizer, adam, flatten, rmsprop, set_up_torch

torch.set_num_threads(1)


def sgd(flat, grad, state, lr):
    flat.sub_(grad, alpha=lr)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def loss_of(net, step):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return (net(x) - x[:, :3] * 5).square().mean()


def assert_equal_parameters(a, b, **tolerance):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, **tolerance)


def flat_sgd(net, lr=0.1, max_grad_norm=math.inf):
    opt = FlatOptimizer("LossPi", net, sgd, max_grad_norm)
    opt.lr = lr
    return opt


@pytest.mark.parametrize("max_grad_norm", [math.inf, 0.5])
@pytest.mark.parametrize(
    ("rule", "kind", "options"),
    [(adam, torch.optim.Adam, {}), (rmsprop, torch.optim.RMSprop, {"alpha": 0.99, "eps": 1e-5})],
)
def test_steps_equal_those_of_torch_over_separate_parameters(rule, kind, options, max_grad_norm):
    ours, theirs = network(), network()
    flat = FlatOptimizer("LossPi", ours, rule, max_grad_norm)
    plain = kind(theirs.parameters(), lr=0.0, **options)
    for step in range(10):
        flat.lr = plain.param_groups[0]["lr"] = 0.01 / (step + 1)
        norm = flat.step(loss_of(ours, step))
        plain.zero_grad()
        loss_of(theirs, step).backward()
        before_clipping = nn.utils.clip_grad_norm_(theirs.parameters(), max_grad_norm)
        plain.step()
        assert norm == pytest.approx(before_clipping.item(), rel=1e-5)
        assert norm > 0.5
        assert_equal_parameters(ours, theirs, rtol=1e-5, atol=1e-6)
    assert flat.steps == 10


def test_adam_by_hand():
    theta, state = torch.tensor([1.0, -1.0]), {}
    m = v = np.zeros(2)
    expected = np.array([1.0, -1.0])
    for k, g in enumerate(np.array([[3.0, -0.1], [-1.0, 0.2], [0.5, 0.0]]), start=1):
        adam(theta, torch.tensor(g, dtype=torch.float32), state, 0.1 * k)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected -= 0.1 * k * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
        np.testing.assert_allclose(theta.numpy(), expected, atol=1e-6)


def test_rmsprop_by_hand():
    theta, state = torch.tensor([1.0, -1.0]), {}
    v, expected = np.zeros(2), np.array([1.0, -1.0])
    for k, g in enumerate(np.array([[3.0, -1e-5], [-1.0, 0.2], [0.5, 0.0]]), start=1):
        rmsprop(theta, torch.tensor(g, dtype=torch.float32), state, 0.1 * k)
        v = 0.99 * v + 0.01 * g**2
        expected -= 0.1 * k * g / (np.sqrt(v) + 1e-5)
        np.testing.assert_allclose(theta.numpy(), expected, atol=1e-6)


def test_gradients_are_scaled_down_to_max_grad_norm_and_never_up():
    net = network()
    opt = flat_sgd(net, lr=1.0, max_grad_norm=0.5)
    for scale, expected in ((1.0, 0.5), (0.01, None)):
        before = opt.flat.clone()
        norm = opt.step(scale * loss_of(net, 0))
        moved = (opt.flat - before).norm().item()
        assert moved == pytest.approx(expected or norm, rel=1e-4)
        assert expected is None or norm > 1


def test_parameters_and_gradients_are_views_of_the_flat_vectors():
    net = network()
    values = [p.detach().clone() for p in net.parameters()]
    opt = flat_sgd(net)
    assert all(torch.equal(p, v) for p, v in zip(net.parameters(), values, strict=True))
    opt.step(loss_of(net, 0))
    for vector, parts in ((opt.flat, net.parameters()), (opt.grad, (p.grad for p in net.parameters()))):
        assert torch.equal(vector, torch.cat([part.detach().reshape(-1) for part in parts]))
    opt.flat.zero_()
    assert net(torch.ones(1, 4)).tolist() == [[0, 0, 0]]


def test_gradients_do_not_add_up_over_steps():
    net = network()
    opt = flat_sgd(net, lr=0.0)
    assert opt.step(loss_of(net, 0)) == opt.step(loss_of(net, 0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", [adam, rmsprop])
def test_a_non_finite_loss_is_named_and_leaves_the_parameters_untouched(rule, value):
    net = network()
    opt = FlatOptimizer("LossV", net, rule)
    opt.lr = 0.1
    opt.step(loss_of(net, 0))
    before = copy.deepcopy(net)
    with pytest.raises(NonFiniteError, match=r"LossV is -?(nan|inf).* gradient step 2"):
        opt.step(loss_of(net, 1) * value)
    assert opt.steps == 1
    assert_equal_parameters(net, before, rtol=0, atol=0)
    opt.step(loss_of(net, 1))
    assert all(p.isfinite().all() for p in net.parameters())


def test_a_non_finite_gradient_of_a_finite_loss_raises():
    net = network()
    with pytest.raises(NonFiniteError, match="LossPi is 0 "):
        flat_sgd(net).step((0 * net[0].weight).abs().sqrt().sum())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_loss_with_a_finite_gradient_raises(value):
    net = network()
    opt = flat_sgd(net)
    before = copy.deepcopy(net)
    with pytest.raises(NonFiniteError):
        opt.step(loss_of(net, 0) + value)
    assert_equal_parameters(net, before, rtol=0, atol=0)


def test_training_goes_on_from_loaded_weights():
    net, other, alone = network(), nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), network()
    opt = flat_sgd(other)
    other.load_state_dict(net.state_dict())
    assert_equal_parameters(other, net, rtol=0, atol=0)
    opt.step(loss_of(other, 0))
    flat_sgd(alone).step(loss_of(alone, 0))
    assert_equal_parameters(other, alone, rtol=0, atol=0)
    assert not torch.equal(other[0].weight, net[0].weight)


def test_a_deep_copy_stands_still_while_the_original_trains():
    net = network()
    opt = flat_sgd(net)
    still = copy.deepcopy(net)
    opt.step(loss_of(net, 0))
    assert_equal_parameters(still, network(), rtol=0, atol=0)
    assert not torch.equal(still[0].weight, net[0].weight)
    moving = flat_sgd(still)
    moving.step(loss_of(still, 0))
    assert_equal_parameters(still, net, rtol=0, atol=0)


def test_set_up_torch_knows_its_devices():
    assert set_up_torch("cpu", 1) == torch.device("cpu")
    assert set_up_torch("auto", 1).type in ("cpu", "cuda", "mps")
    with pytest.raises(UserError, match="use --device cpu"):
        set_up_torch("tpu", 1)


def test_a_parameter_of_two_optimisers_is_refused():
    trunk = torch.nn.Linear(2, 2)
    FlatOptimizer("LossPi", torch.nn.Sequential(trunk, torch.nn.Linear(2, 1)), adam)
    with pytest.raises(UserError, match="LossV shares a parameter"):
        FlatOptimizer("LossV", torch.nn.Sequential(trunk, torch.nn.Linear(2, 1)), adam)


def test_flatten_turns_parameters_into_views_and_leaves_their_values_and_the_original_alone():
    net, original = network(), network()
    copied = copy.deepcopy(net)
    flat = flatten(copied)
    assert_equal_parameters(copied, original, rtol=0, atol=0)
    assert torch.equal(flat, torch.cat([p.detach().reshape(-1) for p in original.parameters()]))
    flat.lerp_(torch.ones_like(flat), 1.0)
    assert all((p == 1).all() for p in copied.parameters())
    assert_equal_parameters(net, original, rtol=0, atol=0)


@pytest.mark.parametrize("critic_trains_too", [False, True])
def test_a_policys_loss_through_a_critic_leaves_the_critics_gradients_alone(critic_trains_too):
    policy, critic = network(), nn.Linear(3, 1)
    pi_opt, q_opt = flat_sgd(policy), flat_sgd(critic) if critic_trains_too else None
    if q_opt:
        q_opt.step(critic(torch.ones(5, 3)).square().mean())
    before, grad = copy.deepcopy(critic), [None if p.grad is None else p.grad.clone() for p in critic.parameters()]
    x = torch.ones(5, 4)
    climbed = critic(policy(x)).mean().item()
    pi_opt.step(-critic(policy(x)).mean())
    assert critic(policy(x)).mean().item() > climbed
    assert_equal_parameters(critic, before, rtol=0, atol=0)
    assert [g is not None for g in grad] == [critic_trains_too] * 2
    for p, g in zip(critic.parameters(), grad, strict=True):
        assert p.grad is None if g is None else torch.equal(p.grad, g)
