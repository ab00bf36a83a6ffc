"""Targets, losses and exploration of the off-policy algorithms, by hand and against stable-baselines3."""

import copy
import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.algos import ddpg, dqn
from rlsuite.common.buffer import RolloutBuffer
from rlsuite.common.health import Averages, off_policy_health
from rlsuite.common.optim import FlatOptimizer, adam
from rlsuite.common.q_networks import MuQNetwork, QNetwork
from rlsuite.common.replay import ReplayBuffer, Transitions

torch.set_num_threads(1)
LINE = spaces.Box(-9, 9, (1,), np.float32)
OBS = spaces.Box(-5, 5, (3,), np.float32)
BUTTONS = spaces.Discrete(4)
UNEVEN = spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))
MID, WIDTH = torch.tensor([-1.0, 5]), torch.tensor([2.0, 5])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def fill(net, weight, bias):
    """Set the only layer of a network."""
    with torch.no_grad():
        net.net[0].weight.copy_(torch.tensor(weight))
        net.net[0].bias.copy_(torch.tensor(bias))


def linear_q(*lines):
    """Q(s, a) = slope s + intercept, one (slope, intercept) for each action."""
    ac = QNetwork(LINE, spaces.Discrete(len(lines)), ())
    fill(ac.q, [[float(slope)] for slope, _ in lines], [float(intercept) for _, intercept in lines])
    return ac


def linear_actor_critic(pi=((0, 0), (0, 0)), q=(0, 0, 0, 0)):
    """μ_i = mid + width tanh(slope s + intercept); Q(s, a) = q·(s, a in half widths, 1)."""
    ac = MuQNetwork(LINE, UNEVEN, ())
    fill(ac.pi, [[float(slope)] for slope, _ in pi], [float(intercept) for _, intercept in pi])
    fill(ac.q, [[float(w) for w in q[:3]]], [float(q[3])])
    return ac


def perturbed(net, amount=0.3):
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(amount * torch.randn_like(p))
    return other


def random_batch(act_space, size=64, rew=1.0):
    if isinstance(act_space, spaces.Discrete):
        act = torch.randint(int(act_space.n), (size,))
    else:
        act = MID + WIDTH * (2 * torch.rand(size, 2) - 1)
    obs, next_obs = torch.randn(2, size, 3)
    return Transitions(obs, act, rew * torch.randn(size), next_obs, torch.rand(size) < 0.2)


def optimizer(name, module, lr=1e-3, max_grad_norm=math.inf):
    opt = FlatOptimizer(name, module, adam, max_grad_norm)
    opt.lr = lr
    return opt


def sb3_samples(batch, act):
    """The batch as stable-baselines3 wants it: columns, and its dones are terminations only."""
    types = pytest.importorskip("stable_baselines3.common.type_aliases")
    dones, rewards = batch.terminated.float()[:, None], batch.rew[:, None]
    return types.ReplayBufferSamples(batch.obs, act, batch.next_obs, dones, rewards)


def sb3_model(name, act_space, **settings):
    sb3 = pytest.importorskip("stable_baselines3")

    class Nowhere(gym.Env):
        observation_space, action_space = OBS, act_space

    policy_kwargs = {"net_arch": [16, 16], "activation_fn": torch.nn.ReLU}
    model = getattr(sb3, name)(
        "MlpPolicy", Nowhere(), buffer_size=10, policy_kwargs=policy_kwargs, device="cpu", **settings
    )
    model.set_logger(sb3.common.logger.Logger(None, []))
    return model


def sb3_step(model, samples):
    """One gradient step on the samples; returns what it logs."""
    model.replay_buffer.sample = lambda *_, **__: samples
    model.train(gradient_steps=1, batch_size=len(samples.rewards))
    return model.logger.name_to_value


def copy_parameters(source, to):
    with torch.no_grad():
        for p, q in zip(source.parameters(), to.parameters(), strict=True):
            q.copy_(p)


def assert_equal_parameters(a, b, **tolerance):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, **tolerance)


EXACTLY = {"rtol": 0, "atol": 0}
TERMINATED = torch.tensor([False, True, False])


def test_dqn_target_equals_rew_plus_γ_next_q_of_next_act_unless_terminated():
    next_q = torch.tensor([[4.0, 8], [4, 8], [-6, 2]])
    y = dqn.td_target(torch.tensor([1.0, 2, 3]), TERMINATED, next_q, torch.tensor([1, 1, 0]), 0.5)
    assert y.tolist() == [1 + 8 / 2, 2, 3 - 6 / 2]


def test_ddpg_target_equals_rew_plus_γ_next_q_unless_terminated():
    y = ddpg.td_target(torch.tensor([1.0, 2, 3]), TERMINATED, torch.tensor([8.0, 8, -6]), 0.5)
    assert y.tolist() == [1 + 8 / 2, 2, 3 - 6 / 2]


def ends_of_all_kinds(act_space):
    """From obs 1 to 2 with reward 10 in four environments: nothing ends, terminated, truncated, both."""
    space = LINE, act_space
    replay = ReplayBuffer(8, 4, *space, np.random.default_rng(0))
    terminated, truncated = np.array([[False, True, False, True], [False, False, True, True]])
    act = np.zeros(4, np.int64) if isinstance(act_space, spaces.Discrete) else np.tile(MID.numpy(), (4, 1))
    after = np.where(terminated | truncated, 7, 2)[:, None]  # 7 is where the next episodes begin
    for obs, next_obs, rew, ends in (
        (np.ones((4, 1)), np.full((4, 1), 2), 10.0, (terminated, truncated)),
        (after, after, 0.0, np.zeros((2, 4), bool)),
    ):
        replay.store(obs, act, np.full(4, rew), next_obs, *ends)
    batch = replay.sample(200, torch.device("cpu"))
    return Transitions(*(tensor[batch.rew == 10] for tensor in batch))


@pytest.mark.parametrize("algo", ["dqn", "ddpg"])
def test_truncated_steps_bootstrap_from_what_they_led_to_and_terminated_ones_do_not(algo):
    stats = Averages()
    if algo == "dqn":
        ac, target, batch = linear_q((0, 0), (0, 1)), linear_q((3, 1), (0, 0)), ends_of_all_kinds(spaces.Discrete(2))
        dqn.update(ac, target, optimizer("LossQ", ac.q), batch, dqn.Config("-", gamma=0.5), stats)
    else:
        ac, target, batch = linear_actor_critic(), linear_actor_critic(q=(3, 0, 0, 1)), ends_of_all_kinds(UNEVEN)
        opts = optimizer("LossPi", ac.pi), optimizer("LossQ", ac.q)
        ddpg.update(ac, target, *opts, batch, ddpg.Config("-", gamma=0.5), stats)
    assert 5 < batch.terminated.sum() < len(batch.rew) - 5
    expected = np.where(batch.terminated, 10, 10 + 0.5 * (3 * 2 + 1))
    np.testing.assert_array_equal(stats.kept("target"), expected)


@pytest.mark.parametrize(
    ("double_q", "expected"),
    [
        (False, [9.0, 6]),  # the highest of target: its own
        (True, [5.0, 2]),  # the highest of q is the other action, and target says what that one is worth
    ],
)
def test_double_dqn_chooses_by_q_and_values_by_target(double_q, expected):
    # s' = 1: q is (1, 0) and target (5, 9); s' = -1: q is (-1, 0) and target (6, 2)
    q, target = linear_q((1, 0), (0, 0)), linear_q((-0.5, 5.5), (3.5, 5.5))
    next_obs = torch.tensor([[1.0], [-1]])
    zeros = torch.zeros(2)
    batch = Transitions(next_obs, zeros.long(), zeros, next_obs, zeros.bool())
    stats = Averages()
    dqn.update(q, target, optimizer("LossQ", q.q), batch, dqn.Config("-", gamma=1.0, double_q=double_q), stats)
    assert stats.kept("target").tolist() == expected


def test_huber_and_squared_loss_by_hand():
    q, y = torch.tensor([0.5, -0.5, 4, 0, 2], requires_grad=True), torch.tensor([0.0, 0, 1, 2, 1])  # e: ½ -½ 3 -2 1
    assert dqn.q_loss(q, y, "huber").item() == pytest.approx((0.125 + 0.125 + 2.5 + 1.5 + 0.5) / 5)
    squared = (0.25 + 0.25 + 9 + 4 + 1) / 5
    assert dqn.q_loss(q, y, "squared").item() == ddpg.q_loss(q, y).item() == pytest.approx(squared)


def test_huber_loss_equals_that_of_torch_and_its_gradient_is_the_error_clipped_to_1():
    q, y = (3 * torch.randn(2, 100)).unbind()
    q.requires_grad_()
    loss = dqn.q_loss(q, y, "huber")
    torch.testing.assert_close(loss, torch.nn.HuberLoss()(q, y))
    loss.backward()
    torch.testing.assert_close(q.grad, (q.detach() - y).clamp(-1, 1) / 100)


def test_policy_loss_is_minus_the_mean_q():
    assert ddpg.policy_loss(torch.tensor([1.0, 2, 6])).item() == -3


def test_losses_refuse_shapes_that_would_broadcast():
    flat, column, act = torch.zeros(4), torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64)
    for a, b in ((flat, column), (column, flat), (column, column)):
        with pytest.raises(AssertionError):
            dqn.q_loss(a, b, "huber")
        with pytest.raises(AssertionError):
            ddpg.q_loss(a, b)
        with pytest.raises(AssertionError):
            ddpg.td_target(a, flat.bool(), b, 0.9)
        with pytest.raises(AssertionError):
            dqn.td_target(a, b.bool(), torch.zeros(4, 2), act, 0.9)
    with pytest.raises(AssertionError):
        ddpg.policy_loss(column)


@pytest.mark.parametrize(("rew", "max_norm"), [(0.1, 0.75), (100.0, 0.5)])  # some steps are clipped, some are not
def test_dqn_trains_as_stable_baselines3_does(rew, max_norm):
    ac = perturbed(QNetwork(OBS, BUTTONS, (16, 16)))
    target = perturbed(ac)
    model = sb3_model("DQN", BUTTONS, gamma=0.97, learning_rate=0.01, max_grad_norm=max_norm)
    copy_parameters(ac.q, model.q_net)
    copy_parameters(target.q, model.q_net_target)
    opt, config = optimizer("LossQ", ac.q, 0.01, max_grad_norm=max_norm), dqn.Config("-", gamma=0.97, loss="huber")
    norms = []
    for _ in range(5):
        batch, stats = random_batch(BUTTONS, rew=rew), Averages()
        dqn.update(ac, target, opt, batch, config, stats)
        logged = sb3_step(model, sb3_samples(batch, batch.act[:, None]))
        assert stats.means()["LossQ"] == pytest.approx(logged["train/loss"], rel=1e-4)
        assert_equal_parameters(ac.q, model.q_net, rtol=1e-3, atol=1e-4)
        norms.append(stats.means()["GradNormQ"])
    assert min(norms) < max_norm < max(norms)


def test_ddpg_trains_as_stable_baselines3_does():
    ac = perturbed(MuQNetwork(OBS, UNEVEN, (16, 16)))
    target = perturbed(ac)
    model = sb3_model("DDPG", UNEVEN, gamma=0.97, learning_rate=0.01, tau=0.1)
    pairs = (ac.pi, model.actor), (ac.q, model.critic), (target.pi, model.actor_target), (target.q, model.critic_target)
    for ours, theirs in pairs:
        copy_parameters(ours, theirs)
    pi_opt, q_opt = optimizer("LossPi", ac.pi, 0.01), optimizer("LossQ", ac.q, 0.01)
    for _ in range(5):
        batch, stats = random_batch(UNEVEN), Averages()
        ddpg.update(ac, target, pi_opt, q_opt, batch, ddpg.Config("-", gamma=0.97), stats)
        logged = sb3_step(model, sb3_samples(batch, (batch.act - MID) / WIDTH))
        for net, old in ((ac.pi, target.pi), (ac.q, target.q)):
            for p, p_old in zip(net.parameters(), old.parameters(), strict=True):
                p_old.data.lerp_(p.data, 0.1)
        assert stats.means()["LossQ"] == pytest.approx(logged["train/critic_loss"], rel=1e-4)
        assert stats.means()["LossPi"] == pytest.approx(logged["train/actor_loss"], rel=1e-4)
        for ours, theirs in pairs:
            assert_equal_parameters(ours, theirs, rtol=1e-3, atol=1e-4)


def test_dqn_update_moves_q_and_leaves_the_target():
    ac = perturbed(QNetwork(OBS, BUTTONS, (8,)))
    target = perturbed(ac)
    before = copy.deepcopy((ac, target))
    dqn.update(ac, target, optimizer("LossQ", ac.q), random_batch(BUTTONS), dqn.Config("-"), Averages())
    assert_equal_parameters(target, before[1], **EXACTLY)
    assert all((p != q).any() for p, q in zip(ac.parameters(), before[0].parameters(), strict=True))


@pytest.mark.parametrize(("pi_lr", "q_lr"), [(0.0, 0.01), (0.01, 0.0)])
def test_ddpg_update_moves_each_network_by_its_own_loss_and_leaves_the_target(pi_lr, q_lr):
    ac = perturbed(MuQNetwork(OBS, UNEVEN, (8,)))
    target = perturbed(ac)
    before = copy.deepcopy((ac, target))
    opts = optimizer("LossPi", ac.pi, pi_lr), optimizer("LossQ", ac.q, q_lr)
    ddpg.update(ac, target, *opts, random_batch(UNEVEN), ddpg.Config("-"), Averages())
    assert_equal_parameters(target, before[1], **EXACTLY)
    for net, old, lr in ((ac.pi, before[0].pi, pi_lr), (ac.q, before[0].q, q_lr)):
        for p, q in zip(net.parameters(), old.parameters(), strict=True):
            assert torch.equal(p, q) == (lr == 0)


def test_the_policy_climbs_the_critic_that_has_just_moved():
    ac = perturbed(MuQNetwork(OBS, UNEVEN, (8,)))
    opts = optimizer("LossPi", ac.pi, 0.0), optimizer("LossQ", ac.q, 0.1)
    batch, stats = random_batch(UNEVEN), Averages()
    before = ac.value(batch.obs).mean().item()
    ddpg.update(ac, perturbed(ac), *opts, batch, ddpg.Config("-"), stats)
    after = ac.value(batch.obs).mean().item()
    assert abs(after - before) > 0.01
    assert stats.means()["LossPi"] == pytest.approx(-after, rel=1e-5)


@pytest.mark.parametrize("algo", ["dqn", "ddpg"])
def test_td_columns_compare_all_predictions_before_their_steps_with_their_targets(algo):
    act_space = BUTTONS if algo == "dqn" else UNEVEN
    ac = perturbed(QNetwork(OBS, BUTTONS, (8,)) if algo == "dqn" else MuQNetwork(OBS, UNEVEN, (8,)))
    target, stats, q, y = perturbed(ac), Averages(), [], []
    q_opt, pi_opt = optimizer("LossQ", ac.q, 0.05), optimizer("LossPi", ac.pi, 0.05) if algo == "ddpg" else None
    for _ in range(3):
        batch = random_batch(act_space, size=20)
        with torch.no_grad():
            values = ac.q(batch.obs) if algo == "dqn" else ac.q(batch.obs, batch.act)
            q += [v[a].item() for v, a in zip(values, batch.act, strict=True)] if algo == "dqn" else values.tolist()
        y += (batch.rew + 0.9 * ~batch.terminated * target.value(batch.next_obs)).tolist()
        if algo == "dqn":
            dqn.update(ac, target, q_opt, batch, dqn.Config("-", gamma=0.9), stats)
        else:
            ddpg.update(ac, target, pi_opt, q_opt, batch, ddpg.Config("-", gamma=0.9), stats)
    buf = RolloutBuffer(4, 2, OBS, act_space)
    never, obs = np.zeros(2, bool), np.zeros((2, 3))
    buf.store(obs, np.zeros(buf.act.shape[1:]), np.zeros(2), obs, never, never, np.zeros(2), 0.0)
    health, q, y = off_policy_health(ac, buf, obs.astype(np.float32), 0.9, stats), np.array(q), np.array(y)
    assert health["TDError"] == pytest.approx(np.abs(y - q).mean(), rel=1e-4)
    assert health["ExplainedVarianceTD"] == pytest.approx(1 - np.var(y - q) / np.var(y), rel=1e-4)


def test_epsilon_is_1_for_start_steps_and_then_on_its_line():
    config = dqn.Config("-", total_steps=1000, start_steps=100, epsilon_start=0.9, epsilon_end=0.1, epsilon_share=0.5)
    points = {0: 1, 99: 1, 100: 0.74, 250: 0.5, 499: 0.1016, 500: 0.1, 999: 0.1}
    assert {step: dqn.epsilon_at(step, config) for step in points} == pytest.approx(points)
    at_once = dqn.Config("-", start_steps=10, epsilon_share=0.0)
    assert [dqn.epsilon_at(step, at_once) for step in (9, 10, 50_000)] == pytest.approx([1, 0.05, 0.05])


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_explore_is_ε_greedy_and_returns_q_of_the_action_taken(epsilon):
    count, n = 20_000, 4
    obs = np.random.default_rng(0).choice([-2, 3], (count, 1))
    q = obs * [1, -1, 0, 2] + [0, 0, -0.5, -10]
    act, val = dqn.explore(q.astype(np.float32), epsilon, np.random.default_rng(1))
    assert (act.dtype, val.dtype) == (np.int64, np.float32)
    np.testing.assert_allclose(val, q[np.arange(count), act])
    for s, greedy in ((-2, 1), (3, 0)):
        freq = np.bincount(act[obs[:, 0] == s], minlength=n) / (obs == s).sum()
        expected = np.full(n, epsilon / n)
        expected[greedy] += 1 - epsilon
        sigma = np.sqrt(expected * (1 - expected) / (obs == s).sum())
        assert (np.abs(freq - expected) <= 4 * sigma + 1e-12).all()


@pytest.mark.parametrize("corr", [0.0, 0.5, 0.95])
def test_noise_keeps_unit_variance_and_its_correlation_from_step_to_step(corr):
    rng = np.random.default_rng(0)
    z = [rng.standard_normal((5000, 2), np.float32)]
    for _ in range(20):
        z.append(ddpg.next_noise(z[-1], corr, rng))
    assert z[-1].dtype == np.float32
    assert z[-1].var(0) == pytest.approx(1, abs=0.08)
    for earlier, later in itertools.pairwise(z):
        assert (earlier * later).mean() == pytest.approx(corr, abs=0.05)
    assert (z[-1] * z[-4]).mean() == pytest.approx(corr**3, abs=0.05)
    assert z[-1].prod(1).mean() == pytest.approx(0, abs=0.06)


def test_policy_change_of_dqn_by_hand():
    before, ac, target = linear_q((1, 0), (0, 0)), linear_q((1, 1.5), (0, 0)), linear_q((1, 1), (0, -2))
    obs, act = torch.tensor([[-2.0], [-1], [1], [2]]), torch.tensor([0, 1, 0, 1])
    change = dqn.policy_change(before, ac, target, obs, act, epsilon=0.2)
    assert change == pytest.approx(
        {
            "GreedyFlips": 0.25,  # at s = -1 only
            "KL": 0.25 * (0.9 - 0.1) * math.log(9),
            "TargetGap": (0.5 + 2 + 0.5 + 2) / 4,
            "UpdateRatioQ": 1.5,
        }
    )


def test_policy_change_of_ddpg_by_hand():
    before = linear_actor_critic(pi=((1, 0), (0, math.atanh(0.5))), q=(0, 1, 0, 0))
    ac = linear_actor_critic(pi=((1, 0), (0, 0)), q=(0, 1, 0, 2))
    target = linear_actor_critic(q=(0, 0, 3, 2))
    obs = torch.tensor([[0.0], [1], [9], [-9]])
    act = MID + WIDTH * torch.tensor([[0, 0], [1, 0], [0, -1], [0.5, 0.5]])
    change = ddpg.policy_change(before, ac, target, obs, act, act_noise=0.1)
    assert change == pytest.approx(
        {
            "KL": 0.5 * (0.5 / 0.1) ** 2,  # μ of the second dimension has moved by half of its half width
            "ActionSaturation": 2 / 8,
            "TargetGap": (0 + 1 + 3 + 1) / 4,
            "UpdateRatioPi": math.atanh(0.5) / math.hypot(1, math.atanh(0.5)),
            "UpdateRatioQ": 2.0,
        },
        rel=1e-5,
    )
    floored = ddpg.policy_change(before, ac, target, obs, act, act_noise=0.0)
    assert floored["KL"] == pytest.approx(0.5 * (0.5 / 0.01) ** 2, rel=1e-5)


@pytest.mark.parametrize("algo", ["dqn", "ddpg"])
def test_policy_change_compares_policies_behind_their_own_normalisers(algo):
    obs = torch.linspace(-2, 3, 100)[:, None]
    ac = linear_q((1, 0), (0, 0)) if algo == "dqn" else linear_actor_critic(pi=((1, 0), (0, 0)))
    ac.encode.normalize = True
    before = copy.deepcopy(ac)
    ac.encode.update(obs.numpy())
    old, new = obs.numpy(), (obs.numpy() - 0.5) / obs.numpy().std()
    if algo == "dqn":
        change = dqn.policy_change(before, ac, ac, obs, torch.zeros(100, dtype=torch.int64), 0.1)
        assert change["GreedyFlips"] == pytest.approx(((old > 0) != (new > 0)).mean()) == pytest.approx(0.1)
    else:
        change = ddpg.policy_change(before, ac, ac, obs, torch.zeros(100, 2), 0.1)
        expected = (0.5 * ((np.tanh(old) - np.tanh(new)) / 0.1) ** 2).mean()
        assert change["KL"] == pytest.approx(expected, rel=1e-4)
