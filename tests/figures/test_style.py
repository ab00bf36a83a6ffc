import os
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from rlsuite.errors import UserError
from rlsuite.figures.style import caption_of, one_line, save_figure, shorten, tick_label, title_of


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (100_000, "100k"), (2_500, "2.5k"), (-1_500_000, "−1.5M"), (0.01, "0.01"), (2e9, "2B")],
)
def test_tick(value: float, text: str) -> None:
    assert tick_label(value) == text


def test_title_names_what_the_runs_share() -> None:
    a, b = {"exp_name": "a", "env": "Walk"}, {"exp_name": "b", "env_name": "Walk"}
    assert title_of([a]) == "a · Walk"
    assert title_of([{"exp_name": "ppo_Walk", "env": "Walk"}]) == "ppo_Walk"
    assert title_of([a, b]) == "Walk"
    assert title_of([a, {"exp_name": "b", "env": "Swim"}]) == "Walk, Swim"
    assert title_of([{"exp_name": env, "env": env} for env in "abcd"]) == "4 experiments"


def test_caption_holds_three_notes_each_once() -> None:
    assert caption_of([{"note": note} for note in "abaca"] + [{}]) == "note: a\nnote: b\nnote: c"
    assert caption_of([{"note": note} for note in "abcde"]).split("\n")[3:] == ["… and 2 more notes"]


def test_one_line_is_short_and_printable() -> None:
    assert one_line("a\n b\0\tc", 9) == "a b c"
    assert one_line("x" * 10, 4) == "xxx…"


@pytest.mark.parametrize(
    ("labels", "short"),
    [
        (["fits", "too long to fit"], ["fits", "too long…"]),
        (["same beginning: a", "same beginning: b"], ["same…g: a", "same…g: b"]),
        (["a beginning, same end", "b beginning, same end"], ["a beginn…", "b beginn…"]),
        (["same beginning, a, same end", "same beginning, b, same end", "c"], ["1: same …", "2: same …", "3: c"]),
        (["two\n  lines"], ["two lines"]),
    ],
)
def test_shortened_labels_stay_different(labels: list[str], short: list[str]) -> None:
    assert shorten(labels, 9) == short


def test_a_failed_write_keeps_the_old_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def broken(self: Figure, name: Path, **_: object) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(UserError, match=r"can't write .*figure.png: No space left"):
        save_figure(Figure(), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["figure.png"]
