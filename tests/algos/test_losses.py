"""The losses of the on-policy algorithms against hand-computed numbers and gradients."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.algos import a2c, ppo, trpo, vpg
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch

torch.set_num_threads(1)
OBS = spaces.Box(-1, 1, (3,), np.float32)
ACTIONS = [spaces.Discrete(3), spaces.Box(-2, 1, (2,), np.float32)]


def rollout(act_space, size=32):
    """An actor-critic, and samples of its own with random advantages and returns."""
    torch.manual_seed(0)
    settings = SimpleNamespace(hidden_sizes=(8,), activation="tanh", normalize_obs=False, log_std_init=-0.5)
    ac = ActorCritic(OBS, act_space, settings)
    with torch.no_grad():
        for p in ac.parameters():
            p.add_(0.3 * torch.randn_like(p))
        x = torch.randn(size, 3)
        pi = ac.pi(x)
        adv, ret = 3 * torch.randn(size) + 1, torch.randn(size)
        return ac, Batch(x, torch.as_tensor(pi.sample()), adv, ret, ac.v(x), pi)


def torch_log_prob(ac, x, act):
    pi = ac.pi(x)
    if isinstance(ac.act_space, spaces.Discrete):
        return torch.distributions.Categorical(logits=pi.logits).log_prob(act)
    return torch.distributions.Normal(pi.mu, pi.log_std.exp()).log_prob(act).sum(-1)


def gradient(loss, module):
    grads = torch.autograd.grad(loss, list(module.parameters()))
    return torch.cat([g.reshape(-1) for g in grads])


@pytest.mark.parametrize("algo", [vpg, a2c])
def test_policy_loss_equals_minus_E_logp_adv(algo):
    logp, adv = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([2.0, -1.0, 4.0])
    assert algo.policy_loss(logp, adv).item() == pytest.approx(-(-2 + 2 - 2) / 3)


@pytest.mark.parametrize("act_space", ACTIONS)
@pytest.mark.parametrize("algo", [vpg, a2c])
def test_policy_gradient_equals_E_grad_ln_π_adv(algo, act_space):
    ac, batch = rollout(act_space)
    ours = gradient(algo.policy_loss(ac.pi(batch.x).log_prob(batch.act), batch.adv), ac.pi)
    expected = torch.zeros_like(ours)
    for x, act, adv in zip(batch.x, batch.act, batch.adv, strict=True):
        expected += gradient(torch_log_prob(ac, x[None], act[None])[0], ac.pi) * adv / len(batch.adv)
    torch.testing.assert_close(-ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("algo", [vpg, a2c, ppo, trpo])
def test_value_loss_equals_E_V_minus_ret_squared(algo):
    val = torch.tensor([1.0, 2.0, -1.0, 0.0], requires_grad=True)
    loss = algo.value_loss(val, torch.tensor([0.0, 4.0, -1.0, 1.0]))
    loss.backward()
    assert loss.item() == pytest.approx((1 + 4 + 0 + 1) / 4)
    torch.testing.assert_close(val.grad, torch.tensor([0.5, -1.0, 0.0, -0.5]))


def test_log_derivative_trick_and_that_a_baseline_adds_nothing():
    ac, batch = rollout(ACTIONS[0], size=1)
    f, actions = torch.tensor([1.0, -2.0, 5.0]), torch.arange(3)
    probs = ac.pi(batch.x).logits.softmax(-1)[0]
    expected = gradient((probs * f).sum(), ac.pi)  # ∇ E[ f(a) ]
    assert expected.norm() > 0.1
    for baseline in (0.0, 100.0):
        logp = ac.pi(batch.x.expand(3, -1)).log_prob(actions)
        weights = 3 * probs.detach() * (f - baseline)  # policy_loss is a mean over 3 samples, E one over π
        torch.testing.assert_close(-gradient(vpg.policy_loss(logp, weights), ac.pi), expected, rtol=1e-3, atol=1e-4)


# ratio, adv, and whether the ratio is beyond 1 ± 0.2 in the direction that pays
CLIP_CASES = [
    (1.5, 2.0, True),
    (1.5, -2.0, False),
    (0.5, 2.0, False),
    (0.5, -2.0, True),
    (1.1, 2.0, False),
    (0.9, -2.0, False),
    (1.0, 1.0, False),
]


def ppo_loss(cases, clip_ratio=0.2):
    ratio, adv = (torch.tensor([case[i] for case in cases]) for i in (0, 1))
    logp_old = -torch.arange(1.0, len(cases) + 1)
    logp = (logp_old + ratio.log()).requires_grad_()
    loss, info = ppo.policy_loss(logp, logp_old, adv, clip_ratio)
    loss.backward()
    return loss.item(), logp.grad, info


@pytest.mark.parametrize(
    ("ratio", "adv", "expected"),
    [(1.5, 2, 2.4), (1.5, -2, -3), (0.5, 2, 1), (0.5, -2, -1.6), (1.1, 2, 2.2), (0.9, -2, -1.8), (1, 1, 1)],
)
def test_policy_loss_equals_minus_E_min_r_adv_clip_r_adv(ratio, adv, expected):
    assert ppo_loss([(ratio, float(adv))])[0] == pytest.approx(-expected, rel=1e-5)


def test_policy_loss_is_the_mean_over_samples():
    alone = [ppo_loss([case])[0] for case in CLIP_CASES]
    assert ppo_loss(CLIP_CASES)[0] == pytest.approx(np.mean(alone), rel=1e-5)


def test_the_clip_switches_the_gradient_off_exactly_where_moving_further_would_pay():
    _, grad, info = ppo_loss(CLIP_CASES)
    for g, (ratio, adv, off) in zip(grad.tolist(), CLIP_CASES, strict=True):
        assert g == (0 if off else pytest.approx(-ratio * adv / len(CLIP_CASES), rel=1e-5))
    assert info["ClipFrac"].item() == pytest.approx(2 / 7)


def test_clip_frac_depends_on_clip_ratio():
    assert ppo_loss(CLIP_CASES, clip_ratio=0.05)[2]["ClipFrac"].item() == pytest.approx(4 / 7)
    assert ppo_loss(CLIP_CASES, clip_ratio=0.6)[2]["ClipFrac"].item() == 0


@pytest.mark.parametrize("act_space", ACTIONS)
def test_ppo_gradient_is_the_policy_gradient_before_anything_has_moved(act_space):
    ac, batch = rollout(act_space)
    logp = ac.pi(batch.x).log_prob(batch.act)
    clipped = gradient(ppo.policy_loss(logp, batch.pi.log_prob(batch.act), batch.adv, 0.2)[0], ac.pi)
    logp = ac.pi(batch.x).log_prob(batch.act)
    torch.testing.assert_close(clipped, gradient(vpg.policy_loss(logp, batch.adv), ac.pi), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("algo", [vpg, a2c, ppo, trpo])
def test_losses_refuse_shapes_that_would_broadcast(algo):
    flat, column = torch.zeros(4), torch.zeros(4, 1)
    for a, b in ((flat, column), (column, flat), (column, column)):
        with pytest.raises(AssertionError):
            algo.value_loss(a, b)
        with pytest.raises(AssertionError):
            algo.policy_loss(a, b, *{ppo: (b, 0.2), trpo: (b,)}.get(algo, ()))
    if algo is ppo:
        with pytest.raises(AssertionError):
            ppo.policy_loss(flat, flat, column, 0.2)
