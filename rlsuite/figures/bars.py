"""A window that shows what an agent sees, as bars or as an image, and takes a person's keys."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pygame
from gymnasium import spaces
from numpy.typing import NDArray

from rlsuite.analysis.preflight import Array
from rlsuite.errors import UserError
from rlsuite.figures.style import COLORS, GREY, mono_font

MOST = 40
"""bars; more numbers at once are an image, or nothing that a person can watch"""
ROW, LEFT, RIGHT, WIDTH, IMAGE = 18, 50, 490, 640, 420
"""pixels: a line or bar, both ends of the bars, the window, an image"""
PAPER, INK, TRACK = "#ffffff", "#222222", "#e8e8e8"


def check_watchable(space: spaces.Space[Any]) -> None:
    """Raise UserError if observations are neither images nor few enough numbers."""
    shape = space.shape or ()
    if (size := int(np.prod(shape))) > MOST and len(shape) not in (2, 3):
        raise UserError(f"--by-hand shows images, or up to {MOST} numbers, and each observation here has {size}")


class Window:
    """Open until it is closed. Bars go from 0, or from the end of the range that is nearer to it, to the value."""

    def __init__(self, title: str, legend: Sequence[str], low: Array, high: Array, shape: tuple[int, ...]) -> None:
        """Open it.

        Args:
            title: of the window.
            legend: what goes below the bars.
            low: (F,) the lowest values that random play saw; what is lower widens its bar's range.
            high: (F,) the highest.
            shape: of observations; those that are images have 2 or 3 axes and more than `MOST` numbers.

        Raises:
            pygame.error: there is no screen.
        """
        self.shape = shape
        whole = ["\N{NO-BREAK SPACE}".join(part.split()) for part in legend]
        self.legend = textwrap.wrap("   ".join(whole), 75)
        self.seen_low, self.seen_high = low, high
        self.low, self.high = low.copy(), high.copy()
        self.image = low.size > MOST
        self.top = 3 * ROW
        self.bottom = self.top + (IMAGE if self.image else ROW * low.size) + ROW // 2
        pygame.display.init()
        pygame.font.init()
        self.screen = pygame.display.set_mode((WIDTH, self.bottom + ROW * len(self.legend) + ROW // 2))
        pygame.display.set_caption(title)
        self.font = pygame.font.Font(mono_font(), 13)

    def close(self) -> None:
        """Close it."""
        pygame.quit()

    def show(self, obs: NDArray[Any], lines: Sequence[str]) -> None:
        """Draw an observation (F,) below up to two lines."""
        self.screen.fill(PAPER)
        for k, line in enumerate(lines):
            self._write(line, 10, ROW // 2 + k * ROW)
        if self.image:
            picture = picture_of(obs.reshape(self.shape), self.low.min(), self.high.max())
            times = min(IMAGE / picture.shape[0], (WIDTH - 20) / picture.shape[1])
            size = int(times * picture.shape[1]), int(times * picture.shape[0])
            surface = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
            self.screen.blit(pygame.transform.scale(surface, size), (10, self.top))
        else:
            self._draw_bars(obs.astype(np.float64))
        for k, line in enumerate(self.legend):
            self._write(line, 10, self.bottom + k * ROW, GREY)
        pygame.display.flip()

    def _draw_bars(self, obs: Array) -> None:
        good = np.isfinite(obs)
        self.low = np.where(good, np.minimum(self.low, obs), self.low)
        self.high = np.where(good, np.maximum(self.high, obs), self.high)
        for i, value in enumerate(obs.tolist()):
            y = self.top + i * ROW
            self._write(f"{i:4d}", 5, y, GREY)
            pygame.draw.rect(self.screen, TRACK, (LEFT, y + 3, RIGHT - LEFT, ROW - 6))
            if math.isfinite(value):
                ends = sorted((self.place(i, value), self.place(i, float(np.clip(0, self.low[i], self.high[i])))))
                pygame.draw.rect(self.screen, COLORS[0], (ends[0], y + 3, max(ends[1] - ends[0], 2), ROW - 6))
            for mark in (self.seen_low[i], min(max(0.0, self.low[i]), self.high[i]), self.seen_high[i]):
                x = self.place(i, float(mark))
                pygame.draw.line(self.screen, GREY, (x, y + 1), (x, y + ROW - 2))
            self._write(f"{value:11.4g}", RIGHT + 10, y)

    def place(self, i: int, value: float) -> int:
        """Where a value of component i lies, in pixels from the left."""
        spread = self.high[i] - self.low[i]
        return LEFT + round((RIGHT - LEFT) * (float((value - self.low[i]) / spread) if spread > 0 else 0.5))

    def _write(self, text: str, x: int, y: int, color: str = INK) -> None:
        self.screen.blit(self.font.render(text, True, color), (x, y))


def picture_of(obs: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """An image (H, W), (H, W, C) or (C, H, W) as (H, W', 3) uint8; of other channels than 1 or 3, side by side."""
    if obs.dtype != np.uint8:
        obs = np.clip(255 * (np.nan_to_num(obs) - low) / ((high - low) or 1), 0, 255).astype(np.uint8)
    if obs.ndim == 3 and obs.shape[0] < obs.shape[2]:
        obs = np.moveaxis(obs, 0, 2)
    if obs.ndim == 3 and obs.shape[2] != 3:
        obs = np.concatenate(list(np.moveaxis(obs, 2, 0)), axis=1)
    return obs if obs.ndim == 3 else np.repeat(obs[:, :, None], 3, axis=2)
