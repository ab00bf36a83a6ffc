"""Run directories to draw, made of numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """A run of three epochs, with columns replaced by `columns`, or left out where they are None there."""

    def make(path: Path, columns: dict[str, Any] | None = None, **config: Any) -> Path:
        steps = np.array([100.0, 200.0, 300.0])
        table: dict[str, Any] = {"Epoch": steps / 100, "TotalEnvInteracts": steps, "AverageEpRet": steps / 10}
        table |= {"MinEpRet": steps / 20, "MaxEpRet": steps / 5, "EpLen": steps, "Entropy": 1 / steps}
        table |= {"KL": 0.01 * steps, "ExplainedVariance": steps / 300, "ValueBias": -steps}
        table = {name: column for name, column in (table | (columns or {})).items() if column is not None}
        rows = zip(*table.values(), strict=True)
        lines = ["\t".join(table), *("\t".join(str(float(value)) for value in row) for row in rows)]
        path.mkdir(parents=True)
        (path / "progress.txt").write_text("\n".join(lines) + "\n")
        defaults = {"algo": "ppo", "exp_name": "exp", "env": "CartPole-v1", "seed": 0, "note": ""}
        (path / "config.json").write_text(json.dumps(defaults | config))
        return path

    return make
