"""Write the two exports of this folder, the same ones every time: `python examples/exports/make.py`."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

FIRST, LAST = date(2022, 1, 1), date(2024, 1, 1)
CUSTOMERS, SEED = 300, 11
HERE = Path(__file__).parent


def main() -> None:
    """Write ``customers.csv`` and ``usage.csv``."""
    draw = random.Random(SEED)
    customers: list[tuple[object, ...]] = []
    usage: list[tuple[str, date, str, int]] = []
    for number in range(1, CUSTOMERS + 1):
        name, seats = f"C{number:04}", draw.choice([3, 5, 8, 12, 20])
        start = FIRST + timedelta(days=draw.randrange(0, 420))
        left, rows = life(draw, name, start, seats)
        usage += rows
        plan = "Basic" if seats < 8 else "Pro"
        customers.append((name, start, left or "", plan, seats, seats * 12))
    write(
        "customers.csv", ("customer_id", "start_date", "left_on", "plan", "seats", "mrr"), customers
    )
    usage.sort(key=lambda row: (row[1], row[0]))
    write("usage.csv", ("customer_id", "day", "feature", "count"), usage)


def life(
    draw: random.Random, name: str, start: date, seats: int
) -> tuple[date | None, list[tuple[str, date, str, int]]]:
    """The day on which a customer left, or None, and what it used until then."""
    rows: list[tuple[str, date, str, int]] = []
    day, mood, month = start, draw.uniform(0.5, 1.0), 0
    while day < LAST:
        mood = min(1.2, max(0.05, mood + draw.gauss(0, 0.16)))
        for _ in range(2):
            used_on = day + timedelta(days=draw.randrange(0, 28))
            feature = draw.choice(["report", "export", "search"])
            count = max(0, round(draw.gauss(seats * 4 * mood, seats**0.5)))
            if count and used_on < LAST:
                rows.append((name, used_on, feature, count))
        day, month = day + timedelta(days=30), month + 1
        if month > 2 and draw.random() < 0.006 + 0.16 * max(0.0, 0.55 - mood):
            return (day if day < LAST else None), rows
    return None, rows


def write(name: str, header: tuple[str, ...], rows: Sequence[Sequence[object]]) -> None:
    """Write one table."""
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
