"""The flat optimisers against torch's over separate parameters."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from rlsuite.common.optim import Adam, FlatOptimizer, FlatParameters, RMSprop, flatten
from rlsuite.errors import NonFiniteError, UserError

torch.set_num_threads(1)
RULES = [(Adam, torch.optim.Adam, {}), (RMSprop, torch.optim.RMSprop, {"alpha": 0.99, "eps": 1e-5})]


class SGD(FlatOptimizer):
    """The simplest rule: what it changes is the gradient itself."""

    averages = ()

    def change(self):
        self.flat.sub_(self.grad, alpha=self.lr)


def sgd(net, lr=0.1, max_grad_norm=math.inf):
    return SGD("Pi", net, lr, max_grad_norm)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def loss_of(net, step):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step), dtype=net[0].weight.dtype)
    return (net(x) - x[:, :3] * 5).square().mean()


def gradient_step(opt, net, step, scale=1.0):
    """Take it, and return the norm that it logs."""
    (scale * loss_of(net, step)).backward()
    opt.step()
    return opt.norms[-1]


def flat_of(net):
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


def assert_equal_parameters(a, b, **tolerance):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, **tolerance)


EXACTLY = {"rtol": 0, "atol": 0}


@pytest.mark.parametrize("max_grad_norm", [math.inf, 0.5])
@pytest.mark.parametrize(("rule", "kind", "options"), RULES)
def test_training_equals_that_of_torch_over_separate_parameters(rule, kind, options, max_grad_norm):
    ours, theirs = network().double(), network().double()
    flat = rule("Pi", ours, 0.0, max_grad_norm)
    plain = kind(theirs.parameters(), lr=0.0, **options)
    norms = []
    for step in range(300):
        flat.lr = plain.param_groups[0]["lr"] = 0.01 / (1 + step / 50)
        norms.append(gradient_step(flat, ours, step))
        plain.zero_grad()
        loss_of(theirs, step).backward()
        before_clipping = nn.utils.clip_grad_norm_(theirs.parameters(), max_grad_norm)
        plain.step()
        assert norms[-1] == pytest.approx(before_clipping.item(), rel=1e-6)
    # torch divides by the norm plus 1e-6
    assert (flat_of(ours) - flat_of(theirs)).norm() < (1e-9 if max_grad_norm == math.inf else 1e-5) * flat.flat.norm()
    assert (flat_of(ours) - flat_of(network())).norm() > 0.5
    assert flat.steps == 300
    assert norms == flat.norms
    assert max(norms) > 0.5


@pytest.mark.parametrize(("rule", "kind", "options"), RULES)
def test_many_steps_along_given_gradients_equal_those_of_torch_to_a_millionth(rule, kind, options):
    rng = torch.Generator().manual_seed(0)
    ours, theirs = nn.Linear(30, 20), nn.Linear(30, 20).double()
    theirs.load_state_dict(ours.state_dict())
    flat, plain = rule("Pi", ours, 0.01), kind(theirs.parameters(), lr=0.01, **options)
    for step in range(400):
        scale = 10.0 ** (step % 7 - 4)  # some below ε, some far above
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            q.grad = (scale * torch.randn(p.shape, generator=rng)).float().double()
            p.grad.copy_(q.grad)
        flat.step()
        plain.step()
    start = flat.before.double()
    moved, moved_theirs = flat.flat.double() - start, flat_of(theirs) - start
    assert (moved - moved_theirs).norm() < 1e-5 * moved_theirs.norm()
    assert (flat.flat.double() - flat_of(theirs)).norm() < 1e-6 * flat_of(theirs).norm()


def test_adam_by_hand():
    net = nn.Linear(2, 1, bias=False)
    net.weight.data = torch.tensor([[1.0, -1.0]])
    opt = Adam("Pi", net, 0.0)
    m = v = np.zeros(2)
    expected = np.array([1.0, -1.0])
    for k, g in enumerate(np.array([[3.0, -0.1], [-1.0, 0.2], [0.5, 0.0], [1e-9, 0.3]]), start=1):
        opt.lr = 0.1 * k
        net.weight.grad += torch.tensor(g)
        opt.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected -= 0.1 * k * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
        np.testing.assert_allclose(net.weight.detach().numpy()[0], expected, atol=1e-6)


@pytest.mark.parametrize("grad", [1e-8, 1e-6, 1.0])
def test_adam_adds_ε_to_the_root_of_the_corrected_square(grad):
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.zero_()
    opt = Adam("Pi", net, 1.0)
    net.weight.grad.fill_(grad)
    opt.step()
    assert net.weight.item() == pytest.approx(-grad / (grad + 1e-8), rel=1e-5)


def test_rmsprop_by_hand():
    net = nn.Linear(2, 1, bias=False)
    net.weight.data = torch.tensor([[1.0, -1.0]])
    opt = RMSprop("Pi", net, 0.0)
    v, expected = np.zeros(2), np.array([1.0, -1.0])
    for k, g in enumerate(np.array([[3.0, -1e-5], [-1.0, 0.2], [0.5, 0.0]]), start=1):
        opt.lr = 0.1 * k
        net.weight.grad += torch.tensor(g)
        opt.step()
        v = 0.99 * v + 0.01 * g**2
        expected -= 0.1 * k * g / (np.sqrt(v) + 1e-5)
        np.testing.assert_allclose(net.weight.detach().numpy()[0], expected, atol=1e-6)


def test_gradients_are_scaled_down_to_max_grad_norm_and_never_up():
    net = network()
    opt = sgd(net, lr=1.0, max_grad_norm=0.5)
    for scale, expected in ((1.0, 0.5), (0.01, None)):
        before = opt.flat.clone()
        norm = gradient_step(opt, net, 0, scale)
        moved = (opt.flat - before).norm().item()
        assert moved == pytest.approx(expected or norm, rel=1e-4)
        assert expected is None or norm > 1


def test_parameters_and_gradients_are_views_of_the_flat_vectors():
    net = network()
    values = [p.detach().clone() for p in net.parameters()]
    opt = sgd(net)
    assert all(torch.equal(p, v) for p, v in zip(net.parameters(), values, strict=True))
    loss_of(net, 0).backward()
    assert torch.equal(opt.grad, torch.cat([p.grad.reshape(-1) for p in net.parameters()]))
    assert opt.grad.norm() > 1
    opt.step()
    assert torch.equal(opt.flat, flat_of(net))
    assert [p.grad.data_ptr() - opt.grad.data_ptr() for p in net.parameters()] == [0, 4 * 32, 4 * 40, 4 * 64]
    opt.flat.zero_()
    assert net(torch.ones(1, 4)).tolist() == [[0, 0, 0]]


def test_gradients_do_not_add_up_over_steps_and_do_before_one():
    net = network()
    opt = sgd(net, lr=0.0)
    norm = gradient_step(opt, net, 0)
    assert gradient_step(opt, net, 0) == norm
    loss_of(net, 0).backward()
    loss_of(net, 0).backward()
    opt.step()
    assert opt.norms[-1] == pytest.approx(2 * norm)


def test_a_zero_grad_has_nothing_left_to_do():
    net, other = network(), network()
    opt, plain = sgd(net), sgd(other)
    for step in range(3):
        net.zero_grad(set_to_none=False)
        gradient_step(opt, net, step)
        gradient_step(plain, other, step)
    assert_equal_parameters(net, other, **EXACTLY)


# ---------------------------------------------------------------- without a rule


def test_gradient_is_that_of_autograd_in_the_order_of_the_flat_vector_and_leaves_grad_alone():
    net = network()
    flat = FlatParameters("Pi", net)
    loss = loss_of(net, 0)
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)])
    for _ in range(2):  # the graph stays
        ours = flat.gradient(loss)
        assert torch.equal(ours, expected)
        assert not ours.requires_grad
    assert (flat.grad == 0).all()


def test_gradient_with_a_graph_can_be_differentiated_again():
    net = nn.Linear(2, 1, bias=False)
    flat = FlatParameters("Pi", net)
    gradient = flat.gradient((net.weight**3).sum(), create_graph=True)
    torch.testing.assert_close(flat.gradient(gradient.sum()), 6 * flat.flat)


def test_gradient_is_0_for_what_is_frozen_or_has_no_effect():
    net = network()
    net[0].bias.requires_grad_(False)
    flat = FlatParameters("Pi", net)
    gradient = flat.gradient(net[2].bias.square().sum() + net[0].bias.sum())
    assert gradient.tolist() == [0] * 64 + (2 * net[2].bias).tolist()


def test_average_gradient_returns_the_norm_and_counts_a_step_that_the_state_keeps():
    net = network()
    flat = FlatParameters("Pi", net)
    for step in range(3):
        flat.grad.zero_()
        loss_of(net, step).backward()
        assert flat.average_gradient() == pytest.approx(flat.gradient(loss_of(net, step)).norm().item(), rel=1e-5)
    assert (flat.steps, len(flat.norms)) == (3, 3)
    columns = flat.columns()
    assert columns["GradNormPi"] == pytest.approx(np.mean(flat.norms))
    assert columns["UpdateRatioPi"] == 0
    assert math.isnan(columns["PiLR"])
    again = FlatParameters("Pi", network())
    again.load_state_dict(flat.state_dict())
    assert again.steps == 3
    with pytest.raises(ValueError, match="the state of optimiser Pi"):
        again.load_state_dict(Adam("V", network(), 0.1).state_dict())


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", [Adam, RMSprop])
def test_a_non_finite_gradient_is_named_and_leaves_everything_untouched(rule, value):
    net = network()
    opt = rule("V", net, 0.1)
    gradient_step(opt, net, 0)
    before, state = copy.deepcopy(net), copy.deepcopy(opt.state_dict())
    with pytest.raises(NonFiniteError, match=r"the gradient of LossV has a norm of (nan|inf) at gradient step 2"):
        gradient_step(opt, net, 1, value)
    assert_equal_parameters(net, before, **EXACTLY)
    assert opt.steps == state["steps"] == 1
    assert len(opt.norms) == 1
    for name in opt.averages:
        assert torch.equal(opt.state_dict()[name], state[name])


def test_a_non_finite_gradient_of_a_finite_loss_raises():
    net = network()
    opt = sgd(net)
    loss = (0 * net[0].weight).abs().sqrt().sum()
    assert loss == 0
    loss.backward()
    with pytest.raises(NonFiniteError, match="LossPi"):
        opt.step()


def test_a_parameter_of_two_optimisers_is_refused():
    trunk = nn.Linear(2, 2)
    Adam("Pi", nn.Sequential(trunk, nn.Linear(2, 1)), 0.1)
    with pytest.raises(UserError, match="the network V shares a parameter"):
        RMSprop("V", nn.Sequential(trunk, nn.Linear(2, 1)), 0.1)


def test_a_parameter_that_is_used_twice_in_one_network_is_trained_once():
    net = network()
    net.append(nn.Tanh())
    net.append(nn.Linear(3, 3))
    net.append(net[-1])
    opt = sgd(net)
    assert len(opt.flat) == 32 + 8 + 24 + 3 + 9 + 3
    before = loss_of(net, 0).item()
    gradient_step(opt, net, 0)
    assert loss_of(net, 0).item() < before


def test_a_frozen_parameter_stands_still():
    net = network()
    net[0].weight.requires_grad_(False)
    opt = Adam("Pi", net, 0.1)
    gradient_step(opt, net, 0)
    assert torch.equal(net[0].weight, network()[0].weight)
    assert not torch.equal(net[2].weight, network()[2].weight)


# ---------------------------------------------------------------- columns


def test_columns_are_the_mean_norm_and_the_relative_change_since_the_epoch_began():
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0]]))
        net.bias.fill_(2.0)
    opt = sgd(net, lr=1.0, max_grad_norm=6.0)
    for grad in ([3.0, 0, 4], [0.0, 6, 8]):  # norms 5 and 10; the second is scaled down to 6
        opt.grad.copy_(torch.tensor(grad))
        opt.step()
    change = math.sqrt(3**2 + 3.6**2 + (4 + 4.8) ** 2)
    expected = {"GradNormPi": 7.5, "ClippedGradPi": 0.5, "UpdateRatioPi": change / 3, "PiLR": 1.0}
    assert opt.columns() == pytest.approx(expected)
    opt.begin_epoch()
    opt.lr = 0.25
    columns = opt.columns()
    assert math.isnan(columns.pop("GradNormPi"))
    assert math.isnan(columns.pop("ClippedGradPi"))
    assert columns == {"UpdateRatioPi": 0, "PiLR": 0.25}
    norm = math.sqrt((1 - 3) ** 2 + (2 - 3.6) ** 2 + (2 - 8.8) ** 2)
    opt.grad.copy_(torch.tensor([0.0, 4, 0]))
    opt.step()
    assert opt.columns()["UpdateRatioPi"] == pytest.approx(1 / norm)
    assert opt.columns()["GradNormPi"] == 4
    assert opt.columns()["ClippedGradPi"] == 0


def test_the_share_of_clipped_gradients_is_nan_where_none_ever_is():
    opt = sgd(nn.Linear(2, 1))
    opt.grad.fill_(9.0)
    opt.step()
    assert math.isnan(opt.columns()["ClippedGradPi"])
    plain = FlatParameters("Pi", nn.Linear(2, 1))
    plain.average_gradient()
    assert math.isnan(plain.columns()["ClippedGradPi"])


def test_columns_carry_the_networks_name():
    for name, lr in (("Pi", "PiLR"), ("V", "VfLR"), ("Q", "QLR")):
        assert list(Adam(name, network(), 0.5).columns()) == [
            *(f"{column}{name}" for column in ("GradNorm", "ClippedGrad", "UpdateRatio")),
            lr,
        ]
    assert Adam("V", network(), 0.5).columns()["VfLR"] == 0.5


# ---------------------------------------------------------------- copies, loading, resuming


@pytest.mark.parametrize(("rule", "_kind", "_options"), RULES)
def test_training_goes_on_from_its_state_as_if_it_had_not_stopped(rule, _kind, _options):
    net = network()
    opt = rule("Pi", net, 0.01)
    for step in range(3):
        gradient_step(opt, net, step)
    state = {k: v.numpy().copy() if isinstance(v, torch.Tensor) else v for k, v in opt.state_dict().items()}
    resumed = network()
    again = rule("Pi", resumed, 0.01)
    resumed.load_state_dict(net.state_dict())
    again.load_state_dict(state)
    for step in range(3, 6):
        gradient_step(opt, net, step)
        gradient_step(again, resumed, step)
    assert_equal_parameters(resumed, net, **EXACTLY)
    assert again.steps == opt.steps == 6


def test_a_state_that_does_not_fit_is_refused():
    opt = Adam("Pi", network(), 0.01)
    fits = {"steps": 1, "m": np.zeros(67, np.float32), "v": np.zeros(67, np.float32)}
    opt.load_state_dict(fits)
    for change, said in (
        ({"m": np.zeros(66, np.float32)}, "m of the optimiser"),
        ({"v": np.zeros(67)}, "v of the optimiser is float64"),
        ({"more": 0}, "the state of optimiser Pi"),
    ):
        with pytest.raises(ValueError, match=said):
            opt.load_state_dict({**fits, **change})
    with pytest.raises(ValueError, match="the state of optimiser Pi"):
        RMSprop("Pi", network(), 0.01).load_state_dict(fits)


def test_training_goes_on_from_loaded_weights():
    net, other, alone = network(), nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), network()
    opt = sgd(other)
    other.load_state_dict(net.state_dict())
    assert_equal_parameters(other, net, **EXACTLY)
    gradient_step(opt, other, 0)
    gradient_step(sgd(alone), alone, 0)
    assert_equal_parameters(other, alone, **EXACTLY)
    assert not torch.equal(other[0].weight, net[0].weight)


def test_a_deep_copy_stands_still_while_the_original_trains_and_can_be_trained_itself():
    net = network()
    opt = sgd(net)
    loss_of(net, 3).backward()  # a gradient that has not been used yet is not the copy's
    still = copy.deepcopy(net)
    opt.grad.zero_()
    gradient_step(opt, net, 0)
    assert_equal_parameters(still, network(), **EXACTLY)
    assert not torch.equal(still[0].weight, net[0].weight)
    gradient_step(sgd(still), still, 0)
    assert_equal_parameters(still, net, **EXACTLY)


def test_flatten_turns_parameters_into_views_and_leaves_their_values_and_the_original_alone():
    net, original = network(), network()
    copied = copy.deepcopy(net)
    flat = flatten(copied)
    assert_equal_parameters(copied, original, **EXACTLY)
    assert torch.equal(flat, flat_of(original))
    flat.lerp_(torch.ones_like(flat), 1.0)
    assert all((p == 1).all() for p in copied.parameters())
    assert_equal_parameters(net, original, **EXACTLY)


def test_a_target_follows_its_network_by_polyak_averaging():
    net = network()
    target = copy.deepcopy(net)
    opt, target_flat = sgd(net, lr=0.5), flatten(target)
    expected = [p.detach().clone() for p in target.parameters()]
    for step in range(4):
        gradient_step(opt, net, step)
        target_flat.lerp_(opt.flat, 1 - 0.9)
        expected = [0.9 * old + 0.1 * p.detach() for old, p in zip(expected, net.parameters(), strict=True)]
        for p, e in zip(target.parameters(), expected, strict=True):
            torch.testing.assert_close(p.detach(), e)


# ---------------------------------------------------------------- losses that pass through another network


@pytest.mark.parametrize("order", [["pi", "q"], ["q", "pi"]])
def test_a_policys_loss_through_a_critic_leaves_the_critics_gradients_alone(order):
    policy, critic = network(), nn.Linear(3, 1)
    opts = {name: sgd({"pi": policy, "q": critic}[name]) for name in order}
    x, act = torch.ones(5, 4), torch.ones(5, 3)
    critic(act).square().mean().backward()
    opts["q"].step()
    before = copy.deepcopy(critic)
    climbed = critic(policy(x)).mean().item()
    (-critic(policy(x)).mean()).backward(inputs=opts["pi"].params)
    assert (opts["q"].grad == 0).all()
    opts["pi"].step()
    assert critic(policy(x)).mean().item() > climbed
    opts["q"].step()
    assert_equal_parameters(critic, before, **EXACTLY)
