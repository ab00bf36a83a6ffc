"""Torch's device and threads, and one optimiser over one flat vector."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlsuite.common import mpi
from rlsuite.common.checks import NonFiniteError, UserError

Rule = Callable[[Tensor, Tensor, dict[str, Tensor], float], None]
"""Changes a flat vector of parameters, given its gradient, the rule's own state and the learning rate."""


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
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise UserError(f"--device {device} is no device; use cpu, cuda or mps") from error


def adam(flat: Tensor, grad: Tensor, state: dict[str, Tensor], lr: float) -> None:
    """Adam with β = 0.9, 0.999 and ε = 1e-8.

        m ← 0.9 m + 0.1 g,   v ← 0.999 v + 0.001 g²,   θ ← θ - lr m̂ / (√v̂ + ε),   m̂ = m/(1-0.9^k),  v̂ = v/(1-0.999^k)

    Source: Kingma, Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.
    """
    if not state:
        state.update(m=torch.zeros_like(flat), v=torch.zeros_like(flat), k=torch.zeros((), device=flat.device))
    # Not torch.optim.Adam: that class imports torch's compiler, which takes longer than a short training, and what it
    # does around this one kernel takes longer than the kernel.
    torch._fused_adam_(
        [flat],
        [grad],
        [state["m"]],
        [state["v"]],
        [],
        [state["k"].add_(1)],
        lr=lr,
        beta1=0.9,
        beta2=0.999,
        weight_decay=0,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )


def rmsprop(flat: Tensor, grad: Tensor, state: dict[str, Tensor], lr: float) -> None:
    """RMSprop with a decay of 0.99 and ε = 1e-5.

        v ← 0.99 v + 0.01 g²,   θ ← θ - lr g / (√v + ε)

    Source: Tieleman, Hinton 2012, "Neural Networks for Machine Learning", lecture 6.5.
    """
    if not state:
        state.update(v=torch.zeros_like(flat))
    v = state["v"].mul_(0.99).addcmul_(grad, grad, value=1 - 0.99)
    flat.addcdiv_(grad, v.sqrt().add_(1e-5), value=-lr)


def flatten(module: nn.Module) -> Tensor:
    """Move the parameters of a module into one flat vector (P,), of which each becomes a view; return the vector."""
    params = list(module.parameters())
    flat = torch.cat([p.detach().reshape(-1) for p in params])
    end = 0
    for p in params:
        start, end = end, end + p.numel()
        p.data = flat[start:end].view_as(p)
    return flat


class FlatOptimizer:
    """Gradient steps on the parameters of a module, which live in one flat vector.

    Each parameter and its gradient become views of two vectors (P,), so that zeroing, the norm, clipping, the step and
    an average over processes are one operation each, instead of one per layer: on small networks that is most of the
    time of a gradient step. Move the module to its device first. The learning rate is the attribute `lr`.
    """

    def __init__(
        self, name: str, module: nn.Module, rule: Rule, max_grad_norm: float = math.inf, compile: bool = False
    ) -> None:
        """Flatten the parameters of a module.

        Args:
            name: what the loss is called in an error, for example "LossPi".
            module: its parameters are on one device and float32.
            rule: `adam` or `rmsprop`.
            max_grad_norm: gradients with a larger global norm are scaled down to it.
            compile: let `torch.compile` fuse the module's operations, forward and backward, at its first calls.

        Raises:
            UserError: a parameter already belongs to another optimiser.
        """
        params = list(module.parameters())
        if any(p.grad is not None for p in params):
            raise UserError(f"the network of {name} shares a parameter with another; they must not share layers")
        self.name, self.rule, self.max_grad_norm = name, rule, max_grad_norm
        self.lr = 0.0
        self.steps = 0
        self.state: dict[str, Tensor] = {}
        self.flat = flatten(module)
        mpi.broadcast_(self.flat)
        self.grad = torch.zeros_like(self.flat)
        self.params, self.unit_grad = tuple(params), self.flat.new_ones(())  # of the loss to itself: 1
        if compile:
            module.compile(dynamic=True)  # one program for all batch sizes
        end = 0
        for p in params:
            start, end = end, end + p.numel()
            p.grad = self.grad[start:end].view_as(p)

    def step(self, loss: Tensor) -> float:
        """One gradient step on loss (), whose gradient is averaged over the ranks.

        Returns:
            The global gradient norm before clipping.

        Raises:
            NonFiniteError: the loss or its gradient is NaN or infinite; the parameters are left as they were.
        """
        self.grad.zero_()
        # loss.backward() without its checks, which take up to a third as long as the gradient of a small network. And
        # only for these parameters: a policy's loss may run through a critic, which it must not train.
        torch.autograd.Variable._execution_engine.run_backward(
            (loss,), (self.unit_grad,), False, False, self.params, allow_unreachable=True, accumulate_grad=True
        )
        mpi.average_(self.grad)
        norm: float = torch.linalg.vector_norm(self.grad).item()
        value = loss.item()
        if not (math.isfinite(norm) and math.isfinite(value)):
            raise NonFiniteError(
                f"{self.name} is {value:g} with a gradient norm of {norm:g} at gradient step {self.steps + 1}; "
                "the likely cause is a learning rate that is too high, or rewards or observations that are too large: "
                "lower the learning rate, or scale them"
            )
        if norm > self.max_grad_norm:
            self.grad.mul_(self.max_grad_norm / norm)
        self.rule(self.flat, self.grad, self.state, self.lr)
        self.steps += 1
        return norm

    def state_dict(self) -> dict[str, Any]:
        """The rule's own state and the number of gradient steps; the parameters belong to the module."""
        return {"steps": self.steps, **self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take arrays of the rule's state.

        Raises:
            ValueError: they belong to another number of parameters.
        """
        arrays = {name: value for name, value in state.items() if name != "steps"}
        if arrays and arrays.keys() not in ({"m", "v", "k"}, {"v"}):
            raise ValueError(f"the optimiser's state is {sorted(arrays)}")
        for name, array in arrays.items():
            wanted = () if name == "k" else self.flat.shape
            if array.shape != wanted or array.dtype != np.float32:
                raise ValueError(f"{name} of the optimiser is {array.dtype} {array.shape}, not float32 {tuple(wanted)}")
        self.steps = int(state["steps"])
        self.state = {name: torch.tensor(array, device=self.flat.device) for name, array in arrays.items()}
