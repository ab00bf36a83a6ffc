"""The door to looking: `python -m rlsuite.play RUN_DIR [--render | --video FILE]`."""

import math
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsuite.envs.making import check_module
from rlsuite.envs.rendering import drivers, has_display, render_modes
from rlsuite.errors import ArgumentParser, EnvError, NonFiniteError, UserError, exit_code
from rlsuite.rundir.runs import read_config
from rlsuite.rundir.summaries import run_at

if TYPE_CHECKING:
    import gymnasium as gym

SHOWN_EPISODES, COUNTED_EPISODES = 1, 10


def play(
    run_dir: Path,
    *,
    episodes: int | None = None,
    seed: int = 0,
    stochastic: bool = False,
    best_policy: bool = False,
    render: bool = False,
    video: Path | None = None,
) -> list[float]:
    """Run the policy of a finished or running training, and print the returns.

    Args:
        run_dir: the run.
        episodes: how many; by default one that is shown or filmed, or ten of which only the returns are printed.
        seed: of these test episodes.
        stochastic: sample actions instead of taking the most probable ones.
        best_policy: take that of the epoch with the highest mean return, not the last one.
        render: show a window.
        video: write a film of all episodes, .mp4 or .gif.

    Returns:
        Undiscounted returns.

    Raises:
        UserError: no policy there, or it can't be shown in the way asked for.
    """
    from rlsuite.common.console import acting, returns
    from rlsuite.common.seeding import seed_everything
    from rlsuite.envs.episodes import episode_stats
    from rlsuite.envs.evaluation import evaluate
    from rlsuite.loading import load
    from rlsuite.rundir.policies import load_best_policy

    episodes = episodes or (SHOWN_EPISODES if render or video else COUNTED_EPISODES)
    with closing(open_env(run_dir, render, video)) as env:
        policy = load(run_dir, env, best=best_policy)
        choose = policy.choose(sample=stochastic)
        if best_policy:
            _, epoch, ret = load_best_policy(run_dir)
            print(f"best policy: after epoch {epoch}, whose mean return was {returns(ret)[0]}")
        seed_everything(seed)
        played, lengths = evaluate(choose, env, episodes, seed)
    stats = episode_stats(played, lengths)
    how = acting(policy.ac, stochastic)
    mean, std, low, high = returns(*(stats[f"{name}EpRet"] for name in ("Average", "Std", "Min", "Max")))
    if len(played) == 1:
        print(f"1 {how} episode: return {mean}, length {lengths[0]}")
    else:
        print(
            f"{len(played)} {how} episodes: return {mean} ± {std} (min {low}, max {high}), length {stats['EpLen']:.1f}"
        )
    return played


def play_again(
    run_dir: Path, epoch: int | None, which: str, *, render: bool = False, video: Path | None = None
) -> tuple[float, float]:
    """Replay the best or worst training episode of an epoch from its seed and actions.

    Args:
        run_dir: the run.
        epoch: from 1; None for the last epoch in which an episode finished.
        which: "best" or "worst".
        render: show a window.
        video: write a film, .mp4 or .gif.

    Returns:
        The return of the replay, and that of the training episode.

    Raises:
        UserError: that epoch has no episode, or it can't be shown in the way asked for.
    """
    from rlsuite.common.console import returns
    from rlsuite.envs.episodes import repeat_episode
    from rlsuite.rundir.policies import load_episode, saved_epochs

    epoch = epoch or max(saved_epochs(run_dir, "episodes"), default=1)
    episode = load_episode(run_dir, epoch, which)
    with closing(open_env(run_dir, render, video)) as env:
        ret = repeat_episode(env, episode)
    (text,) = returns(ret)
    print(f"{which} episode of epoch {epoch}: return {text}, length {len(episode.actions)}, seed {episode.seed}")
    if not math.isclose(ret, episode.ret, rel_tol=1e-6, abs_tol=1e-6):
        print(
            f"rlsuite: in training it returned {returns(episode.ret)[0]}: this environment does not repeat itself "
            "for equal seeds and actions",
            file=sys.stderr,
        )
    return ret, episode.ret


def open_env(run_dir: Path, render: bool, video: Path | None) -> "gym.Env[Any, Any]":
    """A run's environment; stepping it shows it in a window or adds to a film, which closing it finishes.

    Raises:
        UserError: the environment has no such rendering, the film can't be written, a package is missing, or it is no
            run.
    """
    import gymnasium as gym

    from rlsuite.loading import algorithm, run_env

    config = read_config(run_dir)
    algorithm(config)  # of a folder that is no run, this is the first thing to say
    if not (render or video):
        return run_env(config)
    mode = "human" if render else "rgb_array"
    with drivers(mode):
        with closing(run_env(config)) as plain:
            modes = render_modes(plain)
        if mode not in modes:
            known = f"it knows {', '.join(modes)}" if modes else "it can't be rendered at all"
            raise UserError(f"environment {config['env']} can't be rendered as {mode}: {known}")
        env = run_env(config, mode)
        if video:
            from rlsuite.figures.film import Film

            env = Film(env, video)
        try:
            _show_first(env)
        except gym.error.DependencyNotInstalled as error:
            missing = f'pip install "rlsuite[video]" ({error})'
            raise UserError(f"rendering needs a package that is missing: {missing}") from error
        except Exception as error:  # whatever a graphics library raises on a machine without a screen
            raise UserError(f"this machine can't render {config['env']} as {mode}: {error}") from error
    return env


def _show_first(env: "gym.Env[Any, Any]") -> None:
    """Draw the first state; without it, no window stays open."""
    try:
        env.reset(seed=0)
        env.render()
    except BaseException:
        with suppress(Exception):  # the reason is the one above
            env.close()
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; bad input becomes one line and exit code 2."""
    parser = ArgumentParser(
        prog="python -m rlsuite.play", description="Evaluate, watch or film a policy, or replay a training episode."
    )
    parser.add_argument("run", type=Path, help="a finished or running run; of an experiment, its newest")
    parser.add_argument(
        "--episodes", type=int, help="how many test episodes (default: 10, or 1 that is shown or filmed)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the test episodes (default: 0)")
    parser.add_argument("--stochastic", action="store_true", help="sample actions instead of taking the most probable")
    parser.add_argument("--best-policy", action="store_true", help="that of the best epoch instead of the last one")
    parser.add_argument("--render", action="store_true", help="show a window")
    parser.add_argument("--video", type=Path, metavar="FILE", help="write a film, .mp4 or .gif")
    parser.add_argument("--epoch", type=int, help="with --best or --worst: of this epoch; default the last one")
    parser.add_argument("--best", action="store_true", help="replay the best training episode of an epoch")
    parser.add_argument("--worst", action="store_true", help="replay the worst training episode of an epoch")
    parser.add_argument("--import-env", default="", metavar="MODULE", help="your module that registers the environment")
    try:
        args = parser.parse_args(argv)
        check_module("", args.import_env)
        if args.render and args.video:
            raise UserError("--render and --video exclude each other")
        if args.render and not has_display():
            raise UserError("--render needs a display, and there is none here; --video film.mp4 makes a film")
        if args.best and args.worst:
            raise UserError("--best and --worst exclude each other")
        if args.best_policy and (args.best or args.worst):
            raise UserError(
                "--best and --worst replay a training episode, which has its own actions; leave --best-policy out"
            )
        if args.epoch is not None and not (args.best or args.worst):
            raise UserError("--epoch goes with --best or --worst")
        if args.seed < 0 or any(count is not None and count < 1 for count in (args.episodes, args.epoch)):
            raise UserError("--episodes and --epoch must be at least 1, --seed at least 0")
        run = run_at(args.run)
        if args.best or args.worst:
            which = "best" if args.best else "worst"
            play_again(run, args.epoch, which, render=args.render, video=args.video)
        else:
            play(
                run,
                episodes=args.episodes,
                seed=args.seed,
                stochastic=args.stochastic,
                best_policy=args.best_policy,
                render=args.render,
                video=args.video,
            )
    except (UserError, NonFiniteError, EnvError) as error:
        print(f"rlsuite: {error}", file=sys.stderr)
        return exit_code(error)
    except OSError as error:  # a full disk, or a program that makes films has died
        print(f"rlsuite: {error.strerror or error}: {error.filename or args.video or 'output'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
