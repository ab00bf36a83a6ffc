"""TRPO's own parts: the products with F, the conjugate gradient, the length of the step, the line search, the update.

F is also written out here, as the Hessian of the KL, and by hand where it is known.
"""

import copy
import functools
import gc
import math
import weakref

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.algos import trpo
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch
from rlsuite.common.distributions import Categorical
from rlsuite.common.health import Averages, exact_kl
from rlsuite.common.optim import Adam, FlatParameters
from rlsuite.errors import NonFiniteError
from tests.algos.test_updates import (
    ACTIONS,
    BUTTONS,
    EXACTLY,
    INF,
    Plain,
    assert_equal_parameters,
    in_torch,
    make,
    mean,
    rollout,
)

torch.set_num_threads(1)


def flat_of(module):
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def with_parameters(module, flat):
    """Outputs of a module with other parameters, as a function of the inputs."""
    named, end = {}, 0
    for name, p in module.named_parameters():
        start, end = end, end + p.numel()
        named[name] = flat[start:end].view_as(p)
    return functools.partial(torch.func.functional_call, module, named)


def hessian_of_kl(pi, pi_old, x):
    """∇²KL(π_old ‖ π) at the parameters that `pi` has, written out (P, P)."""
    return torch.autograd.functional.hessian(
        lambda flat: torch.distributions.kl_divergence(in_torch(pi_old), in_torch(with_parameters(pi, flat)(x))).mean(),
        flat_of(pi),
    )


def fisher_of(pi_flat, pi, batch):
    """The products of the algorithm, as its update makes them."""
    kl_grad = pi_flat.gradient(batch.pi.kl(pi(batch.x)).mean(), create_graph=True)
    return functools.partial(trpo.fisher_product, pi_flat, kl_grad)


def small(act_space, seed=0, size=40):
    """An actor-critic with few parameters, its flat policy, and samples of it."""
    ac = make(ActorCritic, act_space, hidden_sizes=(4,))
    pi_flat = FlatParameters("Pi", ac.pi)
    return ac, pi_flat, rollout(ac, trpo, size=size, seed=seed)


def config_of(**settings):
    return trpo.Config("-", **{"minibatch_size": 10, "train_v_iters": 2, **settings})


# ---------------------------------------------------------------- losses


def test_policy_loss_equals_minus_E_r_adv():
    logp, logp_old, adv = torch.tensor([[0.2, 0.5, 0.1], [0.4, 0.25, 0.1], [1.0, -2.0, 3.0]])
    loss = trpo.policy_loss(logp.log(), logp_old.log(), adv)
    assert loss.item() == pytest.approx(-(0.5 * 1 - 2 * 2 + 1 * 3) / 3, rel=1e-6)


@pytest.mark.parametrize("act_space", ACTIONS)
def test_at_the_old_policy_the_gradient_of_the_surrogate_is_the_policy_gradient(act_space):
    ac, pi_flat, batch = small(act_space)
    logp = ac.pi(batch.x).log_prob(batch.act)
    surrogate = trpo.policy_loss(logp, batch.pi.log_prob(batch.act), batch.adv)
    assert surrogate.item() == pytest.approx(-batch.adv.mean().item(), rel=1e-5)
    expected = pi_flat.gradient(-(logp * batch.adv).mean())
    torch.testing.assert_close(pi_flat.gradient(surrogate), expected, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- F v


@pytest.mark.parametrize("act_space", ACTIONS)
def test_fisher_product_is_the_hessian_of_the_kl_times_v(act_space):
    ac, pi_flat, batch = small(act_space)
    hessian = hessian_of_kl(ac.pi, batch.pi, batch.x)
    fisher = fisher_of(pi_flat, ac.pi, batch)
    for seed in range(3):
        v = torch.randn(len(pi_flat.flat), generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(fisher(v), hessian @ v, rtol=1e-4, atol=1e-5)
    assert (hessian @ v).abs().max() > 0.1


def test_fisher_product_is_E_of_the_scores_times_themselves():
    """F = E[ ∇logp ∇logpᵀ ], over states and, by their probabilities, all actions."""
    ac, pi_flat, batch = small(BUTTONS, size=8)
    logp = ac.pi(batch.x).logits.log_softmax(1)
    expected = torch.zeros(len(pi_flat.flat), len(pi_flat.flat))
    for s in range(8):
        for a in range(4):
            score = pi_flat.gradient(logp[s, a])
            expected += logp[s, a].exp().detach() * torch.outer(score, score) / 8
    fisher = fisher_of(pi_flat, ac.pi, batch)
    ours = torch.stack([fisher(row) for row in torch.eye(len(pi_flat.flat))])
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_fisher_product_of_float32_is_that_of_float64_to_a_hundred_thousandth():
    ac, pi_flat, batch = small(ACTIONS[1], size=500)
    exact = copy.deepcopy(ac).double()
    old = type(batch.pi)(*(part.detach() for part in exact.pi(batch.x.double())))
    v = torch.randn(len(pi_flat.flat), generator=torch.Generator().manual_seed(0))
    double = FlatParameters("Pi", exact.pi)
    kl_grad = double.gradient(old.kl(exact.pi(batch.x.double())).mean(), create_graph=True)
    expected = trpo.fisher_product(double, kl_grad, v.double())
    error = (fisher_of(pi_flat, ac.pi, batch)(v) - expected).norm()
    assert error < 1e-5 * expected.norm()


# ---------------------------------------------------------------- the conjugate gradient


def spd(size, seed=0, least=0.1):
    """A random symmetric positive definite matrix, float64."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return torch.as_tensor(q @ np.diag(np.linspace(least, 2, size)) @ q.T)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_conjugate_gradient_solves_a_x_equals_b(dtype, error):
    a = spd(30).to(dtype)
    b = torch.randn(30, generator=torch.Generator().manual_seed(1)).to(dtype)
    x = trpo.conjugate_gradient(lambda v: a @ v, b, 30)
    assert (a @ x - b).norm() < error * b.norm()


def test_conjugate_gradient_of_one_step_is_steepest_descent_and_each_step_is_nearer():
    a, b = spd(30), torch.ones(30, dtype=torch.float64)
    torch.testing.assert_close(trpo.conjugate_gradient(lambda v: a @ v, b, 1), (b @ b) / (b @ a @ b) * b)
    solution = torch.linalg.solve(a, b)
    errors = [trpo.conjugate_gradient(lambda v: a @ v, b, k) - solution for k in range(1, 12)]
    far = [(e @ a @ e).item() for e in errors]
    assert far == sorted(far, reverse=True)
    assert far[-1] < 1e-3 * far[0]


def test_conjugate_gradient_is_exact_after_as_many_steps_as_there_are_eigenvalues():
    a, b = torch.diag(torch.tensor([1.0, 1, 5, 5, 5])).double(), torch.arange(1.0, 6).double()
    x = trpo.conjugate_gradient(lambda v: a @ v, b, 2)
    torch.testing.assert_close(x, b / a.diagonal())


def test_conjugate_gradient_stops_where_nothing_is_left_to_solve():
    products, b = [], torch.arange(1.0, 5)
    x = trpo.conjugate_gradient(lambda v: products.append(v) or 2 * v, b, 10)
    assert torch.equal(x, b / 2)
    assert len(products) == 1
    assert torch.equal(trpo.conjugate_gradient(lambda v: 2 * v, torch.zeros(4), 10), torch.zeros(4))


# ---------------------------------------------------------------- the length of the step


@pytest.mark.parametrize("target_kl", [0.01, 0.5])
def test_full_step_has_half_s_F_s_of_target_kl_in_the_direction_of_x(target_kl):
    a = spd(6)
    x = torch.randn(6, generator=torch.Generator().manual_seed(0)).double()
    step = trpo.full_step(x, a @ x, target_kl)
    assert (step @ a @ step).item() / 2 == pytest.approx(target_kl)
    torch.testing.assert_close(step / step.norm(), x / x.norm())


def test_full_step_is_none_where_the_direction_changes_nothing():
    assert torch.equal(trpo.full_step(torch.ones(3), torch.zeros(3), 0.01), torch.zeros(3))
    assert torch.equal(trpo.full_step(torch.zeros(3), torch.zeros(3), 0.01), torch.zeros(3))


class Bandit(torch.nn.Module):
    """A softmax over n arms: its logits are its parameters."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, x):
        return Categorical(self.logits.expand(len(x), -1))


def bandit():
    """One state, three arms: the flat policy, and samples in which each arm is as frequent as it is probable."""
    ac = make(ActorCritic, spaces.Discrete(3))
    ac.pi = Bandit([math.log(5), math.log(3), math.log(2)])
    act = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    x = torch.zeros(len(act), 3)
    adv = torch.tensor([1.0, -0.5, 3.0])[act]
    with torch.no_grad():
        return ac, FlatParameters("Pi", ac.pi), Batch(x, act, adv, adv, ac.v(x), ac.pi(x))


def test_fisher_of_a_softmax_is_diag_p_minus_p_p():
    ac, pi_flat, batch = bandit()
    p = pi_flat.flat.softmax(0)
    fisher = fisher_of(pi_flat, ac.pi, batch)
    ours = torch.stack([fisher(row) for row in torch.eye(3)])
    torch.testing.assert_close(ours, torch.diag(p) - torch.outer(p, p), rtol=1e-5, atol=1e-6)


def test_the_step_of_a_bandit_is_the_analytic_natural_gradient():
    """F⁻¹ g of a softmax is the advantage of each arm, up to a constant, which changes no probability."""
    ac, pi_flat, batch = bandit()
    old, p = pi_flat.flat.clone(), pi_flat.flat.softmax(0)
    config = config_of(damping_coeff=0.0, cg_iters=3, target_kl=1e-4)
    stats = Averages()
    trpo.update(ac, pi_flat, Adam("V", ac.v, 0.0), batch, config, stats)
    step = (pi_flat.flat - old).double()
    arms = torch.tensor([1.0, -0.5, 3.0]).double()
    natural = arms - (p * arms).sum()
    share = config.backtrack_coeff ** stats.means()["BacktrackIters"]
    f = (torch.diag(p) - torch.outer(p, p)).double()
    expected = share * math.sqrt(2 * 1e-4 / (natural @ f @ natural)) * natural
    centred = [v - v.mean() for v in (step, expected)]
    torch.testing.assert_close(*centred, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- the line search


def search(loss, kl, step=1.0, **settings):
    """Along one parameter from 0, whose loss and KL are given: what came out, and the parameter."""
    flat = torch.zeros(1)
    config = config_of(**{"target_kl": 0.5, "backtrack_coeff": 0.5, "backtrack_iters": 4, **settings})

    def evaluate():
        return loss(flat.item()), kl(flat.item())

    found = trpo.line_search(flat, torch.tensor([step]), loss(0.0), evaluate, config)
    return found, flat.item()


def test_line_search_takes_a_whole_step_that_is_good():
    found, at = search(lambda t: -t, lambda t: t**2 / 2)
    assert found == {"LossPi": -1, "BacktrackIters": 0, "StepAccepted": 1, "KLPredicted": 0.5}
    assert at == 1


def test_line_search_shortens_until_the_kl_is_within_target_kl():
    found, at = search(lambda t: -t, lambda t: 4 * t**2)
    assert found == {"LossPi": -0.25, "BacktrackIters": 2, "StepAccepted": 1, "KLPredicted": 0.5 / 16}
    assert at == 0.25


def test_line_search_shortens_until_the_loss_is_smaller():
    found, at = search(lambda t: t * (t - 0.5), lambda t: 0.0)
    assert found == {"LossPi": -0.0625, "BacktrackIters": 2, "StepAccepted": 1, "KLPredicted": 0.5 / 16}
    assert at == 0.25


@pytest.mark.parametrize(
    ("loss", "kl"),
    [
        (lambda t: t, lambda t: 0.0),  # nothing improves
        (lambda t: 0.0, lambda t: 0.0),  # no better is not good enough
        (lambda t: -t, lambda t: 1.0),  # everything is too far
        (lambda t: math.nan if t else 0.0, lambda t: 0.0),
        (lambda t: -t, lambda t: math.nan),
    ],
)
def test_line_search_that_finds_nothing_leaves_the_parameters_bit_equal(loss, kl):
    flat = torch.randn(50, generator=torch.Generator().manual_seed(0))
    old = flat.clone()
    found = trpo.line_search(
        flat, torch.ones(50), loss(0.0), lambda: (loss(1.0), kl(1.0)), config_of(backtrack_iters=3)
    )
    assert found == {"LossPi": loss(0.0), "BacktrackIters": 3, "StepAccepted": 0, "KLPredicted": 0}
    assert torch.equal(flat, old)


def test_line_search_makes_backtrack_iters_tries():
    tried = []
    search(lambda t: tried.append(t) or 0.0, lambda t: 0.0, backtrack_iters=5)
    assert tried == [0, 1, 0.5, 0.25, 0.125, 0.0625]


# ---------------------------------------------------------------- whole updates


def reference_update(ac, v_opt, batch, config):
    """In plain torch and numpy, with F written out, in float64."""
    old = flat_of(ac.pi)
    adv = (batch.adv - batch.adv.mean()) / batch.adv.std(correction=0)
    pi_old = in_torch(batch.pi)
    logp_old = pi_old.log_prob(batch.act)

    def evaluate(flat):
        pi = in_torch(with_parameters(ac.pi, flat)(batch.x))
        loss = -((pi.log_prob(batch.act) - logp_old).exp() * adv).mean()
        return loss, torch.distributions.kl_divergence(pi_old, pi).mean()

    g = torch.autograd.functional.jacobian(lambda flat: evaluate(flat)[0], old).double().numpy()
    f = torch.autograd.functional.hessian(lambda flat: evaluate(flat)[1], old).double().numpy()
    a = f + config.damping_coeff * np.eye(len(f))
    x, res = np.zeros_like(g), -g
    p = res
    for _ in range(config.cg_iters):
        alpha = res @ res / (p @ a @ p)
        x, new = x + alpha * p, res - alpha * a @ p
        p, res = new + new @ new / (res @ res) * p, new
    step = torch.as_tensor(x * np.sqrt(2 * config.target_kl / (x @ f @ x))).float()
    found = {"BacktrackIters": config.backtrack_iters, "StepAccepted": 0, "KLPredicted": 0, "LossPi": 0.0}
    with torch.no_grad():
        for i in range(config.backtrack_iters):
            shorter = config.backtrack_coeff**i * step
            loss, kl = evaluate(old + shorter)
            if loss < evaluate(old)[0] and kl <= config.target_kl:
                predicted = shorter.double().numpy() @ f @ shorter.double().numpy() / 2
                found = {"BacktrackIters": i, "StepAccepted": 1, "KLPredicted": predicted, "LossPi": loss.item()}
                torch.nn.utils.vector_to_parameters(old + shorter, ac.pi.parameters())
                break
    losses, weights, size = [], [], len(batch.adv)
    for _ in range(config.train_v_iters):
        order = torch.randperm(size).numpy()
        for j in np.array_split(order, math.ceil(size / config.minibatch_size)):
            loss_v = (ac.v(batch.x[j]) - batch.ret[j]).square().mean()
            v_opt.step(loss_v)
            losses.append(loss_v.item())
            weights.append(len(j))
    return found | {"LossV": mean(losses, weights)}, float(np.linalg.norm(g))


@pytest.mark.parametrize(
    "settings", [{}, {"target_kl": 0.5, "backtrack_coeff": 0.5}, {"damping_coeff": 1.0, "cg_iters": 4}]
)
@pytest.mark.parametrize("act_space", ACTIONS)
def test_update_equals_that_in_plain_torch(act_space, settings):
    config = config_of(**settings)
    ac, pi_flat, _ = small(act_space)
    theirs = copy.deepcopy(ac)
    v_opt, plain = Adam("V", ac.v, 0.02, 0.3), Plain(torch.optim.Adam, theirs.v, 0.02, 0.3)
    start, norms, backtracked = pi_flat.flat.clone(), [], []
    for number in range(3):
        batch, stats = rollout(ac, trpo, size=40, seed=number), Averages()
        torch.manual_seed(number)
        trpo.update(ac, pi_flat, v_opt, batch, config, stats)
        torch.manual_seed(number)
        expected, norm = reference_update(theirs, plain, batch, config)
        norms.append(norm)
        backtracked.append(expected["BacktrackIters"])
        assert stats.means() == pytest.approx(expected, rel=2e-3, abs=1e-5)
        assert expected["StepAccepted"] == 1
        torch.testing.assert_close(pi_flat.flat, flat_of(theirs.pi), rtol=5e-3, atol=5e-4)
        assert_equal_parameters(ac.v, theirs.v, rtol=1e-3, atol=2e-5)
        theirs.pi.load_state_dict(ac.pi.state_dict())  # so that rounding does not add up
    assert (pi_flat.flat - start).norm() > 0.1
    assert pi_flat.norms == pytest.approx(norms, rel=1e-4)
    assert pi_flat.columns()["GradNormPi"] == pytest.approx(mean(norms), rel=1e-4)
    assert math.isnan(pi_flat.columns()["PiLR"])
    assert (pi_flat.steps, v_opt.steps) == (3, len(plain.norms)) == (3, 3 * 2 * 4)
    assert (pi_flat.grad == 0).all()
    assert (v_opt.grad == 0).all()
    if "target_kl" in settings and act_space is not BUTTONS:
        assert max(backtracked) > 0


@pytest.mark.parametrize("target_kl", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("act_space", ACTIONS)
def test_after_an_accepted_step_the_exact_kl_is_within_target_kl_and_not_far_below(act_space, target_kl):
    config, accepted = config_of(target_kl=target_kl), 0
    for seed in range(8):
        ac, pi_flat, batch = small(act_space, seed=seed)
        stats = Averages()
        trpo.update(ac, pi_flat, Adam("V", ac.v, 0.0), batch, config, stats)
        found = stats.means()
        kl = exact_kl(batch.pi, ac.pi, batch.x)
        assert kl <= target_kl * (1 + 1e-6)
        if found["StepAccepted"]:
            accepted += 1
            assert kl > 0.2 * found["KLPredicted"] > 0
            assert found["LossPi"] < 0
    assert accepted >= 6


def test_of_a_rollout_that_teaches_nothing_the_policy_stays_bit_equal_and_the_critic_learns():
    ac, pi_flat, batch = small(BUTTONS)
    batch = batch._replace(adv=torch.ones(40))  # standardised, they are 0
    before, stats = copy.deepcopy(ac), Averages()
    trpo.update(ac, pi_flat, Adam("V", ac.v, 0.01), batch, config_of(), stats)
    assert_equal_parameters(ac.pi, before.pi, **EXACTLY)
    assert (flat_of(ac.v) - flat_of(before.v)).norm() > 0.01
    found = stats.means()
    assert (found["StepAccepted"], found["BacktrackIters"], found["KLPredicted"]) == (0, 10, 0)
    assert pi_flat.norms == [0]


def test_an_update_does_not_touch_the_rollout():
    ac, pi_flat, batch = small(BUTTONS)
    before = [part.detach().clone() for part in (*batch[:5], *batch.pi)]
    trpo.update(ac, pi_flat, Adam("V", ac.v, 0.1), batch, config_of(), Averages())
    for ours, was in zip((*batch[:5], *batch.pi), before, strict=True):
        assert torch.equal(ours, was)


@pytest.mark.parametrize("name", ["V", "Pi"])
def test_a_loss_that_is_not_finite_is_named_and_its_network_stays(name):
    ac, pi_flat, batch = small(BUTTONS)
    (batch.ret if name == "V" else batch.adv)[3] = INF
    before = copy.deepcopy(ac)
    with pytest.raises(NonFiniteError, match=f"Loss{name}"):
        trpo.update(ac, pi_flat, Adam("V", ac.v, 0.1), batch, config_of(), Averages())
    assert_equal_parameters(*((ac.v, before.v) if name == "V" else (ac.pi, before.pi)), **EXACTLY)


def test_a_frozen_parameter_stands_still_and_one_without_effect_too():
    ac = make(ActorCritic, BUTTONS, hidden_sizes=(4,))
    ac.pi.layers[0].weight.requires_grad_(False)
    ac.pi.unused = torch.nn.Parameter(torch.ones(3))
    pi_flat, batch = FlatParameters("Pi", ac.pi), rollout(ac, trpo)
    before, stats = copy.deepcopy(ac.pi), Averages()
    trpo.update(ac, pi_flat, Adam("V", ac.v, 0.1), batch, config_of(), stats)
    assert stats.means()["StepAccepted"] == 1
    assert torch.equal(ac.pi.layers[0].weight, before.layers[0].weight)
    assert torch.equal(ac.pi.unused, torch.ones(3))
    assert not torch.equal(ac.pi.layers[1].weight, before.layers[1].weight)


def test_no_graph_outlives_an_update():
    ac, pi_flat, batch = small(BUTTONS)
    made, kept = [], pi_flat.gradient
    pi_flat.gradient = lambda *args, **kwargs: made.append(weakref.ref(g := kept(*args, **kwargs))) or g
    gc.disable()  # nor do they wait for the garbage collector
    try:
        trpo.update(ac, pi_flat, Adam("V", ac.v, 0.1), batch, config_of(), Averages())
        assert len(made) == 12  # ∇KL, ten products of the conjugate gradient, and the one that says how far
        assert [ref() for ref in made] == [None] * 12
    finally:
        gc.enable()
