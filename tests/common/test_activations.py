"""The activations against torch's own, for few numbers and for many."""

import copy

import pytest
import torch

from rlsuite.common import activations
from rlsuite.common.activations import ACTIVATIONS, MANY, tanh
from rlsuite.common.actor_critic import MLP

torch.set_num_threads(1)


@pytest.mark.parametrize("count", [1, MANY - 1, MANY, 4 * MANY])
def test_tanh_and_its_gradient_are_those_of_torch_however_many_numbers(count):
    x = torch.linspace(-12, 12, count).requires_grad_()
    y, expected = tanh(x), torch.tanh(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=2e-7)
    assert y.abs().max() <= 1
    weights = torch.linspace(1, 2, count)
    (ours,), (theirs,) = (torch.autograd.grad((out * weights).sum(), x) for out in (y, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_tanh_of_many_numbers_is_differentiable_twice(monkeypatch):
    monkeypatch.setattr(activations, "MANY", 1)
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tanh, x)
    assert torch.autograd.gradgradcheck(tanh, x)


def test_numbers_that_are_not_finite_come_out_as_from_torch():
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0]).repeat(MANY)
    assert torch.equal(tanh(x).nan_to_num(7), torch.tanh(x).nan_to_num(7))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_large_batch_is_what_its_parts_are(activation):
    torch.manual_seed(0)
    net = MLP([3, 64, 64, 2], activation)
    x = torch.randn(MANY // 16, 3)
    with torch.inference_mode():
        parts = torch.cat([net.outputs(part) for part in x.split(8)])
    torch.testing.assert_close(net.outputs(x), parts, rtol=1e-5, atol=2e-6)


def test_both_ways_give_a_network_the_same_gradient(monkeypatch):
    torch.manual_seed(0)
    net = MLP([3, 8, 2])
    x, grads = torch.randn(5, 3), []
    for many in (1, 10**9):
        monkeypatch.setattr(activations, "MANY", many)
        again = copy.deepcopy(net)
        again.outputs(x).square().sum().backward()
        grads.append(torch.cat([p.grad.reshape(-1) for p in again.parameters()]))
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)
