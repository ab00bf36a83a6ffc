"""The window that shows what an agent sees."""

from collections.abc import Iterator

import numpy as np
import pytest

pygame = pytest.importorskip("pygame")

from rlsuite.figures.bars import COLORS, IMAGE, LEFT, RIGHT, ROW, TRACK, Window, picture_of  # noqa: E402

BLUE, GREY = pygame.Color(COLORS[0]), pygame.Color(TRACK)


@pytest.fixture(autouse=True)
def no_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    pygame.quit()


def bar(window: Window, i: int) -> list[int]:
    """Which pixels of the bar of component i are blue, from 0 to RIGHT - LEFT."""
    y = window.top + i * ROW + ROW // 2
    row = [window.screen.get_at((x, y)) for x in range(LEFT, RIGHT)]
    assert GREY in row or BLUE in row
    return [x for x, color in enumerate(row) if color == BLUE]


def test_bars_go_from_zero_to_the_value_within_what_random_play_saw() -> None:
    low, high = np.array([-1.0, -2.0, 4.0, 0.0]), np.array([1.0, 6.0, 6.0, 1.0])
    window = Window("", ["a: 1"], low, high, (4,))
    width = RIGHT - LEFT
    window.show(np.array([0.5, -1.0, 4.5, np.nan], np.float32), ["", ""])
    for i, (begin, end) in enumerate(((0.5, 0.75), (0.125, 0.25), (0, 0.25))):
        found = bar(window, i)
        assert found[0] == pytest.approx(begin * width, abs=2)
        assert found[-1] == pytest.approx(end * width, abs=2)
        assert len(found) > 0.9 * (end - begin) * width
    assert bar(window, 3) == []


def test_what_random_play_did_not_see_widens_the_range() -> None:
    window = Window("", [], np.array([-1.0, -1.0]), np.array([1.0, 1.0]), (2,))
    window.show(np.array([3.0, 0.5]), [])
    assert window.place(0, 3.0) == RIGHT
    assert bar(window, 0)[0] == pytest.approx((RIGHT - LEFT) / 4, abs=2)
    window.show(np.array([np.inf, 0.5]), [])  # is no range
    assert window.place(0, 3.0) == RIGHT
    assert window.place(1, 1.0) == RIGHT


def test_an_image_is_shown_as_it_is() -> None:
    image = np.zeros((10, 8, 3), np.uint8)
    image[2, 3] = 200, 100, 50
    window = Window("", [], np.zeros(240), np.full(240, 255.0), image.shape)
    window.show(image.reshape(-1), [])
    pixel = IMAGE / 10
    assert window.screen.get_at((10 + int(3.5 * pixel), window.top + int(2.5 * pixel)))[:3] == (200, 100, 50)
    assert window.screen.get_at((10 + int(2.5 * pixel), window.top + int(3.5 * pixel)))[:3] == (0, 0, 0)


def test_channels_are_put_side_by_side_and_numbers_scaled() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (picture_of(grey, 0, 255) == grey[:, :, None]).all()
    stacked = np.stack([grey, grey + 100])
    for obs in (stacked, np.moveaxis(stacked, 0, 2)):
        assert (picture_of(obs, 0, 255)[:, :, 1] == np.hstack(list(stacked))).all()
    scaled = picture_of(np.array([[-1.0, 1.0], [0.0, np.nan]]), -1, 1)
    assert scaled[:, :, 0].tolist() == [[0, 255], [127, 127]]
