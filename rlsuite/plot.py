"""The door to figures: `python -m rlsuite.plot RUN_OR_EXPERIMENT_DIR... [--value COLUMN ...] [--reference] ...`.

Without `--value` and `--value-map` it draws a dashboard of the six columns that say most about these runs.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rlsuite.errors import ArgumentParser, UserError
from rlsuite.figures.dashboard import draw_dashboard
from rlsuite.figures.intervals import X_COLUMN
from rlsuite.figures.style import FORMATS, STYLE, save_figure
from rlsuite.figures.table import csv_of, lines_of, tabulate
from rlsuite.figures.value_map import MAX_SNAPSHOTS, Snapshot, draw_value_map
from rlsuite.rundir.files import write_atomically
from rlsuite.rundir.references import COLUMN, Reference, read_references, same_task
from rlsuite.rundir.runs import Group, find_runs, group_by_settings, read_config, whole_label
from rlsuite.rundir.summaries import newest_run, without_repetitions


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m rlsuite.plot",
        description="Draw what runs have logged. Runs that differ only in their seed make one curve; a run that "
        "repeats another is not drawn. Each environment has panels of its own: six, or three if there are several.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR", help="run or experiment directory")
    parser.add_argument("--value", nargs="+", metavar="COLUMN", help="columns to draw instead")
    parser.add_argument("--value-map", action="store_true", help="value, action and states of the newest run")
    parser.add_argument("--x", metavar="COLUMN", help="draw against it, such as Time [TotalEnvInteracts]")
    parser.add_argument("--legend", nargs="+", metavar="NAME", help="names of the groups, in their order")
    parser.add_argument("--smooth", type=int, metavar="N", help="draw the mean of the last N epochs [1]")
    help_reference = "behind it the mean of docs/results.md's own runs of that algorithm and environment [not drawn]"
    parser.add_argument("--reference", action="store_true", help=help_reference)
    parser.add_argument("--table", action="store_true", help="print final, best and average return of each group")
    help_out = ".png, .svg or .pdf [in the first DIR]; with --table .csv"
    parser.add_argument("--out", type=Path, metavar="FILE", help=help_out)
    parser.add_argument("--import-env", default="", metavar="MODULE", help="your module that registers the environment")
    parser.add_argument("--show", action="store_true", help="open a window too")
    args = parser.parse_args(argv)
    if args.smooth is not None and args.smooth < 1:
        raise UserError(f"--smooth takes a whole number of epochs from 1 up, not {args.smooth}")
    drawing = {"--value": args.value, "--value-map": args.value_map, "--x": args.x, "--smooth": args.smooth}
    drawing["--reference"] = args.reference
    asked = [flag for flag, given in (drawing | {"--show": args.show}).items() if given]
    if args.table:
        if asked:
            raise UserError(f"--table draws nothing, and {asked[0]} is about drawing; leave one of them out")
        if args.out and args.out.suffix.lower() != ".csv":
            raise UserError(f"can't write {args.out}: the file name of a table must end in .csv")
        if args.out and args.out.is_symlink():
            raise UserError(f"{args.out} is a link; give another --out")
        return args
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
    if args.value_map and (args.x or args.smooth or args.legend):
        raise UserError("--x, --smooth and --legend are for curves; leave them out with --value-map")
    if args.reference:
        if args.value_map or args.x not in (None, X_COLUMN):
            raise UserError(f"--reference draws training returns over {X_COLUMN}; leave --value-map and --x out")
        args.value = args.value or [COLUMN]
        if COLUMN not in args.value:
            raise UserError(f"--reference is a curve of {COLUMN}; name it in --value too, or leave --value out")
    return args


def _references(groups: Sequence[Group]) -> list[Reference]:
    """The published curves of the groups' algorithms and environments.

    Raises:
        UserError: there is none.
    """
    configs = [read_config(group.runs[0]) for group in groups]
    found = {reference.cell: reference for config in configs if (reference := same_task(config))}
    if not found:
        tasks = ", ".join(dict.fromkeys(f"{config.get('algo')} on {config.get('env')}" for config in configs))
        known = ", ".join(reference.cell for reference in read_references()) or "none yet"
        raise UserError(f"--reference: there is no published curve of {tasks}; there are: {known}")
    return list(found.values())


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


def _named(groups: Sequence[Group], names: Sequence[str]) -> list[Group]:
    """Return the groups with other labels; those of several environments with equal labels get equal names.

    Raises:
        UserError: there are not as many names as labels, or two of them are equal.
    """
    labels = list(dict.fromkeys(group.label for group in groups))
    if len(names) != len(labels):
        raise UserError(f"--legend takes a name for each group ({'; '.join(labels)}): {len(labels)}, not {len(names)}")
    if len(set(names)) < len(names):
        raise UserError("--legend gives two groups the same name")
    called = dict(zip(labels, names, strict=True))
    return [group._replace(label=called[group.label]) for group in groups]


def _tabulate(groups: Sequence[Group], out: Path | None) -> None:
    rows = tabulate(groups)
    if out:
        try:
            write_atomically(out, csv_of(rows).encode())
        except OSError as error:
            raise UserError(f"can't write {out}: {error.strerror}") from None
    print("\n".join([*lines_of(rows), *([f"{out}"] if out else [])]))


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
            done = "not counted" if args.table else "not drawn"
            print(f"rlsuite: {count} (same settings, seed and commit), {done}: {repeated[0]}", file=sys.stderr)
    groups = group_by_settings(runs)
    if args.legend:
        groups = _named(groups, args.legend)
    if args.table:
        _tabulate(groups, args.out)
        return

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
            behind = _references(groups) if args.reference else []
            empty = draw_dashboard(fig, groups, args.value or (), args.x or X_COLUMN, args.smooth or 1, behind)
            if empty:
                names = "; ".join(whole_label(group, groups) for group in empty)
                lacking = f", or no column {args.x}" if args.x else ""
                print(f"rlsuite: no epoch finished yet{lacking}, not drawn: {names}", file=sys.stderr)
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
