"""Fits `rlsuite.analysis.likeness` to runs of planted faults; `planted_bugs.py fit` calls it.

A fault that does not lower the return has a cause all the same, and its runs show it: they weigh less, and still teach.
How well it tells causes apart is measured on faults that it was not fitted to.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from safetensors.numpy import save

from rlsuite.analysis.causes import CAUSES
from rlsuite.analysis.diagnosis import Log
from rlsuite.analysis.likeness import WEIGHTS, Model, inputs, numbers
from rlsuite.rundir.files import write_atomically

NO_HARM = 0.6
"""weight of a fault that does not lower the return"""
DECAY = 0.5
"""weight decay: this times the sum of all squared weights is added to the faults' losses"""
PROGRESS = {"Epoch", "TotalEnvInteracts", "GradSteps", "Generation", "Time", "StepsPerSec"}
"""columns that say how far and how fast a run has come, which is nothing of its health"""


class Known(NamedTuple):
    """A run whose cause is known; "" of a healthy one."""

    fault: str
    cause: str
    counts: bool
    """whether the fault lowers the return"""
    log: Log


def fit(runs: Sequence[Known]) -> Model:
    """The model that is likeliest, with small weights: each fault counts as one, however many runs it has.

    Healthy runs say only how much a number differs between runs.
    """
    columns = sorted({name for run in runs for name in run.log.columns} - PROGRESS)
    causes = tuple(CAUSES)
    with np.errstate(all="ignore"):
        raw = np.array([numbers(run.log, columns) for run in runs])
    known = np.isfinite(raw).any(0)
    centre = np.nanmedian(np.where(known, raw, 0.0), 0)
    scale = np.nanstd(np.where(known, raw, 0.0), 0) + 1e-6
    sick = [place for place, run in enumerate(runs) if run.cause]
    x = torch.from_numpy(inputs(raw[sick], centre, scale))
    y = torch.tensor([causes.index(runs[place].cause) for place in sick])
    of = Counter(run.fault for run in runs)
    each = torch.tensor([(1.0 if runs[place].counts else NO_HARM) / of[runs[place].fault] for place in sick]).double()
    weight = torch.zeros(len(causes), x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(causes), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=500, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        losses = torch.nn.functional.cross_entropy(x @ weight.T + bias, y, reduction="none")
        total = (each * losses).sum() + DECAY * weight.square().sum()
        total.backward()
        return total

    solver.step(loss)
    return Model(columns, causes, centre, scale, weight.detach().numpy(), bias.detach().numpy())


def write(model: Model) -> None:
    """Put it into the package."""
    arrays = {name: getattr(model, name).astype(np.float32) for name in Model._fields[2:]}
    facts = {"columns, causes": json.dumps([model.columns, model.causes])}
    write_atomically(WEIGHTS, save(arrays, facts))
