"""The activations between the layers of a network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MANY = 2**15
"""numbers from which on a faster pass over them outweighs the call of a function written in Python"""


class _Tanh(torch.autograd.Function):
    """y = tanh(x) = 2σ(2x) - 1, to a rounding error;   dy/dx = 1 - y²."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = (2 * x).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,), (y,) = grads, ctx.saved_tensors
        dx: Tensor = torch.ops.aten.tanh_backward(grad, y)
        return dx


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent; of many numbers through torch's sigmoid, which on some processors is ten times as fast."""
    apply: Callable[[Tensor], Tensor] = _Tanh.apply
    return apply(x) if x.numel() >= MANY else torch.tanh(x)


ACTIVATIONS = {"tanh": tanh, "relu": torch.relu}
