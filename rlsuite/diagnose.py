"""The door to why a run is not learning: `python -m rlsuite.diagnose RUN... [--json] [--out FILE]`."""

import json
import math
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlsuite.analysis.causes import CAUSES, told_apart_by
from rlsuite.analysis.diagnosis import LIKENESS, Diagnosis, Finding, Log, diagnose
from rlsuite.analysis.rules import RULES, seeds_disagree, signs_of_life
from rlsuite.analysis.watch import read_log
from rlsuite.errors import ArgumentParser, UserError
from rlsuite.figures.style import FORMATS, STYLE, save_figure
from rlsuite.rundir.runs import find_runs, group_by_settings

LESS_LIKELY = 4
"""causes that a page names"""


def _arguments(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(
        prog="python -m rlsuite.diagnose",
        description="Say from a run's log why it is not learning: what is wrong, since when, the likeliest causes, and "
        "what to try first. Nothing is trained. docs/diagnose.md says how often it is right. "
        "Exit code 0: nothing found, 1: findings, 2: bad input.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run or experiment directory")
    parser.add_argument("--json", action="store_true", help="findings for programs, one JSON object for each run")
    help_out = ".png, .svg or .pdf; of one run [none]"
    parser.add_argument("--out", type=Path, metavar="FILE", help=help_out)
    args = parser.parse_args(argv)
    if args.out and args.out.suffix.lower() not in FORMATS:
        raise UserError(f"can't write {args.out}: the file name must end in {', '.join(FORMATS)}")
    return args


def page(run: Path, log: Log, found: Diagnosis) -> list[str]:
    """The text page of a run, line by line."""
    config = log.config
    budget, steps = log.setting("total_steps"), float(log.steps[-1]) if len(log) else 0.0
    late, (chance, spread) = log.late(log.ret), log.chance
    played = f"return {late.mean():.4g}" if len(late) else "no episode has ended"
    what = f"{config['algo']} on {config['env']}" if {"algo", "env"} <= config.keys() else "a run of another suite"
    of = f" of {budget:,.0f}" if math.isfinite(budget) else ""
    begin = "random play" if math.isfinite(log.played("return")) else "the first epoch returned"
    lines = [f"{run}: {what}, {steps:,.0f}{of} env steps", f"{played}; {begin} {chance:.4g} ± {spread:.3g}", ""]
    if not found.findings:
        lines += [
            f"None of {len(RULES)} rules speaks. They know only what they look for: that is not to say all is well."
        ]
    if found.root:
        first, *rest = found.evidence
        rest = [finding for finding in rest if finding.rule != LIKENESS]
        lines += ["The likeliest cause:", f"  {CAUSES[found.root]}", "", "Cheapest test:"]
        lines += [
            f"  {told_apart_by(found.root, config)}",
            "Try first:",
            f"  {first.first}",
            "",
            "Evidence:",
            *_told(first),
        ]
        lines += ["", "What may follow from the same cause:"] if rest else []
        lines += [line for finding in rest for line in _told(finding)]
    others = [f for f in found.findings if f not in found.evidence and f.rule != LIKENESS]
    if others:
        lines += ["", "Also seen, and not explained by that:" if found.root else "Seen:"]
        lines += [line for finding in others for line in _told(finding)]
    for finding in found.findings:
        if finding.rule == LIKENESS and finding is not found.evidence[0]:
            lines += ["", f"All columns together ({', '.join(finding.columns)} above all):", f"  {finding.text}"]
    if found.causes[1:LESS_LIKELY]:
        lines += ["", "Less likely causes:", *(f"  {CAUSES[cause]}" for cause in found.causes[1:LESS_LIKELY])]
    if alive := signs_of_life(log):
        lines += ["", "Signs of life:", *(f"  {text}" for text in alive)]
    return lines


def _told(finding: Finding) -> list[str]:
    seen = f" ({', '.join(finding.columns)}; {finding.source})" if finding.columns else f" ({finding.source})"
    return [f"- {finding.rule}, since env step {finding.since:,.0f}{seen}", f"  {finding.text}"]


def as_object(run: Path, found: Diagnosis) -> dict[str, Any]:
    """For programs."""
    return {"run": f"{run}", "causes": found.causes, "findings": [finding._asdict() for finding in found.findings]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if nothing was found, 1 if something was, 2 for bad input in one line."""
    try:
        args = _arguments(argv)
        runs = find_runs(args.runs)
        if args.out and len(runs) > 1:
            raise UserError(f"--out draws one run, and there are {len(runs)}")
        logs = {run: read_log(run) for run in runs}
        found = {run: diagnose(log, RULES) for run, log in logs.items()}
        agree = [seeds_disagree([logs[run] for run in group.runs]) for group in group_by_settings(runs)]
        if args.json:
            print("\n".join(json.dumps(as_object(run, each)) for run, each in found.items()))
        else:
            print("\n\n\n".join("\n".join(page(run, logs[run], each)) for run, each in found.items()))
            print(*(f"\n\n{said}" for said in agree if said), sep="", end="\n" if any(agree) else "")
        if args.out:
            _draw(args.out, runs[0], logs[runs[0]], found[runs[0]])
            print(f"\n{args.out}" * (not args.json), end="\n" * (not args.json))
    except UserError as error:
        print("rlsuite:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(any(each.findings for each in found.values()))


def _draw(path: Path, run: Path, log: Log, found: Diagnosis) -> None:
    import matplotlib.style
    from matplotlib.figure import Figure

    from rlsuite.figures.diagnosis import draw_diagnosis

    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box
        fig = Figure()
        draw_diagnosis(fig, f"{log.config.get('algo')} on {log.config.get('env')}: {run.name}", log, found)
        save_figure(fig, path)


if __name__ == "__main__":
    sys.exit(main())
