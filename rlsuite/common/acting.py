"""Networks that act, as functions of arrays: for a few observations at a time, arithmetic is the least that torch does.

What is left out here are the modules and the preparations for gradients, around operations that stay the same. Sampling
a discrete action goes further and computes the logits in numpy, which answers several times sooner but rounds
differently: next to the noise of the sampling, a last bit changes one action in millions. It would change every
continuous action a little, and a greedy one wherever two values lie close together, so those stay with torch.

The functions read parameters where they lie, and so follow every gradient step. Make them after what moves parameters,
such as `FlatOptimizer(...)` and `to(device)`. Networks other than those of this package, and other devices, are asked
as they are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite.common.actor_critic import ActorCritic, CategoricalPolicy, GaussianPolicy, Layers
from rlsuite.common.buffer import to_tensor
from rlsuite.common.normalize import ObsEncoder
from rlsuite.common.q_networks import ContinuousQ, DeterministicPolicy, DiscreteQ, MuQNetwork, QNetwork

Array = NDArray[Any]
ArrayFunction = Callable[[Array], Array]
TensorFunction = Callable[[Tensor], Tensor]


def array_function(encode: nn.Module, net: nn.Module) -> ArrayFunction:
    """The function obs -> net(encode(obs)), from arrays (N, *obs_shape) to arrays (N, n), without gradients.

    Args:
        encode: an `ObsEncoder`, or another module from observations to features.
        net: `Layers`, or another module of features.
    """
    layers = net.net if type(net) is DiscreteQ and not net.dueling else net
    if _is_plain(encode, layers):
        outputs = _bare_layers(layers)
        # forward() itself: a module's call does more than this takes.
        return lambda obs: outputs(encode.forward(torch.from_numpy(obs))).numpy()
    device = next(net.parameters()).device

    @torch.inference_mode()
    def as_it_is(obs: Array) -> Array:
        out: Array = net(encode(to_tensor(obs, device))).cpu().numpy()
        return out

    return as_it_is


def _is_plain(encode: nn.Module, net: nn.Module) -> bool:
    return (
        type(encode) is ObsEncoder
        and type(net) is Layers
        and net.activation in (torch.tanh, torch.relu)
        and all(bias is not None and bias.device.type == "cpu" for _, bias in (*net.hidden, net.last))
    )


def _bare_layers(layers: Any) -> TensorFunction:
    # addmm is what linear() does after transposing. Detached, so that no gradient is prepared and none switched off.
    *hidden, (last_weight, last_bias) = (
        (weight.detach().T, bias.detach()) for weight, bias in (*layers.hidden, layers.last)
    )

    def outputs(x: Tensor) -> Tensor:
        for weight, bias in hidden:
            x = layers.activation(torch.addmm(bias, x, weight))
        return torch.addmm(last_bias, x, last_weight)

    return outputs


def _logits_in_numpy(encode: ObsEncoder, layers: Layers) -> ArrayFunction:
    mean, var = encode.mean.numpy(), encode.var.numpy()
    *hidden, (last_weight, last_bias) = (
        (weight.detach().numpy().T, bias.detach().numpy()) for weight, bias in (*layers.hidden, layers.last)
    )
    tanh = layers.activation is torch.tanh

    def logits(obs: Array) -> Array:
        if encode.discrete:
            x = np.zeros((len(obs), encode.features), np.float32)
            x[np.arange(len(obs)), obs - encode.start] = 1
        else:
            x = obs.reshape(len(obs), -1).astype(np.float32, copy=False)
        if encode.scale != 1:
            x = x * np.float32(encode.scale)
        with np.errstate(over="ignore", invalid="ignore"):  # as in torch, where infinities and NaNs are no warning
            if encode.normalize:
                x = ((x - mean) / np.sqrt(var + 1e-8)).clip(-10, 10)
            for weight, bias in hidden:
                x = x @ weight
                x += bias
                x = np.tanh(x, out=x) if tanh else np.maximum(x, 0, out=x)
            out: Array = x @ last_weight
            out += last_bias
        return out

    return logits


def sampler(ac: Any, num_envs: int) -> ArrayFunction:
    """The function obs -> a ~ π(·|s) of `ac.act`, from arrays (num_envs, *obs_shape) to arrays.

    `ac` is an `ActorCritic`, or anything else that has its `act`.
    Actions are (num_envs,) int64 or (num_envs, d) float32. The random numbers are those that `ac.act` would draw.
    """
    pi = getattr(ac, "pi", None)
    own = not _inherits(ac.act, ActorCritic.act)
    if not own and type(pi) is CategoricalPolicy and _is_plain(ac.encode, pi.logits):
        logits = _logits_in_numpy(ac.encode, pi.logits)
        exponential = torch.empty(num_envs, pi.logits.last[1].numel())
        drawn = exponential.numpy()  # the same memory

        def sample_categorical(obs: Array) -> Array:
            assert len(obs) == num_envs, (len(obs), num_envs)
            exponential.exponential_()
            act: Array = (logits(obs) - np.log(drawn)).argmax(1)  # see `Categorical.sample`
            return act

        return sample_categorical

    if not own and type(pi) is GaussianPolicy and _is_plain(ac.encode, pi.net):
        net, mid, width = array_function(ac.encode, pi.net), pi.mid.numpy(), pi.width.numpy()
        width_tensor, log_std = pi.width, pi.log_std.detach()
        normal = torch.empty(num_envs, len(mid))
        z = normal.numpy()

        def sample_gaussian(obs: Array) -> Array:
            assert len(obs) == num_envs, (len(obs), num_envs)
            normal.normal_()
            std = (width_tensor.log() + log_std).exp().numpy()
            with np.errstate(over="ignore", invalid="ignore"):
                act: Array = z * std + (mid + width * net(obs))  # see `GaussianPolicy` and `Gaussian.sample`
            return act

        return sample_gaussian

    device = next(ac.parameters()).device
    return lambda obs: ac.act(to_tensor(obs, device)).cpu().numpy()


def greedy(ac: ActorCritic | QNetwork | MuQNetwork) -> ArrayFunction:
    """The function obs -> action of `ac.mode`, from arrays (N, *obs_shape) to arrays (N,) int64 or (N, d) float32."""
    pi = getattr(ac, "pi", None)
    if isinstance(ac, QNetwork) and _inherits(ac.mode, QNetwork.mode):
        values = array_function(ac.encode, ac.q)
        return lambda obs: values(obs).argmax(1)
    if _inherits(ac.mode, ActorCritic.mode) and type(pi) is CategoricalPolicy:
        logits = array_function(ac.encode, pi.logits)
        return lambda obs: logits(obs).argmax(1)
    if _inherits(ac.mode, MuQNetwork.mode) and type(pi) is DeterministicPolicy and _is_plain(ac.encode, pi.net):
        net, mid, width = array_function(ac.encode, pi.net), pi.mid.numpy(), pi.width.numpy()
        # see `DeterministicPolicy`
        return lambda obs: mid + width * torch.from_numpy(net(obs)).tanh().numpy()
    device = next(ac.parameters()).device
    return lambda obs: ac.mode(to_tensor(obs, device)).cpu().numpy()


def action_value(ac: MuQNetwork) -> Callable[[Array, Array], Array]:
    """The function obs, act -> Q(s, a) of `ac.action_value`, from arrays (N, *obs_shape), (N, d) to arrays (N,)."""
    q = ac.q
    if _inherits(ac.action_value, MuQNetwork.action_value) and type(q) is ContinuousQ and _is_plain(ac.encode, q.net):
        outputs, mid, scale = _bare_layers(q.net), q.mid.numpy(), q.scale.numpy()

        def bare(obs: Array, act: Array) -> Array:
            x = ac.encode.forward(torch.from_numpy(obs))
            out: Array = outputs(torch.cat([x, torch.from_numpy((act - mid) * scale)], 1)).numpy()
            return out[:, 0]

        return bare
    device = next(ac.parameters()).device
    return lambda obs, act: ac.action_value(to_tensor(obs, device), to_tensor(act, device)).cpu().numpy()


def _inherits(method: Any, function: Any) -> bool:
    """Whether an object's method is this function, and not one of a subclass or the object's own."""
    return getattr(method, "__func__", None) is function
