"""What networks get to see, and which of their hidden units answer to it.

shape letters: B states, F features that the networks see
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlsuite import mpi
from rlsuite.common.actor_critic import MLP
from rlsuite.common.normalize import merge_moments

CHUNK = 512  # observations that are encoded at a time: of images, all at once would fill the memory
STILL = 1e-3
"""standard deviation below which a number counts as constant; units in use have some 0.1 to 1"""


def pooled_moments(parts: Iterable[NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and (biased) variance (F,) of the rows of this rank's parts (B, F), one part or more, and of all ranks'."""
    own = [(x.mean(0, dtype=np.float64), x.var(0, dtype=np.float64), len(x)) for x in parts]
    (mean, var, count), *others = (moments for rank in mpi.gather_objects(own) for moments in rank)
    for moments in others:
        mean, var = merge_moments(mean, var, count, *moments)
        count += moments[2]
    return mean, var


@torch.no_grad()
def input_health(encode: nn.Module, obs: NDArray[Any]) -> dict[str, float]:
    """How large the inputs of the networks are, and how much they vary.

    Args:
        encode: observations (B, *obs_shape) -> features (B, F).
        obs: of this rank (K, *obs_shape).

    Returns:
        `InputAbsMax`, the largest |feature|, and `InputStdMin` and `InputStdMax`, the smallest and the largest standard
        deviation of a feature over the observations of all ranks.
    """
    largest: list[float] = []

    def features(start: int) -> NDArray[Any]:
        x: Tensor = encode(obs[start : start + CHUNK])
        largest.append(float(x.abs().max()))
        return x.numpy(force=True)

    _, var = pooled_moments(map(features, range(0, len(obs), CHUNK)))
    std = np.sqrt(var)
    return {
        "InputAbsMax": max(mpi.gather_objects(max(largest))),
        "InputStdMin": float(std.min()),
        "InputStdMax": float(std.max()),
    }


@torch.no_grad()
def dead_units(*calls: tuple[Any, ...]) -> float:
    """The share of hidden units whose activation does not depend on the state, in the network that has most of them.

    A unit is dead if the standard deviation of its activation over the states is below 1e-3, whatever the activation
    function: a ReLU that never fires, a saturated tanh.

    Args:
        calls: each network with its inputs, of which the first are the features (B, F) of the states.

    Returns:
        The share, over the states of all ranks. NaN where there is no hidden unit in an `MLP`, and where all states
        look the same.
    """
    parts: list[Tensor] = [calls[0][1]]
    for network, *inputs in calls:
        parts += hidden_activations(network, *inputs)
    _, var = pooled_moments([torch.cat(parts, 1).numpy(force=True)])
    states, *hidden = np.split(np.sqrt(var) < STILL, np.cumsum([part.shape[1] for part in parts[:-1]]))
    return float(max(dead.mean() for dead in hidden)) if hidden and not states.all() else math.nan


def hidden_activations(network: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """What all hidden units of each `MLP` in a network put out (B, units); an MLP without hidden layers is left out.

    The network runs once, as it is written: torch would not call hooks in a compiled one.
    """
    kept: dict[nn.Module, list[Tensor]] = {}

    def keep(mlp: nn.Module, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        kept.setdefault(mlp, []).append(args[0].flatten(1))

    # What enters a layer is what the hidden units before it put out.
    hooks = [
        layer.register_forward_pre_hook(partial(keep, mlp))
        for mlp in network.modules()
        if isinstance(mlp, MLP)
        for layer in mlp.layers[1:]
    ]
    if hooks:
        try:
            network.forward(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
    return [torch.cat(layers, 1) for layers in kept.values()]
