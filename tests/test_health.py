"""The columns that algorithms share, on epochs built by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import RolloutBuffer
from rlsuite.common.diagnostics import state_entropy
from rlsuite.common.health import Averages, off_policy_health, on_policy_health
from rlsuite.common.q_networks import MuQNetwork, QNetwork

torch.set_num_threads(1)
OBS = spaces.Box(-5, 5, (3,), np.float32)
SPACES = [spaces.Discrete(4), spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))]
GAMMA = 0.9


def epoch(act_space, obs_space=OBS, rollouts=(20, 12), room=40, normalize=False):
    """An actor-critic and an epoch of two environments, several rollouts, and ends of both kinds."""
    torch.manual_seed(0)
    obs_space.seed(0)
    rng = np.random.default_rng(0)
    ac = ActorCritic(obs_space, act_space, (8,), normalize_obs=normalize)
    with torch.no_grad():
        for p in ac.parameters():
            p.add_(0.3 * torch.randn_like(p))
    buf = RolloutBuffer(2 * room, 2, obs_space, act_space)

    def sample():
        return np.array([obs_space.sample() for _ in range(2)])

    for steps in rollouts:
        for _ in range(steps):
            obs = sample()
            act = ac.act(torch.tensor(obs)).numpy()
            buf.store(obs, act, rng.normal(2, 1, 2), sample(), rng.random(2) < 0.1, rng.random(2) < 0.1)
        buf.finish_rollout(ac, sample(), GAMMA, 0.8)
    return ac, buf


def changed(ac):
    after = copy.deepcopy(ac)
    with torch.no_grad():
        for p in after.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    return after


def distributions(ac, buf):
    pi = ac.pi(ac.encode(torch.tensor(buf.states())))
    if isinstance(ac.act_space, spaces.Discrete):
        return torch.distributions.Categorical(logits=pi.logits)
    return torch.distributions.Independent(torch.distributions.Normal(pi.mu, pi.log_std.exp()), 1)


def observed_returns(buf):
    ret = np.zeros((buf.t, 2))
    for n in range(2):
        for t in range(buf.t):
            weight = 1.0
            for k in range(t, buf.t):
                ret[t, n] += weight * float(buf.rew[k, n])
                weight *= GAMMA
                if buf.terminated[k, n]:
                    break
                if buf.truncated[k, n] or k == buf.t - 1:
                    ret[t, n] += weight * float(buf.boot[k, n])
                    break
    return ret


@pytest.mark.parametrize("act_space", SPACES)
def test_nothing_has_changed_without_a_step(act_space):
    ac, buf = epoch(act_space)
    health = on_policy_health(ac, copy.deepcopy(ac), buf, GAMMA)
    assert health["KL"] == pytest.approx(0, abs=1e-7)
    assert health["UpdateRatioPi"] == health["UpdateRatioV"] == 0


@pytest.mark.parametrize("act_space", SPACES)
def test_kl_is_the_exact_one_from_before_to_after(act_space):
    ac, buf = epoch(act_space)
    after = changed(ac)
    expected = torch.distributions.kl_divergence(distributions(ac, buf), distributions(after, buf)).mean().item()
    reverse = torch.distributions.kl_divergence(distributions(after, buf), distributions(ac, buf)).mean().item()
    health = on_policy_health(ac, after, buf, GAMMA)
    assert health["KL"] == pytest.approx(expected, rel=1e-4)
    assert health["KL"] != pytest.approx(reverse, rel=1e-2)


def test_kl_compares_policies_behind_their_own_normalisers():
    ac, buf = epoch(SPACES[0], normalize=True)
    after = copy.deepcopy(ac)
    after.encode.update(buf.states())
    expected = torch.distributions.kl_divergence(distributions(ac, buf), distributions(after, buf)).mean().item()
    assert expected > 1e-3
    assert on_policy_health(ac, after, buf, GAMMA)["KL"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("act_space", SPACES)
def test_entropy_is_that_of_the_policy_that_acted(act_space):
    ac, buf = epoch(act_space)
    health = on_policy_health(ac, changed(ac), buf, GAMMA)
    assert health["Entropy"] == pytest.approx(distributions(ac, buf).entropy().mean().item(), rel=1e-5)


def test_explained_variance_takes_lam_1_returns_bootstrapped_at_truncations_and_the_end_only():
    ac, buf = epoch(SPACES[0])
    health = on_policy_health(ac, changed(ac), buf, GAMMA)
    ret, val = observed_returns(buf), buf.val[: buf.t].astype(np.float64)
    assert health["ExplainedVariance"] == pytest.approx(1 - np.var(ret - val) / np.var(ret), rel=1e-4)
    assert health["ReturnMean"] == pytest.approx(ret.mean(), rel=1e-5)
    assert health["ValueBias"] == pytest.approx((val - ret).mean(), rel=1e-5)
    assert health["ValueMean"] == pytest.approx(val.mean(), rel=1e-5)
    assert health["ValueStd"] == pytest.approx(val.std(), rel=1e-5)
    assert health["AdvStd"] == pytest.approx(buf.adv[: buf.t].std(), rel=1e-5)


def test_values_are_those_at_collection_time():
    ac, buf = epoch(SPACES[0])
    health, again = (on_policy_health(ac, after, buf, GAMMA) for after in (ac, changed(ac)))
    for name in ("ExplainedVariance", "ValueMean", "ValueStd", "ValueBias", "ReturnMean", "Entropy", "AdvStd"):
        assert health[name] == again[name]


def test_a_perfect_critic_has_explained_variance_1_and_no_bias():
    ac, buf = epoch(SPACES[0])
    buf.val[: buf.t] = observed_returns(buf)
    health = on_policy_health(ac, ac, buf, GAMMA)
    assert health["ExplainedVariance"] == pytest.approx(1, abs=1e-6)
    assert health["ValueBias"] == pytest.approx(0, abs=1e-6)
    buf.val[: buf.t] += 3
    assert on_policy_health(ac, ac, buf, GAMMA)["ValueBias"] == pytest.approx(3, rel=1e-5)


def test_action_entropy_of_discrete_actions():
    ac, buf = epoch(SPACES[0])
    buf.act[: buf.t] = np.arange(buf.t)[:, None] % 2 + 2
    assert on_policy_health(ac, ac, buf, GAMMA)["ActionEntropy"] == pytest.approx(math.log(2))


def test_action_entropy_of_continuous_actions_uses_the_bounds_of_each_dimension():
    ac, buf = epoch(SPACES[1], rollouts=(16,))
    spread = (np.arange(16) + 0.5) / 16
    buf.act[:16] = np.stack([4 * spread - 3, 10 * spread], 1)[:, None]
    assert on_policy_health(ac, ac, buf, GAMMA)["ActionEntropy"] == pytest.approx(2 * math.log(16), rel=1e-5)


def test_state_entropy_is_that_of_standardised_observations():
    ac, buf = epoch(SPACES[0])
    ac.encode.update(10 * buf.states())
    obs = buf.states() / (10 * buf.states().std(0))
    health = on_policy_health(ac, ac, buf, GAMMA)
    assert health["StateEntropy"] == pytest.approx(state_entropy(obs), abs=1e-3)


def test_state_entropy_of_discrete_observations_is_that_of_their_frequencies():
    ac, buf = epoch(SPACES[0], spaces.Discrete(6, start=-3))
    buf.obs[: buf.t] = np.arange(buf.t)[:, None] % 4 - 2
    assert on_policy_health(ac, ac, buf, GAMMA)["StateEntropy"] == pytest.approx(math.log(4))


def test_update_ratios_belong_to_their_networks():
    ac, buf = epoch(SPACES[0])
    after = copy.deepcopy(ac)
    with torch.no_grad():
        for p in after.v.parameters():
            p.mul_(1.5)
    health = on_policy_health(ac, after, buf, GAMMA)
    assert health["UpdateRatioPi"] == 0
    assert health["UpdateRatioV"] == pytest.approx(0.5, rel=1e-5)


def test_log_std_is_that_of_gaussian_policies_only():
    ac, buf = epoch(SPACES[1])
    expected = (ac.pi.log_std.detach() + torch.tensor([2.0, 5.0]).log()).mean().item()
    assert on_policy_health(ac, changed(ac), buf, GAMMA)["LogStd"] == pytest.approx(expected, rel=1e-5)
    assert "LogStd" not in on_policy_health(*[epoch(SPACES[0])[0]] * 2, epoch(SPACES[0])[1], GAMMA)


def test_averages_are_weighted():
    stats = Averages()
    stats.add(3, LossPi=1.0, LossV=10.0)
    stats.add(1, LossPi=5.0)
    stats.add(GradNormPi=2.0)
    stats.add(GradNormPi=4.0)
    assert stats.means() == {"LossPi": 2.0, "LossV": 10.0, "GradNormPi": 3.0}
    assert Averages().means() == {}


def test_add_max_keeps_the_largest():
    stats = Averages()
    for value in (1.0, 3.0, 2.0):
        stats.add_max(Ratio1=value)
    assert stats.means() == {"Ratio1": 3.0}


def test_averages_of_names_are_nan_until_something_is_counted():
    stats = Averages("LossQ", "GradNormQ", "Ratio1")
    stats.add(2, LossQ=3.0)
    stats.add(2, LossQ=5.0)
    stats.add_max(Ratio1=0.5)
    means = stats.means()
    assert math.isnan(means.pop("GradNormQ"))
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


def off_policy_epoch(act_space):
    """Networks of Q and an epoch of two environments with ends of both kinds; also what the last steps led to."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    kind = QNetwork if isinstance(act_space, spaces.Discrete) else MuQNetwork
    ac, buf, finals = changed(kind(OBS, act_space, (8,))), RolloutBuffer(2 * 40, 2, OBS, act_space), {}
    for t in range(32):
        obs, next_obs = rng.normal(size=(2, 2, 3)).astype(np.float32)
        act = rng.integers(0, 4, 2) if kind is QNetwork else rng.uniform(-3, 1, (2, 2))
        terminated, truncated = rng.random((2, 2)) < 0.2
        val, entropy = rng.normal(8, 2, 2), 0.1 * t
        buf.store(obs, act, rng.normal(2, 1, 2), next_obs, terminated, truncated, val, entropy)
        finals |= {(t, n): next_obs[n] for n in range(2) if truncated[n]}
    return ac, buf, finals, rng.normal(size=(2, 3)).astype(np.float32)


@pytest.mark.parametrize("act_space", SPACES)
def test_off_policy_columns_compare_q_at_collection_with_observed_returns(act_space):
    ac, buf, finals, last_obs = off_policy_epoch(act_space)
    assert len(finals) > 3
    stats = Averages()
    stats.keep(q=torch.tensor([1.0, 2, 6]), target=torch.tensor([1.0, 4, 4]))
    health = off_policy_health(ac, buf, last_obs, GAMMA, stats)

    def value(obs):
        return ac.value(torch.tensor(obs)[None]).item()

    buf.boot[:] = math.nan
    buf.boot[31] = [value(obs) for obs in last_obs]
    for place, obs in finals.items():
        buf.boot[place] = value(obs)
    ret, val = observed_returns(buf), buf.val[:32].astype(np.float64)
    assert health["QVals"] == health["ValueMean"] == pytest.approx(val.mean(), rel=1e-5)
    assert health["ReturnMean"] == pytest.approx(ret.mean(), rel=1e-5)
    assert health["ValueBias"] == pytest.approx((val - ret).mean(), rel=1e-4)
    assert health["ExplainedVariance"] == pytest.approx(1 - np.var(ret - val) / np.var(ret), rel=1e-4)
    assert health["Entropy"] == pytest.approx(0.1 * 31 / 2, rel=1e-5)
    assert health["TDError"] == pytest.approx((0 + 2 + 2) / 3)
    assert health["ExplainedVarianceTD"] == pytest.approx(1 - (8 / 3) / 2)


def test_columns_of_minibatches_are_nan_without_a_gradient_step():
    ac, buf, _, last_obs = off_policy_epoch(SPACES[0])
    health = off_policy_health(ac, buf, last_obs, GAMMA, Averages())
    assert {name for name, value in health.items() if math.isnan(value)} == {"TDError", "ExplainedVarianceTD"}
