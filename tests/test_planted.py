"""How the diagnosis is judged: which faults count, what detection, naming and false alarms are, and the faults' own."""

import csv
import importlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsuite.analysis.diagnosis import LIKENESS, Finding
from tests.analysis.test_diagnosis import ALONE, EPOCHS, ON_POLICY, changed, low

ROOT = Path(__file__).parents[1]
Load = Callable[[str], Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a module of experiments/."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    yield importlib.import_module
    for name in [name for name in sys.modules if name.startswith("planted_")]:
        del sys.modules[name]


@pytest.fixture
def judge(load: Load, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`planted_judgement.judge` by the rules alone: logs made by hand look like no run."""
    judgement = load("planted_judgement")
    monkeypatch.setattr(judgement, "RULES", ALONE)
    return judgement.judge


def test_each_fault_is_one_line_that_occurs_once(load: Load) -> None:
    blind = load("planted_bugs").BLIND.values()
    faults = [*load("planted_faults").FAULTS, *(fault for part in blind for fault in part.faults)]
    assert len(faults) >= 290
    assert len({fault.name for fault in faults}) == len(faults)
    for fault in faults:
        if fault.file:
            text = (ROOT / "rlsuite" / fault.file).read_text()
            assert text.count(fault.old) == 1, fault.name
            assert text != text.replace(fault.old, fault.new), fault.name
        assert fault.file or fault.settings or fault.wrapper, fault.name


def test_halves_do_not_depend_on_the_order_and_are_both_large(load: Load) -> None:
    bugs, faults = load("planted_bugs"), load("planted_faults").FAULTS
    halves = [bugs.half(fault.name) for fault in faults]
    assert halves == [bugs.half(fault.name) for fault in reversed(faults)][::-1]
    assert min(halves.count("building"), halves.count("held-out")) > 50


def test_what_was_written_blind_is_a_part_of_its_own(load: Load) -> None:
    bugs, later = load("planted_bugs"), load("planted_later")
    parts = [bugs.part_of(task) for task in bugs.tasks()]
    assert parts.count("later") == len(later.LATER) + len(later.LATER_HEALTHY) + len(later.LATER_CELLS)
    for part, blind in bugs.BLIND.items():
        assert {bugs.half(fault.name) for fault in blind.faults} == {part}


def test_twins_of_a_blind_part_are_sought_in_those_before_it(load: Load) -> None:
    bugs = load("planted_bugs")
    found = bugs.twins("later")
    assert "trpo: gamma 0" in found, "as a2c and ppo among the first"
    assert "a2c: rewards are taken for costs" in found, "as dqn among the fresh ones"
    assert "ddpg: rewards are paid every fifty steps" not in found, "as only ppo, of the same part"
    fresh = bugs.twins("fresh")
    del bugs.BLIND["later"]
    assert bugs.twins("fresh") == fresh


def test_only_what_lowers_the_return_by_three_standard_deviations_counts(load: Load) -> None:
    lowers = load("planted_bugs").lowers
    sound = np.array([100.0, 110, 90, 105, 95])  # standard deviation 7.9
    assert lowers(sound - 25, sound, chance=0)
    assert not lowers(sound - 23, sound, chance=0)
    assert not lowers(sound + 50, sound, chance=0)
    assert not lowers(np.array([20.0, 150, 20, 150, 20]), sound, chance=0), "the larger of both deviations"
    assert lowers(np.full(5, math.nan), sound, chance=20), "what broke off is at the level of random play"


def test_a_run_is_judged_by_its_causes(judge: Any) -> None:
    sick = low(ON_POLICY, UpdateRatioPi=0.0, KL=0.0, AdvLogpCorr=math.nan)
    found = judge("x", sick, "policy not trained")
    assert (found.detected, found.named, found.cause, found.algo) == (True, True, "policy not trained", "ppo")
    assert not judge("x", sick, "reward scale").named
    slow = judge("x", low(ON_POLICY, EntropyShare=0.95), "sign")
    assert (slow.detected, slow.named, slow.rules) == (False, False, ()), "a low return is no detection"
    worse = judge("x", changed(ON_POLICY, AverageEpRet=5.0, AdvReturnCorr=math.nan), "sign")
    assert (worse.detected, worse.named) == (False, True), "nor is one that is lower still"


def test_the_cause_stands_from_where_it_is_named_without_a_break(judge: Any) -> None:
    late = low(ON_POLICY, KL=np.where(np.arange(EPOCHS) < 20, 0.01, 3.0))
    assert 0.5 < judge("x", late, "high learning rate").since < 0.75
    assert math.isnan(judge("x", late, "discount").since)


def test_of_a_healthy_run_a_finding_is_wrong_unless_one_of_its_causes_is_true(judge: Any) -> None:
    late = low(ON_POLICY, EntropyShare=0.95, RewMin=0.0, RewMax=60.0, EpLen=80.0, MinEpRet=0.0)
    assert judge("x", late, "").wrong == ("the reward comes at the end",)
    assert judge("x", late, "", true=["late reward"]).wrong == ()
    assert judge("x", low(ON_POLICY, EntropyShare=0.95), "").wrong == (), "it is true that it is not learning yet"
    assert judge("x", changed(ON_POLICY), "").wrong == ()


def test_a_likeness_detects_nothing_and_answers_for_the_causes_that_are_read(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    judgement = load("planted_judgement")

    def says(rule: str, *causes: str) -> Callable[[Any], Finding]:
        return lambda log: Finding(rule, "", (), 0.0, causes, 0.5, "", "")

    likeness = says(LIKENESS, "discount", "sign", "credit", "targets")
    monkeypatch.setattr(judgement, "RULES", [says(judgement.LOW, "little data"), likeness])
    low_only = judgement.judge("x", low(ON_POLICY), "sign")
    assert (low_only.detected, low_only.named) == (False, True)
    assert judgement.judge("x", low(ON_POLICY), "", true=["little data"]).wrong == ()
    assert judgement.judge("x", low(ON_POLICY), "", true=["sign"]).wrong == (judgement.LOW,), "third of all"
    assert judgement.judge("x", low(ON_POLICY), "", true=["targets"]).wrong == (judgement.LOW, LIKENESS)


def test_what_the_fit_has_seen_is_not_judged_again(load: Load) -> None:
    bugs = load("planted_bugs")
    for part in bugs.FITTED:
        with pytest.raises(SystemExit, match="was judged before"):
            bugs.main(["judge", "--part", part])


def test_a_part_needs_the_sound_runs_of_its_own_cells_only(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    bugs = load("planted_bugs")
    asked = []
    monkeypatch.setattr(bugs, "runs_of", lambda task: asked.append(task.name) or [])
    monkeypatch.setattr(bugs, "returns", lambda task: np.zeros(5))
    with pytest.warns(RuntimeWarning, match="empty slice"):
        assert [part for part, *_ in bugs.trained(["fresh"])] == ["fresh"] * (
            len(bugs.BLIND["fresh"].faults) + len(bugs.BLIND["fresh"].healthy)
        )
    assert "healthy_ppo_CartPole" in asked
    assert "healthy_a2c_CartPole_steady" not in asked, "no fresh fault is planted there"


def test_a_fault_is_one_trial_and_is_found_if_most_of_its_runs_are(load: Load) -> None:
    judgement = load("planted_judgement")

    def runs(name: str, named: int) -> list[Any]:
        made = [judgement.Verdict(name, "ppo", "sign", ("r",), ("sign",), (), (), 0.2)] * named
        return made + [judgement.Verdict(name, "ppo", "sign", (), (), (), (), math.nan)] * (5 - named)

    healthy = [judgement.Verdict("h", "ppo", "", (), (), wrong, (), math.nan) for wrong in [("r",), (), (), ()]]
    rows = list(judgement.table([*runs("a", 5), *runs("b", 3), *runs("c", 2)], healthy))
    (named,) = [row for row in rows if (row["measure"], row["algorithm"], row["cause"]) == ("named", "all", "all")]
    assert (named["count"], named["of"]) == ("2", "3")
    found = {row["measure"]: f"{row['count']} of {row['of']}" for row in rows if row["algorithm"] == "all"}
    assert found["named by chance"] == "3 of 3"
    assert found["false alarm, cells"] == "1 of 1"
    (twinless,) = [
        r for r in judgement.table([*runs("a", 5), *runs("b", 3)], healthy, 0, ["a"]) if "twin" in r["measure"]
    ]
    assert (twinless["count"], twinless["of"]) == ("1", "1")
    (alarm,) = [row for row in rows if (row["measure"], row["algorithm"]) == ("false alarm", "all")]
    assert (alarm["count"], alarm["of"]) == ("1", "4")
    first = {row["said"]: row["count"] for row in rows if row["measure"] == "confusion"}
    assert first == {"sign": "10", "nothing": "5"}


def test_intervals_are_those_of_clopper_and_pearson(load: Load) -> None:
    found = load("planted_judgement").rate(9, 10)
    assert (found["low"], found["high"]) == ("0.555", "0.997")  # Clopper and Pearson 1934, as tables have it
    assert load("planted_judgement").rate(0, 0)["share"] == ""


def test_the_tables_of_the_docs_are_those_of_the_published_verdicts(load: Load) -> None:
    with (ROOT / "data" / "diagnosis.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    page = (ROOT / "docs" / "diagnose.md").read_text()
    assert "\n".join(load("planted_judgement").report(rows)) in page
