"""The columns that algorithms share, on epochs built by hand and computed again in another way."""

import copy
import math
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite import mpi
from rlsuite.common import health
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import RolloutBuffer, evaluate_rollout, gae
from rlsuite.common.diagnostics import state_entropy
from rlsuite.common.health import (
    Averages,
    Epoch,
    StateScale,
    common_health,
    exact_kl,
    greedy_health,
    noise_health,
    off_policy_health,
    on_policy_health,
    spread,
    target_gap,
)
from rlsuite.common.q_networks import MuQNetwork, QNetwork
from rlsuite.common.replay import ReplayBuffer
from rlsuite.envs.stepping import Envs

torch.set_num_threads(1)
LINE = spaces.Box(-99, 99, (1,), np.float32)
OBS = spaces.Box(-5, 5, (3,), np.float32)
UNEVEN = spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))
MID, WIDTH = np.array([-1.0, 5], np.float32), np.array([2.0, 5], np.float32)
SPACES = [spaces.Discrete(4), UNEVEN]
GAMMA = 0.9


def settings_of(**changes):
    defaults = {"hidden_sizes": (8,), "activation": "tanh", "normalize_obs": False, "log_std_init": -0.5}
    return SimpleNamespace(**{**defaults, "dueling": False, **changes})


class Nowhere(gym.Env):
    """An environment that is only asked for its spaces."""

    def __init__(self, obs_space, act_space):
        self.observation_space, self.action_space = obs_space, act_space


def envs_like(act_space, obs_space=OBS, num_envs=2):
    return Envs(lambda: Nowhere(obs_space, act_space), num_envs, seed=0)


def move(ac, seed=1, amount=0.2):
    """Change every parameter in place, as training does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in ac.parameters():
            p.add_(amount * torch.randn(p.shape, generator=generator))


def on_policy_epoch(act_space, obs_space=OBS, rollouts=(20, 12), train=True, scale=None, **changes):
    """An actor-critic after an epoch of two environments; with `train`, each rollout is followed by a change.

    Returns the networks, the epoch, and for each rollout the buffer and a copy of the networks that collected it.
    """
    torch.manual_seed(0)
    obs_space.seed(0)
    rng = np.random.default_rng(0)
    ac = ActorCritic(obs_space, act_space, settings_of(**changes))
    move(ac, seed=9)
    epoch, parts = Epoch(1, list(rollouts), ac, scale or StateScale()), []

    def sample():
        return np.array([obs_space.sample() for _ in range(2)])

    for i, steps in enumerate(rollouts):
        buf = RolloutBuffer(steps, envs_like(act_space, obs_space))
        for _ in range(steps):
            obs = sample()
            buf.store(obs, ac.act(obs), rng.normal(2, 1, 2), sample(), *(rng.random((2, 2)) < 0.1))
        _, val, next_val, pi = evaluate_rollout(ac, buf)
        adv = gae(buf.rew, buf.rows(val), next_val, buf.terminated, buf.truncated, GAMMA, 0.8)
        parts.append((buf, copy.deepcopy(ac)))
        epoch.keep(buf, val, next_val, adv, pi)
        if train:
            move(ac, seed=i)
            ac.encode.update(buf.obs)
    return ac, epoch, parts


def distributions(ac, obs):
    with torch.no_grad():
        pi = ac.pi(ac.encode(obs))
    if isinstance(ac.act_space, spaces.Discrete):
        return torch.distributions.Categorical(logits=pi.logits)
    return torch.distributions.Independent(torch.distributions.Normal(pi.mu, pi.log_std.exp()), 1)


def states(parts):
    return np.concatenate([buf.obs.reshape(-1, *buf.obs.shape[2:]) for buf, _ in parts])


def observed_returns(rew, next_val, terminated, truncated):
    """Summed forward from each step to its episode's end; next_val is asked for only where nothing more was seen."""
    ret = np.zeros(rew.shape)
    for n in range(rew.shape[1]):
        for t in range(len(rew)):
            weight = 1.0
            for k in range(t, len(rew)):
                ret[t, n] += weight * float(rew[k, n])
                weight *= GAMMA
                if terminated[k, n]:
                    break
                if truncated[k, n] or k == len(rew) - 1:
                    ret[t, n] += weight * float(next_val(k, n))
                    break
    return ret


# ---------------------------------------------------------------- on-policy


@pytest.mark.parametrize("act_space", SPACES)
def test_nothing_has_changed_without_a_step(act_space):
    ac, epoch, _ = on_policy_epoch(act_space, train=False)
    assert on_policy_health(epoch, ac, GAMMA)["KL"] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("act_space", SPACES)
def test_kl_is_the_exact_one_from_the_first_policy_of_the_epoch_to_the_last(act_space, normalize):
    ac, epoch, parts = on_policy_epoch(act_space, normalize_obs=normalize)
    (first, second), obs = (distributions(before, states(parts)) for _, before in parts), states(parts)
    last, kl = distributions(ac, obs), torch.distributions.kl_divergence
    expected = kl(first, last).mean().item()
    assert on_policy_health(epoch, ac, GAMMA)["KL"] == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-3
    for other in (kl(last, first), kl(second, last)):
        assert other.mean().item() != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("act_space", SPACES)
def test_entropy_is_that_of_the_policies_that_acted_at_each_rollout(act_space, normalize):
    ac, epoch, parts = on_policy_epoch(act_space, normalize_obs=normalize)
    each = [distributions(before, buf.obs.reshape(-1, 3)).entropy() for buf, before in parts]
    expected = torch.cat(each).mean().item()  # by states, not by rollouts
    assert on_policy_health(epoch, ac, GAMMA)["Entropy"] == pytest.approx(expected, rel=1e-5)
    assert torch.stack([part.mean() for part in each]).mean().item() != pytest.approx(expected, rel=1e-4)


def test_values_and_returns_are_those_at_collection_over_the_whole_epoch():
    ac, epoch, parts = on_policy_epoch(SPACES[0], normalize_obs=True)
    columns = on_policy_health(epoch, ac, GAMMA)
    val = np.concatenate([[before.value(obs) for obs in buf.obs] for buf, before in parts]).astype(np.float64)
    next_val = np.concatenate([[before.value(obs) for obs in buf.next_obs] for buf, before in parts])
    rew, terminated, truncated = (
        np.concatenate([getattr(buf, name) for buf, _ in parts]) for name in ("rew", "terminated", "truncated")
    )
    ret = observed_returns(rew, lambda t, n: next_val[t, n], terminated, truncated)
    assert columns["ExplainedVariance"] == pytest.approx(1 - np.var(ret - val) / np.var(ret), rel=1e-4)
    assert columns["ReturnMean"] == pytest.approx(ret.mean(), rel=1e-5)
    assert columns["ValueBias"] == pytest.approx((val - ret).mean(), rel=1e-5)
    assert columns["ValueMean"] == pytest.approx(val.mean(), rel=1e-5)
    assert columns["ValueStd"] == pytest.approx(val.std(), rel=1e-5)
    adv = np.concatenate(
        [
            gae(rew[rows], val[rows].astype(np.float32), next_val[rows], terminated[rows], truncated[rows], GAMMA, 0.8)
            for rows in (slice(0, 20), slice(20, 32))
        ]
    )
    assert columns["AdvStd"] == pytest.approx(adv.std(), rel=1e-4)
    assert columns["AdvMean"] == pytest.approx(adv.mean(), rel=1e-4)
    targets = adv + val
    assert (columns["TargetMin"], columns["TargetMax"]) == pytest.approx((targets.min(), targets.max()), rel=1e-5)
    after = np.concatenate([[ac.value(obs) for obs in buf.obs] for buf, _ in parts])
    assert columns["ExplainedVarianceAfter"] == pytest.approx(1 - np.var(ret - after) / np.var(ret), rel=1e-4)
    expected = np.corrcoef(adv.ravel(), (ret - val).ravel())[0, 1]
    assert columns["AdvReturnCorr"] == pytest.approx(expected, rel=1e-4)
    assert 0.5 < expected < 0.99


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("act_space", SPACES)
def test_advantages_are_compared_with_what_the_epoch_did_to_the_actions_they_belong_to(act_space, normalize):
    ac, epoch, parts = on_policy_epoch(act_space, normalize_obs=normalize)
    act = torch.as_tensor(np.concatenate([buf.act.reshape(-1, *buf.act.shape[2:]) for buf, _ in parts]))
    first, last = (distributions(networks, states(parts)) for networks in (parts[0][1], ac))
    moved = (last.log_prob(act) - first.log_prob(act)).numpy()
    expected = np.corrcoef(epoch.column("adv").ravel(), moved)[0, 1]
    assert on_policy_health(epoch, ac, GAMMA)["AdvLogpCorr"] == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_along_the_policy_gradient_raises_what_has_an_advantage(sign):
    ac, epoch, parts = on_policy_epoch(SPACES[0], rollouts=(200,), train=False)
    ((buf, _),) = parts
    adv = torch.as_tensor(epoch.column("adv").ravel())
    logp = ac.pi(ac.encode(states(parts))).log_prob(torch.as_tensor(buf.act.ravel()))
    (sign * (logp * (adv - adv.mean())).mean()).backward()
    with torch.no_grad():
        for p in ac.pi.parameters():
            p += 0.1 * p.grad
    assert sign * on_policy_health(epoch, ac, GAMMA)["AdvLogpCorr"] > 0.1


def test_a_perfect_critic_has_explained_variance_1_and_no_bias():
    ac, _, parts = on_policy_epoch(SPACES[0], rollouts=(30,))
    ((buf, before),) = parts
    next_val = np.stack([before.value(obs) for obs in buf.next_obs])
    ret = observed_returns(buf.rew, lambda t, n: next_val[t, n], buf.terminated, buf.truncated).astype(np.float32)
    for bias in (0, 3):
        perfect = Epoch(1, [30], ac, StateScale())
        val = torch.as_tensor(ret + np.float32(bias))
        perfect.keep(buf, val, next_val, ret, before.pi(before.encode(states(parts))))
        columns = on_policy_health(perfect, ac, GAMMA)
        assert columns["ExplainedVariance"] == pytest.approx(1, abs=1e-6)
        assert columns["ValueBias"] == pytest.approx(bias, abs=1e-5)


def with_actions(act_space, act, rollouts=(16,)):
    """The columns of an epoch with these actions (T, 2, ...)."""
    ac, epoch, parts = on_policy_epoch(act_space, rollouts=rollouts)
    again = Epoch(1, list(rollouts), ac, StateScale())
    ((buf, _),) = parts
    buf.act[:] = act
    val, next_val, adv = (epoch.column(name) for name in ("val", "next_val", "adv"))
    again.keep(buf, torch.as_tensor(val), next_val, adv, ac.pi(ac.encode(states(parts))))
    return on_policy_health(again, ac, GAMMA)


def test_action_entropy_of_discrete_actions():
    assert with_actions(SPACES[0], np.arange(16)[:, None] % 2 + 2)["ActionEntropy"] == pytest.approx(math.log(2))
    assert with_actions(SPACES[0], 3)["ActionEntropy"] == 0


def test_the_largest_share_of_an_action_is_that_of_the_component_where_it_is_largest():
    assert with_actions(SPACES[0], 3)["ActionShareMax"] == 1
    assert with_actions(SPACES[0], np.arange(16)[:, None] % 5 % 4)["ActionShareMax"] == 7 / 16
    components = np.stack([np.arange(16) % 2, np.arange(16) % 3, np.arange(16) < 4], 1)[:, None]
    assert with_actions(spaces.MultiDiscrete([2, 5, 3]), components)["ActionShareMax"] == 12 / 16
    middles = (np.arange(16) + 0.5) / 16
    act = np.stack([4 * middles - 3, np.where(np.arange(16) < 5, 7.1, 10 * middles)], 1)[:, None]
    act[5:, :, 1] = np.linspace(0, 6.2, 11)[:, None]
    assert with_actions(UNEVEN, act)["ActionShareMax"] == 5 / 16


@pytest.mark.parametrize(
    ("space", "largest"),
    [
        (SPACES[0], math.log(4)),
        (spaces.MultiDiscrete([2, 3]), math.log(6)),
        (UNEVEN, math.nan),
        (spaces.Discrete(1), math.nan),
    ],
)
def test_entropy_as_a_share_of_that_of_uniform_actions(space, largest):
    ac, epoch, _ = on_policy_epoch(space)
    columns = on_policy_health(epoch, ac, GAMMA)
    assert columns["EntropyShare"] == pytest.approx(columns["Entropy"] / largest, nan_ok=True)


@pytest.mark.parametrize("normalize", [False, True])
def test_inputs_are_the_states_as_the_networks_saw_them_when_the_epoch_began(normalize):
    ac, epoch, parts = on_policy_epoch(SPACES[0], normalize_obs=normalize)
    ac.encode.update(np.full((9, 3), 1e3, np.float32))
    columns = on_policy_health(epoch, ac, GAMMA)
    x = states(parts).astype(np.float64)  # as they are: the first statistics are a mean of 0 and a variance of 1
    assert columns["InputAbsMax"] == pytest.approx(np.abs(x).max(), rel=1e-6)
    assert columns["InputStdMin"] == pytest.approx(x.std(0).min(), rel=1e-6)
    assert columns["InputStdMax"] == pytest.approx(x.std(0).max(), rel=1e-6)


def test_action_entropy_of_several_components_is_the_sum_over_them():
    space = spaces.MultiDiscrete([2, 5, 3])
    act = np.stack([np.arange(16) % 2, np.arange(16) % 4, np.zeros(16)], 1)[:, None]
    assert with_actions(space, act)["ActionEntropy"] == pytest.approx(math.log(2) + math.log(4))


def test_entropy_and_kl_of_several_components_are_those_of_the_joint_distribution():
    ac, epoch, parts = on_policy_epoch(spaces.MultiDiscrete([2, 3]))
    columns = on_policy_health(epoch, ac, GAMMA)

    def joint(ac, obs):
        logits = ac.pi(ac.encode(obs)).logits.log_softmax(-1)
        table = logits[:, 0, :2, None] + logits[:, 1, None, :3]
        return torch.distributions.Categorical(logits=table.flatten(1))

    with torch.no_grad():
        entropies = torch.cat([joint(acted, buf.obs.reshape(-1, *OBS.shape)).entropy() for buf, acted in parts])
        before, after = (joint(net, states(parts)) for net in (epoch.before, ac))
        kl = torch.distributions.kl_divergence(before, after).mean()
    assert columns["Entropy"] == pytest.approx(float(entropies.mean()), rel=1e-5)
    assert columns["KL"] == pytest.approx(float(kl), rel=1e-4)
    assert columns["KL"] > 1e-3


def test_action_entropy_of_continuous_actions_uses_the_bounds_of_each_dimension():
    middles = (np.arange(16) + 0.5) / 16
    act = np.stack([4 * middles - 3, 10 * middles], 1)[:, None]
    assert with_actions(UNEVEN, act)["ActionEntropy"] == pytest.approx(2 * math.log(16), rel=1e-5)
    act[:, :, 1] = 7
    assert with_actions(UNEVEN, act)["ActionEntropy"] == pytest.approx(math.log(16), rel=1e-5)


@pytest.mark.parametrize(("low", "high"), [(-np.inf, np.inf), (0, np.inf), (-np.inf, 16)])
def test_action_entropy_takes_the_range_of_the_actions_for_an_infinite_bound(low, high):
    act = np.linspace(0, 16, 1600)[:, None, None].repeat(2, 1)
    space = spaces.Box(low, high, (1,), np.float32)
    expected = pytest.approx(math.log(16), abs=1e-3)
    assert with_actions(space, act, rollouts=(1600,))["ActionEntropy"] == expected


@pytest.mark.filterwarnings("error")
def test_action_entropy_of_equal_actions_without_bounds_is_0():
    assert with_actions(spaces.Box(-np.inf, np.inf, (1,), np.float32), 2.0)["ActionEntropy"] == 0


def test_log_std_is_that_of_gaussian_policies_only_as_the_epoch_began():
    ac, epoch, parts = on_policy_epoch(UNEVEN)
    log_std = parts[0][1].pi.log_std.detach() + torch.tensor([2.0, 5.0]).log()
    assert on_policy_health(epoch, ac, GAMMA)["LogStd"] == pytest.approx(log_std.mean().item(), rel=1e-5)
    ac, epoch, _ = on_policy_epoch(SPACES[0])
    assert "LogStd" not in on_policy_health(epoch, ac, GAMMA)


def test_the_epoch_knows_its_rollouts_and_joins_them():
    _, epoch, parts = on_policy_epoch(SPACES[0], rollouts=(5, 3, 4))
    assert (epoch.number, epoch.rollouts, len(epoch.steps)) == (1, [5, 3, 4], 12)
    np.testing.assert_array_equal(epoch.obs, states(parts))
    for name in ("rew", "act", "terminated", "truncated"):
        np.testing.assert_array_equal(epoch.column(name), np.concatenate([getattr(buf, name) for buf, _ in parts]))


def test_an_epoch_holds_no_graph_and_so_no_memory_of_updates():
    _, epoch, _ = on_policy_epoch(SPACES[0])  # evaluated with its graph, as A2C does
    assert not any(part.requires_grad for pi in epoch._pis for part in pi)


def test_exact_kl_equals_torch_distributions():
    ac, _, parts = on_policy_epoch(SPACES[0])
    obs = states(parts)
    old = ac.pi(ac.encode(obs))
    assert exact_kl(old, ac.pi, ac.encode(obs)) == pytest.approx(0, abs=1e-7)
    before = distributions(ac, obs)
    move(ac)
    expected = torch.distributions.kl_divergence(before, distributions(ac, obs)).mean().item()
    assert exact_kl(old, ac.pi, ac.encode(obs)) == pytest.approx(expected, rel=1e-4)


# ---------------------------------------------------------------- StateEntropy


def test_state_entropy_is_that_of_observations_standardised_by_the_first_epoch():
    scale = StateScale()
    ac, epoch, parts = on_policy_epoch(SPACES[0], scale=scale)
    first = states(parts).astype(np.float64)
    expected = state_entropy((first - first.mean(0)) / first.std(0))
    assert on_policy_health(epoch, ac, GAMMA)["StateEntropy"] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(scale.mean, first.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale.std, first.std(0), rtol=1e-6)

    frozen = scale.mean.copy(), scale.std.copy()
    wide = spaces.Box(-50, 50, (3,), np.float32)
    ac, epoch, parts = on_policy_epoch(SPACES[0], wide, scale=scale)
    second = states(parts)
    expected = state_entropy((second - first.mean(0)) / first.std(0))
    assert on_policy_health(epoch, ac, GAMMA)["StateEntropy"] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal((scale.mean, scale.std), frozen)


def test_an_agent_that_sees_ten_times_as_much_of_the_world_has_a_higher_state_entropy():
    scale, seen = StateScale(), []
    for half_width in (1, 10, 1):
        ac, epoch, _ = on_policy_epoch(SPACES[0], spaces.Box(-half_width, half_width, (3,), np.float32), scale=scale)
        seen.append(on_policy_health(epoch, ac, GAMMA)["StateEntropy"])
    assert seen[1] - seen[0] == pytest.approx(3 * math.log(10), abs=1e-3)  # the same draws, scaled
    assert seen[2] == pytest.approx(seen[0], abs=1e-3)


def test_state_entropy_looks_at_evenly_spaced_states_of_the_whole_epoch(monkeypatch):
    monkeypatch.setattr(health, "MAX_NEIGHBOURS", 10)
    ac, epoch, parts = on_policy_epoch(SPACES[0])
    obs = states(parts).astype(np.float64)
    x = (obs - obs.mean(0)) / obs.std(0)
    expected = state_entropy(x[[0, 7, 14, 21, 28, 35, 42, 49, 56, 63]])
    assert on_policy_health(epoch, ac, GAMMA)["StateEntropy"] == pytest.approx(expected, abs=1e-6)


def test_state_entropy_of_discrete_observations_is_that_of_their_frequencies():
    cells = spaces.Discrete(6, start=-3)
    ac, epoch, parts = on_policy_epoch(SPACES[0], cells)
    freq = np.unique(states(parts), return_counts=True)[1] / 64
    assert on_policy_health(epoch, ac, GAMMA)["StateEntropy"] == pytest.approx(-(freq * np.log(freq)).sum())
    assert not len(epoch.state_scale.std)  # nothing to scale


def test_state_scale_travels_in_its_state():
    rng, scale, other = np.random.default_rng(0), StateScale(), StateScale()
    other.load_state_dict(scale.state_dict())  # of a run without an epoch
    assert not len(other.std)
    obs = rng.normal(5, 3, (100, 2, 2)).astype(np.float32)
    scale.measure(obs)
    other.load_state_dict(scale.state_dict())
    np.testing.assert_array_equal(other(2 * obs), scale(2 * obs))
    assert scale(obs).shape == (100, 4)
    np.testing.assert_allclose(scale(obs).mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(scale(obs).std(0), 1, atol=1e-6)
    for state in ({"mean": np.zeros(3), "std": np.zeros(2)}, {"mean": np.zeros((1, 1)), "std": np.zeros((1, 1))}):
        with pytest.raises(ValueError, match="state scale"):
            other.load_state_dict(state)


def test_state_scale_is_that_of_all_ranks(monkeypatch):
    rng, scale = np.random.default_rng(0), StateScale()
    own, *others = (rng.normal(i, 1 + i, (10 + i, 2)) for i in range(3))
    moments = [(x.mean(0), x.var(0), len(x)) for x in others]
    monkeypatch.setattr(mpi, "gather_objects", lambda value: [value, *([m] for m in moments)])
    scale.measure(own)
    everything = np.concatenate([own, *others])
    np.testing.assert_allclose(scale.mean, everything.mean(0))
    np.testing.assert_allclose(scale.std, everything.std(0))


def test_a_component_that_never_varied_is_not_divided():
    scale = StateScale()
    scale.measure(np.array([[1.0, 7], [3, 7]]))
    np.testing.assert_array_equal(scale(np.array([[2.0, 7], [4, 8]])), [[0, 0], [2, 1]])


# ---------------------------------------------------------------- averages


def test_averages_are_weighted():
    stats = Averages()
    stats.add(3, LossPi=1.0, LossV=torch.tensor(10.0))
    stats.add(1, LossPi=torch.tensor(5.0, requires_grad=True))
    stats.add(StopIter=2)
    stats.add(StopIter=4)
    assert stats.means() == {"LossPi": 2.0, "LossV": 10.0, "StopIter": 3.0}
    assert Averages().means() == {}


def test_averages_are_those_of_all_ranks(monkeypatch):
    other = {"LossPi": 10.0, "StopIter": 3.0}, {"LossPi": 2.0, "StopIter": 1.0}, {"Ratio1": 5.0}
    monkeypatch.setattr(mpi, "gather_objects", lambda value: [value, other])
    stats = Averages()
    stats.add(3, LossPi=1.0)
    stats.add(StopIter=1)
    stats.add_max(Ratio1=1.0)
    assert stats.means() == {"LossPi": (3 + 10) / 5, "StopIter": 2.0, "Ratio1": 5.0}


def test_add_max_keeps_the_largest():
    stats = Averages()
    for value in (1.0, torch.tensor(3.0), 2.0):
        stats.add_max(Ratio1=value)
    stats.add_max(Other=-2.0)
    assert stats.means() == {"Ratio1": 3.0, "Other": -2.0}


def test_averages_of_names_are_nan_until_something_is_counted():
    stats = Averages("LossQ", "TargetGap", "Ratio1")
    stats.add(2, LossQ=3.0)
    stats.add(2, LossQ=5.0)
    stats.add_max(Ratio1=0.5)
    means = stats.means()
    assert math.isnan(means.pop("TargetGap"))
    assert means == {"LossQ": 4.0, "Ratio1": 0.5}


def test_kept_tensors_come_back_whole_in_one_array():
    stats, q = Averages(), torch.arange(3.0, requires_grad=True)
    stats.keep(q=2 * q, target=torch.ones(3, dtype=torch.float64))
    stats.keep(q=q[:2])
    q.data += 7  # what is kept is a copy, which leaves the step's own memory free
    assert stats.kept("q").tolist() == [0, 2, 4, 0, 1]
    assert stats.kept("target").tolist() == [1, 1, 1]
    assert (stats.kept("nothing").shape, stats.kept("nothing").dtype) == ((0,), np.float32)
    assert stats.means() == {}


# ---------------------------------------------------------------- off-policy


def off_policy_epoch(act_space, steps=32, capacity=200, before=0, num_envs=2, ac=None, obs_of=None):
    """Networks of Q and a replay buffer after an epoch, and what was stored in it as a list of rows.

    Args:
        act_space: Discrete or Box.
        steps: of the epoch.
        capacity: of the buffer.
        before: steps of an earlier epoch.
        num_envs: N.
        ac: the networks.
        obs_of: what the policy sees at step t, (N, d).
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    discrete = isinstance(act_space, spaces.Discrete)
    if ac is None:
        ac = (QNetwork if discrete else MuQNetwork)(OBS, act_space, settings_of())
        move(ac)
    buf = ReplayBuffer(capacity, envs_like(act_space, ac.obs_space, num_envs), rng, torch.device("cpu"))
    epoch, rows = Epoch(2, [1] * steps, ac, StateScale()), []
    for t in range(-before, steps):
        obs, next_obs = rng.normal(size=(2, num_envs, 3)).astype(np.float32)
        if obs_of is not None:
            obs = next_obs = obs_of(t)
        act = rng.integers(0, act_space.n, num_envs) if discrete else MID + WIDTH * rng.uniform(-1, 1, (num_envs, 2))
        terminated, truncated = rng.random((2, num_envs)) < 0.2
        val, entropy, rew = rng.normal(8, 2, num_envs).astype(np.float32), 0.1 * t, rng.normal(2, 1, num_envs)
        buf.store(obs, act, rew, next_obs, terminated, truncated)
        if t >= 0:
            epoch.note(val, entropy)
            rows.append((obs, act, rew, next_obs, terminated, truncated, val))
    return ac, epoch, buf, [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize(("capacity", "before"), [(200, 0), (70, 40), (30, 0), (30, 9)])  # 30: not the whole epoch
@pytest.mark.parametrize("act_space", SPACES)
def test_off_policy_columns_compare_q_at_collection_with_observed_returns(act_space, capacity, before):
    ac, epoch, buf, rows = off_policy_epoch(act_space, capacity=capacity, before=before)
    epoch.stats.keep(q=torch.tensor([1.0, 2, 6]), target=torch.tensor([1.0, 4, 4]))
    move(ac)  # what bootstraps is the network after the epoch
    columns = off_policy_health(epoch, ac, buf, GAMMA)

    held = slice(max(0, 32 - capacity // 2), 32)
    obs, act, rew, next_obs, terminated, truncated, val = (column[held] for column in rows)
    val, asked = val.astype(np.float64), []

    def next_val(t, n):
        asked.append((t, n))
        x = ac.encode(next_obs[t, n][None])
        with torch.no_grad():
            return (ac.q(x).max(1).values if isinstance(ac, QNetwork) else ac.q(x, ac.pi(x))).item()

    ret = observed_returns(rew.astype(np.float32), next_val, terminated, truncated & ~terminated)
    assert len(set(asked)) > (3 if len(rew) == 32 else 1)
    assert columns["QVals"] == columns["ValueMean"] == pytest.approx(val.mean(), rel=1e-5)
    assert columns["ValueStd"] == pytest.approx(val.std(), rel=1e-5)
    assert columns["ReturnMean"] == pytest.approx(ret.mean(), rel=1e-5)
    assert columns["ValueBias"] == pytest.approx((val - ret).mean(), rel=1e-4)
    assert columns["ExplainedVariance"] == pytest.approx(1 - np.var(ret - val) / np.var(ret), rel=1e-4)
    assert columns["Entropy"] == pytest.approx(0.1 * 31 / 2, rel=1e-5)  # of all steps, also those no longer held
    assert columns["TDError"] == pytest.approx((0 + 2 + 2) / 3)
    assert columns["ExplainedVarianceTD"] == pytest.approx(1 - (8 / 3) / 2)
    assert (columns["TargetMin"], columns["TargetMax"]) == (1, 4)
    if isinstance(act_space, spaces.Discrete):
        freq = np.bincount(act.ravel()) / act.size
        assert columns["ActionEntropy"] == pytest.approx(-(freq * np.log(freq)).sum())
        assert columns["ActionShareMax"] == pytest.approx(freq.max())
    x = obs.reshape(-1, 3).astype(np.float64)
    assert columns["StateEntropy"] == pytest.approx(state_entropy((x - x.mean(0)) / x.std(0)), abs=1e-5)
    np.testing.assert_array_equal(epoch.obs, obs.reshape(-1, 3))
    np.testing.assert_array_equal(epoch.column("val"), val)
    np.testing.assert_array_equal(epoch.column("act"), act.astype(epoch.column("act").dtype))


def test_an_episode_that_was_cut_on_resuming_bootstraps():
    ac, epoch, buf, rows = off_policy_epoch(SPACES[0], steps=4)
    buf.end_episodes([0, 1])
    rng = np.random.default_rng(1)
    for _ in range(2):
        obs, next_obs = rng.normal(size=(2, 2, 3)).astype(np.float32)
        epoch.note(np.zeros(2, np.float32), 0.0)
        buf.store(obs, np.zeros(2), np.zeros(2), next_obs, np.zeros(2, bool), np.zeros(2, bool))
    epoch.steps = range(6)
    off_policy_health(epoch, ac, buf, GAMMA)
    assert (epoch.column("truncated") | epoch.column("terminated"))[3].all()
    _, _, _, next_obs, terminated, _, _ = rows
    np.testing.assert_allclose(epoch.column("next_val")[3], ac.value(next_obs[3]), rtol=1e-6)
    np.testing.assert_array_equal(epoch.column("terminated")[3], terminated[3])


@pytest.mark.parametrize(("act_space", "part"), [(SPACES[0], "q"), (SPACES[1], "q"), (SPACES[1], "pi")])
def test_dead_units_of_the_networks_after_the_epoch(act_space, part):
    ac, epoch, buf, _ = off_policy_epoch(act_space)
    assert off_policy_health(epoch, ac, buf, GAMMA)["DeadUnits"] == 0
    ac, epoch, buf, _ = off_policy_epoch(act_space)
    with torch.no_grad():
        getattr(ac, part).layers[0].weight[:3] = 0
    assert off_policy_health(epoch, ac, buf, GAMMA)["DeadUnits"] == 3 / 8


def test_columns_of_minibatches_are_nan_without_a_gradient_step():
    ac, epoch, buf, _ = off_policy_epoch(SPACES[0])
    columns = off_policy_health(epoch, ac, buf, GAMMA)
    assert {name for name, value in columns.items() if math.isnan(value)} == {
        *("TDError", "ExplainedVarianceTD", "TargetMin", "TargetMax")
    }


def set_linear(net, weight, bias):
    """Set the only layer of a network."""
    (layer,) = net.layers
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))


def linear_q(*lines):
    """Q(s, a) = slope s + intercept, one (slope, intercept) for each action."""
    q_net = QNetwork(LINE, spaces.Discrete(len(lines)), settings_of(hidden_sizes=(), normalize_obs=True))
    set_linear(q_net.q, [[float(slope)] for slope, _ in lines], [float(intercept) for _, intercept in lines])
    return q_net


def linear_actor_critic(pi=((0, 0), (0, 0)), q=(0, 0, 0, 0)):
    """μ_i = mid + width tanh(slope s + intercept); Q(s, a) = q·(s, a in half widths, 1)."""
    ac = MuQNetwork(LINE, UNEVEN, settings_of(hidden_sizes=(), normalize_obs=True))
    set_linear(ac.pi, [[float(slope)] for slope, _ in pi], [float(intercept) for _, intercept in pi])
    set_linear(ac.q, [[float(w) for w in q[:3]]], [float(q[3])])
    return ac


def epoch_at(before, obs, act=None):
    """An epoch that began with these networks and saw these states (K, 1), one after the other."""
    act_space = before.act_space
    epoch = Epoch(1, [1] * len(obs), before, StateScale())
    buf = ReplayBuffer(len(obs), envs_like(act_space, LINE, 1), np.random.default_rng(0), torch.device("cpu"))
    act = np.zeros((len(obs), *buf.act.shape[1:])) if act is None else act
    never = np.zeros(1, bool)
    for o, a in zip(obs, act, strict=True):
        buf.store(o[None], a[None], np.zeros(1), o[None], never, never)
        epoch.note(np.zeros(1, np.float32), 0.0)
    epoch.keep_steps(buf.newest(len(obs)), np.zeros((len(obs), 1), np.float32))
    return epoch


def test_greedy_health_by_hand():
    before, now = linear_q((1, 0), (0, 0)), linear_q((1, 1.5), (0, 0))
    epoch = epoch_at(before, np.array([[-2.0], [-1], [1], [2]], np.float32))
    flipped = pytest.approx({"GreedyFlips": 0.25, "KL": 0.25 * (0.9 - 0.1) * math.log(9)})  # at s = -1 only
    assert greedy_health(epoch, now, epsilon=0.2) == flipped
    assert greedy_health(epoch, before, epsilon=0.2) == {"GreedyFlips": 0, "KL": 0}
    floored = (1 - 0.005 - 0.005) * math.log(0.995 / 0.005) / 4
    assert greedy_health(epoch, now, epsilon=0.0)["KL"] == pytest.approx(floored)


def test_noise_health_by_hand():
    before = linear_actor_critic(pi=((1, 0), (0, math.atanh(0.5))), q=(0, 1, 0, 0))
    ac = linear_actor_critic(pi=((1, 0), (0, 0)), q=(0, 1, 0, 2))
    target = linear_actor_critic(q=(0, 0, 3, 2))
    act = MID + WIDTH * np.array([[0, 0], [1, 0], [0, -1], [0.5, 0.5]], np.float32)
    epoch = epoch_at(before, np.array([[0.0], [1], [9], [-9]], np.float32), act)
    expected = {
        "ActorGain": 0.0,  # Q does not ask for it
        "KL": 0.5 * (0.5 / 0.1) ** 2,  # μ of the second dimension has moved by half of its half width
        "ActionSaturation": 2 / 8,
        "TargetGap": (0 + 1 + 3 + 1) / 4,
    }
    assert noise_health(epoch, ac, target, act_noise=0.1) == pytest.approx(expected, rel=1e-5)
    floored = noise_health(epoch, ac, target, act_noise=0.0)
    assert floored["KL"] == pytest.approx(0.5 * (0.5 / 0.01) ** 2, rel=1e-5)


def test_actor_gain_is_in_deviations_of_q_and_negative_where_the_policy_has_climbed_down():
    before, ac = (linear_actor_critic(pi=((1, 0), (0, b)), q=(0, 1, 1, 0)) for b in (math.atanh(0.5), 0))
    act = MID + WIDTH * np.array([[0, 0], [1, 0], [0, -1], [0.5, 0.5]], np.float32)  # Q is 0, 1, -1 and 1
    epoch = epoch_at(before, np.array([[0.0], [1], [9], [-9]], np.float32), act)
    assert noise_health(epoch, ac, ac, 0.1)["ActorGain"] == pytest.approx(-0.5 / np.std([0, 1, -1, 1]), rel=1e-4)


def test_an_action_is_saturated_beyond_99_percent_of_its_half_width():
    ac = linear_actor_critic(pi=((1, 0), (0, 0)))
    shares = np.array([0.985, 0.995, -0.985, -0.995, 0.0])
    epoch = epoch_at(ac, np.arctanh(shares, dtype=np.float32)[:, None])
    assert noise_health(epoch, ac, ac, 0.1)["ActionSaturation"] == pytest.approx(2 / 10)


def test_target_gap_is_over_all_actions_and_the_newest_64_states():
    q_net, target = linear_q((1, 0), (0, 0)), linear_q((1, 1), (-1, -2))  # the gaps are 1 and |s + 2|
    for num_envs, states_seen in ((1, 64), (4, 64), (3, 66), (100, 100)):
        buf = ReplayBuffer(500, envs_like(q_net.act_space, LINE, num_envs), np.random.default_rng(0), "cpu")
        never, seen = np.zeros(num_envs, bool), []
        for t in range(300 // num_envs):
            obs = np.full((num_envs, 1), t / 50) + np.arange(num_envs)[:, None] / 100
            buf.store(obs, np.zeros(num_envs), np.zeros(num_envs), obs, never, never)
            seen += list(obs[:, 0])
        expected = (1 + np.mean(seen[-states_seen:]) + 2) / 2
        assert target_gap(q_net, target, buf) == pytest.approx(expected, rel=1e-5)


def test_policies_are_compared_behind_their_own_normalisers():
    obs = np.linspace(-2, 3, 100, dtype=np.float32)[:, None]
    old, new = obs, (obs - 0.5) / obs.std()

    q_net = linear_q((1, 0), (0, 0))
    epoch = epoch_at(q_net, obs)
    q_net.encode.update(obs)
    flips = greedy_health(epoch, q_net, 0.1)["GreedyFlips"]
    assert flips == pytest.approx(((old > 0) != (new > 0)).mean()) == pytest.approx(0.1)

    ac = linear_actor_critic(pi=((1, 0), (0, 0)))
    epoch = epoch_at(ac, obs)
    ac.encode.update(obs)
    expected = (0.5 * ((np.tanh(old) - np.tanh(new)) / 0.1) ** 2).mean()
    assert noise_health(epoch, ac, ac, 0.1)["KL"] == pytest.approx(expected, rel=1e-4)


def test_a_target_sees_the_features_that_its_network_sees():
    """It is trained on them; its own copy of the encoder stands still."""
    obs = np.linspace(-2, 3, 64, dtype=np.float32)[:, None]
    new = (obs - 0.5) / obs.std()

    q_net = linear_q((1, 0), (0, 0))
    target = copy.deepcopy(q_net)
    epoch_buf = ReplayBuffer(64, envs_like(q_net.act_space, LINE, 1), np.random.default_rng(0), "cpu")
    for o in obs:
        epoch_buf.store(o[None], np.zeros(1), np.zeros(1), o[None], *np.zeros((2, 1), bool))
    q_net.encode.update(obs)
    assert target_gap(q_net, target, epoch_buf) == 0
    set_linear(target.q, [[3.0], [0.0]], [0.0, 0.0])
    assert target_gap(q_net, target, epoch_buf) == pytest.approx(2 * np.abs(new).mean() / 2, rel=1e-4)

    ac = linear_actor_critic(q=(1, 0, 0, 0))
    target = copy.deepcopy(ac)
    epoch = epoch_at(ac, obs)
    ac.encode.update(obs)
    assert noise_health(epoch, ac, target, 0.1)["TargetGap"] == 0
    set_linear(target.q, [[3.0, 0, 0]], [0.0])
    assert noise_health(epoch, ac, target, 0.1)["TargetGap"] == pytest.approx(2 * np.abs(new).mean(), rel=1e-4)


def test_columns_of_many_states_are_measured_on_evenly_spaced_ones(monkeypatch):
    monkeypatch.setattr(health, "MAX_STATES", 4)
    obs = np.array([[-1.0], [5], [5], [-1], [5], [5], [5], [5], [5], [5]], np.float32)  # spread takes 0, 3, 6, 9
    epoch = epoch_at(linear_q((1, 0), (0, 0)), obs)
    assert greedy_health(epoch, linear_q((1, 1.5), (0, 0)), 0.1)["GreedyFlips"] == 0.5
    ac = linear_actor_critic(pi=((0, 0), (0, 0)), q=(0, 0, 1, 0))
    target = linear_actor_critic(q=(0, 0, 0, 0))
    act = MID + WIDTH * np.array([[0, i] for i in (1, 0, 0, 2, 0, 0, 3, 0, 0, 6)], np.float32)
    epoch = epoch_at(linear_actor_critic(pi=((0, 9), (0, 0))), obs, act)
    assert noise_health(epoch, ac, target, 0.1)["TargetGap"] == pytest.approx((1 + 2 + 3 + 6) / 4)  # states and actions


@pytest.mark.parametrize(("count", "most", "which"), [(5, 9, range(5)), (100, 12, range(0, 100, 9)), (10, 1, [0])])
def test_spread_takes_evenly_spaced_rows(count, most, which):
    np.testing.assert_array_equal(spread(np.arange(count) * 2, most), np.array(which) * 2)


def test_rollouts_without_a_critic_have_the_entropy_that_is_said_of_them():
    ac, valued, parts = on_policy_epoch(spaces.Discrete(4), rollouts=(2, 6))
    epoch = Epoch(1, [2, 6], ac, StateScale())
    for (buf, _), entropy in zip(parts, (1.0, 5.0), strict=True):
        epoch.keep_rollout(buf, entropy)
    health = common_health(epoch, ac.obs_space, ac.act_space)
    said = {"Entropy": (2 * 1 + 6 * 5) / 8, "EntropyShare": pytest.approx(4 / math.log(4))}
    assert health == {**common_health(valued, ac.obs_space, ac.act_space), **said}
    np.testing.assert_array_equal(epoch.obs, valued.obs)
