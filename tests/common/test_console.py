"""What a training shows of its rows."""

import math

import pytest

from rlsuite.common.console import LiveTable, line, returns, short


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.1235"), (123456.0, "1.235e+05"), (12, "12"), (math.nan, "-"), (-math.inf, "-inf")]
)
def test_short_has_four_digits(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([500.0, 0.0, 500.0, 500.0], "500.0 0.0 500.0 500.0"),
        ([-82.26, 9.51, -120.0, -70.0], "-82.3 9.5 -120.0 -70.0"),
        ([0.16, 0.36661, 0.0, 1.0], "0.160 0.367 0.000 1.000"),  # FrozenLake
        ([0.955, 0.0121, 0.93, 0.97], "0.955 0.012 0.930 0.970"),  # MiniGrid
        ([-0.0213, 0.0002, -0.03, -0.01], "-0.0213 0.0002 -0.0300 -0.0100"),  # MountainCarContinuous, standing still
        ([-0.004, 31.2, -40.0, 50.0], "0.0 31.2 -40.0 50.0"),  # nothing beside its spread, and so without a sign
        ([5.234], "5.23"),
        ([-1234.56], "-1234.6"),
        ([0.0], "0.0"),
        ([math.nan, 7.0], "nan 7.00"),
        ([math.inf, -math.inf], "inf -inf"),
    ],
)
def test_returns_keep_the_digits_that_matter(values, texts):
    assert returns(*values) == texts.split()


def test_line_shows_the_columns_that_there_are_in_their_order():
    row = {"KL": 0.01, "Epoch": 3, "TotalEnvInteracts": 900, "AverageEpRet": math.nan, "LossPi": 7.0}
    assert line(row) == "epoch 3  steps 900  AverageEpRet -  KL 0.01"


def test_the_live_table_ends_with_the_last_ten_rows_and_the_share_of_the_budget(capsys):
    table = LiveTable(2000)
    for epoch in range(1, 13):
        row = {"Epoch": epoch, "AverageEpRet": 100.5 + epoch, "KL": math.nan, "LossPi": 7.0}
        table.show({**row, "TotalEnvInteracts": 100 * epoch, "StepsPerSec": 250.0})
    table.close()
    shown = capsys.readouterr().out
    header, *rows = [text.split() for text in shown.splitlines() if text.strip()]
    assert header == ["Epoch", "AverageEpRet", "KL"]
    assert [row[0] for row in rows[:10]] == [str(epoch) for epoch in range(3, 13)]
    assert rows[9] == ["12", "112.5", "-"]
    assert "60%" in shown
    assert "1,200 / 2,000 steps" in shown
