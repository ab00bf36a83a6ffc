"""Torch's device and threads, and one optimiser over one flat vector."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from rlsuite.common.checks import NonFiniteError, UserError


def set_up_torch(device: str, threads: int) -> torch.device:
    """Limit torch's threads and return the device called "cpu", "cuda", "mps", or "auto" for the best there is.

    Raises:
        UserError: this machine has no such device.
    """
    torch.set_num_threads(threads)
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(kind for kind, there in available.items() if there)
    if not available.get(device.split(":")[0], False):
        raise UserError(f"--device {device} is not available on this machine; use --device cpu")
    return torch.device(device)


class FlatOptimizer:
    """An optimiser of torch over parameters that live in one flat vector.

    Each parameter and its gradient become views of two vectors (P,), so that zeroing, the norm, clipping, the step and
    an average over processes are one operation each, instead of one per layer: on small networks that is most of the
    time of a gradient step. Move the module to its device first.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        optimizer: type[torch.optim.Optimizer],
        max_grad_norm: float = math.inf,
        **options: Any,
    ) -> None:
        """Flatten the parameters of a module. The learning rate is set through `lr`.

        Args:
            name: what the loss is called in an error, for example "LossPi".
            module: its parameters are on one device and float32.
            optimizer: a class of torch.optim.
            max_grad_norm: gradients with a larger global norm are scaled down to it.
            options: further arguments of the optimiser.
        """
        params = list(module.parameters())
        self.name, self.max_grad_norm = name, max_grad_norm
        self.steps = 0
        self.flat = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in params]))
        self.flat.grad = self.grad = torch.zeros_like(self.flat)
        end = 0
        for p in params:
            start, end = end, end + p.numel()
            p.data = self.flat.data[start:end].view_as(p)
            p.grad = self.grad[start:end].view_as(p)
        if optimizer is torch.optim.Adam:
            options = {"fused": self.flat.device.type in ("cpu", "cuda"), **options}
        self.opt = optimizer([self.flat], lr=0.0, **options)  # type: ignore[call-arg]

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.opt.param_groups[0]["lr"])

    @lr.setter
    def lr(self, lr: float) -> None:
        self.opt.param_groups[0]["lr"] = lr

    def step(self, loss: Tensor) -> float:
        """One gradient step on loss ().

        Returns:
            The global gradient norm before clipping.

        Raises:
            NonFiniteError: the loss or its gradient is NaN or infinite; the parameters are left as they were.
        """
        self.grad.zero_()
        torch.autograd.backward(loss)
        norm = float(self.grad.norm())
        if not math.isfinite(norm):
            raise NonFiniteError(
                f"{self.name} is {loss.item():g} with a gradient norm of {norm:g} at gradient step {self.steps + 1}; "
                "the likely cause is a learning rate that is too high or rewards that are too large: "
                "lower the learning rate, or scale the rewards"
            )
        if norm > self.max_grad_norm:
            self.grad.mul_(self.max_grad_norm / norm)
        self.opt.step()
        self.steps += 1
        return norm
