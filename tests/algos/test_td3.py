"""TD3's targets, losses and updates: by hand, in plain torch, and against stable-baselines3."""

import copy
import math

import numpy as np
import pytest
import torch

from rlsuite.algos import td3
from rlsuite.common.health import Averages
from rlsuite.common.optim import Adam
from rlsuite.common.q_networks import MuTwinQNetwork
from rlsuite.errors import NonFiniteError
from tests.algos import test_updates
from tests.algos.test_q_losses import (
    EXACTLY,
    MID,
    OBS,
    TERMINATED,
    UNEVEN,
    WIDTH,
    assert_equal_parameters,
    copy_parameters,
    perturbed,
    random_batch,
    sb3_model,
    sb3_samples,
    sb3_step,
    settings_of,
)

CLOSE = {"rtol": 1e-3, "atol": 2e-5}
INF = math.inf


def test_target_equals_rew_plus_γ_times_the_smaller_next_q_unless_terminated():
    next_q = torch.tensor([[4.0, 8, -6], [8, 8, -8]])
    y = td3.td_target(torch.tensor([1.0, 2, 3]), TERMINATED, next_q, 0.5)
    assert y.tolist() == [1 + 4 / 2, 2, 3 - 8 / 2]


def test_smoothed_actions_are_within_the_clipped_noise_and_the_bounds():
    act = torch.tensor([[-1.0, 5], [0.9, 0.5], [-1, 5]])
    noise = torch.tensor([[0.1, -0.2], [0.4, -0.4], [3.0, -3]])
    smoothed = td3.smoothed(act, noise, MID, WIDTH, 0.5)
    # Half widths are 2 and 5, bounds -3 to 1 and 0 to 10, and noise counts up to 0.5.
    torch.testing.assert_close(smoothed, torch.tensor([[-0.8, 4.0], [1.0, 0], [0, 2.5]]))


def test_losses_by_hand():
    q, y = torch.tensor([1.0, 2]), torch.tensor([3.0, 2])
    assert td3.q_loss(q, y).item() == 2
    assert td3.policy_loss(torch.tensor([1.0, 2, 6])).item() == -3


def test_losses_refuse_shapes_that_would_broadcast():
    flat, column, pair = torch.zeros(3), torch.zeros(3, 1), torch.zeros(2, 3)
    for call in (
        lambda: td3.td_target(flat, flat.bool(), flat, 0.9),
        lambda: td3.td_target(column, column.bool(), pair, 0.9),
        lambda: td3.q_loss(pair, flat),
        lambda: td3.policy_loss(pair),
        lambda: td3.smoothed(column, torch.zeros(3, 2), MID, WIDTH, 0.5),
    ):
        with pytest.raises(AssertionError):
            call()


@pytest.mark.parametrize("max_grad_norm", [INF, 0.7])
@pytest.mark.parametrize("normalize", [False, True])
def test_update_equals_that_in_plain_torch(normalize, max_grad_norm):
    ac = test_updates.make(MuTwinQNetwork, UNEVEN)
    target = test_updates.move(copy.deepcopy(ac))
    if normalize:
        ac.encode.normalize = target.encode.normalize = True
        ac.encode.update(np.random.default_rng(0).normal(1, 3, (50, 3)))
    theirs, still = copy.deepcopy(ac), copy.deepcopy(target)
    pi_opt, q_opt = Adam("Pi", ac.pi, 0.02, max_grad_norm), Adam("Q", ac.q, 0.05, max_grad_norm)
    plain_pi, plain_q = (
        test_updates.Plain(torch.optim.Adam, module, lr, max_grad_norm)
        for module, lr in ((theirs.pi, 0.02), (theirs.q, 0.05))
    )
    stats, losses, qs, ys = Averages(), {"LossPi": [], "LossQ": [], "LossQ2": [], "QGap": []}, [], []
    config = td3.Config("-", gamma=0.9, target_noise=0.6, noise_clip=0.4, policy_delay=3)
    for number in range(6):
        batch = test_updates.transitions(UNEVEN, number)
        torch.manual_seed(number)
        td3.update(ac, target, pi_opt, q_opt, batch, config, stats)

        torch.manual_seed(number)
        x, next_x = (test_updates.features(theirs, obs) for obs in (batch.obs, batch.next_obs))
        with torch.no_grad():
            noise = (0.6 * torch.randn(20, 2)).clip(-0.4, 0.4) * WIDTH
            next_act = (still.pi(next_x) + noise).max(MID - WIDTH).min(MID + WIDTH)
            lower = torch.min(still.q.q1(next_x, next_act), still.q.q2(next_x, next_act))
            y = torch.where(batch.terminated, batch.rew, batch.rew + 0.9 * lower)
        q, q2 = theirs.q.q1(x, batch.act), theirs.q.q2(x, batch.act)
        loss_q, loss_q2 = (q - y).square().mean(), (q2 - y).square().mean()
        plain_q.step(loss_q + loss_q2)
        if number in (2, 5):  # every third time, up the first critic, which has just moved
            loss_pi = -theirs.q.q1(x, theirs.pi(x)).mean()
            plain_pi.step(loss_pi)
            losses["LossPi"].append(loss_pi.item())
        for name, value in (("LossQ", loss_q), ("LossQ2", loss_q2), ("QGap", (q - q2).abs().mean())):
            losses[name].append(value.item())
        qs.append(torch.min(q, q2).detach())
        ys.append(y)
        test_updates.assert_equal_parameters(ac, theirs, **CLOSE)
        assert (q_opt.grad == 0).all()  # the policy's loss has left nothing in the critics
    assert stats.means() == pytest.approx({name: np.mean(values) for name, values in losses.items()}, rel=1e-4)
    np.testing.assert_allclose(stats.kept("q"), torch.cat(qs), atol=1e-3)
    np.testing.assert_allclose(stats.kept("target"), torch.cat(ys), atol=1e-3)
    assert (pi_opt.steps, q_opt.steps) == (2, 6)
    assert q_opt.norms == pytest.approx(plain_q.norms, rel=1e-3)
    assert pi_opt.norms == pytest.approx(plain_pi.norms, rel=1e-3)
    test_updates.assert_equal_parameters(target, still, **EXACTLY)
    assert all(p.grad is None for p in target.parameters())


def test_td3_trains_as_stable_baselines3_does():
    ac = perturbed(MuTwinQNetwork(OBS, UNEVEN, settings_of(16, 16)))
    target = perturbed(ac)
    model = sb3_model("TD3", UNEVEN, gamma=0.97, learning_rate=0.01, tau=0.1)
    pairs = (ac.pi, model.actor), (ac.q, model.critic), (target.pi, model.actor_target), (target.q, model.critic_target)
    for ours, theirs in pairs:
        copy_parameters(ours, theirs)
    pi_opt, q_opt = Adam("Pi", ac.pi, 0.01), Adam("Q", ac.q, 0.01)
    for number in range(6):
        batch, stats = random_batch(UNEVEN), Averages()
        torch.manual_seed(number)
        td3.update(ac, target, pi_opt, q_opt, batch, td3.Config("-", gamma=0.97), stats)
        torch.manual_seed(number)
        logged = sb3_step(model, sb3_samples(batch, (batch.act - MID) / WIDTH))
        means = stats.means()
        assert means["LossQ"] + means["LossQ2"] == pytest.approx(logged["train/critic_loss"], rel=1e-4)
        if q_opt.steps % 2 == 0:
            for net, old in ((ac.pi, target.pi), (ac.q, target.q)):
                for p, p_old in zip(net.parameters(), old.parameters(), strict=True):
                    p_old.data.lerp_(p.data, 0.1)
            assert means["LossPi"] == pytest.approx(logged["train/actor_loss"], rel=1e-4)
        for ours, theirs in pairs:
            assert_equal_parameters(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["Q", "Pi"])
def test_a_network_that_is_not_finite_is_named(name):
    ac = perturbed(MuTwinQNetwork(OBS, UNEVEN, settings_of(8)))
    opts, batch = (Adam("Pi", ac.pi, 0.1), Adam("Q", ac.q, 0.1)), random_batch(UNEVEN)
    if name == "Q":
        batch.rew[3] = INF
    else:
        ac.pi.layers[-1].weight.register_hook(lambda grad: grad * math.nan)
    with pytest.raises(NonFiniteError, match=f"Loss{name}"):
        td3.update(ac, copy.deepcopy(ac), *opts, batch, td3.Config("-", policy_delay=1), Averages())
