"""Reference curves: which one a run is compared with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsuite.analysis.watch import read_log
from rlsuite.presets import PRESETS
from rlsuite.rundir import references
from rlsuite.rundir.references import COLUMNS, CURVES, read_references, same_settings, same_task, settings_digest

CONFIG = {"algo": "ppo", "env": "CartPole-v1", "env_kwargs": "{}", "lam": 0.9, "total_steps": 300, "seed": 0}


def write(path: Path, *cells: tuple[str, str, int]) -> Path:
    """Curves of two points; of each its name, the digest of its settings and its last step."""
    lines = [",".join(COLUMNS)]
    for name, settings, last in cells:
        for steps in (100, last):
            lines.append(f"{name},ppo,CartPole-v1,{{}},{settings},10,{steps},{steps / 10},{steps / 20},{steps / 5}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_equal_settings_have_one_digest_whatever_the_seed_and_the_machine() -> None:
    digest = settings_digest(CONFIG)
    same: dict[str, Any] = {
        "seed": 3,
        "note": "n",
        "exp_name": "e",
        "device": "cuda",
        "torch_threads": 2,
        "command": "c",
    }
    assert settings_digest({**CONFIG, **same}) == digest
    for changed in ({"lam": 0.91}, {"total_steps": 301}, {"env": "A"}, {"algo": "a2c"}, {"env_kwargs": "{1}"}):
        assert settings_digest({**CONFIG, **changed}) != digest


def test_a_run_has_the_curve_of_its_settings_or_the_longest_of_its_task(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ("own", settings_digest(CONFIG), 300), ("long", "x", 900), ("short", "y", 200))
    known = read_references(path)
    assert [reference.cell for reference in known] == ["own", "long", "short"]
    np.testing.assert_array_equal(known[1].steps, [100, 900])
    np.testing.assert_array_equal([known[1].mean[1], known[1].low[1], known[1].high[1]], [90, 45, 180])
    own, other = same_settings(CONFIG, known), {**CONFIG, "lam": 0.5}
    assert own is not None
    assert own.cell == "own"
    assert same_settings(other, known) is None
    for config, cell in ((CONFIG, "own"), (other, "long")):
        found = same_task(config, known)
        assert found is not None
        assert found.cell == cell
    assert same_task({**CONFIG, "env_kwargs": '{"a": 1}'}, known) is None
    assert same_task({**CONFIG, "custom_env": True}, known) is None
    assert same_task({**CONFIG, "algo": "a2c"}, known) is None
    assert read_references(tmp_path / "none.csv") == ()


def test_the_log_of_a_run_comes_with_its_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "r"
    run.mkdir()
    (run / "progress.txt").write_text("TotalEnvInteracts\tAverageEpRet\n100\t20\n")
    (run / "config.json").write_text(json.dumps(CONFIG))
    known = read_references(write(tmp_path / "a.csv", ("own", settings_digest(CONFIG), 300)))
    monkeypatch.setattr(references, "read_references", lambda: known)
    reference = read_log(run).reference
    assert reference is not None
    assert reference.cell == "own"
    (run / "config.json").write_text(json.dumps({**CONFIG, "lam": 0.123}))
    assert read_log(run).reference is None


def test_the_curves_of_the_package_are_small_and_of_settings_that_there_are() -> None:
    found = read_references()
    assert CURVES.exists()
    assert CURVES.stat().st_size < 500_000
    for reference in found:
        assert reference.algo in {*PRESETS, "random"}
        assert 0 < len(reference.steps) <= 50
        assert (np.diff(reference.steps) > 0).all()
