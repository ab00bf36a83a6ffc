"""Optimisers over one flat vector."""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlsuite import mpi
from rlsuite.errors import NonFiniteError, UserError

LR_COLUMNS = {"V": "VfLR"}  # the others are called by their name; this one, like its setting, as in Spinning Up


def flatten(module: nn.Module) -> Tensor:
    """Move the parameters of a module into one flat vector (P,), of which each becomes a view; return the vector.

    All ranks get the parameters of rank 0.
    """
    params = list(module.parameters())
    flat = torch.cat([p.detach().reshape(-1) for p in params])
    end = 0
    for p in params:
        start, end = end, end + p.numel()
        p.data = flat[start:end].view_as(p)
    mpi.broadcast_(flat)
    return flat


class FlatParameters:
    """The parameters of a module and their gradients, in two flat vectors (P,) of which each is a view.

    So zeroing, the norm, clipping, the step and an average over processes are one operation each, instead of one per
    layer; on small networks that is most of the time of a gradient step. Move the module to its device first.
    """

    averages: tuple[str, ...] = ()
    """names of the vectors (P,) that a rule keeps"""
    lr = math.nan
    """learning rate, where there is one"""
    max_grad_norm = math.inf
    """gradients with a larger global norm are scaled down to it, where a rule does that"""

    def __init__(self, name: str, module: nn.Module) -> None:
        """Flatten the parameters of a module.

        Args:
            name: what columns and errors call the network: "Pi", "V", "Q" or "Alpha".
            module: its parameters are on one device and float32.

        Raises:
            UserError: a parameter already belongs to another optimiser.
        """
        self.params = list(module.parameters())
        if any(p.grad is not None for p in self.params):
            raise UserError(f"the network {name} shares a parameter with another; they must not share layers")
        self.name, self.module = name, module
        self.steps = 0
        self.flat = flatten(module)
        self.grad = torch.zeros_like(self.flat)
        end = 0
        for p in self.params:
            start, end = end, end + p.numel()
            p.grad = self.grad[start:end].view_as(p)
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """From here on `columns` counts."""
        self.norms: list[float] = []
        self.before = self.flat.clone()

    def average_gradient(self) -> float:
        """Average over the ranks what `loss.backward()` has added up in `grad`, and return its norm.

        Raises:
            NonFiniteError: the gradient is NaN or infinite.
        """
        mpi.average_(self.grad)
        norm: float = torch.linalg.vector_norm(self.grad).item()
        if not math.isfinite(norm):
            has_lr = not math.isnan(self.lr)
            raise NonFiniteError(
                f"the gradient of Loss{self.name} has a norm of {norm:g} at gradient step {self.steps + 1}; the likely "
                f"cause is {'a learning rate that is too high, or ' * has_lr}rewards or observations that are too "
                f"large: {'lower the learning rate, or ' * has_lr}scale them"
            )
        self.steps += 1
        self.norms.append(norm)
        return norm

    def gradient(self, y: Tensor, create_graph: bool = False) -> Tensor:
        """∇y by all parameters (P,), without a change of `grad`; 0 where y does not depend on one.

        Args:
            y: (); its graph stays for the next call.
            create_graph: the gradient gets a graph, to be differentiated again, and is that of this rank alone. Without
                a graph it is averaged over the ranks.
        """
        trained = [p for p in self.params if p.requires_grad]
        grads = iter(
            torch.autograd.grad(y, trained, retain_graph=True, create_graph=create_graph, materialize_grads=True)
        )
        flat = torch.cat([(next(grads) if p.requires_grad else torch.zeros_like(p)).reshape(-1) for p in self.params])
        if not create_graph:
            mpi.average_(flat)
        return flat

    def columns(self) -> dict[str, float]:
        """Of the steps since `begin_epoch`: mean gradient norm before clipping, and ‖change‖ / ‖parameters before‖.

        And the share of the steps whose gradient was clipped, NaN where none ever is.
        """
        size = float(self.before.norm())
        clips = self.norms and self.max_grad_norm < math.inf
        return {
            f"GradNorm{self.name}": float(np.mean(self.norms)) if self.norms else math.nan,
            f"ClippedGrad{self.name}": float(np.mean(np.array(self.norms) > self.max_grad_norm)) if clips else math.nan,
            f"UpdateRatio{self.name}": float((self.flat - self.before).norm() / size) if size else math.nan,
            LR_COLUMNS.get(self.name, f"{self.name}LR"): self.lr,
        }

    def state_dict(self) -> dict[str, Any]:
        """The averages of the rule and the number of gradient steps; the parameters belong to the module."""
        return {"steps": self.steps, **{name: getattr(self, name) for name in self.averages}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take arrays of the rule's averages.

        Raises:
            ValueError: they belong to another rule or number of parameters.
        """
        if state.keys() != {"steps", *self.averages}:
            raise ValueError(f"the state of optimiser {self.name} is {sorted(state)}")
        for name in self.averages:
            array = state[name]
            if array.shape != self.flat.shape or array.dtype != np.float32:
                raise ValueError(
                    f"{name} of the optimiser is {array.dtype} {array.shape}, not float32 {tuple(self.flat.shape)}"
                )
            getattr(self, name).copy_(torch.from_numpy(array))
        self.steps = int(state["steps"])


class FlatOptimizer(FlatParameters, ABC):
    """Gradient steps on flat parameters, by a rule that a subclass has."""

    def __init__(self, name: str, module: nn.Module, lr: float, max_grad_norm: float = math.inf) -> None:
        """Flatten the parameters of a module, as `FlatParameters` does.

        Args:
            name: what columns and errors call the network.
            module: its parameters are on one device and float32.
            lr: learning rate; annealing changes the attribute `lr` and keeps `base_lr`.
            max_grad_norm: gradients with a larger global norm are scaled down to it.
        """
        super().__init__(name, module)
        self.lr = self.base_lr = lr
        self.max_grad_norm = max_grad_norm

    def step(self) -> None:
        """One gradient step with the gradients that `loss.backward()` has added up since the last one.

        They are averaged over the ranks, clipped, used, and set to 0. A `zero_grad()` has nothing left to do.

        Raises:
            NonFiniteError: the gradient is NaN or infinite; the parameters are left as they were.
        """
        norm = self.average_gradient()
        if norm > self.max_grad_norm:
            self.grad.mul_(self.max_grad_norm / norm)
        self.change()
        self.grad.zero_()

    @abstractmethod
    def change(self) -> None:
        """Change `flat` by the rule, given `grad`; this is step number `steps`."""


class Adam(FlatOptimizer):
    """Adam with β = 0.9, 0.999 and ε = 1e-8.

        m ← 0.9 m + 0.1 g,   v ← 0.999 v + 0.001 g²,   θ ← θ - lr m̂ / (√v̂ + ε),   m̂ = m/(1-0.9^k),  v̂ = v/(1-0.999^k)

    `torch.optim.Adam` does the same, but imports torch's compiler first, which takes longer than a short training.

    Source: Kingma, Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    averages = ("m", "v")

    def __init__(self, name: str, module: nn.Module, lr: float, max_grad_norm: float = math.inf) -> None:
        """As `FlatOptimizer`."""
        super().__init__(name, module, lr, max_grad_norm)
        self.m, self.v = torch.zeros_like(self.flat), torch.zeros_like(self.flat)

    def change(self) -> None:
        """Step k, the number of which is `steps`."""
        self.m.lerp_(self.grad, 0.1)
        self.v.mul_(0.999).addcmul_(self.grad, self.grad, value=0.001)
        # m̂ / (√v̂ + ε) with the root of v̂'s divisor moved out of the vector.
        root = math.sqrt(1 - 0.999**self.steps)
        self.flat.addcdiv_(self.m, self.v.sqrt().add_(1e-8 * root), value=-self.lr * root / (1 - 0.9**self.steps))


class RMSprop(FlatOptimizer):
    """RMSprop with a decay of 0.99 and ε = 1e-5.

        v ← 0.99 v + 0.01 g²,   θ ← θ - lr g / (√v + ε)

    Source: Tieleman, Hinton 2012, "Neural Networks for Machine Learning", lecture 6.5.
    """

    averages = ("v",)

    def __init__(self, name: str, module: nn.Module, lr: float, max_grad_norm: float = math.inf) -> None:
        """As `FlatOptimizer`."""
        super().__init__(name, module, lr, max_grad_norm)
        self.v = torch.zeros_like(self.flat)

    def change(self) -> None:
        """One step."""
        self.v.mul_(0.99).addcmul_(self.grad, self.grad, value=0.01)
        self.flat.addcdiv_(self.grad, self.v.sqrt().add_(1e-5), value=-self.lr)
