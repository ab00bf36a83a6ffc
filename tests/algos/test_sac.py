"""SAC's targets, losses and updates: by hand, in plain torch, and against stable-baselines3."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rlsuite.algos import sac
from rlsuite.common.health import Averages, Epoch, StateScale, off_policy_health, squashed_health
from rlsuite.common.logger import Logger
from rlsuite.common.optim import Adam
from rlsuite.common.replay import ReplayBuffer
from rlsuite.common.soft_actor_critic import SoftActorCritic
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
    envs_like,
    perturbed,
    random_batch,
    sb3_model,
    sb3_samples,
    sb3_step,
)

CLOSE = {"rtol": 1e-3, "atol": 2e-5}
INF = math.inf


def networks(*hidden_sizes, activation="relu", alpha=0.5):
    torch.manual_seed(0)
    settings = {"hidden_sizes": hidden_sizes, "activation": activation, "normalize_obs": False, "alpha": alpha}
    return perturbed(SoftActorCritic(OBS, UNEVEN, SimpleNamespace(**settings)), 0.2)


def optimizers(ac, lr=0.01, max_grad_norm=INF):
    return tuple(
        Adam(name, module, lr, max_grad_norm) for name, module in (("Pi", ac.pi), ("Q", ac.q), ("Alpha", ac.alpha))
    )


def test_target_equals_rew_plus_γ_times_the_smaller_next_q_and_α_times_the_entropy_unless_terminated():
    next_q = torch.tensor([[4.0, 8, -6], [8, 8, -8]])
    y = sac.td_target(torch.tensor([1.0, 2, 3]), TERMINATED, next_q, torch.tensor([-3.0, 5, 1]), 2.0, 0.5)
    assert y.tolist() == [1 + (4 + 6) / 2, 2, 3 + (-8 - 2) / 2]


def test_losses_by_hand():
    logp, q = torch.tensor([-1.0, 2]), torch.tensor([[3.0, 1], [2, 7]])
    assert sac.policy_loss(logp, q, 0.5).item() == ((-0.5 - 2) + (1 - 1)) / 2
    assert sac.q_loss(torch.tensor([1.0, 2]), torch.tensor([3.0, 2])).item() == 2
    assert sac.temperature_loss(torch.tensor(2.0), logp, -3.0).item() == -2 * (0.5 - 3)


@pytest.mark.parametrize(("logp", "rises"), [(2.5, True), (1.5, False)])
def test_α_rises_while_the_entropy_is_below_its_target(logp, rises):
    """The target is -2 nats: at E[ ln π ] = 2.5 the entropy is below it."""
    ac = networks(8)
    opt = Adam("Alpha", ac.alpha, 0.01)
    before = ac.alpha().item()
    sac.temperature_loss(ac.alpha.log_alpha, torch.full((4,), logp), -2.0).backward()
    opt.step()
    assert (ac.alpha().item() > before) == rises
    assert ac.alpha().item() == pytest.approx(before * math.exp(0.01 if rises else -0.01))


def test_losses_refuse_shapes_that_would_broadcast():
    flat, column, pair = torch.zeros(3), torch.zeros(3, 1), torch.zeros(2, 3)
    for call in (
        lambda: sac.td_target(flat, flat.bool(), flat, flat, 0.1, 0.9),
        lambda: sac.td_target(flat, flat.bool(), pair, column, 0.1, 0.9),
        lambda: sac.q_loss(pair, flat),
        lambda: sac.policy_loss(column, pair, 0.1),
        lambda: sac.policy_loss(flat, flat, 0.1),
        lambda: sac.temperature_loss(flat, flat, -1.0),
        lambda: sac.temperature_loss(flat[0], column, -1.0),
    ):
        with pytest.raises(AssertionError):
            call()


@pytest.mark.parametrize("max_grad_norm", [INF, 0.7])
@pytest.mark.parametrize("normalize", [False, True])
def test_update_equals_that_in_plain_torch(normalize, max_grad_norm):
    ac = networks(16, 8, activation="tanh")
    if normalize:
        ac.encode.normalize = True
        ac.encode.update(np.random.default_rng(0).normal(1, 3, (50, 3)))
    target = perturbed(ac.q)
    theirs, still = copy.deepcopy(ac), copy.deepcopy(target)
    opts = optimizers(ac, 0.02, max_grad_norm)
    plain_pi, plain_q, plain_alpha = (
        test_updates.Plain(torch.optim.Adam, module, 0.02, max_grad_norm)
        for module in (theirs.pi, theirs.q, theirs.alpha)
    )
    stats, losses, qs, ys = Averages(), {}, [], []
    normal, tanh = torch.distributions.Normal, torch.distributions.TanhTransform
    for number in range(4):
        batch = test_updates.transitions(UNEVEN, number)
        torch.manual_seed(number)
        sac.update(ac, target, *opts, batch, sac.Config("-", gamma=0.9, target_entropy=-0.7), stats)

        torch.manual_seed(number)
        x, next_x = (test_updates.features(theirs, obs) for obs in (batch.obs, batch.next_obs))

        def draw(features):
            mu, log_std = theirs.pi.outputs(features).split(2, dim=1)
            u = mu + log_std.exp() * torch.randn(20, 2)
            slope = tanh().log_abs_det_jacobian(u, u.tanh())
            return MID + WIDTH * u.tanh(), (normal(mu, log_std.exp()).log_prob(u) - slope).sum(1)

        alpha = theirs.alpha.log_alpha.detach().exp()
        with torch.no_grad():
            next_act, next_logp = draw(next_x)
            lower = torch.min(still.q1(next_x, next_act), still.q2(next_x, next_act))
            y = torch.where(batch.terminated, batch.rew, batch.rew + 0.9 * (lower - alpha * next_logp))
        q, q2 = theirs.q.q1(x, batch.act), theirs.q.q2(x, batch.act)
        loss_q, loss_q2 = (q - y).square().mean(), (q2 - y).square().mean()
        plain_q.step(loss_q + loss_q2)
        act, logp = draw(x)
        loss_pi = (alpha * logp - torch.min(theirs.q.q1(x, act), theirs.q.q2(x, act))).mean()
        plain_pi.step(loss_pi)
        loss_alpha = (theirs.alpha.log_alpha * (-logp.detach() + 2 * 0.7)).mean()
        plain_alpha.step(loss_alpha)
        measured = {"LossPi": loss_pi, "LossQ": loss_q, "LossQ2": loss_q2, "LossAlpha": loss_alpha}
        for name, value in {**measured, "QGap": (q - q2).abs().mean()}.items():
            losses.setdefault(name, []).append(value.item())
        qs.append(torch.min(q, q2).detach())
        ys.append(y)
        test_updates.assert_equal_parameters(ac, theirs, **CLOSE)
        assert (opts[1].grad == 0).all()  # the policy's loss has left nothing in the critics
    assert stats.means() == pytest.approx({name: np.mean(values) for name, values in losses.items()}, rel=1e-3)
    np.testing.assert_allclose(stats.kept("q"), torch.cat(qs), atol=1e-3)
    np.testing.assert_allclose(stats.kept("target"), torch.cat(ys), atol=1e-3)
    for opt, plain in zip(opts, (plain_pi, plain_q, plain_alpha), strict=True):
        assert opt.norms == pytest.approx(plain.norms, rel=1e-3)
    test_updates.assert_equal_parameters(target, still, **EXACTLY)
    assert all(p.grad is None for p in target.parameters())


def copy_policy(ours, theirs):
    """Stable-baselines3 has a last layer for the mean and another one for ln σ."""
    *hidden, last = ours.layers
    copy_parameters(torch.nn.ModuleList(hidden), theirs.latent_pi)
    with torch.no_grad():
        for layer, rows in ((theirs.mu, slice(0, 2)), (theirs.log_std, slice(2, 4))):
            layer.weight.copy_(last.weight[rows])
            layer.bias.copy_(last.bias[rows])


def test_sac_trains_as_stable_baselines3_does(monkeypatch):
    ac = networks(16, 16)
    target = perturbed(ac.q)
    model = sb3_model("SAC", UNEVEN, gamma=0.97, learning_rate=0.01, tau=0.1, ent_coef="auto_0.5")
    with torch.no_grad():
        model.log_ent_coef.copy_(ac.alpha.log_alpha)
    copy_policy(ac.pi, model.actor)
    pairs = (ac.q, model.critic), (target, model.critic_target)
    for ours, theirs in pairs:
        copy_parameters(ours, theirs)
    opts = optimizers(ac)
    for number in range(5):
        batch, stats = random_batch(UNEVEN), Averages()
        now, after = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(number))
        with monkeypatch.context() as noise:  # they draw for the present states first, we for the next ones
            draw = "torch.distributions.normal._standard_normal"
            ours, theirs = [now, after], [after, now]
            noise.setattr(torch, "randn_like", lambda _, left=ours: left.pop())
            noise.setattr(draw, lambda *_, left=theirs, **__: left.pop())
            sac.update(ac, target, *opts, batch, sac.Config("-", gamma=0.97), stats)
            logged = sb3_step(model, sb3_samples(batch, (batch.act - MID) / WIDTH))
        for p, p_old in zip(ac.q.parameters(), target.parameters(), strict=True):
            p_old.data.lerp_(p.data, 0.1)
        means = stats.means()
        assert (means["LossQ"] + means["LossQ2"]) / 2 == pytest.approx(logged["train/critic_loss"], rel=1e-3)
        assert means["LossPi"] == pytest.approx(logged["train/actor_loss"], rel=1e-3)
        assert means["LossAlpha"] == pytest.approx(logged["train/ent_coef_loss"], rel=1e-3, abs=1e-3)
        assert ac.alpha().item() == pytest.approx(model.log_ent_coef.exp().item(), rel=1e-4)
        for ours, theirs in pairs:
            assert_equal_parameters(ours, theirs, rtol=1e-3, atol=2e-4)
        expected = copy.deepcopy(model.actor)
        copy_policy(ac.pi, expected)
        assert_equal_parameters(expected, model.actor, rtol=1e-3, atol=2e-4)


def test_each_network_moves_by_its_own_loss_and_the_target_stays():
    for moving in range(3):
        ac = networks(8)
        target = perturbed(ac.q)
        before, target_before = copy.deepcopy(ac), copy.deepcopy(target)
        opts = optimizers(ac, 0.0)
        opts[moving].lr = 0.01
        sac.update(ac, target, *opts, random_batch(UNEVEN), sac.Config("-"), Averages())
        assert_equal_parameters(target, target_before, **EXACTLY)
        for number, name in enumerate(("pi", "q", "alpha")):
            for p, old in zip(getattr(ac, name).parameters(), getattr(before, name).parameters(), strict=True):
                assert torch.equal(p, old) == (number != moving)


@pytest.mark.parametrize("name", ["Q", "Pi"])
def test_a_network_that_is_not_finite_is_named(name):
    ac = networks(8)
    batch = random_batch(UNEVEN)
    if name == "Q":
        batch.rew[3] = INF
    else:
        ac.pi.layers[-1].weight.register_hook(lambda grad: grad * math.nan)
    with pytest.raises(NonFiniteError, match=f"Loss{name}"):
        sac.update(ac, copy.deepcopy(ac.q), *optimizers(ac), batch, sac.Config("-"), Averages())


def filled(ac, steps, bonus):
    """An epoch of two environments; the first one terminates at its second step, the second one is truncated there."""
    buf = ReplayBuffer(100, envs_like(OBS, UNEVEN, 2), np.random.default_rng(0), torch.device("cpu"))
    epoch, rng = Epoch(1, [steps], ac, StateScale()), np.random.default_rng(1)
    obs, next_obs = rng.normal(size=(2, steps, 2, 3)).astype(np.float32)
    rew, val = rng.normal(size=(2, steps, 2)).astype(np.float32)
    for t in range(steps):
        ends = np.array([t == 1, False]), np.array([False, t == 1])
        buf.store(obs[t], np.tile(MID.numpy(), (2, 1)), rew[t], next_obs[t], *ends)
        epoch.note(val[t], 0.0, bonus=bonus[t])
    return epoch, buf, rew, val


def test_values_are_compared_with_the_soft_return_of_the_steps_that_follow(monkeypatch):
    """G_t = rew_t + γ (1 - terminated) (G_{t+1} - α ln π(a_{t+1}|s_{t+1})); where nothing follows, the soft value."""
    ac, gamma = networks(8), 0.9
    bonus = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]], np.float32)
    epoch, buf, rew, val = filled(ac, 4, bonus)
    after = np.arange(1.0, 9, dtype=np.float32)
    monkeypatch.setattr(ac, "value", lambda _: after)
    health = off_policy_health(epoch, ac, buf, gamma)
    ret = np.zeros((4, 2))
    soft = after.reshape(4, 2)
    ret[3] = rew[3] + gamma * soft[3]
    ret[2] = rew[2] + gamma * (ret[3] + bonus[3])
    ret[1] = rew[1] + gamma * np.array([0, soft[1, 1]])
    ret[0] = rew[0] + gamma * (ret[1] + bonus[1])
    assert health["ReturnMean"] == pytest.approx(ret.mean(), rel=1e-5)
    assert health["ValueBias"] == pytest.approx((val - ret).mean(), rel=1e-5)
    assert health["ExplainedVariance"] == pytest.approx(1 - np.var(ret - val) / np.var(ret), rel=1e-4)


def test_what_is_noted_of_each_step_is_its_entropy_and_what_that_earns(monkeypatch, tmp_path):
    """Uniform actions have a density of ½ in half widths; those of the policy one of its own."""
    noted, note = [], Epoch.note

    def noting(self, val, entropy, bonus):
        noted.append((val, entropy, bonus))
        note(self, val, entropy, bonus)

    monkeypatch.setattr(Epoch, "note", noting)
    settings = {"start_steps": 4, "update_after": 16, "batch_size": 8, "num_test_episodes": 0, "hidden_sizes": (8,)}
    config = sac.Config("Pendulum-v1", total_steps=16, num_envs=2, steps_per_epoch=16, alpha=0.3, **settings)
    sac.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    assert len(noted) == 8
    for step, (_, entropy, bonus) in enumerate(noted):
        assert bonus.shape == (2,)
        assert bonus.mean() == pytest.approx(0.3 * entropy, rel=1e-4)
        assert (bonus[0] == bonus[1] == pytest.approx(0.3 * math.log(2))) == (step < 2)


def test_the_value_is_that_of_a_sampled_action_with_its_entropy():
    ac = networks(8)
    obs = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    torch.manual_seed(3)
    val = ac.value(obs)
    torch.manual_seed(3)
    with torch.no_grad():
        x = torch.from_numpy(obs)
        act, logp = ac.pi(x).rsample()
        lower = torch.min(ac.q.q1(x, act), ac.q.q2(x, act))
    np.testing.assert_allclose(val, lower - ac.alpha().item() * logp, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ac.action_value(obs, act.numpy()), lower, rtol=1e-5, atol=1e-5)


def test_health_of_the_policy_by_hand():
    ac = networks(8)
    epoch, buf, _, _ = filled(ac, 4, np.zeros((4, 2), np.float32))
    off_policy_health(epoch, ac, buf, 0.9)
    before, x = copy.deepcopy(ac), torch.from_numpy(epoch.obs)
    with torch.no_grad():
        for p in ac.pi.parameters():
            p.add_(2 * torch.randn_like(p))
    target = perturbed(ac.q)
    health = squashed_health(epoch, ac, target)
    with torch.no_grad():
        old, new = before.pi(x), ac.pi(x)
        p, q = (torch.distributions.Normal(pi.mu, pi.log_std.exp()) for pi in (old, new))
        taken = MID.expand(8, 2)
        gap = (ac.q(x, taken) - target(x, taken)).abs().mean()
        now, then = (ac.q(x, MID + WIDTH * pi.mu.tanh()) for pi in (new, old))
    assert health["KL"] == pytest.approx(torch.distributions.kl_divergence(p, q).sum(1).mean().item(), rel=1e-4)
    assert health["LogStd"] == pytest.approx(new.log_std.mean().item(), rel=1e-5)
    assert 0 < health["ActionSaturation"] < 1
    assert health["ActionSaturation"] == pytest.approx((new.mu.tanh().abs() > 0.99).float().mean().item())
    assert health["TargetGap"] == pytest.approx(gap.item(), rel=1e-5)
    gain = (now - then).mean() / ac.q(x, taken).std(correction=0)
    assert health["ActorGain"] == pytest.approx(gain.item(), rel=1e-3)
