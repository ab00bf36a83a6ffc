"""Which fault a log looks like, all columns taken together: a logistic regression on the runs of planted faults.

A rule looks at one or two columns, and says which causes go with what it sees. Often several do; what tells them apart
can be in columns that no rule looks at. z is what all columns do, in units of their spread over runs:

    p(cause) = softmax(W [z, |z|] + b)                                                 (Bishop 2006, eqs. 4.104, 4.105)

`experiments/planted_bugs.py fit` fits W and b, and writes them into `likeness.safetensors` beside this file. Any log
looks like one fault or another, even if nothing is wrong. So the likeness speaks only of a run that does not learn, and
only where a rule names a cause.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rlsuite.analysis.diagnosis import FEWEST, LIKENESS, Array, Finding, Log
from rlsuite.rundir.files import read_safetensors

WEIGHTS = Path(__file__).with_name("likeness.safetensors")
WIDEST = 4.0
"""Numbers are clipped here: other tasks have larger and smaller ones."""
MOST_CAUSES = 4
"""that it names"""
LEAST = 0.01
"""share of a cause that is still named"""
MOST_COLUMNS = 3
"""that it names"""


class Model(NamedTuple):
    """What has been fitted. F numbers of a log, C causes."""

    columns: Sequence[str]
    """of the log, F/4 of them"""
    causes: Sequence[str]
    """C keys of `CAUSES`"""
    centre: Array
    """(F,) median over the runs that it was fitted to"""
    scale: Array
    """(F,) standard deviation over them"""
    weight: Array
    """(C, 2F)"""
    bias: Array
    """(C,)"""


@cache
def fitted(path: Path = WEIGHTS) -> Model:
    """The model of the package.

    Raises:
        UserError: the file is damaged.
    """
    arrays, facts = read_safetensors(path)
    names = json.loads(facts["columns, causes"])
    return Model(*names, *(arrays[name].astype(np.float64) for name in Model._fields[2:]))


def numbers(log: Log, columns: Iterable[str]) -> Array:
    """(F,) what each column does: its latest mean, its first mean, the way between them, and how much it swings.

    On a logarithmic scale; NaN where the log can't say. Mean, least and largest returns count from random play's mean,
    in units of its spread, since those of another task are of another size.
    """
    chance, spread = log.chance
    unit = float(np.nanmax([spread, 0.05 * abs(chance), 1e-9]))
    found = []
    for name in columns:
        values = log.known(name)
        shift, by = (chance, unit) if name.endswith("EpRet") and not name.startswith("Std") else (0.0, 1.0)
        first, late = ((mean - shift) / by for mean in log.course(name))
        found += [late, first, late - first, values.std() / by if len(values) >= FEWEST else np.nan]
    size: Array = np.log1p(10 * np.abs(found))
    return np.copysign(size, found)


def inputs(raw: Array, centre: Array, scale: Array) -> Array:
    """(..., 2F) what the regression sees of (..., F) numbers; where there is none, it sees 0."""
    z = np.nan_to_num(np.clip((raw - centre) / scale, -WIDEST, WIDEST), nan=0.0)
    return np.concatenate([z, np.abs(z)], -1)


def looks_like(log: Log, model: Model | None = None) -> Finding | None:
    """The causes whose runs look most like this one, by the model of the package if no other is given."""
    model = model or fitted()
    raw = numbers(log, model.columns)
    if log.learned or not np.isfinite(raw).any():
        return None
    seen = inputs(raw, model.centre, model.scale)
    logits = model.weight @ seen + model.bias
    share = np.exp(logits - logits.max())
    share /= share.sum()
    order = [cause for cause in np.argsort(-share)[:MOST_CAUSES] if share[cause] > LEAST]
    causes = tuple(model.causes[cause] for cause in order)
    speaks = (model.weight[order[0]] * seen).reshape(2, -1, 4).sum((0, 2))  # of each column
    columns = tuple(model.columns[at] for at in np.argsort(-speaks)[:MOST_COLUMNS] if speaks[at] > 0)
    text = "its columns resemble those of planted faults: "
    text += ", ".join(f"{model.causes[cause]} {100 * share[cause]:.0f}%" for cause in order)
    advice = "the cheapest test, since this is a likeness, and no measurement"
    return Finding(LIKENESS, text, columns, 0.0, causes, 0.0, advice, "ours")
