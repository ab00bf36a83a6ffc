"""Networks that act, as functions of arrays: what torch takes for a few observations is hardly arithmetic.

Numpy answers several times sooner, but rounds differently. For choosing among discrete actions that is good enough: the
last bit of a score hardly ever changes which score is the largest. It would change every continuous action a little, so
those are computed by torch's own operations, without the modules around them.

The functions read parameters where they lie, and so follow every gradient step. Make them after what moves parameters,
such as `FlatOptimizer(...)` and `to(device)`. Networks other than those of this package, and other devices, are asked
as they are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from rlsuite.common.actor_critic import ActorCritic, CategoricalPolicy, GaussianPolicy, Layers
from rlsuite.common.buffer import to_tensor
from rlsuite.common.normalize import ObsEncoder
from rlsuite.common.q_networks import ContinuousQ, DeterministicPolicy, DiscreteQ, MuQNetwork, QNetwork

Array = NDArray[Any]
ArrayFunction = Callable[[Array], Array]


def array_function(encode: nn.Module, net: nn.Module, exact: bool = False) -> ArrayFunction:
    """The function obs -> net(encode(obs)), from arrays (N, *obs_shape) to arrays (N, n), without gradients.

    Args:
        encode: an `ObsEncoder`, or another module from observations to features.
        net: `Layers`, or another module of features.
        exact: round as torch does, at the price of its operations.
    """
    layers = net.net if type(net) is DiscreteQ and not net.dueling else net
    device = next(net.parameters()).device
    if device.type == "cpu" and type(layers) is Layers and type(encode) is ObsEncoder:
        if exact:
            return _torch_operations(encode, layers)
        features, outputs = _numpy_features(encode), _numpy_layers(layers)
        return lambda obs: outputs(features(obs))

    @torch.inference_mode()
    def as_it_is(obs: Array) -> Array:
        out: Array = net(encode(to_tensor(obs, device))).cpu().numpy()
        return out

    return as_it_is


def _torch_operations(encode: ObsEncoder, layers: Layers) -> ArrayFunction:
    # Of detached parameters, so that no gradient is prepared and none has to be switched off.
    *hidden, last = ((weight.detach(), bias.detach()) for weight, bias in (*layers.hidden, layers.last))

    def outputs(obs: Array) -> Array:
        x = encode.forward(torch.from_numpy(obs))
        for weight, bias in hidden:
            x = layers.activation(nn.functional.linear(x, weight, bias))
        out: Array = nn.functional.linear(x, *last).numpy()
        return out

    return outputs


def _numpy_features(encode: ObsEncoder) -> ArrayFunction:
    mean, var = encode.mean.numpy(), encode.var.numpy()
    one_hot = np.eye(encode.features if encode.discrete else 0, dtype=np.float32)

    def features(obs: Array) -> Array:
        flat = one_hot[obs - encode.start] if encode.discrete else obs.reshape(len(obs), -1)
        x: Array = flat.astype(np.float32, copy=False)
        if encode.scale != 1:
            x = x * np.float32(encode.scale)
        if encode.normalize:
            with np.errstate(over="ignore"):
                x = ((x - mean) / np.sqrt(var + 1e-8)).clip(-10, 10)
        return x

    return features


def _numpy_layers(layers: Layers) -> ArrayFunction:
    *hidden, (last_weight, last_bias) = (
        (weight.detach().numpy().T, bias.detach().numpy()) for weight, bias in (*layers.hidden, layers.last)
    )
    tanh = layers.activation is torch.tanh

    def outputs(x: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):  # as in torch, where infinities and NaNs are no warning
            for weight, bias in hidden:
                x = x @ weight
                x += bias
                x = np.tanh(x, out=x) if tanh else np.maximum(x, 0, out=x)
            out: Array = x @ last_weight
            out += last_bias
        return out

    return outputs


def sampler(ac: ActorCritic, num_envs: int) -> ArrayFunction:
    """The function obs -> a ~ π(·|s) of `ac.act`, from arrays (num_envs, *obs_shape) to arrays.

    Actions are (num_envs,) int64 or (num_envs, d) float32. The random numbers are those that `ac.act` would draw.
    """
    pi, act_space, device = ac.pi, ac.act_space, next(ac.parameters()).device
    known = type(ac).act is ActorCritic.act and device.type == "cpu"
    if known and type(pi) is CategoricalPolicy and isinstance(act_space, spaces.Discrete):
        logits = array_function(ac.encode, pi.logits)
        exponential = torch.empty(num_envs, int(act_space.n))
        drawn = exponential.numpy()  # the same memory

        def sample_categorical(obs: Array) -> Array:
            exponential.exponential_()
            act: Array = (logits(obs) - np.log(drawn)).argmax(1)  # see `Categorical.sample`
            return act

        return sample_categorical

    if known and type(pi) is GaussianPolicy:
        net = array_function(ac.encode, pi.net, exact=True)
        mid, width, log_width, log_std = pi.mid.numpy(), pi.width.numpy(), pi.width.log(), pi.log_std.detach()
        normal = torch.empty(num_envs, len(mid))
        z = normal.numpy()

        def sample_gaussian(obs: Array) -> Array:
            normal.normal_()
            std = (log_width + log_std).exp().numpy()
            act: Array = z * std + (mid + width * net(obs))  # see `GaussianPolicy` and `Gaussian.sample`
            return act

        return sample_gaussian

    return lambda obs: ac.act(to_tensor(obs, device)).cpu().numpy()


def greedy(ac: ActorCritic | QNetwork | MuQNetwork) -> ArrayFunction:
    """The function obs -> action of `ac.mode`, from arrays (N, *obs_shape) to arrays (N,) int64 or (N, d) float32."""
    mode, device = type(ac).mode, next(ac.parameters()).device
    if isinstance(ac, QNetwork) and mode is QNetwork.mode:
        values = array_function(ac.encode, ac.q)
        return lambda obs: values(obs).argmax(1)
    if isinstance(ac, ActorCritic) and mode is ActorCritic.mode and type(ac.pi) is CategoricalPolicy:
        logits = array_function(ac.encode, ac.pi.logits)
        return lambda obs: logits(obs).argmax(1)
    known = isinstance(ac, MuQNetwork) and mode is MuQNetwork.mode and device.type == "cpu"
    if known and type(ac.pi) is DeterministicPolicy:
        net = array_function(ac.encode, ac.pi.net, exact=True)
        mid, width = ac.pi.mid.numpy(), ac.pi.width.numpy()
        return lambda obs: mid + width * torch.from_numpy(net(obs)).tanh().numpy()  # see `DeterministicPolicy`
    return lambda obs: ac.mode(to_tensor(obs, device)).cpu().numpy()


def action_value(ac: MuQNetwork) -> Callable[[Array, Array], Array]:
    """The function obs, act -> Q(s, a) of `ac.action_value`, from arrays (N, *obs_shape), (N, d) to arrays (N,)."""
    q, device = ac.q, next(ac.parameters()).device
    known = type(ac).action_value is MuQNetwork.action_value and type(q) is ContinuousQ and device.type == "cpu"
    if known and type(ac.encode) is ObsEncoder and type(q.net) is Layers:
        features, outputs = _numpy_features(ac.encode), _numpy_layers(q.net)
        mid, scale = q.mid.numpy(), q.scale.numpy()
        return lambda obs, act: outputs(np.concatenate([features(obs), (act - mid) * scale], 1))[:, 0]
    return lambda obs, act: ac.action_value(to_tensor(obs, device), to_tensor(act, device)).cpu().numpy()
