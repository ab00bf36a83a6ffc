"""Whole updates of each algorithm against plain torch: its own optimisers, distributions and clipping, no code of ours.

The networks are ours. All else is written again, step by step as the pseudocode of the algorithm says.
"""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from rlsuite.algos import a2c, ddpg, dqn, ppo, vpg
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import Batch
from rlsuite.common.health import Averages, exact_kl
from rlsuite.common.optim import Adam, FlatOptimizer, RMSprop
from rlsuite.common.q_networks import MuQNetwork, QNetwork
from rlsuite.common.replay import Transitions
from rlsuite.errors import NonFiniteError

torch.set_num_threads(1)
OBS = spaces.Box(-5, 5, (3,), np.float32)
BUTTONS = spaces.Discrete(4)
UNEVEN = spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))
MID, WIDTH = torch.tensor([-1.0, 5]), torch.tensor([2.0, 5])
COMPONENTS = spaces.MultiDiscrete([3, 4])
ACTIONS = [BUTTONS, UNEVEN, COMPONENTS]
INF = math.inf


def settings_of(**changes):
    defaults = {"hidden_sizes": (16, 8), "activation": "tanh", "normalize_obs": False, "log_std_init": -0.5}
    return SimpleNamespace(**{**defaults, "dueling": False, **changes})


def move(ac, amount=0.3):
    with torch.no_grad():
        for p in ac.parameters():
            p.add_(amount * torch.randn_like(p))
    return ac


def make(kind, act_space, **changes):
    torch.manual_seed(0)
    ac = move(kind(OBS, act_space, settings_of(**changes)))
    if changes.get("normalize_obs"):
        ac.encode.update(np.random.default_rng(0).normal(1, 3, (50, 3)))
    return ac


def assert_equal_parameters(ours, theirs, **tolerance):
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, **tolerance, msg=lambda text, name=name: f"{name}: {text}")


CLOSE = {"rtol": 1e-3, "atol": 2e-5}
EXACTLY = {"rtol": 0, "atol": 0}


class Plain:
    """An optimiser of torch with clipping, and the norms before it."""

    def __init__(self, kind, module, lr, max_grad_norm, **options):
        self.module, self.max_grad_norm, self.norms = module, max_grad_norm, []
        self.opt = kind(module.parameters(), lr=lr, **options)

    def step(self, loss):
        grads = torch.autograd.grad(loss, list(self.module.parameters()))
        for p, g in zip(self.module.parameters(), grads, strict=True):
            p.grad = g
        self.norms.append(nn.utils.clip_grad_norm_(self.module.parameters(), self.max_grad_norm).item())
        self.opt.step()


def mean(values, weights=None):
    return float(np.average(values, weights=weights))


# ---------------------------------------------------------------- on-policy


def rollout(ac, algo, size=32, seed=0):
    """Samples of the actor-critic's own, with random advantages and returns; for A2C with their graph."""
    torch.manual_seed(seed)
    with torch.set_grad_enabled(algo is a2c):
        x = torch.randn(size, 3)
        pi = ac.pi(x)
        adv, ret = 3 * torch.randn(size) + 1, torch.randn(size)
        return Batch(x, torch.as_tensor(pi.sample()), adv, ret, ac.v(x), pi)


def in_torch(pi):
    if len(pi) == 1 and pi.logits.ndim == 3:
        return torch.distributions.Independent(torch.distributions.Categorical(logits=pi.logits), 1)
    if len(pi) == 1:
        return torch.distributions.Categorical(logits=pi.logits)
    return torch.distributions.Independent(torch.distributions.Normal(pi.mu, pi.log_std.exp()), 1)


def more(algo, config):
    """What an update of the algorithm takes besides."""
    return [ppo.KLPenalty(config)] if algo is ppo else []


def reference_vpg(ac, pi_opt, v_opt, batch, config):
    adv = (batch.adv - batch.adv.mean()) / batch.adv.std(correction=0)
    pi, losses_v = in_torch(ac.pi(batch.x)), []
    loss_pi = -(pi.log_prob(batch.act) * adv).mean()
    pi_opt.step(loss_pi - config.ent_coef * pi.entropy().mean())
    for _ in range(config.train_v_iters):
        losses_v.append((ac.v(batch.x) - batch.ret).square().mean())
        v_opt.step(losses_v[-1])
    return {"LossPi": loss_pi.item(), "LossV": mean([loss.item() for loss in losses_v])}


def reference_a2c(ac, pi_opt, v_opt, batch, config):
    pi = in_torch(ac.pi(batch.x))
    loss_pi = -(pi.log_prob(batch.act) * batch.adv).mean()  # not standardised
    loss_v = (ac.v(batch.x) - batch.ret).square().mean()
    pi_opt.step(loss_pi - config.ent_coef * pi.entropy().mean())
    v_opt.step(loss_v)
    return {"LossPi": loss_pi.item(), "LossV": loss_v.item()}


def reference_ppo(ac, pi_opt, v_opt, batch, config):
    old, size = in_torch(batch.pi), len(batch.adv)
    logp_old = old.log_prob(batch.act)
    adv = (batch.adv - batch.adv.mean()) / batch.adv.std(correction=0)
    losses, weights, passes = {"LossPi": [], "LossV": [], "ClipFrac": []}, [], 0
    beta = vars(pi_opt).setdefault("beta", config.kl_coef)  # from update to update
    while passes < config.train_iters:
        passes += 1
        order = torch.randperm(size).numpy()
        for j in np.array_split(order, math.ceil(size / config.minibatch_size)):
            pi = in_torch(ac.pi(batch.x[j]))
            ratio = (pi.log_prob(batch.act[j]) - logp_old[j]).exp()
            pays = torch.where(adv[j] > 0, ratio > 1 + config.clip_ratio, ratio < 1 - config.clip_ratio)
            capped = torch.where(adv[j] > 0, 1 + config.clip_ratio, 1 - config.clip_ratio)
            loss_pi = -torch.where(pays, capped, ratio).mul(adv[j]).mean()
            loss_v = (ac.v(batch.x[j]) - batch.ret[j]).square().mean()
            kl = torch.distributions.kl_divergence(in_torch(type(batch.pi)(*(part[j] for part in batch.pi))), pi).mean()
            pi_opt.step(loss_pi - config.ent_coef * pi.entropy().mean() + beta * kl)
            v_opt.step(loss_v)
            for name, value in (("LossPi", loss_pi), ("LossV", loss_v), ("ClipFrac", pays.float().mean())):
                losses[name].append(value.item())
            weights.append(len(j))
        kl = torch.distributions.kl_divergence(old, in_torch(ac.pi(batch.x))).mean().item()
        if kl > config.target_kl and not config.kl_coef:
            break
    pi_opt.beta *= 0.5 if kl * 1.5 < config.target_kl else 2 if kl > config.target_kl * 1.5 else 1
    more = {"StopIter": passes, "Ratio1": 0.0} | ({"KLCoef": beta} if config.kl_coef else {})
    return {name: mean(values, weights) for name, values in losses.items()} | more


RMS = {"alpha": 0.99, "eps": 1e-5}
ON_POLICY = {
    "vpg": (vpg, reference_vpg, {"train_v_iters": 5}),
    "a2c": (a2c, reference_a2c, {}),
    "ppo": (ppo, reference_ppo, {"train_iters": 3, "minibatch_size": 7, "target_kl": INF}),
    "ppo with a penalty": (
        ppo,
        reference_ppo,
        {"train_iters": 3, "minibatch_size": 7, "target_kl": 0.01, "kl_coef": 3.0, "clip_ratio": 1e9},
    ),
    "ppo that stops": (ppo, reference_ppo, {"train_iters": 6, "minibatch_size": 7, "target_kl": 0.01}),
}


@pytest.mark.parametrize("max_grad_norm", [INF, 0.3])
@pytest.mark.parametrize("ent_coef", [0.0, 0.5])
@pytest.mark.parametrize("act_space", ACTIONS)
@pytest.mark.parametrize("case", ON_POLICY)
def test_update_equals_that_in_plain_torch(case, act_space, ent_coef, max_grad_norm):
    algo, reference, changes = ON_POLICY[case]
    config = algo.Config("-", pi_lr=0.01, vf_lr=0.02, ent_coef=ent_coef, max_grad_norm=max_grad_norm, **changes)
    ac = make(ActorCritic, act_space)
    theirs = copy.deepcopy(ac)
    rule, kind, options = (RMSprop, torch.optim.RMSprop, RMS) if algo is a2c else (Adam, torch.optim.Adam, {})
    opts = rule("Pi", ac.pi, 0.01, max_grad_norm), rule("V", ac.v, 0.02, max_grad_norm)
    plain = [Plain(kind, m, lr, max_grad_norm, **options) for m, lr in ((theirs.pi, 0.01), (theirs.v, 0.02))]
    start, stops, rest = copy.deepcopy(ac), [], more(algo, config)
    for number in range(3):
        batch, stats = rollout(ac, algo, size=26, seed=number), Averages()
        torch.manual_seed(number)
        algo.update(ac, *opts, batch, config, stats, *rest)
        torch.manual_seed(number)
        expected = reference(theirs, *plain, batch, config)
        assert_equal_parameters(ac, theirs, **CLOSE)
        assert stats.means() == pytest.approx(expected, rel=1e-3, abs=1e-4)
        stops.append(expected.get("StopIter"))
    for opt, other in zip(opts, plain, strict=True):
        assert opt.norms == pytest.approx(other.norms, rel=1e-3)
        assert opt.columns()[f"GradNorm{opt.name}"] == pytest.approx(mean(other.norms), rel=1e-3)
        assert opt.steps == len(other.norms)
        assert (opt.grad == 0).all()  # nothing is left for the next update
    if max_grad_norm < INF:
        assert max(opts[0].norms) > max_grad_norm
    moved = [(p - q).abs().max().item() for p, q in zip(ac.parameters(), start.parameters(), strict=True)]
    assert min(moved) > 20 * CLOSE["atol"]
    if case == "ppo that stops":
        assert 1 <= min(stops) < 6


class SGD(FlatOptimizer):
    """Moves by the gradient itself, which no moment hides."""

    averages = ()

    def change(self):
        self.flat.sub_(self.grad, alpha=self.lr)


def sgd(ac, lr):
    return SGD("Pi", ac.pi, lr), SGD("V", ac.v, lr)


def gradient(loss, module):
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(module.parameters()))])


@pytest.mark.parametrize("act_space", ACTIONS)
@pytest.mark.parametrize(("algo", "standardised"), [(vpg, True), (a2c, False), (ppo, True)])
def test_the_first_step_follows_the_gradient_of_policy_loss_and_entropy_bonus(algo, standardised, act_space):
    ac = make(ActorCritic, act_space)
    batch = rollout(ac, algo)
    settings = {"ent_coef": 0.1} | ({"train_iters": 1, "minibatch_size": 32} if algo is ppo else {})
    settings |= {"train_v_iters": 1} if algo is vpg else {}
    adv = (batch.adv - batch.adv.mean()) / batch.adv.std(correction=0) if standardised else batch.adv
    pi = in_torch(ac.pi(batch.x))
    grad = gradient(-(pi.log_prob(batch.act) * adv).mean() - 0.1 * pi.entropy().mean(), ac.pi)
    grad_v = gradient((ac.v(batch.x) - batch.ret).square().mean(), ac.v)
    pi_opt, v_opt = sgd(ac, 0.01)
    old, old_v = pi_opt.flat.clone(), v_opt.flat.clone()
    config = algo.Config("-", **settings)
    algo.update(ac, pi_opt, v_opt, batch, config, Averages(), *more(algo, config))
    torch.testing.assert_close(pi_opt.flat, old - 0.01 * grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(v_opt.flat, old_v - 0.01 * grad_v, rtol=1e-4, atol=1e-5)


def test_vpg_takes_one_policy_step_and_train_v_iters_value_steps():
    ac = make(ActorCritic, BUTTONS)
    pi_opt, v_opt = sgd(ac, 0.01)
    vpg.update(ac, pi_opt, v_opt, rollout(ac, vpg), vpg.Config("-", train_v_iters=7), Averages())
    assert (pi_opt.steps, v_opt.steps) == (1, 7)


@pytest.mark.parametrize("algo", [vpg, a2c, ppo])
def test_an_update_does_not_touch_the_rollout(algo):
    ac = make(ActorCritic, BUTTONS)
    batch = rollout(ac, algo)
    before = [part.detach().clone() for part in (*batch[:5], *batch.pi)]
    config = algo.Config("-", **({"kl_coef": 1.0} if algo is ppo else {}))
    algo.update(ac, *sgd(ac, 0.1), batch, config, Averages(), *more(algo, config))
    for ours, was in zip((*batch[:5], *batch.pi), before, strict=True):
        assert torch.equal(ours, was)


@pytest.mark.parametrize(("algo", "name"), [(vpg, "V"), (a2c, "V"), (ppo, "V"), (vpg, "Pi"), (a2c, "Pi"), (ppo, "Pi")])
def test_a_loss_that_is_not_finite_is_named_and_its_network_stays(algo, name):
    ac = make(ActorCritic, BUTTONS)
    batch = rollout(ac, algo)
    (batch.ret if name == "V" else batch.adv)[3] = INF
    opts = Adam("Pi", ac.pi, 0.1), Adam("V", ac.v, 0.1)
    before = copy.deepcopy(ac)
    with pytest.raises(NonFiniteError, match=f"Loss{name}"):
        algo.update(ac, *opts, batch, algo.Config("-"), Averages(), *more(algo, algo.Config("-")))
    assert_equal_parameters(*((ac.v, before.v) if name == "V" else (ac.pi, before.pi)), **EXACTLY)


# ---------------------------------------------------------------- ppo's passes


def ppo_update(lr, **settings):
    ac = make(ActorCritic, BUTTONS)
    batch, stats, opts = rollout(ac, ppo), Averages(), sgd(ac, lr)
    config = ppo.Config("-", train_iters=6, minibatch_size=8, **settings)
    ppo.update(ac, *opts, batch, config, stats, ppo.KLPenalty(config))
    return ac, batch, *opts, stats.means()


def test_ppo_stops_after_the_first_pass_whose_exact_kl_exceeds_target_kl():
    *_, pi_opt, v_opt, stats = ppo_update(0.05, target_kl=INF)
    assert stats["StopIter"] == 6
    assert pi_opt.steps == v_opt.steps == 6 * 4
    ac, batch, pi_opt, _, stats = ppo_update(0.05, target_kl=1e-9)
    assert stats["StopIter"] == 1
    assert pi_opt.steps == 4
    after_one_pass = exact_kl(batch.pi, ac.pi, batch.x)
    *_, stats = ppo_update(0.05, target_kl=1.001 * after_one_pass)
    assert stats["StopIter"] == 2


def test_a_kl_penalty_takes_the_place_of_the_early_stop_and_says_its_weight():
    *_, stats = ppo_update(0.05, target_kl=1e-9, kl_coef=0.5)
    assert (stats["StopIter"], stats["KLCoef"]) == (6, 0.5)
    assert "KLCoef" not in ppo_update(0.05)[-1]


@pytest.mark.parametrize("act_space", ACTIONS)
def test_a_step_with_a_kl_penalty_follows_the_gradient_of_equation_8(act_space):
    """From a policy that has moved already: where it has not, the penalty has no gradient."""
    ac = make(ActorCritic, act_space)
    batch = rollout(ac, ppo)
    move(ac, 0.1)
    adv = (batch.adv - batch.adv.mean()) / batch.adv.std(correction=0)
    old, pi, again = in_torch(batch.pi), in_torch(ac.pi(batch.x)), in_torch(ac.pi(batch.x))
    ratio = (pi.log_prob(batch.act) - old.log_prob(batch.act)).exp()
    surrogate = gradient((ratio * adv).mean(), ac.pi)
    pull = gradient(torch.distributions.kl_divergence(old, again).mean(), ac.pi)
    assert pull.norm() > 0.1 * surrogate.norm()
    pi_opt, v_opt = sgd(ac, 0.01)
    before = pi_opt.flat.clone()
    config = ppo.Config("-", kl_coef=0.7, clip_ratio=1e9, train_iters=1, minibatch_size=32)
    ppo.update(ac, pi_opt, v_opt, batch, config, Averages(), ppo.KLPenalty(config))
    torch.testing.assert_close(pi_opt.flat, before + 0.01 * (surrogate - 0.7 * pull), rtol=1e-4, atol=1e-5)


def test_the_weight_of_the_kl_penalty_halves_below_and_doubles_above_the_target():
    penalty = ppo.KLPenalty(ppo.Config("-", kl_coef=3.0, target_kl=0.03))
    expected = 3.0
    for kl, factor in [(0.0199, 0.5), (0.0201, 1), (0.03, 1), (0.0449, 1), (0.0451, 2), (5.0, 2), (0.0, 0.5)]:
        penalty.adapt(kl)
        expected *= factor
        assert penalty.beta == expected, kl
    other = ppo.KLPenalty(ppo.Config("-", kl_coef=1.0))
    other.load_state_dict(penalty.state_dict())
    assert other.beta == penalty.beta == 3.0


@pytest.mark.parametrize(("lr", "factor"), [(0.0, 0.5), (0.5, 2)])
def test_the_weight_follows_the_kl_of_the_whole_rollout_after_its_last_step(lr, factor):
    ac = make(ActorCritic, BUTTONS)
    batch, config = rollout(ac, ppo), ppo.Config("-", kl_coef=0.01, train_iters=2, minibatch_size=8)
    penalty = ppo.KLPenalty(config)
    ppo.update(ac, *sgd(ac, lr), batch, config, Averages(), penalty)
    kl = torch.distributions.kl_divergence(in_torch(batch.pi), in_torch(ac.pi(batch.x))).mean()
    assert (kl > 1.5 * 0.05) == (factor == 2)
    assert penalty.beta == 0.01 * factor


def test_ppo_ratio_is_1_at_the_first_minibatch_and_not_later():
    stats = ppo_update(0.5, target_kl=INF)[-1]
    assert stats["Ratio1"] < 1e-5
    assert stats["ClipFrac"] > 0


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("act_space", ACTIONS)
def test_ppo_ratio1_shows_a_policy_that_is_not_the_one_that_acted(act_space, activation):
    ac = make(ActorCritic, act_space, activation=activation)
    batch, opts, stats = rollout(ac, ppo), sgd(ac, 0.0), Averages()
    config = ppo.Config("-", train_iters=1, minibatch_size=32)
    ppo.update(ac, *opts, batch, config, stats, ppo.KLPenalty(config))
    assert stats.means()["Ratio1"] < 1e-5
    move(ac, 0.01)
    expected = (in_torch(ac.pi(batch.x)).log_prob(batch.act) - in_torch(batch.pi).log_prob(batch.act)).exp()
    stats = Averages()
    ppo.update(ac, *opts, batch, config, stats, ppo.KLPenalty(config))
    assert stats.means()["Ratio1"] == pytest.approx((expected - 1).abs().max().item(), rel=1e-3)


def test_ppo_visits_every_sample_once_per_pass_also_where_minibatches_do_not_fit(monkeypatch):
    ac = make(ActorCritic, BUTTONS)
    batch = rollout(ac, ppo, size=27)._replace(adv=torch.arange(27.0))
    seen, policy_loss = [], ppo.policy_loss
    monkeypatch.setattr(ppo, "policy_loss", lambda *args: seen.append(args[2]) or policy_loss(*args))
    config = ppo.Config("-", train_iters=2, minibatch_size=8, target_kl=INF)
    ppo.update(ac, *sgd(ac, 0.0), batch, config, Averages(), ppo.KLPenalty(config))
    assert [len(part) for part in seen] == [7, 7, 7, 6] * 2
    passes = [torch.cat(seen[i : i + 4]) for i in (0, 4)]
    assert torch.equal(passes[0].sort().values, passes[1].sort().values)
    assert len(passes[0].unique()) == 27
    assert not torch.equal(*passes)


# ---------------------------------------------------------------- off-policy


def transitions(act_space, seed, size=20):
    torch.manual_seed(seed)
    discrete = isinstance(act_space, spaces.Discrete)
    act = torch.randint(4, (size,)) if discrete else MID + WIDTH * (2 * torch.rand(size, 2) - 1)
    obs, next_obs = torch.randn(2, size, 3)
    return Transitions(obs, act, 2 * torch.randn(size), next_obs, torch.rand(size) < 0.3)


def features(ac, obs):
    return ((obs - ac.encode.mean) / ac.encode.var.sqrt()).clamp(-10, 10) if ac.encode.normalize else obs


@pytest.mark.parametrize("max_grad_norm", [INF, 0.7])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("double_q", [False, True])
@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_dqn_update_equals_that_in_plain_torch(loss, double_q, dueling, normalize, max_grad_norm):
    q_net = make(QNetwork, BUTTONS, dueling=dueling)
    target = move(copy.deepcopy(q_net))
    if normalize:  # of the network alone, as `train` does it
        q_net.encode.normalize = target.encode.normalize = True
        q_net.encode.update(np.random.default_rng(0).normal(1, 3, (50, 3)))
    theirs, still = copy.deepcopy(q_net), copy.deepcopy(target)
    config = dqn.Config("-", gamma=0.9, double_q=double_q, loss=loss)
    q_opt, plain = Adam("Q", q_net.q, 0.01, max_grad_norm), Plain(torch.optim.Adam, theirs.q, 0.01, max_grad_norm)
    stats, losses, qs, ys = Averages(), [], [], []
    for number in range(4):
        batch = transitions(BUTTONS, number)
        dqn.update(q_net, target, q_opt, batch, config, stats)

        x, next_x, rows = features(theirs, batch.obs), features(theirs, batch.next_obs), torch.arange(20)
        with torch.no_grad():
            next_q = still.q(next_x)
            best = theirs.q(next_x).argmax(1) if double_q else next_q.argmax(1)
            y = torch.where(batch.terminated, batch.rew, batch.rew + 0.9 * next_q[rows, best])
        q = theirs.q(x)[rows, batch.act]
        e = (q - y).abs()
        h = torch.where(e < 1, e.square() / 2, e - 0.5) if loss == "huber" else e.square()
        plain.step(h.mean())
        losses.append(h.mean().item())
        qs.append(q.detach())
        ys.append(y)
        assert_equal_parameters(q_net, theirs, **CLOSE)
    assert stats.means() == pytest.approx({"LossQ": mean(losses)}, rel=1e-4)
    np.testing.assert_allclose(stats.kept("q"), torch.cat(qs), atol=1e-4)
    np.testing.assert_allclose(stats.kept("target"), torch.cat(ys), atol=1e-4)
    assert q_opt.norms == pytest.approx(plain.norms, rel=1e-3)
    assert_equal_parameters(target, still, **EXACTLY)
    assert all(p.grad is None for p in target.parameters())
    assert (q_opt.grad == 0).all()


@pytest.mark.parametrize("max_grad_norm", [INF, 0.7])
@pytest.mark.parametrize("normalize", [False, True])
def test_ddpg_update_equals_that_in_plain_torch(normalize, max_grad_norm):
    ac = make(MuQNetwork, UNEVEN)
    target = move(copy.deepcopy(ac))
    if normalize:
        ac.encode.normalize = target.encode.normalize = True
        ac.encode.update(np.random.default_rng(0).normal(1, 3, (50, 3)))
    theirs, still = copy.deepcopy(ac), copy.deepcopy(target)
    pi_opt, q_opt = Adam("Pi", ac.pi, 0.02, max_grad_norm), Adam("Q", ac.q, 0.05, max_grad_norm)
    plain_pi, plain_q = (
        Plain(torch.optim.Adam, module, lr, max_grad_norm) for module, lr in ((theirs.pi, 0.02), (theirs.q, 0.05))
    )
    stats, losses_pi, losses_q, qs, ys = Averages(), [], [], [], []
    for number in range(4):
        batch = transitions(UNEVEN, number)
        ddpg.update(ac, target, pi_opt, q_opt, batch, ddpg.Config("-", gamma=0.9), stats)

        x, next_x = features(theirs, batch.obs), features(theirs, batch.next_obs)
        with torch.no_grad():
            y = torch.where(batch.terminated, batch.rew, batch.rew + 0.9 * still.q(next_x, still.pi(next_x)))
        q = theirs.q(x, batch.act)
        loss_q = (q - y).square().mean()
        plain_q.step(loss_q)
        loss_pi = -theirs.q(x, theirs.pi(x)).mean()  # of the critic that has just moved
        plain_pi.step(loss_pi)
        losses_q.append(loss_q.item())
        losses_pi.append(loss_pi.item())
        qs.append(q.detach())
        ys.append(y)
        assert_equal_parameters(ac, theirs, **CLOSE)
        assert (q_opt.grad == 0).all()  # the policy's loss has left nothing in the critic
    assert stats.means() == pytest.approx({"LossPi": mean(losses_pi), "LossQ": mean(losses_q)}, rel=1e-4)
    np.testing.assert_allclose(stats.kept("q"), torch.cat(qs), atol=1e-3)
    np.testing.assert_allclose(stats.kept("target"), torch.cat(ys), atol=1e-3)
    assert q_opt.norms == pytest.approx(plain_q.norms, rel=1e-3)
    assert pi_opt.norms == pytest.approx(plain_pi.norms, rel=1e-3)
    assert_equal_parameters(target, still, **EXACTLY)
    assert all(p.grad is None for p in target.parameters())


@pytest.mark.parametrize(("algo", "name"), [(dqn, "Q"), (ddpg, "Q"), (ddpg, "Pi")])
def test_a_critic_that_is_not_finite_is_named_and_every_network_stays(algo, name):
    act_space = BUTTONS if algo is dqn else UNEVEN
    ac = make(QNetwork if algo is dqn else MuQNetwork, act_space)
    target, batch = copy.deepcopy(ac), transitions(act_space, 0)
    opts = [Adam("Q", ac.q, 0.1)] if algo is dqn else [Adam("Pi", ac.pi, 0.1), Adam("Q", ac.q, 0.1)]
    if name == "Q":
        batch.rew[3] = INF
    else:
        ac.pi.layers[-1].weight.register_hook(lambda grad: grad * math.nan)
    before = copy.deepcopy(ac)
    with pytest.raises(NonFiniteError, match=f"Loss{name}"):
        algo.update(ac, target, *opts, batch, algo.Config("-"), Averages())
    assert_equal_parameters(*((ac, before) if name == "Q" else (ac.pi, before.pi)), **EXACTLY)
