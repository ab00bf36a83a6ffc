"""Which columns get a panel."""

from typing import Any

import numpy as np
import pytest

from rlsuite.figures.panels import BESIDE, CANDIDATES, RETURNS, choose_columns
from rlsuite.rundir.columns import TITLES

nan = np.nan
ON_POLICY = ["AverageEpRet", "Entropy", "KL", "ValueBias", "ExplainedVariance"]


def log(**columns: Any) -> dict[str, np.ndarray]:
    """What an on-policy run logs in three epochs, with columns replaced."""
    plain = {name: [1, 2, 4] for name in [*ON_POLICY, "ActionEntropy"]}
    plain |= {"AverageEpRet": [1, 2, 3], "EpLen": [3, 1, 2]}
    return {name: np.array(column, dtype=float) for name, column in (plain | columns).items()}


@pytest.mark.parametrize(
    ("length", "sixth"),
    [
        ([3, 1, 2], "EpLen"),
        ([1, 2, 3], "ActionEntropy"),  # CartPole
        ([nan, 2, 3], "ActionEntropy"),
        ([-2, -4, -6], "ActionEntropy"),
        ([200, 200, 200], "ActionEntropy"),  # Pendulum
        ([nan] * 3, "ActionEntropy"),
    ],
)
def test_a_length_that_says_nothing_gives_way(length: list[float], sixth: str) -> None:
    assert choose_columns([[log(EpLen=length)]]) == [*ON_POLICY, sixth]


def test_a_length_that_says_something_for_one_run_has_its_panel() -> None:
    assert choose_columns([[log(EpLen=[1, 2, 3])], [log()]])[-1] == "EpLen"


def test_a_clip_has_a_panel_or_else_the_early_stop() -> None:
    assert choose_columns([[log(ClipFrac=[0, 0.1, 0.2], StopIter=[1, 2, 3])]]) == [*ON_POLICY, "ClipFrac"]
    assert choose_columns([[log(ClipFrac=[0, 0, 0], StopIter=[1, 2, 3])]]) == [*ON_POLICY, "StopIter"]
    assert choose_columns([[log(ClipFrac=[0, 0, 0], StopIter=[4, 4, 4])]]) == [*ON_POLICY, "EpLen"]


def test_columns_without_values_give_way() -> None:
    nothing = dict.fromkeys(["ExplainedVariance", "ValueBias"], [nan] * 3)
    run = log(**nothing, AverageTestEpRet=[1, 2, 3], EliteRet=[4, 5, 6])
    expected = ["AverageTestEpRet", "Entropy", "KL", "EliteRet", "AverageEpRet", "EpLen"]
    assert choose_columns([[run]]) == expected


def test_with_test_episodes_and_q_values() -> None:
    run = log(AverageTestEpRet=[1, 2, 3], QVals=[1, 2, 3], TargetGap=[1, 2, 3])
    expected = ["AverageTestEpRet", "Entropy", "KL", "QVals", "TargetGap", "ExplainedVariance"]
    assert choose_columns([[run]]) == expected
    follows = run | {"Epsilon": np.ones(3)}  # then the entropy is that of a schedule
    assert choose_columns([[follows]]) == ["AverageTestEpRet", *expected[2:], "AverageEpRet"]


def test_groups_are_compared_by_what_all_of_them_have() -> None:
    assert choose_columns([[log()], [log(AverageTestEpRet=[1, 2, 3])]])[0] == "AverageEpRet"
    assert choose_columns([[log(AverageTestEpRet=[nan] * 3)]])[0] == "AverageEpRet"


def test_a_broken_run_keeps_the_panels_that_show_it() -> None:
    assert choose_columns([[log(Entropy=[0.7] * 3, KL=[0, 0, 0])]])[:3] == ["AverageEpRet", "Entropy", "KL"]


def test_titles_are_short_enough_for_a_panel_and_differ() -> None:
    titles = [*TITLES.values(), *(title for _, title in BESIDE.values())]
    assert max(map(len, titles)) <= 40
    assert len(set(titles)) == len(titles)
    named = {*RETURNS, *(c for pair in RETURNS.values() for c in pair), *(c for line in CANDIDATES for c in line)}
    assert named <= set(TITLES)
