"""What a log looks like, all columns together: the numbers taken from it, the regression, and how it is fitted."""

import importlib
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsuite.analysis.causes import CAUSES
from rlsuite.analysis.diagnosis import FEWEST, LIKENESS, Finding, Log, diagnose
from rlsuite.analysis.likeness import MOST_CAUSES, WEIGHTS, Model, fitted, inputs, looks_like, numbers
from rlsuite.analysis.rules import RULES
from rlsuite.rundir.files import read_safetensors
from tests.analysis.test_diagnosis import DQN, EPOCHS, ON_POLICY, changed, low

COLUMNS = ("KL", "StopIter")
ONE, FOUR = np.ones(8), ("sign", "credit", "discount", "targets")


def model(weight: Any, bias: Any = 0.0) -> Model:
    """Of two columns and four causes; centre 0, scale 1."""
    rows = np.broadcast_to(np.asarray(weight, np.float64), (4, 16))
    return Model(COLUMNS, FOUR, 0 * ONE, ONE, rows, np.broadcast_to(np.float64(bias), (4,)))


def says(severity: float, *causes: str) -> Any:
    return lambda log: Finding("x", "", (), 0.0, causes, severity, "", "")


def test_a_column_is_four_numbers_on_a_logarithmic_scale() -> None:
    rising = np.linspace(1, 40, EPOCHS)  # the first four: 2.5; the last quarter, 31 to 40: 35.5
    found = numbers(changed(ON_POLICY, KL=rising, StopIter=-rising), ["KL", "StopIter", "Nothing"])
    size = [math.log(1 + 10 * value) for value in (35.5, 2.5, 33.0, rising.std())]
    assert found[:4] == pytest.approx(size)
    assert found[4:8] == pytest.approx([-size[0], -size[1], -size[2], size[3]]), "with their signs"
    assert np.isnan(found[8:]).all()


def test_returns_are_in_units_of_random_play() -> None:
    log = changed(ON_POLICY, AverageEpRet=42.0, StdEpRet=20.0, EpLen=42.0)  # random play: 22 ± 10
    late, first, way, swing = numbers(log, ["AverageEpRet"])
    assert (late, first) == pytest.approx((math.log(21), math.log(21))), "two deviations above it"
    assert (way, swing) == (0, 0)
    spread, length = numbers(log, ["StdEpRet"]), numbers(log, ["EpLen"])
    assert spread[0] == pytest.approx(math.log(201)), "a deviation has no zero to be moved to"
    assert length[0] == pytest.approx(math.log(421)), "and is no return"


def test_the_regression_sees_how_unusual_a_number_is_and_0_where_there_is_none() -> None:
    raw = np.array([1.0, -9.0, 200.0, math.nan])
    assert inputs(raw, np.ones(4), np.full(4, 5.0)).tolist() == [0, -2, 4, 0, 0, 2, 4, 0]


def test_the_shares_are_a_softmax_and_the_columns_those_that_speak_most_for_the_first() -> None:
    weight = np.zeros((4, 16))
    weight[2, 4] = 2.0  # the latest StopIter speaks for "discount", as much as it is above the centre
    log = low(ON_POLICY, KL=0.0, StopIter=0.1)  # ln(1 + 10 * 0.1) = ln 2
    found = looks_like(log, model(weight, [0.0, -math.inf, 0.0, math.log(2)]))
    assert found
    assert found.causes == ("discount", "targets", "sign")  # weights 4, 2, 1, 0
    assert found.text.endswith(": discount 57%, targets 29%, sign 14%")
    assert found.columns == ("StopIter",), "KL, which is 0, says nothing"
    assert found.since == 0
    assert found.severity == 0, "a likeness is nothing to warn of"


def test_of_a_run_that_learns_or_has_no_such_column_it_says_nothing() -> None:
    assert looks_like(low(ON_POLICY), model(0.0))
    assert not looks_like(changed(ON_POLICY), model(0.0))
    assert not looks_like(low({name: ON_POLICY[name] for name in ("TotalEnvInteracts", "AverageEpRet")}), model(0.0))


def test_a_cause_with_less_than_a_hundredth_is_not_named() -> None:
    odds = [0.0, math.log(0.011), math.log(0.009), -math.inf]
    found = looks_like(low(ON_POLICY), model(0.0, odds))
    assert found
    assert found.causes == ("sign", "credit")


def test_it_speaks_only_where_a_rule_names_a_cause_and_weighs_as_much_as_one_that_is_certain() -> None:
    second = partial(looks_like, model=model(0.0, [3.0, 2.0, 1.0, 0.0]))  # shares 64, 24, 9, 3%
    log = low(ON_POLICY)
    assert not diagnose(log, [second]).findings
    assert not diagnose(log, [second, says(1.0)]).causes, "nor where the only finding names none"
    both = diagnose(log, [second, says(0.5, "targets")])
    assert [finding.rule for finding in both.findings] == ["x", LIKENESS]
    assert both.causes[:2] == ["targets", "sign"], "0.62 against 0.48"
    assert diagnose(log, [second, says(0.3, "targets")]).causes[:2] == ["sign", "targets"], "0.42 against 0.48"
    assert diagnose(log, [second, says(0.3, "targets")]).evidence[0].rule == LIKENESS, "so that a cause has evidence"


def test_what_is_shipped_fits_the_causes_and_runs_no_code() -> None:
    arrays, facts = read_safetensors(WEIGHTS)
    found = fitted()
    assert json.loads(facts["columns, causes"]) == [found.columns, list(CAUSES)]
    size = 4 * len(found.columns)
    assert [arrays[name].shape for name in Model._fields[2:]] == [
        (size,), (size,), (len(CAUSES), 2 * size), (len(CAUSES),),
    ]  # fmt: skip
    assert looks_like in RULES
    said = looks_like(low(DQN))
    assert said
    assert 1 <= len(said.causes) <= MOST_CAUSES


@pytest.fixture
def likeness(monkeypatch: pytest.MonkeyPatch) -> Any:
    """experiments/planted_likeness.py."""
    monkeypatch.syspath_prepend(f"{Path(__file__).parents[2] / 'experiments'}")
    return importlib.import_module("planted_likeness")


def test_a_fit_is_where_the_gradient_is_0_and_each_fault_counts_as_one(likeness: Any) -> None:
    rng = np.random.default_rng(0)

    def run(fault: str, cause: str, counts: bool, kl: float) -> Any:
        log = low(ON_POLICY, KL=kl * rng.uniform(0.5, 2, EPOCHS))
        return likeness.Known(fault, cause, counts, log)

    runs = [run(f"f{n}", ("sign", "credit")[n % 2], n < 4, (0.01, 1.0)[n % 2]) for n in range(6)]
    runs += [run("f0", "sign", True, 0.02), run("healthy", "", False, 0.1)]
    found = likeness.fit(runs)
    raw = np.array([numbers(each.log, found.columns) for each in runs])
    assert found.centre == pytest.approx(np.median(raw, 0)), "healthy runs, too"
    x = inputs(raw, found.centre, found.scale)[:-1]
    logits = x @ found.weight.T + found.bias
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = np.eye(len(CAUSES))[[[*CAUSES].index(each.cause) for each in runs[:-1]]]
    each = np.array([0.5, 1, 1, 1, 0.6, 0.6, 0.5])  # f0 has two runs; f4 and f5 do no harm
    residual = each[:, None] * (share - true)
    assert residual.T @ x + found.weight == pytest.approx(0, abs=1e-4)  # d(Σ loss + |W|²/2)/dW
    assert residual.sum(0) == pytest.approx(0, abs=1e-4)
    assert [found.causes[at] for at in share.argmax(1)[:2]] == ["sign", "credit"]


def test_what_is_written_is_what_was_fitted(likeness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "WEIGHTS", tmp_path / "x.safetensors")
    made = model(np.arange(64.0).reshape(4, 16) / 7, [1.0, 2, 3, 4])
    likeness.write(made)
    found = fitted(tmp_path / "x.safetensors")
    assert (list(found.columns), list(found.causes)) == (list(COLUMNS), list(FOUR))
    assert found.weight == pytest.approx(made.weight, rel=1e-6)
    assert found.bias == pytest.approx(made.bias)


def test_it_speaks_of_a_short_log_from_four_epochs_on() -> None:
    said = [looks_like(low(ON_POLICY).until(epochs), model(0.0)) is not None for epochs in range(8)]
    assert said == [False] * FEWEST + [True] * (8 - FEWEST)
    assert diagnose(Log({}, {}), RULES).findings == []
