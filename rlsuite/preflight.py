"""The door to an environment before training: `python -m rlsuite.preflight --env ID [--by-hand | --out FILE]`."""

import math
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from rlsuite.analysis.preflight import Advice, Measurements, advise, facts, fitting, measure
from rlsuite.envs.making import configured_env, json_object
from rlsuite.envs.recording import STEPS, record
from rlsuite.errors import ArgumentParser, EnvError, NonFiniteError, UserError, exit_code
from rlsuite.figures.style import FORMATS, STYLE, save_figure
from rlsuite.flags import fields_of, pasted, spelled, told
from rlsuite.settings import flag

BUDGET = 1_000_000
"""env steps, where nobody says how many it will be"""


def _arguments(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(
        prog="python -m rlsuite.preflight",
        description="Play an environment at random and with constant actions, for seconds, and say what to mend or set "
        "before a training.",
    )
    parser.add_argument("--env", required=True, metavar="ID", help="Gymnasium id, or module:Id")
    parser.add_argument("--env-kwargs", default="{}", metavar="JSON", help="arguments for the environment [{}]")
    parser.add_argument("--frame-skip", type=int, default=1, metavar="N", help="how often each action is repeated [1]")
    parser.add_argument("--gamma", type=float, default=0.99, help="discount per step of the training to come [0.99]")
    parser.add_argument("--total-steps", type=int, metavar="N", help=f"its budget in env steps [{BUDGET:,}]")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"steps of random play [{STEPS:,}]")
    parser.add_argument("--seed", type=int, default=0, help="of random play [0]")
    help_out = ".png, .svg or .pdf [data/preflight_<env>.png]"
    parser.add_argument("--out", type=Path, metavar="FILE", help=help_out)
    parser.add_argument("--by-hand", action="store_true", help="play it yourself, and see only what an agent sees")
    help_fps = "with --by-hand: steps per second; 0: a step for each key [real time]"
    parser.add_argument("--fps", type=float, metavar="N", help=help_fps)
    args = parser.parse_args(argv)
    if not 0 <= args.gamma <= 1:
        raise UserError(f"--gamma must be from 0 to 1, not {args.gamma}")
    for name in ("frame_skip", "steps", "total_steps"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise UserError(f"{flag(name)} must be at least 1, not {value}")
    if args.seed < 0:
        raise UserError(f"--seed must be at least 0, not {args.seed}")
    if args.by_hand and args.out:
        raise UserError("--by-hand draws no page; leave --out out")
    if args.fps is not None and not (args.by_hand and 0 <= args.fps < math.inf):
        raise UserError("--fps goes with --by-hand, and must be at least 0")
    json_object(args.env_kwargs, "--env-kwargs")
    args.out = args.out or Path("data", f"preflight_{args.env.replace('/', '-').replace(':', '-')}.png")
    if args.out.suffix.lower() not in FORMATS:
        raise UserError(f"can't write {args.out}: the file name must end in {', '.join(FORMATS)}")
    if args.out.is_symlink():
        raise UserError(f"{args.out} is a link; give another --out")
    return args


def first_command(algo: str, args: Namespace, advice: Sequence[Advice]) -> str:
    """A training to begin with: what was given here, and what was advised and the algorithm has."""
    known = fields_of(import_module(f"rlsuite.algos.{algo}").Config)
    given: dict[str, str | None] = {"env": args.env}
    if args.frame_skip > 1:
        given["frame_skip"] = str(args.frame_skip)
    if args.gamma != 0.99:
        given["gamma"] = f"{args.gamma:g}"
    if args.total_steps:
        given["total_steps"] = str(args.total_steps)
    flags = {name: v for name, v in {**given, **pasted(advice, args.env_kwargs)}.items() if name in known}
    return f"python -m rlsuite.run {algo} {spelled(flags)}"


def page(args: Namespace, played: str, measured: Measurements, advice: Sequence[Advice]) -> list[str]:
    """The text page, line by line; `played` says what was, and for how long."""
    lines = [f"{args.env}: {played}", ""]
    lines += facts(measured, args.total_steps or BUDGET)
    lines += ["", "Advice, the gravest first:" if advice else "No rule had anything to say."]
    lines += [f"- {line}" for line in told(advice)]
    lines += ["", "To begin with:", *(first_command(algo, args, advice) for algo in fitting(measured)[:2])]
    return lines


def preflight(args: Namespace) -> None:
    """Play, measure, print the text page and write the figure.

    Raises:
        UserError: the environment can't be made, has a space that no algorithm takes, or the file can't be written.
        EnvError: it failed while it was played.
    """
    began = time.perf_counter()
    recording = record(lambda: configured_env(args), args.steps, args.seed)
    measured = measure(recording, args.gamma, args.frame_skip)
    advice = advise(measured)
    steps = f"{len(recording.random.rew):,} steps of random play, and constant actions"
    played = f"{steps}, in {time.perf_counter() - began:.1f} s"
    print("\n".join(page(args, played, measured, advice)))

    import matplotlib.style
    from matplotlib.figure import Figure

    from rlsuite.figures.preflight import draw_preflight

    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box
        fig = Figure()
        draw_preflight(fig, f"{args.env} before the training", played, recording, measured, told(advice))
        try:
            args.out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"can't write {args.out}: {error.strerror}") from None
        save_figure(fig, args.out)
    print(f"\npreflight took {time.perf_counter() - began:.1f} s\n{args.out}")


def hand_over(args: Namespace) -> None:
    """Let a person play, and print the returns beside that of random play.

    Raises:
        UserError: see `play_by_hand`, and as `preflight`.
        EnvError: the environment failed.
    """
    from rlsuite.by_hand import play_by_hand

    returns, measured = play_by_hand(lambda: configured_env(args), args.steps, args.seed, args.fps)
    nothing = "no finished episode"
    chance = f"{measured.returns.mean():.4g}" if len(measured.returns) else nothing
    print(f"you: {', '.join(f'{ret:.4g}' for ret in returns) or nothing}; random play: {chance}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; bad input becomes one line and exit code 2."""
    try:
        args = _arguments(argv)
        (hand_over if args.by_hand else preflight)(args)
    except (UserError, NonFiniteError, EnvError) as error:
        print("rlsuite:", " ".join(str(error).split()), file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
