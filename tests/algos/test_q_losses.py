"""Targets, losses and exploration of the off-policy algorithms, by hand and against stable-baselines3."""

import copy
import itertools
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.algos import ddpg, dqn
from rlsuite.common.health import Averages, Epoch, StateScale, off_policy_health
from rlsuite.common.optim import Adam
from rlsuite.common.q_networks import MuQNetwork, QNetwork
from rlsuite.common.replay import ReplayBuffer, Transitions
from rlsuite.envs.stepping import Envs

torch.set_num_threads(1)
LINE = spaces.Box(-9, 9, (1,), np.float32)
OBS = spaces.Box(-5, 5, (3,), np.float32)
BUTTONS = spaces.Discrete(4)
UNEVEN = spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))
MID, WIDTH = torch.tensor([-1.0, 5]), torch.tensor([2.0, 5])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def settings_of(*hidden_sizes):
    return SimpleNamespace(hidden_sizes=hidden_sizes, activation="relu", normalize_obs=False, dueling=False)


class Nowhere(gym.Env):
    """An environment that is only asked for its spaces."""

    def __init__(self, obs_space, act_space):
        self.observation_space, self.action_space = obs_space, act_space


def envs_like(obs_space, act_space, num_envs):
    return Envs(lambda: Nowhere(obs_space, act_space), num_envs, seed=0)


def fill(net, weight, bias):
    """Set the only layer of a network."""
    (layer,) = net.layers
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))


def linear_q(*lines):
    """Q(s, a) = slope s + intercept, one (slope, intercept) for each action."""
    ac = QNetwork(LINE, spaces.Discrete(len(lines)), settings_of())
    fill(ac.q, [[float(slope)] for slope, _ in lines], [float(intercept) for _, intercept in lines])
    return ac


def linear_actor_critic(pi=((0, 0), (0, 0)), q=(0, 0, 0, 0)):
    """μ_i = mid + width tanh(slope s + intercept); Q(s, a) = q·(s, a in half widths, 1)."""
    ac = MuQNetwork(LINE, UNEVEN, settings_of())
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


def sb3_samples(batch, act):
    """The batch as stable-baselines3 wants it: columns, and its dones are terminations only."""
    types = pytest.importorskip("stable_baselines3.common.type_aliases")
    dones, rewards = batch.terminated.float()[:, None], batch.rew[:, None]
    return types.ReplayBufferSamples(batch.obs, act, batch.next_obs, dones, rewards)


def sb3_model(name, act_space, **settings):
    sb3 = pytest.importorskip("stable_baselines3")

    policy_kwargs = {"net_arch": [16, 16], "activation_fn": torch.nn.ReLU}
    model = getattr(sb3, name)(
        "MlpPolicy", Nowhere(OBS, act_space), buffer_size=10, policy_kwargs=policy_kwargs, device="cpu", **settings
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
    replay = ReplayBuffer(8, envs_like(LINE, act_space, 4), np.random.default_rng(0), torch.device("cpu"))
    terminated, truncated = np.array([[False, True, False, True], [False, False, True, True]])
    act = np.zeros(4, np.int64) if isinstance(act_space, spaces.Discrete) else np.tile(MID.numpy(), (4, 1))
    after = np.where(terminated | truncated, 7, 2)[:, None]  # 7 is where the next episodes begin
    for obs, next_obs, rew, ends in (
        (np.ones((4, 1)), np.full((4, 1), 2), 10.0, (terminated, truncated)),
        (after, after, 0.0, np.zeros((2, 4), bool)),
    ):
        replay.store(obs, act, np.full(4, rew), next_obs, *ends)
    batch = replay.sample(200)
    return Transitions(*(tensor[batch.rew == 10] for tensor in batch))


@pytest.mark.parametrize("algo", ["dqn", "ddpg"])
def test_truncated_steps_bootstrap_from_what_they_led_to_and_terminated_ones_do_not(algo):
    stats = Averages()
    if algo == "dqn":
        ac, target, batch = linear_q((0, 0), (0, 1)), linear_q((3, 1), (0, 0)), ends_of_all_kinds(spaces.Discrete(2))
        dqn.update(ac, target, Adam("Q", ac.q, 1e-3), batch, dqn.Config("-", gamma=0.5), stats)
    else:
        ac, target, batch = linear_actor_critic(), linear_actor_critic(q=(3, 0, 0, 1)), ends_of_all_kinds(UNEVEN)
        opts = Adam("Pi", ac.pi, 1e-3), Adam("Q", ac.q, 1e-3)
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
    dqn.update(q, target, Adam("Q", q.q, 1e-3), batch, dqn.Config("-", gamma=1.0, double_q=double_q), stats)
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
    ac = perturbed(QNetwork(OBS, BUTTONS, settings_of(16, 16)))
    target = perturbed(ac)
    model = sb3_model("DQN", BUTTONS, gamma=0.97, learning_rate=0.01, max_grad_norm=max_norm)
    copy_parameters(ac.q, model.q_net)
    copy_parameters(target.q, model.q_net_target)
    opt, config = Adam("Q", ac.q, 0.01, max_norm), dqn.Config("-", gamma=0.97, loss="huber")
    norms = []
    for _ in range(5):
        batch, stats = random_batch(BUTTONS, rew=rew), Averages()
        dqn.update(ac, target, opt, batch, config, stats)
        logged = sb3_step(model, sb3_samples(batch, batch.act[:, None]))
        assert stats.means()["LossQ"] == pytest.approx(logged["train/loss"], rel=1e-4)
        assert_equal_parameters(ac.q, model.q_net, rtol=1e-3, atol=1e-4)
        norms.append(opt.norms[-1])
    assert min(norms) < max_norm < max(norms)


def test_ddpg_trains_as_stable_baselines3_does():
    ac = perturbed(MuQNetwork(OBS, UNEVEN, settings_of(16, 16)))
    target = perturbed(ac)
    model = sb3_model("DDPG", UNEVEN, gamma=0.97, learning_rate=0.01, tau=0.1)
    pairs = (ac.pi, model.actor), (ac.q, model.critic), (target.pi, model.actor_target), (target.q, model.critic_target)
    for ours, theirs in pairs:
        copy_parameters(ours, theirs)
    pi_opt, q_opt = Adam("Pi", ac.pi, 0.01), Adam("Q", ac.q, 0.01)
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
    ac = perturbed(QNetwork(OBS, BUTTONS, settings_of(8)))
    target = perturbed(ac)
    before = copy.deepcopy((ac, target))
    dqn.update(ac, target, Adam("Q", ac.q, 1e-3), random_batch(BUTTONS), dqn.Config("-"), Averages())
    assert_equal_parameters(target, before[1], **EXACTLY)
    assert all((p != q).any() for p, q in zip(ac.parameters(), before[0].parameters(), strict=True))


@pytest.mark.parametrize(("pi_lr", "q_lr"), [(0.0, 0.01), (0.01, 0.0)])
def test_ddpg_update_moves_each_network_by_its_own_loss_and_leaves_the_target(pi_lr, q_lr):
    ac = perturbed(MuQNetwork(OBS, UNEVEN, settings_of(8)))
    target = perturbed(ac)
    before = copy.deepcopy((ac, target))
    opts = Adam("Pi", ac.pi, pi_lr), Adam("Q", ac.q, q_lr)
    ddpg.update(ac, target, *opts, random_batch(UNEVEN), ddpg.Config("-"), Averages())
    assert_equal_parameters(target, before[1], **EXACTLY)
    for net, old, lr in ((ac.pi, before[0].pi, pi_lr), (ac.q, before[0].q, q_lr)):
        for p, q in zip(net.parameters(), old.parameters(), strict=True):
            assert torch.equal(p, q) == (lr == 0)


def test_the_policy_climbs_the_critic_that_has_just_moved():
    ac = perturbed(MuQNetwork(OBS, UNEVEN, settings_of(8)))
    opts = Adam("Pi", ac.pi, 0.0), Adam("Q", ac.q, 0.1)
    batch, stats = random_batch(UNEVEN), Averages()
    before = ac.value(batch.obs.numpy()).mean()
    ddpg.update(ac, perturbed(ac), *opts, batch, ddpg.Config("-"), stats)
    after = ac.value(batch.obs.numpy()).mean()
    assert abs(after - before) > 0.01
    assert stats.means()["LossPi"] == pytest.approx(-after, rel=1e-5)


@pytest.mark.parametrize("algo", ["dqn", "ddpg"])
def test_td_columns_compare_all_predictions_before_their_steps_with_their_targets(algo):
    act_space = BUTTONS if algo == "dqn" else UNEVEN
    ac = perturbed(QNetwork(OBS, BUTTONS, settings_of(8)) if algo == "dqn" else MuQNetwork(OBS, UNEVEN, settings_of(8)))
    target, stats, q, y = perturbed(ac), Averages(), [], []
    q_opt, pi_opt = Adam("Q", ac.q, 0.05), Adam("Pi", ac.pi, 0.05) if algo == "ddpg" else None
    for _ in range(3):
        batch = random_batch(act_space, size=20)
        with torch.no_grad():
            values = ac.q(batch.obs) if algo == "dqn" else ac.q(batch.obs, batch.act)
            q += [v[a].item() for v, a in zip(values, batch.act, strict=True)] if algo == "dqn" else values.tolist()
        y += (batch.rew + 0.9 * ~batch.terminated * torch.as_tensor(target.value(batch.next_obs.numpy()))).tolist()
        if algo == "dqn":
            dqn.update(ac, target, q_opt, batch, dqn.Config("-", gamma=0.9), stats)
        else:
            ddpg.update(ac, target, pi_opt, q_opt, batch, ddpg.Config("-", gamma=0.9), stats)
    buf = ReplayBuffer(4, envs_like(OBS, act_space, 2), np.random.default_rng(0), torch.device("cpu"))
    never, obs, epoch = np.zeros(2, bool), np.zeros((2, 3)), Epoch(1, [1], ac, StateScale())
    buf.store(obs, np.zeros((2, *buf.act.shape[1:])), np.zeros(2), obs, never, never)
    epoch.note(np.zeros(2, np.float32), 0.0)
    epoch.stats = stats
    health, q, y = off_policy_health(epoch, ac, buf, 0.9), np.array(q), np.array(y)
    assert health["TDError"] == pytest.approx(np.abs(y - q).mean(), rel=1e-4)
    assert health["ExplainedVarianceTD"] == pytest.approx(1 - np.var(y - q) / np.var(y), rel=1e-4)


def test_epsilon_is_1_for_start_steps_and_then_on_its_line():
    config = dqn.Config("-", total_steps=1000, start_steps=100, epsilon_start=0.9, epsilon_end=0.1, epsilon_share=0.5)
    points = {0: 1, 99: 1, 100: 0.74, 250: 0.5, 499: 0.1016, 500: 0.1, 999: 0.1}
    assert {step: dqn.epsilon_at(step, config) for step in points} == pytest.approx(points)
    at_once = dqn.Config("-", start_steps=10, epsilon_share=0.0)
    assert [dqn.epsilon_at(step, at_once) for step in (9, 10, 50_000)] == pytest.approx([1, 0.05, 0.05])


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_explore_is_ε_greedy(epsilon):
    count, n = 20_000, 4
    obs = np.random.default_rng(0).choice([-2, 3], (count, 1))
    q = obs * [1, -1, 0, 2] + [0, 0, -0.5, -10]
    act = dqn.explore(q.astype(np.float32), epsilon, np.random.default_rng(1))
    assert act.dtype == np.int64
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


def test_explore_draws_as_many_numbers_whatever_ε():
    q, after = np.zeros((5, 4), np.float32), []
    for epsilon in (0.0, 0.5, 1.0):
        rng = np.random.default_rng(1)
        dqn.explore(q, epsilon, rng)
        after.append(rng.random())
    assert len(set(after)) == 1


def test_value_of_takes_the_value_of_each_action():
    q = torch.tensor([[1.0, 2, 3], [4, 5, 6]], requires_grad=True)
    val = dqn.value_of(q, torch.tensor([2, 0]))
    assert val.tolist() == [3, 4]
    val.sum().backward()
    assert q.grad.tolist() == [[0, 0, 1], [1, 0, 0]]
