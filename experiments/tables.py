"""Where the experiments put what is published."""

import csv
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"


def write_table(name: str, rows: list[dict[str, str]]) -> None:
    """Write data/<name>.csv, one line for each of `rows`, which have the same columns."""
    with (DATA / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
