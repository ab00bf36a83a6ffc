"""What a training says of itself: a warning while it goes on, and the likeliest cause of what is wrong at its end."""

from contextlib import suppress
from pathlib import Path

from rlsuite.analysis.causes import CAUSES
from rlsuite.analysis.diagnosis import LIKENESS, Log, diagnose
from rlsuite.analysis.rules import RULES
from rlsuite.rundir.references import same_settings
from rlsuite.rundir.runs import read_config, read_object, read_progress

GRAVE = 0.7
"""severity from which on a training warns while it goes on"""


def read_log(run: Path) -> Log:
    """What a run has written.

    Raises:
        UserError: a file is damaged.
    """
    error = read_object(run / "error.json").get("error", "")
    config = read_config(run)
    return Log(read_progress(run), config, f"{error}", same_settings(config))


class Watch:
    """What to say of a training while it goes on: each grave finding once, and one at a time."""

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self.said: set[str] = set()

    def __call__(self, run: Path) -> list[str]:
        """At most one line about what a run has written so far."""
        with suppress(Exception):  # advice never ends a training
            for finding in diagnose(read_log(run), RULES).findings:
                if finding.severity >= GRAVE and finding.rule not in self.said:
                    self.said.add(finding.rule)
                    return [f"{finding.rule}: {finding.text}; try first: {finding.first}"]
        return []


def last_words(run: Path) -> list[str]:
    """What a run says of itself at its end: its likeliest cause with the gravest finding of it, or nothing."""
    with suppress(Exception):  # a run that has come to its end is not to fail here
        found = diagnose(read_log(run), RULES)
        if found.root:
            measured = [finding for finding in (*found.evidence, *found.findings) if finding.rule != LIKENESS]
            return [f"{measured[0].rule}: {measured[0].text}", f"likeliest cause: {CAUSES[found.root]}"]
        return [f"{finding.rule}: {finding.text}; no rule knows why" for finding in found.findings[:1]]
    return []
