"""Networks: formulas, shapes, and that what acts is what trains, however the modules are edited."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from rlsuite.common.actor_critic import (
    MLP,
    ActorCritic,
    CategoricalPolicy,
    GaussianPolicy,
    MultiCategoricalPolicy,
    ValueFunction,
)
from rlsuite.common.buffer import RolloutBuffer, evaluate_rollout
from rlsuite.common.distributions import NEVER, Categorical, Gaussian, MultiCategorical
from rlsuite.common.normalize import ObsEncoder
from rlsuite.common.optim import Adam
from rlsuite.common.q_networks import MuQNetwork, QNetwork
from rlsuite.envs.making import make_env
from rlsuite.envs.stepping import Envs
from rlsuite.errors import UserError

torch.set_num_threads(1)
INF = np.inf
OBS = spaces.Box(-INF, INF, (3,), np.float32)
OBS_SPACES = {
    "vector": OBS,
    "matrix": spaces.Box(-INF, INF, (2, 3), np.float64),
    "integers": spaces.Box(-9, 9, (3,), np.int64),
    "image": spaces.Box(0, 255, (4, 4), np.uint8),
    "discrete": spaces.Discrete(5, start=2),
}
BUTTONS, JOINTS = spaces.Discrete(4, start=3), spaces.Box(-2, 3, (2, 1))
COMPONENTS = spaces.MultiDiscrete([[2], [4]], start=[[0], [3]])
KINDS = [(ActorCritic, BUTTONS), (ActorCritic, JOINTS), (QNetwork, BUTTONS), (MuQNetwork, JOINTS)]
KINDS += [(ActorCritic, COMPONENTS)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def settings_of(**changes):
    defaults = {"hidden_sizes": (16, 8), "activation": "tanh", "normalize_obs": False, "log_std_init": -0.5}
    return SimpleNamespace(**{**defaults, "dueling": False, **changes})


def make(kind=ActorCritic, act_space=BUTTONS, obs_space=OBS, **changes):
    """Networks with random parameters, all of which matter."""
    ac = kind(obs_space, act_space, settings_of(**changes))
    with torch.no_grad():
        for p in ac.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return ac


def observations(space=OBS, count=200):
    space.seed(0)
    return np.array([space.sample() for _ in range(count)])


def actions(count=200):
    return np.random.default_rng(0).uniform(-2, 3, (count, 2)).astype(np.float32)


def acting(ac, obs):
    """What the networks do and say, in arrays; sampled actions from a fresh seed."""
    torch.manual_seed(7)
    answers = {name: getattr(ac, name)(obs) for name in ("act", "mode", "value", "values") if hasattr(ac, name)}
    if hasattr(ac, "action_value"):
        answers["action_value"] = ac.action_value(obs, actions(len(obs)))
    return answers


def in_torch(ac, obs):
    """The same by the modules, as training calls them."""
    x = ac.encode(torch.as_tensor(obs))
    if isinstance(ac, ActorCritic):
        pi = ac.pi(x)
        torch.manual_seed(7)
        answers = {"act": pi.sample(), "mode": pi.mode(), "value": ac.v(x)}
    elif isinstance(ac, QNetwork):
        q = ac.q(x)
        answers = {"mode": q.argmax(1), "value": q.max(1).values, "values": q}
    else:
        mu = ac.pi(x)
        answers = {"mode": mu, "value": ac.q(x, mu), "action_value": ac.q(x, torch.as_tensor(actions(len(obs))))}
    return {name: part if isinstance(part, np.ndarray) else part.detach().numpy() for name, part in answers.items()}


def assert_acts_as_it_trains(ac, obs):
    """Compare the two, and return what acts."""
    answers, expected = acting(ac, obs), in_torch(ac, obs)
    assert answers.keys() == expected.keys()
    for name, array in answers.items():
        assert isinstance(array, np.ndarray)
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    return answers


def assert_all_differ(one, other, *names):
    for name in names or one:
        assert not np.array_equal(one[name], other[name]), name


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_mlp_has_an_activation_after_each_layer_but_the_last(activation):
    x, net = torch.randn(7, 3), MLP([3, 8, 8, 2], activation)
    f = {"tanh": nn.Tanh, "relu": nn.ReLU}[activation]
    first, second, last = net.layers
    torch.testing.assert_close(net.outputs(x), nn.Sequential(first, f(), second, f(), last)(x))
    assert [tuple(layer.weight.shape) for layer in net.layers] == [(8, 3), (8, 8), (2, 8)]
    torch.testing.assert_close(MLP([3, 2], activation).outputs(torch.zeros(1, 3)), torch.zeros(1, 2))


def test_orthogonal_layers_keep_the_norm_and_the_last_one_scales_by_out_gain():
    net = MLP([8, 8, 8], out_gain=0.01)
    for layer, gain in zip(net.layers, (2**0.5, 0.01), strict=True):
        torch.testing.assert_close(layer.weight @ layer.weight.T, gain**2 * torch.eye(8), rtol=1e-4, atol=1e-6)
        assert (layer.bias == 0).all()
    plain = MLP([400, 8, 8], orthogonal=False)
    bound = 1 / 400**0.5  # torch's own: uniform within 1/√fan_in, biases too
    assert 0.9 * bound < plain.layers[0].weight.abs().max() <= bound
    assert plain.layers[0].bias.abs().max() > 0


def test_each_component_of_a_joint_choice_has_outputs_of_its_own_and_never_takes_an_action_that_there_is_not():
    pi = MultiCategoricalPolicy(3, spaces.MultiDiscrete([[2, 1], [3, 2]]), (8,), "tanh")
    outputs = torch.arange(1.0, 9.0).expand(5, 8)
    pi.outputs = lambda x: outputs
    first, second, third, fourth = [1, 2, NEVER], [3, NEVER, NEVER], [4, 5, 6], [7, 8, NEVER]
    assert pi(torch.zeros(5, 3)).logits.tolist() == [[first, second, third, fourth]] * 5
    assert MultiCategorical(pi(torch.zeros(5, 3)).logits - 1e4).sample().max(0).tolist() <= [1, 0, 2, 1]
    assert set(pi.state_dict()) == {f"layers.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")}


def test_the_first_joint_policy_is_near_uniform_over_the_actions_that_there_are():
    pi = MultiCategoricalPolicy(3, spaces.MultiDiscrete([2, 5]), (8,), "tanh")(torch.randn(50, 3))
    torch.testing.assert_close(pi.entropy(), torch.full((50,), math.log(2) + math.log(5)), rtol=0, atol=1e-3)


def test_gaussian_policy_has_μ_mid_plus_width_outputs_and_ln_σ_ln_width_plus_log_std():
    low, high = np.array([-3, 0, -INF, 0, 7], np.float32), np.array([1, 10, INF, INF, 7], np.float32)
    ac = ActorCritic(OBS, spaces.Box(low, high), settings_of(log_std_init=-0.7))
    mid, width = torch.tensor([-1.0, 5, 0, 0, 7]), torch.tensor([2.0, 5, 1, 1, 1])
    x = 100 * torch.randn(20, 3)
    pi = ac.pi(x)
    torch.testing.assert_close(pi.mu, mid + width * ac.pi.outputs(x))
    torch.testing.assert_close(pi.log_std, (width.log() - 0.7).expand(20, 5))


def test_the_first_policy_has_near_maximum_entropy():
    x = torch.randn(100, 3)
    pi = ActorCritic(OBS, spaces.Discrete(5), settings_of(hidden_sizes=(64, 64))).pi(x)
    assert (math.log(5) - pi.entropy()).max() < 1e-3
    pi = ActorCritic(OBS, spaces.Box(-2, 2, (2,)), settings_of(hidden_sizes=(64, 64))).pi(x)
    assert pi.mu.abs().max() < 0.1


def test_a_value_function_returns_one_number_per_state():
    assert ValueFunction(3, (8,), "tanh")(torch.randn(7, 3)).shape == (7,)


def test_policy_and_value_function_share_no_parameter():
    ac = make()
    assert not {id(p) for p in ac.pi.parameters()} & {id(p) for p in ac.v.parameters()}
    assert len(list(ac.parameters())) == len(list(ac.pi.parameters())) + len(list(ac.v.parameters()))


@pytest.mark.parametrize("space", [spaces.Tuple([BUTTONS]), spaces.MultiBinary(3), spaces.Box(0, 9, (2,), np.int64)])
def test_other_action_spaces_are_refused_with_a_way_out(space):
    with pytest.raises(UserError, match=r"ActionWrapper"):
        ActorCritic(OBS, space, settings_of())


# ---------------------------------------------------------------- acting goes through the modules that train


def main_output(out):
    """What a network returns, or the first tensor of a distribution."""
    return out[0] if isinstance(out, tuple) else out


def training_forward(ac, obs):
    """The passes through every network that its losses are made of."""
    x = ac.encode(obs)
    if isinstance(ac, ActorCritic):
        outs = ac.pi(x), ac.v(x)
    else:
        outs = (ac.q(x),) if isinstance(ac, QNetwork) else (ac.q(x, ac.pi(x)),)
    return [main_output(out) for out in outs]


def optimizers(ac):
    return [Adam(name, module, 0.05) for name, module in ac.named_children() if name != "encode"]


def learn(ac, opts, obs, steps=3):
    """A few steps that pull every network somewhere."""
    for _ in range(steps):
        sum((out - 3).square().mean() for out in training_forward(ac, obs)).backward()
        for opt in opts:
            opt.step()


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("obs_kind", OBS_SPACES)
@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_arrays_are_what_the_modules_give_and_follow_training(kind, act_space, obs_kind, normalize, activation):
    obs = observations(OBS_SPACES[obs_kind])
    if obs_kind in ("vector", "matrix"):
        obs[0] = 1e6  # to be clipped, if standardised
    ac = make(kind, act_space, OBS_SPACES[obs_kind], normalize_obs=normalize, activation=activation)
    before = assert_acts_as_it_trains(ac, obs)
    learn(ac, optimizers(ac), obs)
    assert_all_differ(before, after := assert_acts_as_it_trains(ac, obs), *before.keys() - {"mode"})
    ac.encode.update(3 * obs[1:] + 1 if obs_kind != "discrete" else obs)
    updated = assert_acts_as_it_trains(ac, obs)
    if normalize and obs_kind != "discrete":
        assert_all_differ(after, updated, "value")


@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_shapes_of_what_acts(kind, act_space):
    answers = acting(make(kind, act_space), observations(count=7))
    act = (7,) if act_space is BUTTONS else (7, 2)
    shapes = {"act": act, "mode": act, "value": (7,), "values": (7, 4), "action_value": (7,)}
    assert {name: array.shape for name, array in answers.items()} == {name: shapes[name] for name in answers}
    dtype = np.float32 if act_space is JOINTS else np.int64
    assert {answers[name].dtype for name in ("act", "mode") if name in answers} == {np.dtype(dtype)}


@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_acting_builds_no_graph_and_leaves_gradients_alone(kind, act_space):
    ac, obs = make(kind, act_space), observations()
    Adam("All", ac, 0.1)
    acting(ac, obs)
    assert all((p.grad == 0).all() for p in ac.parameters())
    assert all(x.requires_grad is False for x in ac.buffers())


@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_loaded_weights_are_followed(kind, act_space):
    ac, other, obs = (
        make(kind, act_space, normalize_obs=True),
        make(kind, act_space, normalize_obs=True),
        observations(),
    )
    other.encode.update(5 * obs)
    acting(ac, obs)
    ac.load_state_dict(other.state_dict())
    for name, array in acting(other, obs).items():
        np.testing.assert_array_equal(acting(ac, obs)[name], array)


# A subclass or an edit of any one part must be seen by everything that acts.


class AlwaysLast(CategoricalPolicy):
    def forward(self, x):
        return Categorical(1000 * torch.arange(4.0).expand(len(x), 4))


class Always7(GaussianPolicy):
    def forward(self, x):
        mu = torch.full((len(x), 2), 7.0)
        return Gaussian(mu, mu - torch.inf)


class Doubled(ObsEncoder):
    def standardize(self, x):
        return 2 * super().standardize(x)


def test_an_edited_forward_of_a_policy_acts():
    obs = observations()
    ac = make()
    ac.pi = AlwaysLast(3, BUTTONS, (8,), "tanh")
    answers = assert_acts_as_it_trains(ac, obs)
    np.testing.assert_array_equal(answers["act"], 3)
    np.testing.assert_array_equal(answers["mode"], 3)
    ac = make(act_space=JOINTS)
    ac.pi = Always7(3, JOINTS, (8,), "tanh", 0.0)
    answers = assert_acts_as_it_trains(ac, obs)
    np.testing.assert_array_equal(answers["act"], 7)
    np.testing.assert_array_equal(answers["mode"], 7)


@pytest.mark.parametrize(
    ("policy", "act_space"), [(CategoricalPolicy, BUTTONS), (GaussianPolicy, JOINTS)], ids=["categorical", "gaussian"]
)
def test_a_forward_that_is_patched_in_the_class_acts(policy, act_space, monkeypatch):
    ac, obs, forward = make(act_space=act_space), observations(), policy.forward
    before = acting(ac, obs)
    monkeypatch.setattr(policy, "forward", lambda self, x: forward(self, -x))
    assert_all_differ(before, assert_acts_as_it_trains(ac, obs), "act", "mode")


@pytest.mark.parametrize(
    ("distribution", "act_space"),
    [(Categorical, BUTTONS), (Gaussian, JOINTS), (MultiCategorical, COMPONENTS)],
    ids=["categorical", "gaussian", "multi-categorical"],
)
def test_an_edited_sample_acts(distribution, act_space, monkeypatch):
    ac, obs = make(act_space=act_space), observations()
    before = acting(ac, obs)
    monkeypatch.setattr(distribution, "sample", lambda self: self.mode() + 10)
    after = acting(ac, obs)
    np.testing.assert_array_equal(after["act"], before["mode"] + 10)
    np.testing.assert_array_equal(after["mode"], before["mode"])
    monkeypatch.setattr(distribution, "mode", lambda self: 0 * distribution(*self)[0])
    assert (acting(ac, obs)["mode"] == 0).all()


@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_an_edited_standardize_acts_and_trains(kind, act_space, monkeypatch):
    obs = observations()
    ac = make(kind, act_space, normalize_obs=True)
    before = acting(ac, obs)
    subclassed = copy.deepcopy(ac)
    subclassed.encode = Doubled(OBS, normalize=True)
    seen = assert_acts_as_it_trains(subclassed, obs)
    assert_all_differ(before, seen, *before.keys() - {"mode"})
    standardize = ObsEncoder.standardize
    monkeypatch.setattr(ObsEncoder, "standardize", lambda self, x: 2 * standardize(self, x))
    for name, array in assert_acts_as_it_trains(ac, obs).items():
        np.testing.assert_array_equal(array, seen[name])


@pytest.mark.parametrize("base", [ActorCritic, QNetwork, MuQNetwork])
def test_networks_of_ones_own_act(base):
    class Sevens(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *inputs):
            out = self.inner(*inputs)
            return Categorical(0 * out.logits + 7) if isinstance(out, Categorical) else 0 * out + 7

    ac, obs = make(base, JOINTS if base is MuQNetwork else BUTTONS), observations()
    if base is MuQNetwork:
        ac.pi, ac.q = Sevens(ac.pi), Sevens(ac.q)
        expected = {"mode": 7, "value": 7, "action_value": 7}
    elif base is QNetwork:
        ac.q = Sevens(ac.q)
        expected = {"mode": 0, "value": 7, "values": 7}
    else:
        ac.pi, ac.v = Sevens(ac.pi), Sevens(ac.v)
        expected = {"mode": 0, "value": 7}
    answers = assert_acts_as_it_trains(ac, obs)
    for name, value in expected.items():
        np.testing.assert_array_equal(answers[name], value)
    if base is ActorCritic:  # equal logits: every action is drawn
        assert len(np.unique(answers["act"])) == 4


@pytest.mark.parametrize(("kind", "act_space"), [(QNetwork, BUTTONS), (MuQNetwork, JOINTS)])
@pytest.mark.parametrize("how", ["subclass", "instance", "class"])
def test_an_edited_q_is_what_values_and_modes_come_from(kind, act_space, how, monkeypatch):
    ac, obs = make(kind, act_space), observations()
    before, cls = acting(ac, obs), type(ac.q)
    forward = cls.forward
    if how == "subclass":
        ac.q.__class__ = type("Edited", (cls,), {"forward": lambda self, *inputs: -forward(self, *inputs)})
    elif how == "instance":
        ac.q.forward = lambda *inputs: -forward(ac.q, *inputs)
    else:
        monkeypatch.setattr(cls, "forward", lambda self, *inputs: -forward(self, *inputs))
    answers = assert_acts_as_it_trains(ac, obs)
    if kind is QNetwork:
        np.testing.assert_array_equal(answers["values"], -before["values"])
        np.testing.assert_array_equal(answers["mode"], before["values"].argmin(1))
        np.testing.assert_array_equal(answers["value"], -before["values"].min(1))
    else:
        np.testing.assert_array_equal(answers["action_value"], -before["action_value"])
        np.testing.assert_array_equal(answers["value"], -before["value"])


def test_an_edited_deterministic_policy_acts_and_is_valued(monkeypatch):
    ac, obs = make(MuQNetwork, JOINTS), observations()
    before, forward = acting(ac, obs), type(ac.pi).forward
    monkeypatch.setattr(type(ac.pi), "forward", lambda self, x: forward(self, -x))
    answers = assert_acts_as_it_trains(ac, obs)
    assert_all_differ(before, answers, "mode", "value")
    np.testing.assert_array_equal(answers["action_value"], before["action_value"])


def networks_of(ac):
    return [module for module in ac.modules() if isinstance(module, MLP)]


@pytest.mark.parametrize("where", ["instance", "class"])
@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_edited_outputs_of_the_layers_act(kind, act_space, where, monkeypatch):
    ac, obs, outputs = make(kind, act_space), observations(), MLP.outputs
    before = acting(ac, obs)
    if where == "class":
        monkeypatch.setattr(MLP, "outputs", lambda self, x: 1 - outputs(self, x))
    else:
        for net in networks_of(ac):
            net.outputs = lambda x, net=net: 1 - outputs(net, x)
    assert_all_differ(before, assert_acts_as_it_trains(ac, obs))


EDITS = {
    "replace": lambda first, last: (0, nn.Linear(first.in_features, first.out_features)),
    "layer norm": lambda first, last: (1, nn.LayerNorm(first.out_features)),
    "insert": lambda first, last: (1, nn.Linear(first.out_features, first.out_features)),
    "append": lambda first, last: (3, nn.Linear(last.out_features, last.out_features)),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_layers_that_are_replaced_or_inserted_act_and_train(kind, act_space, edit):
    ac, obs = make(kind, act_space), observations()
    before, ours = acting(ac, obs), []
    for net in networks_of(ac):
        place, layer = EDITS[edit](net.layers[0], net.layers[-1])
        if edit == "replace":
            net.layers[place] = layer
        else:
            net.layers.insert(place, layer)
        ours.append(layer)
    assert_all_differ(before, edited := assert_acts_as_it_trains(ac, obs))
    old = copy.deepcopy(ours)
    learn(ac, optimizers(ac), obs)
    for layer, was in zip(ours, old, strict=True):
        assert all(not torch.equal(p, q) for p, q in zip(layer.parameters(), was.parameters(), strict=True))
    assert_all_differ(edited, assert_acts_as_it_trains(ac, obs), *edited.keys() - {"mode"})


@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_dropout_drops_when_acting_and_when_training(kind, act_space):
    ac, obs = make(kind, act_space), observations()
    for net in networks_of(ac):
        net.layers.insert(1, nn.Dropout(0.9))
    one, same = acting(ac, obs), acting(ac, obs)
    torch.manual_seed(8)
    np.testing.assert_array_equal(one["value"], same["value"])  # drawn from torch's generator
    assert not np.array_equal(one["value"], ac.value(obs))
    assert not np.array_equal(ac.mode(obs), ac.mode(obs))
    for out, again in zip(training_forward(ac, obs), training_forward(ac, obs), strict=True):
        assert not torch.equal(out, again)
    ac.eval()
    np.testing.assert_array_equal(ac.value(obs), ac.value(obs))


ASKS = {"act": ["pi"], "mode": ["pi"], "value": ["v"]}
ASKS_Q = {"mode": ["q"], "value": ["q"], "values": ["q"]}
ASKS_MU_Q = {"mode": ["pi"], "value": ["pi", "q"], "action_value": ["q"]}


@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_forward_hooks_of_networks_and_layers_run_when_acting_and_when_training(kind, act_space):
    ac, obs, calls = make(kind, act_space), observations(count=5), []
    hooked = dict(ac.named_children())
    for name, net in ac.named_children():
        if name != "encode":
            hooked |= {f"{name} layer {i}": layer for i, layer in enumerate(net.layers)}
    assert len(hooked) == 3 + 2 * 3 if kind is not QNetwork else 2 + 3
    for name, module in hooked.items():
        module.register_forward_hook(lambda module, inputs, output, name=name: calls.append(name))
    training_forward(ac, obs)
    assert set(calls) == set(hooked)
    for method, networks in {ActorCritic: ASKS, QNetwork: ASKS_Q, MuQNetwork: ASKS_MU_Q}[kind].items():
        calls.clear()
        args = (obs, actions(5)) if method == "action_value" else (obs,)
        getattr(ac, method)(*args)
        expected = ["encode", *(name for name in hooked if name.split()[0] in networks)]
        assert sorted(calls) == sorted(expected), method


def test_a_hook_that_changes_an_output_changes_the_action():
    ac, obs = make(), observations()
    ac.pi.layers[-1].register_forward_hook(lambda module, inputs, output: 1000 * torch.eye(4)[[2] * len(output)])
    answers = assert_acts_as_it_trains(ac, obs)
    np.testing.assert_array_equal(answers["act"], 2)
    np.testing.assert_array_equal(answers["mode"], 2)


@pytest.mark.parametrize("kind", [ActorCritic, QNetwork, MuQNetwork])
def test_an_encoder_of_ones_own_is_asked(kind):
    class Sum(nn.Module):
        features, normalize = 3, False

        def forward(self, obs):
            x = torch.as_tensor(obs).float()
            return x.sum(1, keepdim=True).expand(-1, 3)

    ac, obs = make(kind, JOINTS if kind is MuQNetwork else BUTTONS), observations()
    ac.encode = Sum()
    answers = assert_acts_as_it_trains(ac, obs)
    mixed = acting(ac, obs[:, ::-1].copy())
    np.testing.assert_allclose(answers["value"], mixed["value"], rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- no order of construction is semantic


@pytest.mark.parametrize("order", ["act, Adam", "Adam, act", "Adam", "act, Adam, act", "Adam, copy", "copy, Adam"])
@pytest.mark.parametrize(("kind", "act_space"), KINDS)
def test_no_order_of_acting_copying_and_making_optimisers_matters(kind, act_space, order):
    obs = observations()
    reference, made = make(kind, act_space), {}
    ac = copy.deepcopy(reference)
    for part in order.split(", "):
        if part == "act":
            for name, array in acting(ac, obs).items():
                np.testing.assert_array_equal(array, acting(reference, obs)[name])
        elif part == "Adam":
            made["Adam"] = optimizers(ac)
        else:
            made["copy"] = copy.deepcopy(ac)
    learn(reference, optimizers(reference), obs)
    learn(ac, made["Adam"], obs)
    learned = assert_acts_as_it_trains(ac, obs)
    for name, array in assert_acts_as_it_trains(reference, obs).items():
        np.testing.assert_array_equal(learned[name], array)
    untrained = acting(made["copy"], obs) if "copy" in made else None
    torch.manual_seed(0)
    first = acting(make(kind, act_space), obs)
    assert_all_differ(first, learned)
    if untrained:  # the copy stood still, and can learn alone
        for name, array in untrained.items():
            np.testing.assert_array_equal(array, first[name])
        learn(made["copy"], optimizers(made["copy"]), obs)
        for name, array in acting(made["copy"], obs).items():
            np.testing.assert_array_equal(array, learned[name])


# ---------------------------------------------------------------- features are the same when acting and when training


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_the_policy_that_is_trained_on_is_the_one_that_acted(env_id, activation):
    envs = Envs(lambda: make_env(env_id), 3, seed=0)
    ac = make(act_space=envs.act_space, obs_space=envs.obs_space, normalize_obs=True, activation=activation)
    ac.encode.update(envs.random_observations(100))
    statistics = {name: tensor.clone() for name, tensor in ac.encode.named_buffers()}
    obs = envs.reset()
    for _ in range(2):  # rollouts; the second after an update of the statistics
        buf, features, logp = RolloutBuffer(40, envs), [], []
        for _ in range(40):
            act = ac.act(obs)
            with torch.no_grad():
                features.append(ac.encode(obs))
                logp.append(ac.pi(features[-1]).log_prob(torch.as_tensor(act)))
            next_obs, rew, terminated, truncated = envs.step(act)
            buf.store(obs, act, rew, next_obs, terminated, truncated)
            obs = envs.obs
        x, val, _, pi = evaluate_rollout(ac, buf)
        taken = torch.as_tensor(buf.act.reshape(120, *buf.act.shape[2:]))
        torch.testing.assert_close(x, torch.cat(features), rtol=0, atol=0)
        logp_old = pi.log_prob(taken).detach()
        assert (logp_old - torch.cat(logp)).exp().sub(1).abs().max() < 1e-5
        np.testing.assert_allclose(buf.rows(val), np.stack([ac.value(row) for row in buf.obs]), atol=1e-5)
        for name, tensor in ac.encode.named_buffers():  # neither acting nor looking back moved them
            assert torch.equal(tensor, statistics[name])
        ac.encode.update(buf.obs)
        with torch.no_grad():
            moved = ac.pi(ac.encode(buf.obs.reshape(120, -1))).log_prob(taken)
        assert (moved - logp_old).abs().max() > 1e-3
        statistics = {name: tensor.clone() for name, tensor in ac.encode.named_buffers()}
    envs.close()
