"""Films of episodes: a frame for every state, and below it the step, the return so far and the last action."""

import functools
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rlsuite.errors import UserError
from rlsuite.figures.style import mono_font

SUFFIXES = (".mp4", ".gif")
MIN_WIDTH = 240  # pixels; in fewer, the text finds no room
FONT_SIZES = 11, 24  # pixels: the least that can be read, and the most that is needed
BACKGROUND, INK = "#202020", "#ffffff"
TOLD_EVERY = 10  # frames
MAX_GIF_FPS = 50  # browsers show a faster one much slower
# The colours are chosen from the whole film. Without dithering, what does not move is stored once.
GIF_FILTER = "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none"


class Film(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that is filmed at every step; closing it finishes the film and says what it has become."""

    def __init__(self, env: gym.Env, path: Path) -> None:
        """Film an environment that draws pictures, (H, W, 3) uint8.

        Raises:
            UserError: such a file can't be written there, or a package is missing.
        """
        super().__init__(env)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise UserError(f"--video {path} must end in {' or '.join(SUFFIXES)}")
        if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise UserError(f"--video {path}: {path.parent} is no folder that can be written to")
        try:
            import imageio_ffmpeg
        except ImportError as error:
            missing = f'pip install "rlsuite[video]" ({error})'
            raise UserError(f"--video needs a package that is missing: {missing}") from error
        self.path, self.fps = path, float(env.metadata.get("render_fps") or 30)
        options: dict[str, Any] = {"macro_block_size": 1, "ffmpeg_log_level": "error"}
        if suffix == ".gif":
            self.fps = min(self.fps, MAX_GIF_FPS)
            options |= {"codec": "gif", "pix_fmt_out": "pal8", "output_params": ["-vf", GIF_FILTER]}
        self.open = functools.partial(imageio_ffmpeg.write_frames, str(path.absolute()), fps=self.fps, **options)
        self.writer: Generator[None, Any, None] | None = None
        self.first: Image.Image | None = None
        """of an episode; becomes a frame once the episode goes on"""
        self.frames, self.steps, self.ret = 0, 0, 0.0

    def reset(self, **options: Any) -> Any:
        """Begin an episode."""
        result = super().reset(**options)
        self.steps, self.ret = 0, 0.0
        self.first = self.picture("-")
        return result

    def step(self, action: Any) -> Any:
        """Go on with it."""
        if self.first is not None:
            self._add(self.first)
            self.first = None
        result = super().step(action)
        self.steps += 1
        self.ret += float(result[1])
        values = np.ravel(action)
        self._add(
            self.picture(" ".join(f"{value:5.2f}" if values.dtype.kind == "f" else f"{value}" for value in values))
        )
        return result

    def close(self) -> None:
        """Finish the film."""
        super().close()
        if self.writer:
            self.writer.close()
            self.writer = None
            _tell("")
            print(f"{self.path}: {self.frames} frames, {self.frames / self.fps:.1f} seconds", flush=True)

    def picture(self, action: str) -> Image.Image:
        """What is seen now, above a strip of text; width and height are even, as films need them."""
        frame = np.asarray(self.render())
        if frame.dtype.kind == "f":  # from 0 to 1, as in MinAtar
            frame = (255 * frame).astype(np.uint8)
        image = Image.fromarray(frame).convert("RGB")
        scale = -(-MIN_WIDTH // image.width)
        image = image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)
        size = min(max(image.width // 36, FONT_SIZES[0]), FONT_SIZES[1])
        width, height = (side + side % 2 for side in (image.width, image.height + 4 * size))
        shown = Image.new("RGB", (width, height), BACKGROUND)
        shown.paste(image)
        font = _font(size)
        letters = int((width - size) / font.getlength("0"))
        lines = f"step {self.steps:<6} return {self.ret:.2f}", f"action {action}"
        text = "\n".join(line if len(line) <= letters else f"{line[: letters - 1]}…" for line in lines)
        corner = size // 2, image.height + size // 2
        ImageDraw.Draw(shown).multiline_text(corner, text, fill=INK, font=font, spacing=size // 3)
        return shown

    def _add(self, picture: Image.Image) -> None:
        if self.writer is None:
            self.writer = self.open(picture.size)
            next(self.writer)
        self.writer.send(picture.tobytes())
        self.frames += 1
        if self.frames % TOLD_EVERY == 0:
            _tell(f"filming {self.path.name}: {self.frames} frames")


def _tell(text: str) -> None:
    """Write over the last line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@functools.cache
def _font(size: int) -> Any:
    return ImageFont.truetype(mono_font(), size)
