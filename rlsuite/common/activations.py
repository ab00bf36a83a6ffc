"""The activations between the layers of a network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

MANY = 2**14
"""numbers from which on a faster pass over them outweighs the call of a function written in Python"""


class _Tanh(torch.autograd.Function):
    """y = tanh(x) by numpy;   dy/dx = 1 - y²."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.empty_like(x)
        np.tanh(x.detach().numpy(), out=y.numpy())
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,), (y,) = grads, ctx.saved_tensors
        dx: Tensor = torch.ops.aten.tanh_backward(grad, y)
        return dx


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent; of many numbers on the CPU by numpy, which on some processors is six times as fast."""
    if torch.compiler.is_compiling() or x.numel() < MANY or x.device.type != "cpu" or x.dtype == torch.bfloat16:
        return torch.tanh(x)
    apply: Callable[[Tensor], Tensor] = _Tanh.apply
    return apply(x)


ACTIVATIONS = {"tanh": tanh, "relu": torch.relu}
