"""How often the diagnosis is right: what `planted_bugs.py judge` counts in the logs of its trainings.

A fault has five seeds. It is detected, or named, if most of its runs are; so a fault is one trial of a binomial, and
the intervals (Clopper and Pearson 1934) are those of independent trials. Healthy runs are counted one by one, which
makes their interval too narrow, since seeds resemble each other, and by cells, of which one run is enough for a false
alarm.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from rlsuite.analysis.diagnosis import LIKENESS, Diagnosis, Finding, Log, diagnose
from rlsuite.analysis.rules import RULES
from rlsuite.analysis.watch import GRAVE
from rlsuite.common.training import LOOKS

POINTS = 20
"""moments of a run at which it is diagnosed, evenly over its epochs"""
LOW = "worse than random play"
"""the rule that names causes and looks at nothing but the return; the other, "not learning", names none"""
NAMED = 3
"""causes that are read"""


LEFT_OUT = "named, left out"
"""the measure of `planted_bugs.py fit`"""
TITLES = {
    "uncounted": "faults that do not count",
    "detected": "detected",
    "named": "named",
    "named, no twin": "named, of faults without a twin in the other half",
    LEFT_OUT: "named by today's rules, with the likeness fitted to the other sets",
    "named by chance": "named, if one always named the three commonest causes",
    "since": "share of a run from which on it is named, median",
    "false alarm": "false alarms, of healthy runs",
    "false alarm, cells": "false alarms, of kinds of healthy runs",
    "false warning": "false warnings while training, of healthy runs",
}


HALVES = {
    "building": "building half",
    "held-out": "held-out half",
    "fresh": "fresh faults",
    "later": "later faults",
    "last": "fourth faults",
    "fifth": "fifth faults",
}


class Verdict(NamedTuple):
    """What the diagnosis says of one run."""

    task: str
    """the fault, or the healthy cell"""
    algo: str
    cause: str
    """the true one; "" of a healthy run"""
    rules: tuple[str, ...]
    """that named a cause at its end"""
    causes: tuple[str, ...]
    """that they name, the likeliest first"""
    wrong: tuple[str, ...]
    """of a healthy run: rules of which no cause is true of it, and `LIKENESS` if none of the first three is"""
    warned: tuple[str, ...]
    """the same, of which the training itself warned on its way"""
    since: float
    """share of the run from which on the true cause has stood among the first three; NaN if it does not at the end"""

    @property
    def detected(self) -> bool:
        """Whether anything was found but that the return is low."""
        return bool({*self.rules} - {LOW, LIKENESS})

    @property
    def named(self) -> bool:
        """Whether the true cause is among the first three."""
        return self.cause in self.causes[:NAMED]


def judge(task: str, log: Log, cause: str, true: Sequence[str] = ()) -> Verdict:
    """Diagnose a run at its end, and at moments before.

    Args:
        task: its name.
        log: what it wrote.
        cause: the true one; "" of a healthy run.
        true: causes that are true of a healthy run all the same.
    """
    found = diagnose(log, RULES)
    findings = [finding for finding in found.findings if finding.causes]
    wrong = tuple(finding.rule for finding in findings if not set(_blamed(finding, found)) & set(true))
    rules = tuple(finding.rule for finding in findings)
    since = _since(log, found, cause) if cause else math.nan
    warned = () if cause else tuple(_warned(log, true))
    return Verdict(task, f"{log.config['algo']}", cause, rules, tuple(found.causes), wrong, warned, since)


def _warned(log: Log, true: Sequence[str]) -> set[str]:
    looks = [log.until(int(len(log) * look / LOOKS)) for look in range(1, LOOKS)]
    found = [finding for part in looks for finding in diagnose(part, RULES).findings if finding.severity >= GRAVE]
    return {finding.rule for finding in found if not set(finding.causes) & set(true)}


def _blamed(finding: Finding, found: Diagnosis) -> Sequence[str]:
    """The causes that a finding is judged by; the likeness only reorders them, and is judged by those that are read."""
    return found.causes[:NAMED] if finding.rule == LIKENESS else finding.causes


def _since(log: Log, found: Diagnosis, cause: str) -> float:
    ends = [math.ceil(len(log) * point / POINTS) for point in range(1, POINTS + 1)]
    if cause not in found.causes[:NAMED] or not len(log):
        return math.nan
    for place in range(POINTS - 2, -1, -1):
        if cause not in diagnose(log.until(ends[place]), RULES).causes[:NAMED]:
            return float(log.steps[ends[place + 1] - 1]) / log.setting("total_steps")
    return float(log.steps[ends[0] - 1]) / log.setting("total_steps")


def rate(count: int, of: int) -> dict[str, str]:
    """A share with its 95% interval, as columns."""
    found = binomtest(count, of).proportion_ci(0.95, method="exact") if of else None
    low, high = (f"{found.low:.3f}", f"{found.high:.3f}") if found else ("", "")
    return {"count": f"{count}", "of": f"{of}", "share": f"{count / of:.3f}" if of else "", "low": low, "high": high}


def most(verdicts: Sequence[Verdict], what: str) -> bool:
    """Whether most runs of a fault are `detected` or `named`."""
    return bool(2 * sum(getattr(verdict, what) for verdict in verdicts) > len(verdicts))


def by_task(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    """The runs of each fault."""
    found = defaultdict(list)
    for verdict in verdicts:
        found[verdict.task].append(verdict)
    return dict(found)


def table(
    faults: Sequence[Verdict], healthy: Sequence[Verdict], uncounted: int = 0, twins: Collection[str] = ()
) -> Iterator[dict[str, str]]:
    """Lines of data/diagnosis.csv, without the half.

    detected, named      of faults, over all and by algorithm and cause
    named, no twin       of faults that no other algorithm or cell has in the other half
    named by chance      if the three causes that most faults have were named of every run
    false alarm          of healthy runs, over all and by algorithm
    false alarm, cells   of healthy cells, of which any run has one
    false warning        of healthy runs, while they trained
    since                of the runs whose cause is named, the median share of the run from which on it stands
    uncounted            faults that do not lower the return enough to count
    confusion            of the runs with a cause: in how many another, or the same, is named first
    rule                 of the runs with a cause, and of healthy ones: in how many it speaks
    """
    tasks = by_task(faults)
    for what in ("detected", "named"):
        groups = [("all", "all", list(tasks.values()))]
        for algo in sorted({verdict.algo for verdict in faults}):
            groups.append((algo, "all", [runs for runs in tasks.values() if runs[0].algo == algo]))
        for cause in sorted({verdict.cause for verdict in faults}):
            groups.append(("all", cause, [runs for runs in tasks.values() if runs[0].cause == cause]))
        for algo, cause, group in groups:
            yield _line(what, algo, cause, "", sum(most(runs, what) for runs in group), len(group))
    single = [runs for task, runs in tasks.items() if task not in twins]
    yield _line("named, no twin", "all", "", "", sum(most(runs, "named") for runs in single), len(single))
    common = Counter(runs[0].cause for runs in tasks.values()).most_common(NAMED)
    yield _line("named by chance", "all", "", "", sum(count for _, count in common), len(tasks))
    cells = by_task(healthy)
    alarmed = sum(any(verdict.wrong for verdict in runs) for runs in cells.values())
    yield _line("false alarm, cells", "all", "", "", alarmed, len(cells))
    yield _line("false warning", "all", "", "", sum(bool(verdict.warned) for verdict in healthy), len(healthy))
    for algo in ["all", *sorted({verdict.algo for verdict in healthy})]:
        runs = [verdict for verdict in healthy if algo in ("all", verdict.algo)]
        yield _line("false alarm", algo, "", "", sum(bool(verdict.wrong) for verdict in runs), len(runs))
    since = [verdict.since for verdict in faults if verdict.named]
    middle = f"{np.median(since):.3f}" if since else ""
    yield {**_line("since", "all", "", "", len(since), len(faults)), "share": middle, "low": "", "high": ""}
    yield _line("uncounted", "all", "", "", uncounted, uncounted + len(tasks))
    for cause in sorted({verdict.cause for verdict in faults}):
        runs = [verdict for verdict in faults if verdict.cause == cause]
        first = Counter(verdict.causes[0] if verdict.causes else "nothing" for verdict in runs)
        for said, count in first.most_common():
            yield _line("confusion", "all", cause, said, count, len(runs))
    for cause in ["", *sorted({verdict.cause for verdict in faults})]:
        runs = [verdict for verdict in [*faults, *healthy] if verdict.cause == cause]
        spoke = Counter(rule for verdict in runs for rule in verdict.rules)
        for rule, count in spoke.most_common():
            yield _line("rule", "all", cause or "healthy", rule, count, len(runs))


def _line(what: str, algo: str, cause: str, said: str, count: int, of: int) -> dict[str, str]:
    return {"measure": what, "algorithm": algo, "cause": cause, "said": said, **rate(count, of)}


def report(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """What data/diagnosis.csv says, as Markdown: all that was judged, then the last of it by cause and by algorithm."""
    rows_of = {half: [row for row in rows if row["half"] == half] for half in HALVES}
    halves = [half for half, found in rows_of.items() if found]
    lines = [f"| | {' | '.join(HALVES[half] for half in halves)} |", "|---" * (1 + len(halves)) + "|"]
    for measure, title in TITLES.items():
        cells = []
        for half in halves:
            of = [row for row in rows_of[half] if row["measure"] == measure and row["algorithm"] == "all"]
            row = next((row for row in of if row["cause"] in ("all", "")), None)
            cells.append("–" if not row else row["share"] if measure == "since" else _share(row))
        lines.append(f"| {' | '.join([title, *cells])} |")
    for what, kept in (("cause", "algorithm"), ("algorithm", "cause")):
        lines += ["", f"| {what} | detected | named |", "|---|---|---|"]
        held = [
            row for row in rows if row["half"] == halves[-1] and row[kept] == "all" and row[what] not in ("all", "")
        ]
        for value in dict.fromkeys(row[what] for row in held if row["measure"] == "detected"):
            cells = [
                f"{row['count']} of {row['of']}"
                for name in ("detected", "named")
                for row in held
                if (row["measure"], row[what]) == (name, value)
            ]
            lines.append(f"| {' | '.join([value, *cells])} |")
    return lines


def _share(row: Mapping[str, str]) -> str:
    if row["of"] == "0":
        return "none"
    low, high = (f"{100 * float(row[name]):.0f}" for name in ("low", "high"))
    return f"{row['count']} of {row['of']}: {100 * float(row['share']):.0f}% ({low} to {high})"


def missed(faults: Sequence[Verdict]) -> Iterator[str]:
    """A line for each fault that is not named in most runs."""
    for task, runs in by_task(faults).items():
        if not most(runs, "named"):
            said = Counter(cause for verdict in runs for cause in verdict.causes[:NAMED]).most_common(3)
            rules = Counter(rule for verdict in runs for rule in verdict.rules).most_common(5)
            found = "named" if most(runs, "detected") else "detected"
            yield f"not {found}: {task} ({runs[0].cause}): {said} {rules}"


def alarms(healthy: Sequence[Verdict]) -> Iterator[str]:
    """A line for each healthy run that a rule is wrong about."""
    for verdict in healthy:
        if verdict.wrong:
            yield f"false alarm: {verdict.task}: {', '.join(verdict.wrong)}"
