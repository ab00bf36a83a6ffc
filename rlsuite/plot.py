"""The door to figures: `python -m rlsuite.plot RUN_OR_EXPERIMENT_DIR... [--value COLUMN ...] [--value-map]`.

Without `--value` and `--value-map` it draws a dashboard of the six columns that say most about these runs.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rlsuite.errors import ArgumentParser, UserError
from rlsuite.figures.dashboard import draw_dashboard
from rlsuite.figures.style import FORMATS, STYLE, save_figure
from rlsuite.figures.value_map import MAX_SNAPSHOTS, Snapshot, draw_value_map
from rlsuite.rundir.runs import find_runs, group_by_settings
from rlsuite.rundir.summaries import newest_run, without_repetitions


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m rlsuite.plot",
        description="Draw what runs have logged. Runs that differ only in their seed make one curve; a run that "
        "repeats another is not drawn.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR", help="run or experiment directory")
    parser.add_argument("--value", nargs="+", metavar="COLUMN", help="columns to draw instead")
    parser.add_argument("--value-map", action="store_true", help="value, action and states of the newest run")
    parser.add_argument("--out", type=Path, metavar="FILE", help=".png, .svg or .pdf [in the first DIR]")
    parser.add_argument("--import-env", default="", metavar="MODULE", help="your module that registers the environment")
    parser.add_argument("--show", action="store_true", help="open a window too")
    args = parser.parse_args(argv)
    args.out = args.out or args.paths[0] / ("value_map.png" if args.value_map else "dashboard.png")
    if args.out.suffix.lower() not in FORMATS:
        raise UserError(f"can't write {args.out}: the file name must end in {', '.join(FORMATS)}")
    if args.out.is_symlink():
        raise UserError(f"{args.out} is a link; give another --out")
    if args.import_env:
        from rlsuite.envs.making import check_module  # gymnasium is needed for nothing else here

        check_module("", args.import_env)
    if args.value and args.value_map:
        raise UserError("--value and --value-map are two different figures; give one of them")
    return args


def _snapshots(run: Path) -> list[Snapshot]:
    """Return the run's snapshots as functions of arrays.

    Raises:
        UserError: there are none, they can't be read, or their networks have no critic.
    """
    from rlsuite.loading import load_snapshots  # it imports torch, and a dashboard must not wait for that

    snapshots = load_snapshots(run, MAX_SNAPSHOTS)
    if not hasattr(snapshots[0].ac, "value"):
        raise UserError(f"a value map shows what a critic believes, and the networks of {run} have none")
    return [
        Snapshot(epoch, obs, ac.value, ac.mode, ac.obs_space, ac.act_space, ac.value_label)
        for epoch, obs, ac in ((s.epoch, s.obs, s.ac) for s in snapshots)
    ]


def _draw(args: argparse.Namespace) -> None:
    if args.value_map:
        run, taken = newest_run(args.paths)
        runs = [run]
        if taken:
            print(f"rlsuite: {taken}", file=sys.stderr)
    else:
        runs, repeated = without_repetitions(find_runs(args.paths))
        if repeated:
            count = f"{len(repeated)} runs repeat others" if len(repeated) > 1 else "1 run repeats another"
            print(f"rlsuite: {count} (same settings, seed and commit), not drawn: {repeated[0]}", file=sys.stderr)
    groups = group_by_settings(runs)

    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box
        if args.show:
            import matplotlib.pyplot as plt

            fig = plt.figure()
            if plt.get_backend().lower() == "agg":
                raise UserError("--show needs a display, and there is none; leave it out and open the file")
        else:
            fig = Figure()
        if args.value_map:
            draw_value_map(fig, runs[0], _snapshots(runs[0]))
        else:
            draw_dashboard(fig, groups, args.value or ())
        save_figure(fig, args.out)
        print(args.out)
        if args.show:
            plt.show()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; return the exit code."""
    try:
        _draw(_arguments(argv))
    except UserError as error:
        print("rlsuite:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
