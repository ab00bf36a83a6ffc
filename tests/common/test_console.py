"""What a training shows of its rows."""

import math

import pytest

from rlsuite.common.console import LiveTable, line, short


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.1235"), (123456.0, "1.235e+05"), (12, "12"), (math.nan, "-"), (-math.inf, "-inf")]
)
def test_short_has_four_digits(value, text):
    assert short(value) == text


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
