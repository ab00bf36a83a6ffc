"""Networks that act, as functions of arrays: for a few observations at a time numpy answers several times sooner.

What torch takes for one observation is hardly arithmetic, but the way there. Numpy's way is shorter, and rounds
differently. For choosing among discrete actions that is good enough: the last bit of a score hardly ever changes which
score is the largest. It would change every continuous action a little, so those are left to torch.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from rlsuite.common.actor_critic import ActorCritic, CategoricalPolicy, Layers
from rlsuite.common.buffer import to_tensor
from rlsuite.common.normalize import ObsEncoder
from rlsuite.common.q_networks import DiscreteQ, MuQNetwork, QNetwork

ArrayFunction = Callable[[NDArray[Any]], NDArray[Any]]


def array_function(encode: nn.Module, net: nn.Module) -> ArrayFunction:
    """The function obs -> net(encode(obs)), from arrays (N, *obs_shape) to arrays (N, n), without gradients.

    In numpy where `encode` is an `ObsEncoder` and `net` consists of `Layers` on the CPU, else in torch. Numpy reads the
    parameters where they lie and so follows every gradient step; make the function after what moves them, such as
    `FlatOptimizer(...)` and `to(device)`.
    """
    layers = net.net if type(net) is DiscreteQ and not net.dueling else net
    device = next(net.parameters()).device
    if device.type == "cpu" and type(layers) is Layers and type(encode) is ObsEncoder:
        return _in_numpy(encode, layers)

    @torch.inference_mode()
    def in_torch(obs: NDArray[Any]) -> NDArray[np.float32]:
        out: NDArray[np.float32] = net(encode(to_tensor(obs, device))).cpu().numpy()
        return out

    return in_torch


def _in_numpy(encode: ObsEncoder, layers: Layers) -> ArrayFunction:
    mean, var = encode.mean.numpy(), encode.var.numpy()
    *hidden, (last_weight, last_bias) = (
        (weight.detach().numpy().T, bias.detach().numpy()) for weight, bias in (*layers.hidden, layers.last)
    )
    tanh = layers.activation is torch.tanh
    one_hot = np.eye(encode.features if encode.discrete else 0, dtype=np.float32)

    def in_numpy(obs: NDArray[Any]) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):  # as in torch, where infinities and NaNs are no warning
            if encode.discrete:
                x = one_hot[obs - encode.start]
            else:
                x = obs.reshape(len(obs), -1).astype(np.float32, copy=False)
            if encode.scale != 1:
                x = x * np.float32(encode.scale)
            if encode.normalize:
                x = ((x - mean) / np.sqrt(var + 1e-8)).clip(-10, 10)
            for weight, bias in hidden:
                x = x @ weight
                x += bias
                x = np.tanh(x, out=x) if tanh else np.maximum(x, 0, out=x)
            out: NDArray[np.float32] = x @ last_weight
            out += last_bias
            return out

    return in_numpy


def sampler(ac: ActorCritic, num_envs: int) -> ArrayFunction:
    """The function obs -> a ~ π(·|s) of `ac.act`, from arrays (num_envs, *obs_shape) to arrays; see `array_function`.

    Actions are (num_envs,) int64 or (num_envs, d) float32. The random numbers are torch's, whichever computes the rest.
    """
    pi, act_space, device = ac.pi, ac.act_space, next(ac.parameters()).device
    plain = type(ac).act is ActorCritic.act and device.type == "cpu"
    if not (plain and type(pi) is CategoricalPolicy and isinstance(act_space, spaces.Discrete)):
        return lambda obs: ac.act(to_tensor(obs, device)).cpu().numpy()
    logits = array_function(ac.encode, pi.logits)
    noise = torch.empty(num_envs, int(act_space.n))
    exponential = noise.numpy()  # the same memory

    def sample(obs: NDArray[Any]) -> NDArray[np.int64]:
        noise.exponential_()
        act: NDArray[np.int64] = (logits(obs) - np.log(exponential)).argmax(1)  # see `Categorical.sample`
        return act

    return sample


def greedy(ac: ActorCritic | QNetwork | MuQNetwork) -> ArrayFunction:
    """The function obs -> action of `ac.mode`, from arrays (N, *obs_shape) to arrays; see `array_function`.

    Actions are (N,) int64 or (N, d) float32.
    """
    if type(ac).mode is QNetwork.mode and isinstance(ac, QNetwork):
        scores = array_function(ac.encode, ac.q)
    elif type(ac).mode is ActorCritic.mode and type(ac.pi) is CategoricalPolicy:
        scores = array_function(ac.encode, ac.pi.logits)
    else:
        device = next(ac.parameters()).device
        return lambda obs: ac.mode(to_tensor(obs, device)).cpu().numpy()
    return lambda obs: scores(obs).argmax(1)
