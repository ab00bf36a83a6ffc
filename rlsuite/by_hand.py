"""A person plays, and sees no more than an agent does: what nobody can control that way is no fair task."""

from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from rlsuite.analysis.preflight import Measurements, measure
from rlsuite.envs.episodes import RANDOM_STEPS, episode_seed
from rlsuite.envs.keys import Keys, keys_of
from rlsuite.envs.making import EnvFn
from rlsuite.envs.recording import begin, record, step
from rlsuite.envs.rendering import drivers, has_display, no_stderr
from rlsuite.errors import EnvError, UserError

if TYPE_CHECKING:
    from rlsuite.figures.bars import Window

SMOOTH = 30
"""frames per second at least, so that keys are answered however slow the environment is"""


def play_by_hand(env_fn: EnvFn, steps: int, seed: int, fps: float | None) -> tuple[list[float], Measurements]:
    """Let a person play until escape, Ctrl-C or the end of the window. Nothing is ever rendered.

    Args:
        env_fn: returns a new environment, as `configured_env` does.
        steps: of the random play that comes first, and whose ranges scale the bars.
        seed: of both; the person's episodes begin as those of random play do.
        fps: steps per second, 0 for a step whenever a key is pressed, None for `pace`.

    Returns:
        The returns of the person's finished episodes, and what random play was like.

    Raises:
        UserError: no window can be opened here, or there are too many actions or observations for a person.
        EnvError: the environment failed.
    """
    if not has_display():
        raise UserError("--by-hand needs a display, and there is none here")
    try:
        import pygame

        from rlsuite.figures.bars import Window, check_watchable
    except ImportError as error:
        raise UserError(f'--by-hand needs a package that is missing: pip install "rlsuite[video]" ({error})') from error
    with closing(env_fn()) as env:
        keys = keys_of(env)
        check_watchable(env.observation_space)
        measured = measure(record(env_fn, steps, seed))
        fps = pace(env, measured.time_step) if fps is None else fps
        pause = "return" if "space" in keys.names else "space"
        legend = [*keys.legend, "marks: 0, and how far random play went", f"{pause}: go on, or pause", "escape: end"]
        legend += [f"{fps:g} steps per second" if fps else "each key: a step"]
        low, high, shape = measured.seen_low, measured.seen_high, env.observation_space.shape or ()
        try:
            with drivers("human"), no_stderr():
                window = Window("What the agent sees", legend, low, high, shape)
        except pygame.error as error:
            raise UserError(f"--by-hand can't open a window here: {error}") from error
        returns: list[float] = []
        with closing(window), suppress(KeyboardInterrupt):
            _play(env, keys, window, pause, fps, seed, returns)
    return returns, measured


def pace(env: Any, time_step: float | None) -> float:
    """Steps per second in real time: as the environment shows itself, or by its time step.

    0 where the observation is Discrete: what goes from state to state, as board games do, can wait for a key.
    """
    if not env.observation_space.shape:
        return 0.0
    return float(env.metadata.get("render_fps") or (1 / time_step if time_step else SMOOTH))


class Keyboard:
    """What a person has pressed."""

    def __init__(self, names: frozenset[str], pause: str) -> None:
        """Begin with a pause; `names` are the keys of actions."""
        self.names, self.pause = names, pause
        self.held: list[str] = []
        self.tapped: list[str] = []
        """since the last step: however short, a key counts"""
        self.paused, self.ended = True, False

    def read(self) -> None:
        """Take what has happened since the last time."""
        import pygame

        for event in pygame.event.get():
            name = pygame.key.name(event.key) if event.type in (pygame.KEYDOWN, pygame.KEYUP) else ""
            self.ended |= event.type == pygame.QUIT or name == "escape"
            if event.type == pygame.KEYUP:
                self.held = [key for key in self.held if key != name]
            elif name == self.pause:
                self.paused, self.tapped = not self.paused, []
            elif name in self.names:
                self.held.append(name)
                self.tapped.append(name)


def _play(env: Any, keys: Keys, window: "Window", pause: str, fps: float, seed: int, returns: list[float]) -> None:
    """Play, and add the return of each finished episode to `returns`."""
    import pygame

    board, clock = Keyboard(keys.names, pause), pygame.time.Clock()
    period, waited = 1000 / fps if fps else 0.0, 0.0  # ms
    action = next(iter(keys.actions.values()))
    while not board.ended:
        obs = _tried(begin, env, episode_seed(seed, RANDOM_STEPS, 0, len(returns)))
        rew, ret, length, done = 0.0, 0.0, 0, False
        while not (board.ended or (done and not board.paused)):
            status = f"{pause}: {'the next episode' if done else 'go on'}" if board.paused else f"action {action}"
            numbers = f"episode {len(returns) + (not done)}   step {length}   reward {rew:.4g}   return {ret:.4g}"
            window.show(obs, [numbers, status])
            board.read()
            passed = clock.tick(max(fps, SMOOTH))
            waited = 0.0 if board.paused else waited + passed
            if board.paused or board.ended or done or not (waited >= period if fps else board.tapped):
                continue
            waited = min(waited - period, period)
            action = keys.action([*board.held, *board.tapped], action)
            board.tapped = []
            obs, rew, terminated, truncated = _tried(step, env, action)
            length, ret, done = length + 1, ret + rew, terminated or truncated
            if done:
                returns.append(ret)
                board.paused = True


def _tried(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:  # foreign code
        text = " ".join(str(error).split())
        raise EnvError(f"the environment failed while it was played: {type(error).__name__}: {text}") from error
