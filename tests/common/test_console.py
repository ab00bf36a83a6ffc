"""What a training shows of its rows."""

import math
import re

import pytest
from rich.console import Console

from rlsuite.common.console import LiveTable, line, returns, short, table


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


@pytest.mark.parametrize(("tests", "shown"), [(7.5, "  AverageTestEpRet 7.5"), (math.nan, "")])
def test_line_shows_the_test_return_where_there_are_test_episodes(tests, shown):
    row = {"Epoch": 3, "TotalEnvInteracts": 900, "AverageEpRet": 1.0, "AverageTestEpRet": tests}
    assert line(row) == f"epoch 3  steps 900  AverageEpRet 1{shown}"


def test_the_live_table_ends_with_the_last_ten_rows_and_the_share_of_the_budget(capsys):
    steps = 0
    live = LiveTable(2000, lambda: steps)
    for epoch in range(1, 13):
        steps = 100 * epoch
        live.show({"Epoch": epoch, "AverageEpRet": 100.5 + epoch, "KL": math.nan, "LossPi": 7.0})
    live.close()
    shown = capsys.readouterr().out
    header, *rows = [text.split() for text in shown.splitlines() if text.strip()]
    assert header == ["Epoch", "EpRet", "KL"]
    assert [row[0] for row in rows[:10]] == [str(epoch) for epoch in range(3, 13)]
    assert rows[9] == ["12", "112.5", "-"]
    assert "60%" in shown
    assert "1,200 / 2,000 steps" in shown


def drawn(renderable, width):
    """The lines of the screen, of which rich would cut or wrap those that are too long."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(renderable)
    return [text.rstrip() for text in capture.get().splitlines()]


def bar_of(total, marks, width, monkeypatch, capsys):
    """The bar after it was drawn at each of the times, in seconds, with so many steps."""
    now = steps = 0
    monkeypatch.setattr("time.monotonic", lambda: now)
    live = LiveTable(total, lambda: steps)
    live.close()
    live.resume()
    for now, steps in marks:  # noqa: B007 - read by the table
        (text,) = drawn(live.bar(width), width)
    return text


def test_time_left_follows_from_the_speed_of_the_last_minutes(monkeypatch, capsys):
    text = bar_of(100_000, [(0, 0), (10, 1000), (100, 10_000)], 100, monkeypatch, capsys)
    assert re.fullmatch(r" 10%  ━[━╸ ]+  10,000 / 100,000 steps  0:15:00 left  0:01:40 elapsed  100/s", text), text
    resumed = bar_of(100_000, [(0, 50_000), (10, 50_500)], 100, monkeypatch, capsys)
    assert resumed.endswith("0:16:30 left  0:00:10 elapsed  50/s")
    assert "-:--:-- left" in bar_of(100_000, [(0, 0)], 100, monkeypatch, capsys)


@pytest.mark.parametrize(("width", "shown"), [(100, "/s"), (80, "elapsed"), (60, "left"), (42, "steps"), (20, "")])
def test_a_bar_is_one_line_and_leaves_out_what_does_not_fit(width, shown, monkeypatch, capsys):
    text = bar_of(1_000_000, [(0, 0), (10, 100_000)], width, monkeypatch, capsys)
    assert len(text) <= width
    assert text.endswith(shown)
    assert re.match(" 10%  [━╸]", text)


ROW = {"Epoch": 100, "AverageEpRet": -1234.5, "MinEpRet": -1500.0, "MaxEpRet": -1000.0, "AverageTestEpRet": -1200.0}
ROW |= {"EpLen": 1000.0, "Entropy": -0.12345, "KL": 1.2345e-5, "ExplainedVariance": -0.0012345}


@pytest.mark.parametrize(("width", "last"), [(100, "ExplVar"), (80, "ExplVar"), (60, "Entropy"), (20, "Min")])
def test_a_table_leaves_out_the_columns_that_do_not_fit(width, last):
    header, *rows = drawn(table([ROW, ROW], width), width)
    assert header.split()[-1] == last
    assert len(rows) == 2
    assert len({len(row.split()) for row in (header, *rows)}) == 1
    assert len(header) <= width
    assert "TestEpRet" in header or width == 20


def test_a_table_shows_the_test_return_where_there_are_test_episodes():
    assert "TestEpRet" not in drawn(table([ROW | {"AverageTestEpRet": math.nan}], 100), 100)[0]
